"""Which GPUs are there, told by a fake ``nvidia-smi``."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeflow.errors import SaeflowError
from saeflow.gpus import check_gpus, visible_gpus


@pytest.fixture(autouse=True)
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-aa, 8192'\necho '1, GPU-bb, 24576'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("CUDA_VISIBLE_DEVICES", "SAEFLOW_DEVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [8.59, 25.77]),
        ("", []),
        ("-1", []),
        ("1", [25.77]),
        ("GPU-aa", [8.59]),
        ("0,7,1", [8.59]),
    ],
)
def test_cuda_visible_devices_is_honoured(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, expected: list[float]
) -> None:
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == pytest.approx(expected, abs=0.01)


def test_a_gpu_that_is_large_enough_is_enough() -> None:
    check_gpus(24.0)
    check_gpus(None)


def test_too_small_a_gpu_is_told_in_one_sentence() -> None:
    with pytest.raises(SaeflowError, match=r"needs a GPU with 40 GB .* largest .* 26 GB"):
        check_gpus(40.0)


def test_no_gpu_is_told_and_the_cpu_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SaeflowError, match="no CUDA device is visible"):
        check_gpus(6.0)
    monkeypatch.setenv("SAEFLOW_DEVICE", "cpu")
    check_gpus(6.0)
