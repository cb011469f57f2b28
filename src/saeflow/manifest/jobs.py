"""What jobs took, read from Snakemake's benchmark files and from the jobs' logs."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from saeflow.manifest.rules import Makers

MEASURES = {
    "seconds": "s",
    "cpu_seconds": "cpu_time",
    "max_rss_mb": "max_rss",
    "read_mb": "io_in",
    "written_mb": "io_out",
}
"""Columns of the table of jobs by those of a benchmark file."""
SUMS = ("seconds", "cpu_seconds", "read_mb", "written_mb")
DEVICE = re.compile(r"^[\d:]+ device: (.+)$", re.M)
"""The line that `saeflow.device.resolve_device` writes to the log of its job."""
HEAD_BYTES = 100_000
"""Of a log; the device is told before the work starts."""
ALL = "all"


def measured_jobs(folder: Path, makers: Makers, since: float | None) -> list[dict[str, Any]]:
    """Read what the jobs of a workflow took, each when it ran last.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    makers : Makers
        Rules of the workflow; jobs of no rule of theirs are left out.
    since : float or None
        Start of the latest run, in seconds since the epoch; None if it is not known.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.run.RUN_JOBS`. What a benchmark file does not tell is None: it
        misses what ended before it was first looked at.
    """
    rows = []
    for path in sorted((folder / "results" / "benchmarks").rglob("*.tsv")):
        inside = path.relative_to(folder)
        made = makers.measured(PurePosixPath(inside.as_posix()))
        if made is None:
            continue
        job = Path(*inside.parts[2:]).with_suffix("")
        wildcards = [f"{name}={value}" for name, value in made.wildcards.items()]
        rows.append(
            {
                "rule": made.rule,
                "job": job.as_posix(),
                "wildcards": wildcards,
                "latest": since is not None and path.stat().st_mtime >= since,
                "threads": made.threads,
                "device": _device(folder / "results" / "logs" / f"{job}.log"),
                **_measures(path),
            }
        )
    return sorted(rows, key=lambda row: (row["rule"], row["job"]))


def rule_totals(jobs: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Sum up the jobs of each rule, and of all.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.run.RUN_RULES`; sums, the longest job and the most memory, each
        over the ``n`` jobs that were measured.
    """
    by_rule: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:
        by_rule.setdefault(job["rule"], []).append(job)
        by_rule.setdefault(ALL, []).append(job)
    for rule, own in sorted(by_rule.items()):
        yield _row(rule, "jobs", float(len(own)), len(own))
        for measure in SUMS:
            yield _over(rule, measure, own, measure, math.fsum)
        yield _over(rule, "longest_seconds", own, "seconds", max)
        yield _over(rule, "max_rss_mb", own, "max_rss_mb", max)


def _over(rule: str, metric: str, jobs: list[Any], measure: str, together: Any) -> dict[str, Any]:
    values = [job[measure] for job in jobs if job[measure] is not None]
    return _row(rule, metric, float(together(values)) if values else None, len(values))


def _row(rule: str, metric: str, value: float | None, n: int) -> dict[str, Any]:
    ends = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"rule": rule, "metric": metric, "value": value, **ends, "n": n}


def _measures(path: Path) -> dict[str, float | None]:
    with path.open(encoding="utf-8", newline="") as file:
        # A benchmark that is repeated has a row for each time.
        rows = list(csv.DictReader(file, delimiter="\t"))
    last = rows[-1] if rows else {}
    return {name: _number(last.get(column)) for name, column in MEASURES.items()}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _device(log: Path) -> str | None:
    try:
        with log.open("rb") as file:
            told = DEVICE.search(file.read(HEAD_BYTES).decode(errors="replace"))
    except OSError:
        return None
    return told[1] if told else None
