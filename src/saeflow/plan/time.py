"""Time that a plan takes on some cores and GPUs, from what was measured and else from limits."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from saeflow.plan.jobs import Job

Basis = Literal["measured", "limit"]


@dataclass(frozen=True)
class Machine:
    """What jobs share.

    Attributes
    ----------
    cores : int
        CPU cores.
    gpus : int or None
        GPUs; None: jobs that can use one do not wait for each other, as on a machine without.
    model_jobs : int
        Jobs side by side that hold a large model; 1 in ``profiles/default``.
    """

    cores: int
    gpus: int | None = None
    model_jobs: int = 1


@dataclass(frozen=True)
class Time:
    """Seconds of a plan.

    Attributes
    ----------
    seconds : dict of int to float
        Of each job by its number: measured here, else the limit of its rule.
    measured : int
        Jobs of which a run in this folder measured the time.
    total, critical, elapsed : float
        One job after the other; the longest chain of jobs that need each other; on the machine.
    known : float
        Seconds of the measured jobs together.
    """

    seconds: dict[int, float]
    measured: int
    total: float
    critical: float
    elapsed: float
    known: float


def planned_time(jobs: Sequence[Job], folder: Path, machine: Machine) -> Time:
    """Time that jobs take.

    Parameters
    ----------
    jobs : sequence of Job
        Those that would run.
    folder : Path
        Where they would run; its ``results/benchmarks`` tell what the same jobs took before.
    machine : Machine
        What they share.

    Returns
    -------
    Time
        Limits are at most; what is measured is of earlier runs, perhaps on other data.
    """
    found = {job.number: measured_seconds(folder, job.benchmark) for job in jobs}
    known = {number: each for number, each in found.items() if each is not None}
    seconds = {job.number: known.get(job.number, 60.0 * job.minutes) for job in jobs}
    return Time(
        seconds,
        len(known),
        sum(seconds.values(), 0.0),
        critical_path(jobs, seconds),
        elapsed(jobs, seconds, machine),
        sum(known.values(), 0.0),
    )


def measured_seconds(folder: Path, benchmark: str | None) -> float | None:
    """Seconds in a benchmark of Snakemake; None where there is none."""
    if benchmark is None:
        return None
    try:
        with (folder / benchmark).open(encoding="utf-8", newline="") as file:
            rows = [float(row["s"]) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, KeyError, ValueError):
        return None
    return rows[-1] if rows else None


def critical_path(jobs: Sequence[Job], seconds: Mapping[int, float]) -> float:
    """Seconds of the longest chain of jobs that need each other."""
    needs = {job.number: job.needs for job in jobs}
    ends: dict[int, float] = {}
    # Not recursive: chains can be longer than Python's stack.
    waiting = list(needs)
    while waiting:
        number = waiting[-1]
        missing = [each for each in needs[number] if each not in ends]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        ends[number] = seconds[number] + max((ends[each] for each in needs[number]), default=0.0)
    return max(ends.values(), default=0.0)


def elapsed(jobs: Sequence[Job], seconds: Mapping[int, float], machine: Machine) -> float:
    """Seconds until all are done, each started as soon as what it needs and asks for is free."""
    left = {job.number: set(job.needs) for job in jobs}
    followers: dict[int, list[int]] = {job.number: [] for job in jobs}
    for job in jobs:
        for each in job.needs:
            followers[each].append(job.number)
    by_number = {job.number: job for job in jobs}
    asks = {job.number: _asks(job, machine) for job in jobs}
    free = [machine.cores, len(jobs) if machine.gpus is None else machine.gpus, machine.model_jobs]
    ready = sorted(number for number, needs in left.items() if not needs)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        for number in list(ready):
            if all(asked <= have for asked, have in zip(asks[number], free, strict=True)):
                free = [have - asked for asked, have in zip(asks[number], free, strict=True)]
                ready.remove(number)
                heapq.heappush(running, (now + seconds[number], number))
        now, done = heapq.heappop(running)
        free = [have + asked for asked, have in zip(asks[done], free, strict=True)]
        for number in followers[by_number[done].number]:
            left[number].discard(done)
            if not left[number]:
                ready.append(number)
        ready.sort()
    return now


def _asks(job: Job, machine: Machine) -> tuple[int, int, int]:
    """Cores, GPUs and model jobs; none more than the machine has, as Snakemake scales down."""
    gpus = 0 if machine.gpus is None else min(job.gpu, machine.gpus)
    return min(job.cores, machine.cores), gpus, min(job.model_jobs, machine.model_jobs)
