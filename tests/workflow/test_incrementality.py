"""A change rebuilds exactly what it touches: the promise of the workflow (design, section 5)."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.workflow.changes import CONFIG_CHANGES, EVERY_MODEL_JOB, FILE_CHANGES, SUMMARIES
from tests.workflow.running import SMOKE, environment, planned, run, snakemake

pytestmark = pytest.mark.workflow


def merged(*texts: str) -> dict[str, object]:
    """Merge YAML documents block by block; lists are replaced."""
    total: dict[str, object] = {}
    for text in texts:
        _merge(total, yaml.safe_load(text) or {})
    return total


def _merge(into: dict[str, object], other: dict[str, object]) -> None:
    for key, value in other.items():
        own = into.get(key)
        if isinstance(own, dict) and isinstance(value, dict):
            _merge(own, value)
        else:
            into[key] = value


@pytest.mark.parametrize("name", CONFIG_CHANGES)
def test_config_change(finished: Path, tmp_path: Path, name: str) -> None:
    text, expected = CONFIG_CHANGES[name]
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(merged(*text.split("\n"))), encoding="utf-8")
    assert planned(finished, *SMOKE, str(overlay)) == expected


@contextlib.contextmanager
def edited(path: Path, edit: object) -> Iterator[None]:
    """Edit a file and put it back, times included."""
    before, times = path.read_text(encoding="utf-8"), path.stat()
    after = edit(before)  # type: ignore[operator]
    assert after != before, "the edit changes nothing"
    path.write_text(after, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def words(said: str) -> list[list[str]]:
    """Lines of a dry run, whose order within and among each other is that of Python's sets."""
    # Each run has a number and a time of its own; the last tells where Snakemake was loaded.
    own = re.compile(r"  (Date|Workflow ID|Command|Run directory): |\[.*\]$|    jobid: ")
    return sorted(
        sorted(line.replace(":", ",").replace(";", ",").split(", "))
        for line in said.splitlines()
        if line and not own.match(line)
    )


def test_a_forked_dry_run_says_what_the_command_says(finished: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(CONFIG_CHANGES["a size of the grid"][0], encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-n", *SMOKE, str(overlay)]
    done = subprocess.run(
        command, cwd=finished, env=environment(), capture_output=True, text=True, check=True
    )
    forked = run(finished, "-n", *SMOKE, str(overlay))
    assert words(forked) == words(done.stdout + done.stderr)
    refused = snakemake(finished, "-n", "nonsense")
    assert refused.returncode == 1
    assert "No rule to produce nonsense" in refused.stdout


@pytest.mark.parametrize("name", FILE_CHANGES)
def test_file_change(finished: Path, name: str) -> None:
    path, edit, expected = FILE_CHANGES[name]
    with edited(finished / path, edit):
        assert planned(finished, *SMOKE) == expected


def test_touching_everything_but_adapters_rebuilds_nothing(finished: Path) -> None:
    touched = [
        path
        for folder in ("src", "docs", "resources", "envs", "profiles")
        for path in (finished / folder).rglob("*")
        if path.is_file()
    ]
    touched += [finished / "config.yaml", finished / "tests/config/smoke.yaml"]
    touched += list((finished / "results/datasets").rglob("*.parquet"))
    for path in touched:
        path.touch()
    assert len(touched) > 50
    assert planned(finished, *SMOKE) == {}


def test_the_number_of_cores_rebuilds_nothing(finished: Path) -> None:
    assert planned(finished, *SMOKE, cores=1) == {}
    assert planned(finished, *SMOKE, cores=4) == {}


def test_another_profile_rebuilds_nothing(finished: Path) -> None:
    assert planned(finished, *SMOKE, "--workflow-profile", "gpu") == {}


def test_touching_an_adapter_reruns_its_rule_and_what_follows(finished: Path) -> None:
    path = finished / "workflow/scripts/summarise.py"
    times = path.stat()
    path.touch()
    try:
        jobs = {"summarise": 3, "gather_gsm8k": 1, **SUMMARIES}
        assert planned(finished, *SMOKE) == jobs
    finally:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_thread_count_of_the_configuration_reaches_numeric_jobs_only(
    finished: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "threads.yaml"
    overlay.write_text("compute: {threads: 2}\n", encoding="utf-8")
    assert planned(finished, *SMOKE, str(overlay)) == EVERY_MODEL_JOB
