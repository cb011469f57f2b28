"""What failed in a run, and why: gathered while it runs, told at its end.

A job that is killed cannot say so. Snakemake tells the run's handlers of every job that starts, fails
and ends; `Failures` listens, and reads the log that the job left. A log that begins
(`saeflow.jobs.STARTED`) and does not end (`saeflow.jobs.ENDED`) is that of a killed job; one that did
not change since the job was sent off is that of a job that never came to its first line. Nothing here
compares clocks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from saeflow.faults import ADVICE, OF_A_NODE, PERMANENT, Fault, Kind
from saeflow.jobs import ENDED, STARTED

SHOWN = 20
"""Most jobs that are listed."""
SECONDS = 5.0
"""How long SLURM's accounting may take to answer."""
STATES = {
    "OUT_OF_MEMORY": Kind.MEMORY,
    "TIMEOUT": Kind.TIME,
    "DEADLINE": Kind.TIME,
    "PREEMPTED": Kind.PREEMPTED,
    "NODE_FAIL": Kind.NODE,
    "BOOT_FAIL": Kind.NODE,
    "CANCELLED": Kind.CANCELLED,
}
"""SLURM's states that tell more than that a job failed."""
UNSAID = frozenset({Kind.KILLED, Kind.STOPPED, Kind.SILENT, Kind.DONE, Kind.UNSEEN})
"""What a job's own log says where the scheduler may know better."""
CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
VMSTAT = Path("/proc/vmstat")
TAIL_BYTES = 65536
UNSEEN = Fault(Kind.UNSEEN, "the job ended well, but what it should have made is not seen.")
_STATE = re.compile(r"SLURM status is: '([A-Z_]+)")
_SIGNALLED = re.compile(r"died with <Signals\.(SIG\w+)")
_STATUS = re.compile(r"returned non-zero exit status (\d+)")
_TIME = re.compile(r"^\d\d:\d\d:\d\d (?:error: )?")


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes
    ----------
    rule : str
        Its rule.
    wildcards : mapping
        What distinguishes it from others of the rule.
    log : str
        Where its log is; empty if it has none.
    fault : Fault
        Why it failed at last.
    tries : int
        How often it did.
    slurm : str
        Its number there; empty if it ran elsewhere.
    """

    rule: str
    wildcards: Mapping[str, Any]
    log: str
    fault: Fault
    tries: int = 1
    slurm: str = ""


@dataclass
class _Attempt:
    """A job that was sent off, with what its log was like before."""

    wildcards: Mapping[str, Any]
    stamp: tuple[int, ...] | None
    kills: int


@dataclass
class Failures(logging.Handler):
    """Listens to Snakemake's log.

    Parameters
    ----------
    give_up : callable, optional
        Told the number of a job that no further try can mend.
    """

    give_up: Callable[[int], None] = lambda _: None
    found: dict[int, Failure] = field(default_factory=dict)
    _sent: dict[int, _Attempt] = field(default_factory=dict)
    _heard: dict[int, _Attempt | None] = field(default_factory=dict)
    _said: dict[int | None, str] = field(default_factory=dict)

    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a record of Snakemake's says of a job; never fail because of it."""
        with contextlib.suppress(Exception):
            self._take(record)

    def _take(self, record: logging.LogRecord) -> None:
        event, said = str(getattr(record, "event", "")), vars(record)
        if event == "job_info":
            stamp = _stamp(_first(said["log"]))
            self._sent[said["jobid"]] = _Attempt(dict(said["wildcards"]), stamp, memory_kills())
        elif event == "error":
            # Told by the thread that tells of the job next.
            self._said[record.thread] = record.getMessage()
        elif event == "job_error":
            self._add(said["jobid"], said, self._said.pop(record.thread, ""))
        elif event == "job_finished":
            self.found.pop(said["job_id"], None)

    def _add(self, number: int, said: Mapping[str, Any], before: str) -> None:
        log, slurm = _first(said["log"]), str(said["aux"].get("external_jobid") or "")
        attempt = self._sent.get(number)
        state = _STATE.search(said["rule_msg"] or "")
        left = read_end(log, attempt.stamp if attempt else None)
        fault = judge(left, state[1] if state else "", _signal_of(before))
        if fault.kind == Kind.KILLED and not slurm and attempt and memory_kills() > attempt.kills:
            fault = Fault(
                Kind.MEMORY, "the system's out-of-memory killer ended a process meanwhile."
            )
        self._heard[number] = attempt
        tries = self.found[number].tries + 1 if number in self.found else 1
        wildcards = attempt.wildcards if attempt else {}
        self.found[number] = Failure(said["rule_name"], wildcards, log, fault, tries, slurm)
        if fault.kind in PERMANENT and not (slurm and fault.kind in OF_A_NODE):
            self.give_up(number)

    def add_unseen(self, number: int, failure: Failure) -> None:
        """Add a failed job of whose last try no record told: Snakemake does not see what it made."""
        if number not in self.found or self._sent.get(number) is not self._heard.get(number):
            self.found[number] = failure

    def forget(self, numbers: Iterable[int]) -> None:
        """Leave out jobs that succeeded later; under ``--quiet`` no record tells of their end."""
        for number in numbers:
            self.found.pop(number, None)


def judge(left: Fault | None, state: str, signalled: str) -> Fault:
    """Decide why a job failed, from what it said itself, SLURM's state and the signal that ended it.

    Parameters
    ----------
    left : Fault or None
        What its log says (`read_end`); None if it has no line of this attempt.
    state : str
        SLURM's; empty if there is none.
    signalled : str
        Name of the signal; empty if it ended by itself or nobody knows.
    """
    fault = left or Fault(Kind.SILENT)
    if fault.kind == Kind.DONE and signalled:
        fault = Fault(Kind.KILLED)  # between its last line and its end
    if fault.kind in (Kind.SILENT, Kind.KILLED):
        if signalled in CRASHES:
            fault = Fault(Kind.CRASH, f"a library crashed ({signalled}).")
        elif signalled == "SIGKILL" or (fault.kind == Kind.KILLED and not fault.sentence):
            where = "" if left else " before its first line"
            fault = Fault(
                Kind.KILLED, f"the job was killed{where} ({signalled or 'no end in its log'})."
            )
        elif signalled:
            fault = Fault(Kind.STOPPED, f"the job was told to stop ({signalled}).")
    if fault.kind == Kind.DONE:
        fault = UNSEEN
    known = STATES.get(state)
    if known is not None and (fault.kind in UNSAID or known == fault.kind):
        own = fault.sentence if fault.kind in (known, Kind.STOPPED) else None
        fault = Fault(known, own or f"SLURM's state is {state}.")
    return fault


def read_end(log: str, before: tuple[int, ...] | None = None) -> Fault | None:
    """Read from a job's log why it ended.

    Parameters
    ----------
    log : str
        Where it is.
    before : tuple, optional
        What the file was like when the job was sent off.

    Returns
    -------
    Fault or None
        ``killed`` if the log begins and does not end; None if it is not of this attempt, or no log.
    """
    if not log or (stamp := _stamp(log)) is None or stamp == before:
        return None
    with open(log, "rb") as file:
        head = file.read(200).decode("utf-8", "replace")
        file.seek(max(0, stamp[1] - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    last = next((n for n, line in reversed(list(enumerate(lines))) if f" {ENDED}" in line), None)
    if last is None:
        if any(line.startswith("Fatal Python error") for line in lines):
            what = next(line for line in lines if line.startswith("Fatal Python error"))
            return Fault(Kind.CRASH, what)
        return Fault(Kind.KILLED) if STARTED in head else None
    name = lines[last].partition(ENDED)[2].strip()
    kind = Kind(name) if name in set(Kind) else Kind.BUG
    said = [line for line in lines[:last] if line.strip()]
    return Fault(kind, _TIME.sub("", said[-1]) if said and kind != Kind.DONE else None)


def told(failures: Iterable[Failure]) -> Iterator[str]:
    """Lines of the table of failed jobs.

    Parameters
    ----------
    failures : iterable of Failure
        What failed.

    Yields
    ------
    str
        One line each.
    """
    rows = sorted(failures, key=lambda each: (each.fault.kind, each.rule, str(each.wildcards)))
    if not rows:
        return
    yield f"{len(rows)} job{'s' if len(rows) > 1 else ''} failed:"
    for each in rows[:SHOWN]:
        names = " ".join(f"{key}={value}" for key, value in each.wildcards.items())
        tries = f", {each.tries} tries" if each.tries > 1 else ""
        slurm = f", SLURM job {each.slurm}" if each.slurm else ""
        yield f"  {' '.join([each.rule, names]).strip()}: {each.fault.kind.upper()}{tries}{slurm}"
        if each.fault.sentence:
            yield f"    {each.fault.sentence}"
        if each.log:
            yield f"    log: {each.log}"
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more, told above."
    yield "What to do (docs/faults.md tells more):"
    for kind in dict.fromkeys(each.fault.kind for each in rows):
        rule = next(each.rule for each in rows if each.fault.kind == kind)
        yield f"  {kind}: {ADVICE[kind].replace('RULE', rule)}."


def ask_slurm(failures: Iterable[Failure]) -> list[Failure]:
    """Ask SLURM's accounting what it knows of jobs that could not tell why they ended.

    Parameters
    ----------
    failures : iterable of Failure
        What failed.

    Returns
    -------
    list of Failure
        The same, some with the state and the memory that were found; unchanged where nobody answers
        within `SECONDS`.
    """
    rows = list(failures)
    wanted = {each.slurm for each in rows if each.slurm and each.fault.kind != Kind.INPUT}
    program = shutil.which("sacct")
    if not wanted or program is None:
        return rows
    columns = "--format=JobIDRaw,State,ExitCode,MaxRSS,ReqMem"
    command = [program, "-j", ",".join(sorted(wanted)), "--parsable2", "--noheader", columns]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return rows
    return [_with_state(each, answer) for each in rows]


def _with_state(failure: Failure, answer: str) -> Failure:
    cells = [line.split("|") for line in answer.splitlines()]
    own = [row for row in cells if len(row) >= 5 and row[0].partition(".")[0] == failure.slurm]
    if not failure.slurm or not own:
        return failure
    # Of all steps: the one that was killed for its memory is not the job itself.
    states = [row[1].split()[0] for row in own if row[1]]
    state = next((each for each in states if each in STATES), states[0] if states else "")
    killed = any(row[2].endswith(":9") for row in own)
    fault = judge(failure.fault, state, "SIGKILL" if killed else "")
    most = max((row[3] for row in own), key=_kilobytes, default="")
    if most and fault.kind in (Kind.MEMORY, Kind.KILLED):
        asked = next((row[4] for row in own if row[4]), "?")
        fault = replace(
            fault,
            sentence=f"{fault.sentence} It held {most} at most (sampled), of {asked} asked for.",
        )
    return replace(failure, fault=fault)


def memory_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory; 0 where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(encoding="utf-8"), re.M)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _signal_of(text: str) -> str:
    """Name of the signal that ended a command, from what Snakemake says of it."""
    if found := _SIGNALLED.search(text):
        return found[1]
    if (found := _STATUS.search(text)) and 128 < int(found[1]) < 128 + signal.NSIG:
        with contextlib.suppress(ValueError):
            return signal.Signals(int(found[1]) - 128).name
    return ""


def _first(paths: Any) -> str:
    return str(paths[0]) if paths else ""


def _stamp(path: str) -> tuple[int, ...] | None:
    # Opened, so that a network file system asks its server instead of remembering.
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _kilobytes(size: str) -> float:
    found = re.fullmatch(r"([\d.]+)([KMGT]?)", size)
    return float(found[1]) * 1024 ** " KMGT".index(found[2] or " ") if found else -1.0
