"""Jobs that fail in every way, in one real run: what its end says of each, and what is tried again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.running import ROOT, environment

pytestmark = pytest.mark.workflow

SNAKEFILE = """
import sys
sys.path.insert(0, {source!r})

include: {failures!r}

onstart:
    logger.addHandler(FAILURES)

onerror:
    tell_failures()

FAULTS = {faults!r}

rule all:
    input: expand("{{fault}}.txt", fault=FAULTS)

rule job:
    output: "{{fault}}.txt"
    log: "logs/{{fault}}.log"
    resources:
        mem_mb=lambda wildcards, attempt: 100 * attempt,
        runtime=60,
    script: "job.py"
"""
SCRIPT = """
import ctypes, os, resource, signal, time
from pathlib import Path
from saeflow.errors import SaeflowError
from saeflow.jobs import job

class OutOfMemoryError(RuntimeError):
    __module__ = "torch"

fault = snakemake.wildcards.fault
with Path("tries", fault).open("a") as tries:
    tries.write("x")
if fault == "early":
    os.kill(os.getpid(), signal.SIGKILL)
with job(snakemake):
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stopped":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if fault == "memory":
        import numpy
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
        numpy.ones(2**32)
    if fault == "gpu_memory":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if fault == "input":
        raise SaeflowError("x.parquet is no Parquet file.")
    if fault == "bug":
        raise KeyError("surprise")
    if fault == "crash":
        ctypes.string_at(0)
    if fault == "mended" and Path("tries", fault).read_text() == "x":
        raise MemoryError
    if fault == "killed_unseen" and Path("tries", fault).read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    if "unseen" not in fault:
        Path(snakemake.output[0]).touch()
"""
EXPECTED = {
    "early": ("KILLED", 2),
    "killed": ("KILLED", 2),
    "stopped": ("STOPPED", 2),
    "memory": ("OUT OF MEMORY", 2),
    "gpu_memory": ("OUT OF GPU MEMORY", 2),
    "input": ("INPUT OR CONFIGURATION", 1),
    "bug": ("ERROR IN SAEFLOW", 1),
    "crash": ("CRASH OF A LIBRARY", 2),
    "unseen": ("RESULTS NOT SEEN", 2),
    "killed_unseen": ("RESULTS NOT SEEN", 2),
    "mended": (None, 2),
    "fine": (None, 1),
}


@pytest.fixture(scope="module", params=[(), ("--quiet",)], ids=["", "quiet"])
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Folder and output of a run of them all, each tried twice at most."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "tries").mkdir()
    # What an earlier run left must not be taken for what this one says.
    (folder / "logs").mkdir()
    stale = "10:00:00 started: job\n10:00:01 error: an old sentence.\n10:00:01 ended: full disk\n"
    for fault in EXPECTED:
        (folder / "logs" / f"{fault}.log").write_text(stale)
    failures = ROOT / "workflow/rules/failures.smk"
    (folder / "Snakefile").write_text(
        SNAKEFILE.format(source=str(ROOT / "src"), failures=str(failures), faults=sorted(EXPECTED))
    )
    (folder / "job.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--keep-going", "--retries", "1"]
    done = subprocess.run(
        [*command, "--latency-wait", "0", "--show-failed-logs", *request.param],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode != 0, done.stdout
    return folder, done.stdout


@pytest.mark.parametrize("fault", EXPECTED)
def test_kind_of_failure_and_tries(run: tuple[Path, str], fault: str) -> None:
    folder, output = run
    kind, tries = EXPECTED[fault]
    assert len((folder / "tries" / fault).read_text()) == tries
    table = output[output.index("jobs failed:") :]
    line = re.search(rf"^  job fault={fault}: (.*)$", table, re.M)
    if kind is None:
        assert line is None, table
        return
    assert line is not None, table
    assert line[1] == f"{kind}{', 2 tries' if tries == 2 else ''}"
    assert f"    log: logs/{fault}.log" in table


def test_table_is_short_and_says_what_to_do(run: tuple[Path, str]) -> None:
    _, output = run
    table = output[output.index("jobs failed:") :]
    assert output.count("jobs failed:") == 1
    assert "an old sentence" not in table
    assert "cannot be made" not in output
    failed = [kind for kind, _ in EXPECTED.values() if kind is not None]
    assert f"{len(failed)} jobs failed:" in output
    for kind in set(failed):
        assert f"  {kind.lower()}: " in table.lower(), table
    assert "x.parquet is no Parquet file." in table
    assert "KeyError: 'surprise'" in table
    assert "--set-resources job:mem_mb=400" in table


def test_logs_begin_and_end(run: tuple[Path, str]) -> None:
    folder, _ = run
    lines = (folder / "logs/fine.log").read_text().splitlines()
    assert "started: job, process " in lines[0]
    assert "mem_mb=100, runtime=60" in lines[0]
    assert lines[-1].endswith("ended: done")
    crash = (folder / "logs/crash.log").read_text()
    assert "Fatal Python error: Segmentation fault" in crash
    assert os.fspath(folder) in crash
