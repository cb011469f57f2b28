"""How a job ends that is told to stop, or whose Snakemake is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from saeflow.faults import Asked, Fault, Kind

WATCH_SECONDS = 0.5
GRACE_SECONDS = 10.0
"""How long a job that is told to stop may tidy up; SLURM kills 30 seconds (KillWait) after it asks."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
KEPT = (
    "what it finished is kept where the stage has checkpoints (docs/faults.md); run the same command "
    "to go on"
)
_LIKELY = {
    signal.SIGTERM: "scancel, a preemption, a node that goes down, or the end of Snakemake",
    signal.SIGINT: "Ctrl-C",
    signal.SIGHUP: "its terminal is gone",
    signal.SIGUSR1: "a warning that a scheduler sends ahead of the end",
    signal.SIGUSR2: "a warning that a scheduler sends ahead of the end",
}


_taken: list[list[signal.Signals]] = []
"""Signals that `stoppable` has taken, while it is at work in this process."""


def _let_go() -> None:
    """Give a forked child its own signals back: through its parent's pipe they would end the parent."""
    if _taken:
        signal.set_wakeup_fd(-1)
        for each in _taken.pop():
            signal.signal(each, signal.SIG_DFL)


os.register_at_fork(after_in_child=_let_go)


class Stopped(BaseException):
    """A signal that ends a job; no Exception, so that nothing takes it for a failure of its own.

    Parameters
    ----------
    number : int
        Which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stopped_by(number: int, asked: Asked) -> Fault:
    """Say what a signal most likely means.

    Parameters
    ----------
    number : int
        The signal.
    asked : Asked
        What the job asked for; one that has had its time met its limit, where SLURM sets one.
    """
    name = signal.Signals(number).name
    minutes = _minutes()
    of = (
        f" of the {asked.minutes} minutes that it asked for (runtime)"
        if asked.minutes
        else " minutes"
    )
    gone = f"after {minutes:.1f}{of}"
    slack = max(0.5, 0.05 * (asked.minutes or 0))
    if number == signal.SIGXCPU:
        return Fault(Kind.TIME, f"the job used up its processor time (ulimit -t) {gone}; {KEPT}.")
    # Nobody but a scheduler ends a job for its time, and none of them with these.
    limited = "SLURM_JOB_ID" in os.environ and number not in (signal.SIGINT, signal.SIGHUP)
    if limited and asked.minutes and minutes >= asked.minutes - slack:
        return Fault(
            Kind.TIME, f"the job was told to stop ({name}) {gone}: its time limit; {KEPT}."
        )
    likely = _LIKELY.get(signal.Signals(number), "by hand")
    return Fault(Kind.STOPPED, f"the job was told to stop ({name}) {gone}: {likely}; {KEPT}.")


@contextlib.contextmanager
def stoppable(tell: Callable[[Fault], None], asked: Asked) -> Iterator[None]:
    """Raise `Stopped` inside the block when a signal asks for an end, and see that it comes to one.

    A thread tells the fault at once, for a long call of a library delays what the main thread does,
    and ends the process if the block has not let go `GRACE_SECONDS` later.

    Parameters
    ----------
    tell : callable
        Told the fault, from another thread.
    asked : Asked
        What the job asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    told = threading.Event()
    raised = False
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        # srun and slurmstepd may both signal; the second must not cut the tidying up short.
        if not raised:
            raised = True
            told.wait(WATCH_SECONDS)
            raise Stopped(number)

    def wait() -> None:
        while number := os.read(reader, 1)[0]:
            if number in (*SIGNALS, signal.SIGINT):
                tell(stopped_by(number, asked))
                told.set()
                time.sleep(GRACE_SECONDS)
                os._exit(128 + number)
        os.close(reader)

    # Whatever the starter ignores, as nohup does with SIGHUP, stays ignored.
    taken = [each for each in SIGNALS if signal.getsignal(each) == signal.SIG_DFL]
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for each in taken:
        signal.signal(each, stop)
    _taken.append(taken)
    threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        if os.getpid() == own:  # a forked child has let go already
            _taken.pop()
            for each in taken:
                signal.signal(each, signal.SIG_DFL if not raised else signal.SIG_IGN)
            signal.set_wakeup_fd(before)
            if not told.is_set():
                os.write(writer, b"\0")
            os.close(writer)


def end_with_parent(tell: Callable[[Fault], None]) -> None:
    """Watch the nearest ancestor that is a Snakemake and end when it does.

    Parameters
    ----------
    tell : callable
        Told that it is gone, from another thread.
    """
    try:
        ancestors = psutil.Process().parents()
        parent = next((each for each in ancestors if is_snakemake(each)), None)
    except psutil.Error:
        return
    if parent is None:
        return

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
                time.sleep(WATCH_SECONDS)
        # A log that cannot be written must not keep an orphan alive.
        with contextlib.suppress(Exception):
            tell(Fault(Kind.STOPPED, f"the Snakemake that started this job is gone; {KEPT}."))
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def is_snakemake(process: psutil.Process) -> bool:
    """Whether a process is a Snakemake, however it was started."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    names = [Path(part).name for part in command[:4]]
    return "snakemake" in names or command[1:3] == ["-m", "snakemake"]


def _minutes() -> float:
    """How long this job has run, from the start of the Snakemake that a cluster runs for it alone."""
    try:
        own = psutil.Process()
        starts = [own.create_time()]
        for each in own.parents():
            if is_snakemake(each) and "--mode" in each.cmdline():
                starts.append(each.create_time())
    except psutil.Error:
        return 0.0
    return float(time.time() - min(starts)) / 60
