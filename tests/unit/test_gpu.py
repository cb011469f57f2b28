"""Which GPUs are visible, told by a fake nvidia-smi, and what is said where none is large enough."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from saeflow import device, gpu
from saeflow.errors import SaeflowError
from saeflow.gpu import NEEDED, check_memory, gpu_warnings, visible_gpus

TWO = "0, GPU-aaaa1111, 24564\n1, GPU-bbbb2222, 81559\n"
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
    for name in ("CUDA_VISIBLE_DEVICES", "SAEFLOW_DEVICE", NEEDED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu.shutil, "which", lambda name: own(tmp_path / name))
    monkeypatch.setattr(gpu, "_ask_driver", list)


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


@pytest.mark.parametrize("told", ["", "NVIDIA-SMI has failed\n", "0, GPU-a, [N/A]\n"])
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


def test_parts_of_a_gpu_are_asked_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, TWO)
    monkeypatch.setattr(gpu, "_ask_driver", lambda: [10.0])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    assert visible_gpus() == [10.0]


def test_the_driver_is_asked_where_there_is_no_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        def cuInit(self, flags: int) -> int:
            return 0

        def cuDeviceGetCount(self, count: object) -> int:
            count._obj.value = 2  # type: ignore[attr-defined]
            return 0

        def cuDeviceGet(self, device: object, number: int) -> int:
            device._obj.value = number  # type: ignore[attr-defined]
            return 0

        def cuDeviceTotalMem_v2(self, memory: object, device: ctypes.c_int) -> int:
            memory._obj.value = (device.value + 1) * 10**10  # type: ignore[attr-defined]
            return 0

    monkeypatch.undo()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: Cuda())
    assert visible_gpus() == [10.0, 20.0]


def test_no_library_of_the_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.undo()
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)
    monkeypatch.setattr(gpu.ctypes, "CDLL", missing)
    assert visible_gpus() == []


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
