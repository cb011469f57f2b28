"""A GPU for each job: locks that jobs of one user on one machine take before CUDA starts.

Each GPU has a file, known by its UUID, whose lock (``fcntl``) belongs to the process that took it. The
kernel frees it when that process ends, by whatever signal, though children that it forked live on.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import socket
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from saeflow.errors import SaeflowError
from saeflow.gpu import TOLERANCE, Gpu, needed_gb, visible_devices

FOLDER = "SAEFLOW_GPU_SLOTS"
"""Environment variable that names another folder for the locks."""
QUEUE = "queue"
"""File in which whoever is first in a queue has a lock."""
PAUSE = 0.05
"""Seconds between two looks for a free GPU, by the one process that is first in the queue."""
FLOCK = "hhqqi4x"
"""``struct flock`` of Linux: type, whence, start, length, process."""
_held: dict[Gpu, int] = {}
"""GPUs of this process and the open files that keep them."""


def take_gpus(count: int) -> list[Gpu]:
    """Take GPUs for the rest of this process's life, waiting until they are free.

    Leaves only them in ``CUDA_VISIBLE_DEVICES``, so it must come before CUDA is initialised. Takes
    none where ``SAEFLOW_DEVICE`` names another device, or without a GPU; fewer where fewer are
    visible.

    Parameters
    ----------
    count : int
        GPUs that the job was granted.

    Returns
    -------
    list of Gpu
        What was taken.

    Raises
    ------
    SaeflowError
        If the folder of the locks cannot be used.
    """
    if count < 1 or _held:
        return list(_held)
    visible, gpus = _candidates()
    if not gpus:
        return []
    if count > len(gpus):
        _log().info("%d GPUs were asked for, %d can be had", count, len(gpus))
        count = len(gpus)
    begun = time.monotonic()
    with _turn(slot_folder(), gpus, count):
        while not (taken := _free(slot_folder(), gpus, count)):
            time.sleep(PAUSE)
    _held.update(taken)
    _keep(slot_folder())
    _show_only(list(taken), visible)
    waited = time.monotonic() - begun
    named = " and ".join(_label(gpu) for gpu in taken)
    _log().info("computing on %s%s", named, f", after {waited:.0f} s" if waited >= 1 else "")
    return list(taken)


def slot_folder() -> Path:
    """Folder of the locks, made if need be, which belongs to this user alone.

    It lies in ``/tmp`` whatever ``TMPDIR`` says, which differs between jobs, and not in
    ``XDG_RUNTIME_DIR``, which goes at the last logout, while jobs run on.

    Raises
    ------
    SaeflowError
        If it cannot be made, or others may write to it.
    """
    default = f"/tmp/saeflow-gpus-{os.geteuid()}-{socket.gethostname()}"
    folder = Path(os.environ.get(FOLDER) or default)
    other = f"name another folder of this machine in {FOLDER}."
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise SaeflowError(
            f"{folder}, which is to hold the locks of GPUs, cannot be made "
            f"({os.strerror(error.errno or 0).lower()}); {other}"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        problem = "is no folder"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to user {found.st_uid}, not to user {os.geteuid()} of this job"
    elif found.st_mode & 0o077:
        problem = f"has mode {stat.S_IMODE(found.st_mode):o}, expected 700"
    else:
        return folder
    raise SaeflowError(f"{folder}, which is to hold the locks of GPUs, {problem}; {other}")


def holder(folder: Path, gpu: Gpu, allocation: int | None = None) -> int | None:
    """Process that holds a GPU.

    Not for a process that holds GPUs itself: looking would free them.

    Parameters
    ----------
    folder : Path
        Where the locks are.
    gpu : Gpu
        The GPU.
    allocation : int, optional
        SLURM job to ask about, 0 for what runs outside of SLURM; by default any.

    Returns
    -------
    int or None
        Its number, 0 if it cannot be seen from this container; None if the GPU is free.
    """
    return _locker(_file(folder, gpu), *((0, 0) if allocation is None else (allocation, 1)))


def describe_process(process: int) -> str:
    """What a process is and where it runs, in a few words."""
    if not process:
        return "a process of another container"
    try:
        running = psutil.Process(process)
        command = " ".join(Path(part).name for part in running.cmdline()[:2])
        return f"process {process} ({command} in {running.cwd()})"
    except psutil.Error:
        return f"process {process}"


def _candidates() -> tuple[list[Gpu], list[Gpu]]:
    """All GPUs that this process sees, and those that it may take."""
    wanted = os.environ.get("SAEFLOW_DEVICE", "").strip().lower()
    named = re.fullmatch(r"cuda(?::(\d+))?", wanted)
    if wanted and not named:
        return [], []
    visible = visible_devices()
    # A name that is given twice is one GPU.
    gpus = list({gpu.uuid: gpu for gpu in reversed(visible)}.values())[::-1]
    if named and named[1]:
        return visible, visible[int(named[1]) :][:1]
    needed = needed_gb() or 0.0
    large = [gpu for gpu in gpus if gpu.memory >= TOLERANCE * needed]
    return visible, large or gpus


def _show_only(gpus: Sequence[Gpu], visible: Sequence[Gpu]) -> None:
    if list(gpus) == list(visible):
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpu.name for gpu in gpus)
    if os.environ.get("SAEFLOW_DEVICE", "").strip():
        os.environ["SAEFLOW_DEVICE"] = "cuda"  # cuda:1 of what was visible is cuda:0 now


@contextlib.contextmanager
def _turn(folder: Path, gpus: Sequence[Gpu], count: int) -> Iterator[None]:
    """Wait behind those who came before and may take the same GPUs; the kernel keeps the queue."""
    names = ",".join(sorted(gpu.uuid for gpu in gpus))
    place = zlib.crc32(f"{_allocation()} {names}".encode())
    path = folder / QUEUE
    _tell(folder, gpus, count, first=_locker(path, place, 1))
    file = _open(path)
    try:
        _lock(file, place, wait=True)
        yield
    finally:
        os.close(file)


def _free(folder: Path, gpus: Sequence[Gpu], count: int) -> dict[Gpu, int]:
    """Take as many GPUs or none: who kept one while it waits for another could wait for ever."""
    taken: dict[Gpu, int] = {}
    for gpu in gpus:
        path = _file(folder, gpu)
        file = _open(path)
        if _lock(file, _allocation()) and _is(file, path):
            taken[gpu] = file
            if len(taken) == count:
                return taken
        else:
            os.close(file)
    for file in taken.values():
        os.close(file)
    return {}


def _allocation() -> int:
    """Byte of a GPU's file to lock: one for each SLURM job, one for what runs outside of SLURM.

    SLURM says which of its jobs has which GPU, also where several are to share one; a GPU of its own
    is what the jobs of one Snakemake inside of one SLURM job need.
    """
    told = os.environ.get("SLURM_JOB_ID", "")
    return int(told) if told.isdecimal() else 0


def _file(folder: Path, gpu: Gpu) -> Path:
    return folder / re.sub(r"[^\w.-]", "_", gpu.uuid)


def _open(path: Path) -> int:
    # Python closes it in programs that are started from here.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _locker(path: Path, start: int, length: int) -> int | None:
    """Another process that has a lock in a range of a file."""
    if not path.exists():
        return None
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    file = _open(path)
    try:
        told = fcntl.fcntl(file, fcntl.F_GETLK, asked)
    finally:
        os.close(file)
    kind, *_, process = struct.unpack(FLOCK, told)
    return None if kind == fcntl.F_UNLCK else process


def _is(file: int, path: Path) -> bool:
    """Whether an open file is still what others will find; someone may have tidied up."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int, start: int, *, wait: bool = False) -> bool:
    """Lock one byte for this process; False if another has it.

    Unlike ``flock``, such a lock is not handed on to children, which may outlive a killed job.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, start)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        raise SaeflowError(
            f"the folder of the locks of GPUs allows no locks ({os.strerror(error.errno or 0).lower()}); "
            f"name another folder of this machine in {FOLDER}."
        ) from None
    return True


def _tell(folder: Path, gpus: Sequence[Gpu], count: int, first: int | None) -> None:
    """Say what this job waits for: who keeps GPUs busy, and who is first in the queue."""
    told = []
    for gpu in gpus:
        process = holder(folder, gpu, _allocation())
        if process is not None:
            told.append(f"{_label(gpu)} is held by {describe_process(process)}")
    free = len(gpus) - len(told)
    if first is not None:
        told.append(f"{describe_process(first)} is first in the queue")
    if free < count or first is not None:
        _log().info("waiting for %d of %d GPUs: %s", count, len(gpus), "; ".join(told))


def _keep(folder: Path) -> None:
    """Tell systemd-tmpfiles to leave the folder alone while this process lives."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _label(gpu: Gpu) -> str:
    return gpu.name if gpu.name == gpu.uuid else f"GPU {gpu.name} ({gpu.uuid})"


def _log() -> logging.Logger:
    return logging.getLogger("saeflow")
