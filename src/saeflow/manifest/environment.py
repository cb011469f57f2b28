"""What a run was made with: software, settings of the environment, the machine and its GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

import psutil

import saeflow

SETTINGS = ("SAEFLOW_DEVICE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "SNAKEMAKE_OUTPUT_CACHE")
"""Variables that decide where and how jobs compute."""
GPU_QUERY = ("--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader")
SECONDS = 20.0
"""How long another program may take to answer."""

Row = dict[str, str]


def environment_rows(root: Path, run: Mapping[str, str]) -> list[Row]:
    """Describe software and machine.

    Parameters
    ----------
    root : Path
        The repository.
    run : mapping of str to str
        What is known of the run itself, by name.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.run.RUN_ENVIRONMENT`. What the system does not tell has no row.
    """
    parts = {
        "run": {**run, **_settings()},
        "software": _software(root),
        "machine": _machine(),
        "gpu": dict(_gpus()),
        "package": _packages(),
    }
    return [
        {"part": part, "name": name, "value": value}
        for part, found in parts.items()
        for name, value in sorted(found.items())
        if value
    ]


def _settings() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def _software(root: Path) -> dict[str, str]:
    return {
        "saeflow": saeflow.__version__,
        "commit": _commit(root),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }


def _commit(root: Path) -> str:
    """Commit of the repository, and whether files differ from it; empty where it is no checkout."""
    if not (root / ".git").exists():
        return ""
    commit = _said("git", "-C", str(root), "rev-parse", "HEAD")
    changed = _said("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}, with changes" if commit and changed else commit


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": str(psutil.cpu_count(logical=False) or ""),
        "threads": str(os.cpu_count() or ""),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def _gpus() -> Iterator[tuple[str, str]]:
    told = _said("nvidia-smi", *GPU_QUERY) if shutil.which("nvidia-smi") else ""
    for line in told.splitlines():
        index, name, memory, driver = ([*line.split(", "), "", "", ""])[:4]
        yield f"GPU {index}", f"{name}, {memory}, driver {driver}"


def _packages() -> dict[str, str]:
    # One that is installed twice counts as it is imported: the first on the path.
    found: dict[str, str] = {}
    for each in distributions():
        # An installation that was cut off leaves a folder that names nothing.
        if "Name" in each.metadata:
            found.setdefault(each.metadata["Name"], each.version)
    return found


def _said(*command: str) -> str:
    """What a program prints; empty where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=True, encoding="utf-8"
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip()
