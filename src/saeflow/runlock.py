"""Locks that a killed run left behind, and who may clear them.

Snakemake's lock names no owner. Every run therefore writes its host and process beside the lock;
``saeflow unlock`` clears a lock only when that process is gone and no other Snakemake works here.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from saeflow.artifacts.files import write_text
from saeflow.errors import SaeflowError
from saeflow.stopping import is_snakemake

OWNER = Path(".snakemake") / "saeflow-owner"
LOCKS = Path(".snakemake") / "locks"
PATIENCE_SECONDS = 60.0
"""How long to wait for orphaned jobs, which end by themselves when their Snakemake is gone.

They notice once their imports are done, which takes a busy machine more than ten seconds.
"""

SLURM_SECONDS = 60.0
"""How long a busy Slurm may take to answer."""


@dataclass(frozen=True)
class Owner:
    """Who locked a folder.

    Attributes
    ----------
    host : str
        Name of the machine.
    pid : int
        Process.
    created : float
        When it began, in seconds since 1970, for numbers of processes come back.
    executor : str
        Who ran its jobs, in Snakemake's words; empty in what older versions wrote.
    """

    host: str
    pid: int
    created: float
    executor: str


def record_owner(folder: Path, executor: str = "local") -> None:
    """Write which process of which host runs in a folder, and who runs its jobs.

    Parameters
    ----------
    folder : Path
        Where the workflow runs.
    executor : str, optional
        Name of Snakemake's executor.
    """
    process = psutil.Process()
    lines = (socket.gethostname(), process.pid, f"{process.create_time():.2f}", executor)
    write_text(folder / OWNER, "".join(f"{line}\n" for line in lines))


def clear_stale_lock(folder: Path) -> bool:
    """Remove Snakemake's lock of a folder if no live process owns it.

    Parameters
    ----------
    folder : Path
        Where the workflow ran.

    Returns
    -------
    bool
        Whether a lock was removed.

    Raises
    ------
    SaeflowError
        If a live process owns it, one of another host may, jobs of a killed run are left in Slurm, or
        may be because Slurm does not say.
    """
    locks = sorted((folder / LOCKS).glob("*.lock"))
    if not locks:
        return False
    owner = _owner(folder)
    if owner is not None and owner.host != socket.gethostname():
        raise SaeflowError(
            f"{folder} is locked by process {owner.pid} of host {owner.host}, which cannot be seen from "
            f"{socket.gethostname()}. If it is gone, run snakemake --unlock."
        )
    if owner is not None and _alive(owner.pid, owner.created):
        raise SaeflowError(
            f"{folder} is in use by process {owner.pid}; wait for it or stop it first."
        )
    _refuse_slurm_jobs(folder, owner)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (busy := _workers(folder)) and time.monotonic() < deadline:
        if any(is_snakemake(process) for process in busy):
            break
        time.sleep(0.2)
    if busy:
        raise SaeflowError(
            f"{folder} is in use by process {busy[0].pid}; wait for it or stop it first."
        )
    for lock in locks:
        lock.unlink(missing_ok=True)
    return True


def _refuse_slurm_jobs(folder: Path, owner: Owner | None) -> None:
    """Raise a SaeflowError if Slurm has jobs of a killed run, or may have them and does not say."""
    jobs = _slurm_jobs(folder)
    if jobs is None and owner is not None and owner.executor.startswith("slurm"):
        raise SaeflowError(
            f"{folder} is locked by a run whose jobs were in Slurm, and squeue does not say whether any "
            "are left; if none is, run snakemake --unlock."
        )
    if jobs:
        raise SaeflowError(
            f"{folder} is in use by {len(jobs)} Slurm jobs of a run that was killed; wait for them or "
            f"stop them first: scancel {' '.join(jobs)}"
        )


def _alive(pid: int, created: float) -> bool:
    """Whether the process is still the one that was recorded, whoever it belongs to."""
    try:
        process = psutil.Process(pid)
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return not zombie and abs(process.create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return False


def _owner(folder: Path) -> Owner | None:
    try:
        host, pid, created, *more = (folder / OWNER).read_text(encoding="utf-8").split("\n")
        return Owner(host, int(pid), float(created), more[0] if more else "")
    except (OSError, ValueError):
        return None


def _workers(folder: Path) -> list[psutil.Process]:
    """Live Snakemakes and jobs of theirs whose working directory is the folder."""
    found = []
    here = folder.resolve()
    for process in psutil.process_iter():
        try:
            if process.pid == psutil.Process().pid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if Path(process.cwd()).resolve() != here:
                continue
            if is_snakemake(process) or _is_job(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _slurm_jobs(folder: Path) -> list[str] | None:
    """Numbers of this user's Slurm jobs that work in a folder, waiting ones, too; None if nobody says.

    The job in which this is asked is none of them: who runs the workflow inside an allocation may.
    """
    program = shutil.which("squeue")
    if program is None:
        return None
    command = [program, "--noheader", "--user", getpass.getuser(), "--format", "%A|%Z"]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=SLURM_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # installed, but without a cluster that answers
    rows = (line.partition("|") for line in told.splitlines())
    here = folder.resolve()
    own = os.environ.get("SLURM_JOB_ID")
    return [number for number, _, where in rows if Path(where).resolve() == here and number != own]


def _is_job(process: psutil.Process) -> bool:
    return any("/.snakemake/scripts/" in part for part in process.cmdline())
