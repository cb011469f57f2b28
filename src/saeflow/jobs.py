"""What every workflow script needs around its one call: log, errors, and an end when orphaned."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from saeflow.errors import SaeflowError
from saeflow.gpu_slots import take_gpus
from saeflow.hub_token import hide_secrets

SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run the workflow again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the workflow again",
    errno.EROFS: "the file system is read-only; choose another folder with snakemake -d",
    errno.EACCES: "permission is denied; check who owns the folder",
    errno.EPERM: "permission is denied; check who owns the folder",
}
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust name the system's error."""
WATCH_SECONDS = 0.5


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Run the body of a workflow script.

    Sends the log to the rule's log file, tells users' errors in one sentence and others with a
    traceback, exits with a non-zero code after either, and ends the process when the Snakemake
    that started it is gone, so that no orphan writes into a later run. A job that was granted GPUs
    waits until it has them for itself, and sees no others.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script; its ``log`` and ``resources.gpu`` are used.

    Yields
    ------
    logging.Logger
        The log.
    """
    log = logging.getLogger("saeflow")
    try:
        _start_log(log, Path(snakemake.log[0]) if snakemake.log else None)
        _end_with_parent()
        _tell_place(log)
        take_gpus(getattr(getattr(snakemake, "resources", None), "gpu", 0))
        yield log
    except SaeflowError as error:
        _stop(log, str(error))
    except MemoryError:
        _stop(log, "memory is used up; give the job more or lower batch_size.")
    except Exception as error:
        reason = _system_reason(error)
        if reason is not None:
            _stop(log, reason)
        log.error("%s", traceback.format_exc())
        raise SystemExit(1) from None


def _system_reason(error: BaseException) -> str | None:
    """Sentence for what the operating system refused, however a library wraps it."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := OS_ERROR.search(str(error))):
        number = int(told[1])
    if number not in SYSTEM_ERRORS:
        return None
    where = getattr(error, "filename", None) or "a result"
    return f"{where} cannot be written: {SYSTEM_ERRORS[number]}."


def run_keys(snakemake: Any, mode: str = "published") -> dict[str, str | int]:
    """Key columns of a study's part, from the wildcards of its path."""
    wildcards = snakemake.wildcards
    return {
        "dataset": wildcards.dataset,
        "dictionary": wildcards.dictionary,
        "seed": int(wildcards.seed),
        "mode": mode,
    }


def _stop(log: logging.Logger, sentence: str) -> None:
    log.error("error: %s", sentence)
    raise SystemExit(1)


def _start_log(log: logging.Logger, path: Path | None) -> None:
    log.setLevel(logging.INFO)
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()
    log.propagate = False
    errors = logging.StreamHandler(sys.stderr)
    errors.setLevel(logging.ERROR)
    log.addHandler(errors)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(file)
    for handler in log.handlers:
        handler.addFilter(hide_secrets)


def _tell_place(log: logging.Logger) -> None:
    """Write to the log on which node of a cluster a job runs, and which GPUs it was given there."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is not None:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or "none"
        log.info("Slurm job %s on node %s, CUDA devices %s.", number, node, gpus)


def _end_with_parent() -> None:
    """Watch the nearest ancestor that is a Snakemake and end when it does."""
    try:
        ancestors = psutil.Process().parents()
        parent = next((each for each in ancestors if is_snakemake(each)), None)
    except psutil.Error:
        return
    if parent is None:
        return

    def watch() -> None:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=_guarded(watch), daemon=True).start()


def _guarded(watch: Any) -> Any:
    def run() -> None:
        try:
            watch()
        except psutil.NoSuchProcess:
            os._exit(1)

    return run


def is_snakemake(process: psutil.Process) -> bool:
    """Whether a process is a Snakemake, however it was started."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    names = [Path(part).name for part in command[:4]]
    return "snakemake" in names or command[1:3] == ["-m", "snakemake"]
