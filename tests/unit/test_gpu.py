"""Which GPUs are visible, told by a fake nvidia-smi, and what is said where none is large enough."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from saeflow import device, gpu, gpu_driver
from saeflow.errors import SaeflowError
from saeflow.gpu import (
    NEEDED,
    check_memory,
    gpu_warnings,
    limit_warnings,
    visible_devices,
    visible_gpus,
)

TWO = "0, GPU-aaaa1111, NVIDIA L4, 24564\n1, GPU-bbbb2222, NVIDIA H100, 81559\n"
SMALL, LARGE = 24564 * 1024**2 / 1e9, 81559 * 1024**2 / 1e9


def put_nvidia_smi(folder: Path, told: str, code: int = 0) -> Path:
    """A program of that name that prints something."""
    program = folder / "nvidia-smi"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{told}END\nexit {code}\n")
    program.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither nvidia-smi, driver nor variables of the machine that tests run on."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SAEFLOW_DEVICE", NEEDED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu.shutil, "which", lambda name: own(tmp_path / name))
    monkeypatch.setattr(gpu, "_ask_driver", lambda *visible: [])


def own(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def test_memory_is_what_nvidia_smi_tells_in_mib(tmp_path: Path) -> None:
    put_nvidia_smi(tmp_path, TWO)
    assert visible_gpus() == pytest.approx([SMALL, LARGE])
    assert pytest.approx(25.76, abs=0.01) == SMALL


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("", []),
        ("-1", []),
        (" ", []),
        ("0", [SMALL]),
        ("1", [LARGE]),
        ("1,0", [LARGE, SMALL]),
        ("GPU-bbbb2222", [LARGE]),
        ("GPU-bb", [LARGE]),
        ("GPU-", []),
        ("0,7,1", [SMALL]),
        ("7", []),
    ],
)
def test_cuda_visible_devices_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[float]
) -> None:
    put_nvidia_smi(tmp_path, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == pytest.approx(expected)


@pytest.mark.parametrize("told", ["", "NVIDIA-SMI has failed\n", "0, GPU-a, NVIDIA L4, [N/A]\n"])
def test_a_driver_that_fails_shows_no_gpu(tmp_path: Path, told: str) -> None:
    put_nvidia_smi(tmp_path, told, code=9 if told.startswith("NV") else 0)
    assert visible_gpus() == []


def test_a_program_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = put_nvidia_smi(tmp_path, TWO) / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(gpu, "SECONDS", 0.2)
    assert visible_gpus() == []


def test_devices_have_the_name_that_is_given_and_the_uuid_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, TWO)
    expected = [("GPU-aaaa1111", "GPU-aaaa1111"), ("GPU-bbbb2222", "GPU-bbbb2222")]
    assert [(each.name, each.uuid) for each in visible_devices()] == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-aa")
    expected = [("1", "GPU-bbbb2222"), ("GPU-aa", "GPU-aaaa1111")]
    assert [(each.name, each.uuid) for each in visible_devices()] == expected


def test_numbers_are_cudas_where_they_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA calls the fastest GPU 0, unless it is told to go by the bus, as nvidia-smi does."""
    put_nvidia_smi(tmp_path, TWO)
    told = [("GPU-bbbb2222", LARGE), ("GPU-aaaa1111", SMALL)]
    monkeypatch.setattr(gpu, "_ask_driver", lambda: told)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert [each.uuid for each in visible_devices()] == ["GPU-bbbb2222", "GPU-aaaa1111"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [each.uuid for each in visible_devices()] == ["GPU-aaaa1111", "GPU-bbbb2222"]


@pytest.mark.parametrize(("product", "first"), [("NVIDIA H100", "b"), ("NVIDIA A100", "a")])
def test_two_products_of_one_size_may_be_numbered_otherwise(
    product: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, f"0, GPU-a, NVIDIA A100, 81920\n1, GPU-b, {product}, 81920\n")
    monkeypatch.setattr(gpu, "_ask_driver", lambda: [("GPU-b", 85.9), ("GPU-a", 85.9)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert visible_devices()[0].uuid == f"GPU-{first}"


def test_parts_of_a_gpu_are_asked_of_the_driver_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, TWO)
    known = {"MIG-1": 10.0, "MIG-2": 40.0, "GPU-bb": LARGE}
    monkeypatch.setattr(
        gpu, "_ask_driver", lambda name: [("GPU-x", known[name])] if name in known else []
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1,GPU-bb,MIG-2,MIG-7,MIG-1")
    found = [("MIG-1", "MIG-1", 10.0), ("GPU-bb", "GPU-x", LARGE), ("MIG-2", "MIG-2", 40.0)]
    assert [(each.name, each.uuid, each.memory) for each in visible_devices()] == found


class Cuda:
    """Two devices, as the driver's library tells them."""

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        device._obj.value = number
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: ctypes.c_int) -> int:
        memory._obj.value = (device.value + 1) * 10**10
        return 0

    def cuDeviceGetUuid(self, name: Any, device: ctypes.c_int) -> int:
        name[:] = bytes([device.value] * 16)
        return 0


def test_the_driver_tells_what_cuda_enumerates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_driver.ctypes, "CDLL", lambda name: Cuda())
    found = gpu_driver.enumerate_devices()
    assert found == [(f"GPU-{UUID(bytes=bytes([n] * 16))}", (n + 1) * 10.0) for n in range(2)]

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(gpu_driver.ctypes, "CDLL", missing)
    assert gpu_driver.enumerate_devices() == []


DRIVER = """
#include <stdlib.h>
#include <string.h>
/* As many devices as CUDA_VISIBLE_DEVICES has characters, three without it. */
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) {
    const char *told = getenv("CUDA_VISIBLE_DEVICES");
    *count = told ? strlen(told) : 3;
    return 0;
}
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceTotalMem_v2(size_t *memory, int device) { *memory = 5000000000; return 0; }
int cuDeviceGetUuid_v2(unsigned char *name, int device) { memset(name, device, 16); return 0; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc, a compiler of C, is absent")
@pytest.mark.parametrize("quoted", [False, True])
def test_the_driver_is_asked_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quoted: bool
) -> None:
    monkeypatch.undo()
    compiler = shutil.which("cc")
    (tmp_path / "cuda.c").write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        [str(compiler), "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True
    )
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if quoted:
        monkeypatch.setattr(sys, "executable", f"'{sys.executable}'")
    assert visible_gpus() == [5.0, 5.0, 5.0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG")
    assert visible_gpus() == []  # one name, three devices: not what CUDA does
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [each.name for each in visible_devices()] == ["0"]
    # CUDA is not initialised in this process.
    assert str(library) not in Path("/proc/self/maps").read_text()


def test_a_card_of_the_size_that_it_is_sold_with_is_enough() -> None:
    check_memory(16.0, [15.84])
    check_memory(24.0, [8.0, 25.3])
    with pytest.raises(SaeflowError, match=r"needs a GPU with 24 GB.*largest.* has 16 GB"):
        check_memory(24.0, [15.84])
    with pytest.raises(SaeflowError, match="no CUDA device is visible"):
        check_memory(6.0, [])


def test_what_needs_no_gpu_is_not_asked_for_one(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").mkdir()
    assert list(gpu_warnings(None)) == []


def test_the_variable_overrides_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SaeflowError):
        list(gpu_warnings(24.0))
    monkeypatch.setenv("SAEFLOW_DEVICE", " CPU ")
    assert [len(each.splitlines()) for each in gpu_warnings(24.0)] == [1]
    # Devices that are named are the job's to find, such as those of AMD.
    monkeypatch.setenv("SAEFLOW_DEVICE", "cuda:1")
    assert list(gpu_warnings(24.0)) == []


@pytest.mark.parametrize("memory", [None, 16e9])
def test_a_job_says_so_itself_on_its_node(
    monkeypatch: pytest.MonkeyPatch, memory: float | None
) -> None:
    torch = pytest.importorskip("torch")

    class Card:
        name = "A card"
        total_memory = memory

    monkeypatch.setattr(torch.cuda, "is_available", lambda: memory is not None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Card())
    kind = "cpu" if memory is None else "cuda"
    assert device.resolve_device().type == kind
    monkeypatch.setenv(NEEDED, "24")
    with pytest.raises(SaeflowError, match="needs a GPU with 24 GB"):
        device.resolve_device()
    monkeypatch.setenv(NEEDED, "16" if memory else "")
    assert device.resolve_device().type == kind
    monkeypatch.setenv(NEEDED, "24")
    monkeypatch.setenv("SAEFLOW_DEVICE", "cpu")
    assert device.resolve_device().type == "cpu"


@pytest.mark.parametrize(
    ("limit", "told"),
    [(None, "any number of jobs for a GPU"), (3, "3 jobs for a GPU"), (2, None), (1, None)],
)
def test_more_jobs_than_gpus_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, told: str | None
) -> None:
    assert list(limit_warnings(limit)) == []  # no GPU: none is waited for
    put_nvidia_smi(tmp_path, TWO)
    warnings = list(limit_warnings(limit))
    assert len(warnings) == (told is not None)
    if told:
        assert told in warnings[0]
        assert "--resources gpu=2" in warnings[0]
    monkeypatch.setenv("SAEFLOW_DEVICE", "cpu")
    assert list(limit_warnings(limit)) == []
