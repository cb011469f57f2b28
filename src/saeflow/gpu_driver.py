"""What CUDA itself enumerates; run as a program by `saeflow.gpu`, so it needs nothing beside Python.

A process that asks the driver can choose no devices any more: the driver reads its environment once.
"""

from __future__ import annotations

import ctypes
import json
import sys
from uuid import UUID


def enumerate_devices() -> list[tuple[str, float]]:
    """Identity and GB of each device that CUDA enumerates, as its environment variables say.

    Returns
    -------
    list of tuple
        ``GPU-`` and the UUID as nvidia-smi writes it, and the memory; of a part (MIG) the UUID of
        the part where the driver knows it. Empty where there is no driver.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        count, device, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
            return []
        identify = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
        found = []
        for number in range(count.value):
            name = (ctypes.c_ubyte * 16)()
            if (
                cuda.cuDeviceGet(ctypes.byref(device), number)
                or cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
                or identify(name, device)
            ):
                continue
            found.append((f"GPU-{UUID(bytes=bytes(name))}", memory.value / 1e9))
    except (OSError, AttributeError):
        return []
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(enumerate_devices()))
