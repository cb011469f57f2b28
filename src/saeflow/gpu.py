"""Which GPUs a process may use, told without torch: before a run starts, where seconds matter."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

from saeflow.errors import SaeflowError

NEEDED = "SAEFLOW_GPU_MEMORY_GB"
"""Environment variable by which the Snakefile tells jobs ``compute.gpu_memory_gb``."""
TOLERANCE = 0.95
"""A card that is sold with 16 GB shows between 15.8 and 17.2 to programs."""
QUERY = ("--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that leave no GPU; schedulers set the last."""
SECONDS = 20.0
"""How long a driver may take to answer; one that hangs is no GPU to use."""


class GpuError(SaeflowError):
    """No GPU, or none that is large enough, where one is needed."""

    fault = "missing GPU"


def visible_gpus() -> list[float]:
    """Memory of each GPU that ``CUDA_VISIBLE_DEVICES`` leaves to this process, in GB; none without one.

    Asks ``nvidia-smi``; where there is none, or parts of a GPU are named, the driver's library.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and chosen.strip() in HIDDEN:
        return []
    names = None if chosen is None else [name.strip() for name in chosen.split(",")]
    found = None
    if names is None or not any(name.startswith("MIG") for name in names):
        found = _ask_nvidia_smi()
    if found is None:
        return _ask_driver()
    if names is None:
        return [memory for _, _, memory in found]
    gpus = []
    for name in names:
        matches = [
            memory
            for index, uuid, memory in found
            if name == index or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if len(matches) != 1:
            break  # CUDA, too, ignores what follows a name that it does not know
        gpus += matches
    return gpus


def check_memory(needed: float, found: list[float], why: str = "") -> None:
    """Check that some GPU is large enough.

    Parameters
    ----------
    needed : float
        ``compute.gpu_memory_gb``.
    found : list of float
        GB of memory of each GPU.
    why : str, optional
        Why there is none, where that is known.

    Raises
    ------
    GpuError
        If none is.
    """
    if any(memory >= TOLERANCE * needed for memory in found):
        return
    told = (
        f"the largest of this machine has {max(found):.0f} GB"
        if found
        else f"no CUDA device is visible on this machine{why and f' ({why})'}"
    )
    raise GpuError(
        f"this configuration needs a GPU with {needed:g} GB of memory (compute.gpu_memory_gb), but "
        f"{told}; run it where there is one, or set SAEFLOW_DEVICE=cpu to compute on the CPU "
        "all the same."
    )


def gpu_warnings(needed: float | None) -> Iterator[str]:
    """Check this machine before a run starts on it.

    Parameters
    ----------
    needed : float or None
        ``compute.gpu_memory_gb``.

    Yields
    ------
    str
        What to warn of.

    Raises
    ------
    GpuError
        If a GPU is needed, ``SAEFLOW_DEVICE`` does not say otherwise, and none is large enough.
    """
    wanted = os.environ.get("SAEFLOW_DEVICE", "").strip().lower()
    if needed is None:
        return
    if wanted == "cpu":
        yield (
            f"warning: SAEFLOW_DEVICE=cpu: computing on the CPU what needs a GPU with {needed:g} GB of "
            "memory (compute.gpu_memory_gb); this may take days."
        )
    elif not wanted:
        check_memory(needed, visible_gpus())


def why_none(built_for: str | None) -> str:
    """Say why a process sees no GPU.

    Parameters
    ----------
    built_for : str or None
        Version of CUDA that the installed torch was built for.
    """
    where = f"node {socket.gethostname()}"
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if built_for is None:
        return f"{where}: the installed torch was built without CUDA"
    if chosen is not None and chosen.strip() in HIDDEN:
        return f"{where}: CUDA_VISIBLE_DEVICES={chosen!r} hides all; was gpu=1 asked for?"
    if found := visible_gpus():
        return (
            f"{where}: the driver shows {len(found)}, but torch for CUDA {built_for} cannot use any; "
            "is the driver too old?"
        )
    return f"{where}: the driver shows none"


def needed_gb() -> float | None:
    """Memory in GB that the configuration asks of this job's GPU, if it asks."""
    told = os.environ.get(NEEDED, "").strip()
    return float(told) if told else None


def _ask_nvidia_smi() -> list[tuple[str, str, float]] | None:
    """Index, uuid and GB of each GPU; None where it cannot be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout
        rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines() if line]
        # In MiB.
        return [(index, uuid, float(memory) * 1024**2 / 1e9) for index, uuid, memory in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _ask_driver() -> list[float]:
    """GB of each device that CUDA itself enumerates, as its environment variables say."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        count, device, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
            return []
        gpus = []
        for number in range(count.value):
            if cuda.cuDeviceGet(ctypes.byref(device), number):
                continue
            if not cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device):
                gpus.append(memory.value / 1e9)
    except (OSError, AttributeError):
        return []
    return gpus
