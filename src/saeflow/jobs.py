"""What every workflow script needs around its one call: log, errors, and an end when orphaned."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from saeflow.faults import Asked, Fault, Kind, fault_of
from saeflow.gpu_slots import take_gpus
from saeflow.hub_token import hide_secrets
from saeflow.shards import remove_other_shards
from saeflow.stopping import Stopped, end_with_parent, stoppable, stopped_by

STARTED, ENDED = "started: ", "ended: "
"""How the first and the last line of a job's log begin; `saeflow.failures` reads them."""


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[logging.Logger]:
    """Run the body of a workflow script.

    Sends the log to the rule's log file, tells users' errors in one sentence and others with a
    traceback, and exits with a non-zero code after either; does so, too, when a signal stops it. A job
    that gathers shards removes those of other counts and settings when its body has ended. Ends
    the process when the Snakemake that started it is gone, so that no orphan writes into a later run. A
    job that was granted GPUs waits until it has them for itself, and sees no others.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script.

    Yields
    ------
    logging.Logger
        The log. Its first line says what was started where, its last why it ended.
    """
    log, asked = logging.getLogger("saeflow"), Asked.of(snakemake)
    ending = _Ending(log)
    code = 1
    try:
        with stoppable(ending.tell, asked):
            _start_log(log, Path(snakemake.log[0]) if snakemake.log else None)
            log.info("%s%s", STARTED, _who(asked))
            end_with_parent(ending.tell)
            _tell_place(log)
            take_gpus(getattr(getattr(snakemake, "resources", None), "gpu", 0))
            yield log
            remove_other_shards(snakemake)
        ending.tell(Fault(Kind.DONE))
        return
    except Stopped as stop:
        code = 128 + stop.number
        ending.tell(stopped_by(stop.number, asked))
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
        ending.tell(stopped_by(signal.SIGINT, asked))
    except Exception as error:
        fault = fault_of(error, asked)
        if fault.sentence is None:
            log.error("%s", traceback.format_exc().rstrip())
        ending.tell(fault)
    raise SystemExit(code)


def run_keys(snakemake: Any, mode: str = "published") -> dict[str, str | int]:
    """Key columns of a study's part, from the wildcards of its path."""
    wildcards = snakemake.wildcards
    return {
        "dataset": wildcards.dataset,
        "dictionary": wildcards.dictionary,
        "seed": int(wildcards.seed),
        "mode": mode,
    }


class _Ending:
    """Tells once why a job ends, whichever thread is first to know."""

    def __init__(self, log: logging.Logger) -> None:
        self._log, self._lock, self._told = log, threading.Lock(), False

    def tell(self, fault: Fault) -> None:
        """Write the sentence and the last line."""
        with self._lock:
            if self._told:
                return
            self._told = True
            if fault.sentence is not None:
                self._log.error("error: %s", fault.sentence)
            self._log.info("%s%s", ENDED, fault.kind)


def _who(asked: Asked) -> str:
    """What runs where, for whoever reads the log later."""
    parts = [f"{asked.rule}, process {os.getpid()} on {socket.gethostname()}"]
    if asked.memory_mb is not None:
        parts.append(f"mem_mb={asked.memory_mb}")
    if asked.minutes is not None:
        parts.append(f"runtime={asked.minutes}")
    return ", ".join(parts)


def _tell_place(log: logging.Logger) -> None:
    """Write to the log on which node of a cluster a job runs, and which GPUs it was given there."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is not None:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or "none"
        log.info("Slurm job %s on node %s, CUDA devices %s.", number, node, gpus)


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
        if file.stream is not None and not faulthandler.is_enabled():
            # A library that crashes says nothing; this says at least where.
            faulthandler.enable(file.stream)
    for handler in log.handlers:
        handler.addFilter(hide_secrets)
