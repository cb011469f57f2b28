"""What jobs and locks know of Slurm, without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from saeflow.errors import SaeflowError
from saeflow.jobs import job
from saeflow.runlock import clear_stale_lock


def lock(folder: Path) -> Path:
    path = folder / ".snakemake/locks/0.input.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def fake_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    program = folder / "bin/squeue"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_lock_stays_while_slurm_jobs_of_the_folder_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a run"
    path = lock(run)
    here = f'echo "7|{run}"; echo "8|{tmp_path}"; echo "9|{run}"'
    fake_squeue(tmp_path, monkeypatch, here)
    with pytest.raises(SaeflowError, match=r"2 Slurm jobs .* scancel 7 9$"):
        clear_stale_lock(run)
    assert path.exists()


@pytest.mark.parametrize("body", ['echo "8|/elsewhere"', "exit 1", ""])
def test_other_jobs_or_no_cluster_keep_no_lock(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock(tmp_path / "run")
    fake_squeue(tmp_path, monkeypatch, body)
    assert clear_stale_lock(tmp_path / "run") is True
    assert not path.exists()


@pytest.mark.parametrize(("devices", "told"), [("1", "1"), (None, "none")])
def test_log_begins_with_node_and_gpus(
    devices: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    path = tmp_path / "job.log"
    with job(SimpleNamespace(log=[str(path)])):
        pass
    assert f"Slurm job 12 on node n2, CUDA devices {told}." in path.read_text()


def test_log_on_a_workstation_says_nothing_of_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path = tmp_path / "job.log"
    with job(SimpleNamespace(log=[str(path)])):
        pass
    assert "Slurm" not in path.read_text()
