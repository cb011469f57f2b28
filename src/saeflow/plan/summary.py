"""A plan as plain values, ready for JSON, and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saeflow.config.root import Config
from saeflow.plan.disk import Disk, planned_disk
from saeflow.plan.jobs import Job, planned_jobs
from saeflow.plan.time import Machine, Time, planned_time
from saeflow.sizes.requests import MODEL_FACTOR, training_mb
from saeflow.sizes.results import Results

PASS_GB = 1.0
"""Of a GPU, beside weights: CUDA itself, and the activations of one pass."""
ABOUT = {
    "models": "models from the hub",
    "released": "released SAEs, as kept",
    "captures": "activations",
    "saes": "SAEs trained here",
    "features": "features",
    "datasets": "data sets",
    "tables": "tables and pages",
}


def plan(
    root: Path,
    targets: Sequence[str],
    configfiles: Sequence[Path],
    folder: Path,
    *,
    cores: int,
    gpus: int | None = None,
    scatter: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Say what a run will take.

    Parameters
    ----------
    root : Path
        The repository.
    targets, configfiles : sequence
        As for `snakemake`.
    folder : Path
        Where it would run; need not exist.
    cores, gpus : int
        Of the machine that the time is wanted for; by default one GPU where the configuration needs
        one, else jobs do not wait for any.
    scatter : mapping of str to int, optional
        Shards by kind of work, as for `snakemake`.

    Returns
    -------
    dict
        Plain values: ``rules``, ``jobs``, ``gpu_jobs``, ``up_to_date``, ``mem_mb``, ``gpu_memory``,
        ``disk`` and ``time``.

    Raises
    ------
    SaeflowError
        If the configuration or a target is refused.
    """
    planned = planned_jobs(root, targets, configfiles, folder, scatter)
    results = Results(planned.config, root, folder)
    jobs = planned.jobs
    if gpus is None and planned.config.compute.gpu_memory_gb is not None:
        gpus = 1
    # Without a limit of its own on models, as in profiles/gpu: each also asks for a GPU.
    machine = Machine(cores, gpus, model_jobs=gpus or 1)
    time = planned_time(jobs, folder, machine)
    return {
        "targets": list(targets),
        "configfiles": [str(path) for path in configfiles],
        "folder": str(folder),
        "rules": _rules(jobs, time),
        "jobs": len(jobs),
        "gpu_jobs": sum(job.gpu > 0 for job in jobs),
        "up_to_date": planned.done,
        "mem_mb": max((job.mem_mb for job in jobs), default=0),
        "gpu_memory": gpu_memory(planned.config, jobs, results),
        "disk": _disk(planned_disk(jobs, results)),
        "time": {
            "cores": machine.cores,
            "gpus": machine.gpus,
            "elapsed_s": time.elapsed,
            "critical_s": time.critical,
            "total_s": time.total,
            "measured_jobs": time.measured,
            "measured_s": time.known,
        },
    }


def gpu_memory(config: Config, jobs: Sequence[Job], results: Results) -> dict[str, Any]:
    """Memory of one GPU in GB, as configured or else estimated from weights, and which of both."""
    using = [job for job in jobs if job.gpu]
    if not using:
        return {"gb": 0.0, "basis": "no GPU job"}
    if config.compute.gpu_memory_gb is not None:
        return {"gb": config.compute.gpu_memory_gb, "basis": "configured"}
    models = max((results.loaded_gb(job.model) for job in using if job.model), default=0.0)
    saes = max((training_mb(results, job.banks) / 1000 for job in using), default=0.0)
    return {"gb": PASS_GB + MODEL_FACTOR * models + saes, "basis": "estimated"}


def _rules(jobs: Sequence[Job], time: Time) -> list[dict[str, Any]]:
    by_rule: dict[str, list[Job]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    return [
        {
            "rule": rule,
            "jobs": len(own),
            "gpu": any(job.gpu for job in own),
            "mem_mb": max(job.mem_mb for job in own),
            "runtime_min": sum(job.minutes for job in own),
            "seconds": sum(time.seconds[job.number] for job in own),
        }
        for rule, own in sorted(by_rule.items())
    ]


def _disk(disk: Disk) -> dict[str, Any]:
    return {
        "bytes": disk.total,
        "temporary_bytes": disk.temporary,
        "kinds": {
            kind: {"bytes": size, "basis": basis} for kind, (size, basis) in disk.kinds.items()
        },
        "unknown_models": disk.unknown,
    }


def plan_text(found: dict[str, Any]) -> str:
    """The same in lines for people."""
    if not found["jobs"]:
        return f"0 jobs: all {found['up_to_date']} results are up to date."
    lines = [*_rule_lines(found["rules"]), ""]
    memory, gpu = found["mem_mb"] / 1000, found["gpu_memory"]
    lines += [
        f"jobs    {found['jobs']}, of which {found['gpu_jobs']} use a GPU where there is one; "
        f"{found['up_to_date']} more are up to date",
        f"memory  {memory:.1f} GB for the largest job",
    ]
    if gpu["basis"] == "configured":
        lines.append(f"GPU     {gpu['gb']:g} GB of memory are needed (compute.gpu_memory_gb)")
    elif gpu["basis"] == "estimated":
        lines.append(
            f"GPU     none is needed; about {gpu['gb']:.1f} GB of memory on one, from weights alone"
        )
    lines += _disk_lines(found["disk"]) + _time_lines(found["time"], found["jobs"])
    lines += [
        "",
        "Estimates: disk from shapes and counts of the configuration; * rests on assumptions "
        "(docs/plan.md).",
    ]
    return "\n".join(lines)


def _rule_lines(rules: Sequence[dict[str, Any]]) -> list[str]:
    head = ["rule", "jobs", "GPU", "memory", "at most, all jobs"]
    rows = [
        [
            row["rule"],
            str(row["jobs"]),
            "yes" if row["gpu"] else "-",
            f"{row['mem_mb'] / 1000:.1f} GB",
            duration(60.0 * row["runtime_min"]),
        ]
        for row in rules
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in [head, *rows]
    ]


def _disk_lines(disk: dict[str, Any]) -> list[str]:
    lines = [f"disk    about {size_text(disk['bytes'])}"]
    for kind, told in disk["kinds"].items():
        mark = "*" if told["basis"] == "assumed" else " "
        lines.append(f"        {size_text(told['bytes']):>9}{mark} {ABOUT[kind]}")
    if disk["temporary_bytes"]:
        size = size_text(disk["temporary_bytes"])
        lines.append(f"        {size:>9}  while wide SAEs are trained: checkpoints, caches")
    if disk["unknown_models"]:
        names = ", ".join(disk["unknown_models"])
        lines.append(f"        not counted: {names}, whose weights_gb is not configured")
    return lines


def _time_lines(time: dict[str, Any], jobs: int) -> list[str]:
    gpus = time["gpus"]
    where = f"{time['cores']} cores" + (f" and {gpus} GPU{'s' * (gpus != 1)}" if gpus else "")
    took = f"{duration(time['elapsed_s'])} on {where} (longest chain of jobs {duration(time['critical_s'])})"
    measured = time["measured_jobs"]
    if measured == jobs:
        return [f"time    about {took}, as all jobs took before in this folder"]
    lines = [f"time    at most {took}"]
    if measured:
        lines.append(
            f"        {measured} jobs as before in this folder ({duration(time['measured_s'])}), the "
            f"other {jobs - measured} at the limits of their rules"
        )
    else:
        lines.append(
            "        every job at the limit of its rule, after which a cluster stops it; most end far "
            "earlier"
        )
    return lines


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def size_text(size: float) -> str:
    """Megabytes, gigabytes or terabytes, whichever reads best."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e6:.0f} MB"
