"""What jobs and locks know of Slurm, without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from saeflow.errors import SaeflowError
from saeflow.jobs import job
from saeflow.runlock import OWNER, clear_stale_lock, record_owner


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


def test_the_allocation_in_which_a_lock_is_cleared_does_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "a run"
    path = lock(run)
    fake_squeue(tmp_path, monkeypatch, f'echo "7|{run}"')
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert clear_stale_lock(run) is True
    assert not path.exists()


def owned(folder: Path, executor: str | None) -> None:
    """The folder as a run left it that was killed; None for what older versions wrote of it."""
    record_owner(folder, executor or "")
    host, _, created, *_ = (folder / OWNER).read_text().splitlines()
    more = "" if executor is None else f"{executor}\n"
    (folder / OWNER).write_text(f"{host}\n1\n{float(created) - 1e6:.2f}\n{more}")


@pytest.mark.parametrize("body", ["exit 1", "exec sleep 30", None])
def test_lock_of_a_cluster_run_stays_where_slurm_does_not_answer(
    body: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock(tmp_path / "run")
    owned(tmp_path / "run", "slurm")
    monkeypatch.setattr("saeflow.runlock.SLURM_SECONDS", 0.5)
    fake_squeue(tmp_path, monkeypatch, body or "")
    if body is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SaeflowError, match=r"squeue does not say .* run snakemake --unlock\.$"):
        clear_stale_lock(tmp_path / "run")
    assert path.exists()


@pytest.mark.parametrize(
    ("body", "executor"),
    [
        ('echo "8|/elsewhere"', "slurm"),
        ("", "slurm"),
        ('echo "8|/elsewhere"', "local"),
        ("exit 1", "local"),
        ("exit 1", None),
    ],
)
def test_other_jobs_or_no_cluster_keep_no_lock(
    body: str, executor: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock(tmp_path / "run")
    owned(tmp_path / "run", executor)
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
