"""What ends a job: kinds of faults, how an exception is told from another, and what to do.

Nothing here imports torch or pyarrow: their exceptions are known by name and by what they say, so that
a small job stays small.
"""

from __future__ import annotations

import errno
import math
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psutil

from saeflow.errors import SaeflowError


class Kind(StrEnum):
    """Why a job ended, in the words that logs and the table of failures use."""

    DONE = "done"
    MEMORY = "out of memory"
    GPU_MEMORY = "out of GPU memory"
    TIME = "time limit"
    PREEMPTED = "preempted"
    NODE = "node failure"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    KILLED = "killed"
    DISK = "full disk"
    REFUSED = "not writable"
    FILES = "file system"
    NO_GPU = "missing GPU"
    GPU = "GPU failure"
    HUB = "Hugging Face hub"
    INPUT = "input or configuration"
    DAMAGED = "damaged file"
    CRASH = "crash of a library"
    BUG = "error in saeflow"
    UNSEEN = "results not seen"
    SILENT = "did not start"


PERMANENT = frozenset({Kind.INPUT, Kind.DAMAGED, Kind.REFUSED, Kind.BUG})
"""What the same job would meet again, however often it is tried."""
OF_A_NODE = frozenset({Kind.REFUSED})
"""What another node of a cluster may not meet: one may have mounted the file system for reading alone."""

ADVICE = {
    Kind.MEMORY: "retries ask for more (slurm profile; else --retries 2); or lower the model's batch_size, "
    "set --set-resources RULE:mem_mb=MB, and on one machine run fewer jobs at a time (--cores, "
    "--resources mem_mb=MB of the machine)",
    Kind.GPU_MEMORY: "lower batch_size of the model in the configuration, keep other programs off the GPU, "
    "or use a larger one (compute.gpu_memory_gb asks for it)",
    Kind.TIME: "run the same command again: jobs with checkpoints go on from there (docs/faults.md); retries "
    "ask for more time, and so does --set-resources RULE:runtime=MINUTES",
    Kind.PREEMPTED: "run the same command again, or let retries do it",
    Kind.NODE: "run the same command again, or let retries do it on another node",
    Kind.CANCELLED: "run the same command again when it may go on",
    Kind.STOPPED: "run the same command again when it may go on",
    Kind.KILLED: "most often the system's out-of-memory killer (dmesg tells): as for out of memory; if you or "
    "an administrator killed it, run the same command again",
    Kind.DISK: "free some space or choose another folder (-d), then run the same command again",
    Kind.REFUSED: "see who owns the folder, or choose another (-d)",
    Kind.FILES: "run the same command again; if it comes back, ask who runs the file system, or "
    "report it with the log",
    Kind.NO_GPU: "send the job where a GPU is (gpu=1 and the partition of the profile), or set "
    "SAEFLOW_DEVICE=cpu to compute on the CPU",
    Kind.GPU: "run the same command again on another GPU or node; if it comes back, nvidia-smi -q tells "
    "more of the card",
    Kind.HUB: "fetch where there is a network (snakemake fetch), then run the same command again",
    Kind.INPUT: "mend what the sentence names; trying again cannot help before",
    Kind.DAMAGED: "the sentence says how the file is made anew; if files are damaged again and again, have "
    "the disk looked at",
    Kind.CRASH: "see the log; a bus error is most often a full disk or lost network disk, any other is "
    "worth a report with that log",
    Kind.BUG: "please report it with the log; trying again cannot help",
    Kind.UNSEEN: "raise --latency-wait: the file system shows new files late",
    Kind.SILENT: "the job left no line in its log: see what Snakemake, and under SLURM its own log, said "
    "above (environment, module, submission)",
}
"""What a user does about each kind."""

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run the workflow again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the workflow again",
    errno.EROFS: "the file system is read-only; choose another folder with snakemake -d",
    errno.EACCES: "permission is denied; check who owns the folder",
    errno.EPERM: "permission is denied; check who owns the folder",
}
FULL = (errno.ENOSPC, errno.EDQUOT)
_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.I)
"""How libraries written in Rust and C++ name the system's error."""
_SQLITE_FULL = "database or disk is full"

_HOST_MEMORY = re.compile(
    r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)|std::bad_alloc"
    r"|Cannot allocate memory|\(os error 12\)",
    re.I,
)
_GPU_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|HIP out of memory"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
    re.I,
)
_TRIED = re.compile(r"tried to allocate ([\d.]+ ?[KMGTP]i?B|\d+ bytes)", re.I)
_UNABLE = re.compile(r"Unable to allocate ([\d.]+ ?[KMGTP]?i?B)|malloc of size (\d+) failed")
_CAPACITY = re.compile(
    r"total capacity of ([\d.]+ [KMGTP]i?B) of which ([\d.]+ [KMGTP]?i?B) is free"
)
_OWN_USE = re.compile(r"this process has ([\d.]+ [KMGTP]?i?B) memory in use", re.I)
_GPU_ERROR = re.compile(
    r"CUDA error: (?P<cuda>[^\n]+)|(?P<status>CU(?:BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_\w+)"
    r"|CUDA driver (?P<driver>[^\n]+)|(?P<init>CUDA unknown error[^\n]*|No CUDA GPUs are available)"
)
_OURS = ("device-side assert", "illegal memory access", "invalid configuration argument")
"""CUDA errors that a program makes, not a card."""
_GPU_REASONS = {
    "no kernel image": "the installed torch was not built for this GPU; install one that was",
    "busy or unavailable": "another program holds the GPU (nvidia-smi shows which), or it is in exclusive "
    "mode",
    "ECC": "the card's memory is damaged; have it looked at and use another GPU",
    "driver version is insufficient": "the driver is too old for the installed torch",
    "No CUDA GPUs": "CUDA_VISIBLE_DEVICES names no GPU that the driver shows",
}
_LOST = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN)


@dataclass(frozen=True)
class Asked:
    """What Snakemake gave a job.

    Attributes
    ----------
    rule : str
        Its rule.
    memory_mb : int or None
        ``mem_mb``.
    minutes : int or None
        ``runtime``.
    batch : str
        Which key to lower where memory runs out, with its value; empty if the job loads no model.
    """

    rule: str = "job"
    memory_mb: int | None = None
    minutes: int | None = None
    batch: str = ""

    @classmethod
    def of(cls, snakemake: Any) -> Asked:
        """Read it from what a script is given."""
        resources = getattr(snakemake, "resources", None)
        spec = getattr(getattr(snakemake, "params", None), "spec", None)
        model = getattr(getattr(snakemake, "wildcards", None), "model", None)
        size = _batch_size(spec)
        batch = f"batch_size ({size} now) of models.{model or 'NAME'}" if size is not None else ""
        return cls(
            rule=str(getattr(snakemake, "rule", "job")),
            memory_mb=_whole(getattr(resources, "mem_mb", None)),
            minutes=_whole(getattr(resources, "runtime", None)),
            batch=batch,
        )


@dataclass(frozen=True)
class Fault:
    """Why a job ended.

    Attributes
    ----------
    kind : Kind
        In a word.
    sentence : str or None
        For the user; None where only the traceback tells.
    """

    kind: Kind
    sentence: str | None = None


def fault_of(error: BaseException, asked: Asked | None = None) -> Fault:
    """Tell what an exception means.

    Libraries, and sentences that blame a damaged file, may wrap what the system refused; so causes
    count, too.

    Parameters
    ----------
    error : BaseException
        What ended a job.
    asked : Asked, optional
        What the job asked for.
    """
    asked = asked or Asked()
    for each in _chain(error):
        if _gpu_memory(each):
            return Fault(Kind.GPU_MEMORY, _gpu_memory_sentence(str(each), asked))
        if _host_memory(each):
            return Fault(Kind.MEMORY, _memory_sentence(str(each), asked))
        if (refused := _refused(each)) is not None and (each is error or refused.kind == Kind.DISK):
            return refused
    lost = any(_lost(each) for each in _chain(error))
    if isinstance(error, SaeflowError):
        return Fault(Kind.FILES if lost else Kind(error.fault), str(error))
    if (failed := _gpu_error(str(error))) is not None:
        return failed
    # Whatever else the system refuses, it may grant next time.
    return Fault(Kind.FILES if lost or isinstance(error, OSError) else Kind.BUG)


def in_use_mb() -> int:
    """Most memory that this process has held, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _lost(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.errno in _LOST or isinstance(error, TimeoutError))


def _gpu_memory(error: BaseException) -> bool:
    torchs = type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith(
        "torch"
    )
    return torchs or (isinstance(error, RuntimeError) and bool(_GPU_MEMORY.search(str(error))))


def _host_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):  # numpy's and pyarrow's are such, too
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    if isinstance(error, SaeflowError):
        return False
    return bool(_HOST_MEMORY.search(str(error)))


def _gpu_memory_sentence(told: str, asked: Asked) -> str:
    parts = ["the GPU's memory is used up"]
    if tried := _TRIED.search(told):
        parts.append(f"{tried[1]} more were wanted")
    if found := _CAPACITY.search(told):
        parts.append(f"of {found[1]}, {found[2]} were free")
    if used := _OWN_USE.search(told):
        parts.append(f"this job held {used[1]}")
    lower = f"lower {asked.batch}" if asked.batch else "compute less at a time"
    return f"{', '.join(parts)}; {lower}, keep other programs off the GPU, or use a larger one."


def _memory_sentence(told: str, asked: Asked) -> str:
    held = f"memory is used up: this job held up to {in_use_mb():,} MB"
    if asked.memory_mb is not None:
        held += f" and asked for mem_mb={asked.memory_mb}"
    wanted = _UNABLE.search(told) or _TRIED.search(told)
    if wanted:
        amount = next(each for each in wanted.groups() if each)
        held += f"; {amount}{' bytes' if amount.isdigit() else ''} more were wanted"
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        held += f"; the shell's limit (ulimit -v) is {limit / 1e6:,.0f} MB"
    held += f"; {psutil.virtual_memory().available / 1e6:,.0f} MB of this machine are free"
    more = 2 * (asked.memory_mb or 4000)
    lower = f"lower {asked.batch}, or " if asked.batch else ""
    return f"{held}. Next, {lower}give it more: --set-resources {asked.rule}:mem_mb={more}."


def _refused(error: BaseException) -> Fault | None:
    """What the operating system refused, however a library wraps it."""
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number is None and not isinstance(error, SaeflowError):
        if told := _OS_ERROR.search(text):
            number = int(told[1] or told[2])
        elif _SQLITE_FULL in text:
            number = errno.ENOSPC
    if number not in DISK_ERRORS:
        return None
    # Of a copy the second name is what could not be written.
    where = getattr(error, "filename2", None) or getattr(error, "filename", None) or "a result"
    kind = Kind.DISK if number in FULL else Kind.REFUSED
    return Fault(kind, f"{where} cannot be written: {DISK_ERRORS[number]}.")


def _gpu_error(told: str) -> Fault | None:
    found = _GPU_ERROR.search(told)
    if found is None or any(each in told for each in _OURS):
        return None
    reason = next(each for each in found.groups() if each).strip().rstrip(".")
    why = next((text for part, text in _GPU_REASONS.items() if part in told), None)
    then = (
        why
        or "try again on another GPU or node; if it comes back, the card or its driver is at fault"
    )
    return Fault(Kind.GPU, f"the GPU failed ({reason}): {then}.")


def _batch_size(spec: Any) -> int | None:
    """``batch_size`` of the model among a job's settings."""
    model = spec.get("model") if isinstance(spec, dict) else None
    if isinstance(model, dict) and isinstance(model.get("model"), dict):
        model = model["model"]
    return model.get("batch_size") if isinstance(model, dict) else None


def _whole(value: Any) -> int | None:
    """Return a number; None for what Snakemake has not decided."""
    try:
        return int(value) if math.isfinite(float(value)) else None
    except (TypeError, ValueError):
        return None
