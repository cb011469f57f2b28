"""Snakemake in a copy of the repository, as a user would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.files import files_below
from tests.workflow.dry_runs import dry_run

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "Snakefile",
    "config.yaml",
    "profiles",
    "workflow",
    "src",
    "envs",
    "tests/config",
    "docs",
    "resources",
    "Makefile",
)
SMOKE = ("--configfile", "tests/config/smoke.yaml")
REASONLESS = {
    "all",
    "gsm8k",
    "hierarchy",
    "decimal_bug",
    "specialists",
    "scaling",
    "compare",
    "report",
    "evaluation",
    "fetch",
    "reference_models",
}
"""Targets that only gather; they never appear because something changed."""


def copy_project(target: Path) -> Path:
    """Copy what a run needs, without results, environment and history."""
    for name in COPIED:
        source, copy = ROOT / name, target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, copy, ignore=ignored, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, copy)
    (target / "results").mkdir(exist_ok=True)
    return target


def snakemake(
    project: Path, *arguments: str, cores: int = 2, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake and return what it said; stderr is folded into stdout."""
    options = ["--cores", str(cores), *arguments]
    if cwd is not None:
        options += ["--snakefile", str(project / "Snakefile")]
    command = [sys.executable, "-m", "snakemake", *options]
    if {"-n", "--dry-run"} & set(arguments):
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as said:
            code = dry_run(cwd or project, options, environment(), Path(said.name))
            return subprocess.CompletedProcess(command, code, said.read())
    return subprocess.run(
        command,
        cwd=cwd or project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1200,
    )


def environment() -> dict[str, str]:
    """Environment of a user without this package installed and without a GPU."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"SAEFLOW_DEVICE": "cpu"}


def run(project: Path, *arguments: str, cores: int = 2) -> str:
    """Run Snakemake, expect success, return its output."""
    done = snakemake(project, *arguments, cores=cores)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def planned(project: Path, *arguments: str, cores: int = 2) -> dict[str, int]:
    """Jobs per rule that a dry run announces, gathering targets left out."""
    output = run(project, "-n", *arguments, cores=cores)
    table = re.search(r"^job\s+count\n-+\s+-+\n(.*?)^total", output, re.M | re.S)
    if table is None:
        assert "Nothing to be done" in output, output
        return {}
    rows = (line.split() for line in table[1].splitlines() if line.strip())
    return {rule: int(count) for rule, count in rows if rule not in REASONLESS}


OF_A_RUN = ("logs", "benchmarks", "run", "report/run.html")
"""Below results/: times and machines, which differ between equal runs."""


def artifact_digests(results: Path) -> dict[str, str]:
    """SHA-256 of every result but what is `OF_A_RUN` and Snakemake's time stamps."""
    found = {path.relative_to(results).as_posix(): path for path in files_below(results)}
    return {
        name: file_digest(path)
        for name, path in sorted(found.items())
        if path.name not in (".snakemake_timestamp", ".gitignore")
        and not any(f"{name}/".startswith(f"{each}/") for each in OF_A_RUN)
    }
