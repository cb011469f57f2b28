"""SIGKILL at random moments, then the same command again: nothing lost, nothing different."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from saeflow.artifacts.digest import file_digest
from saeflow.stopping import is_snakemake
from tests.workflow.running import (
    SMOKE,
    artifact_digests,
    copy_project,
    environment,
    planned,
    run,
)

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

KILLS = int(os.environ.get("SAEFLOW_KILLS", "200" if os.environ.get("SAEFLOW_SOAK") else "6"))
AHEAD, FASTER = 0.15, 1.3
"""How far kills may run ahead of the share of jobs that are done, for they shall spread over all stages;
all are due before the last jobs, so that those that came too late are made up for in the same pass."""
JOB = re.compile(r"^(?:local)?rule (?P<rule>\S+):\n(?P<fields>(?:    .*\n)+)", re.M)
FINISHED = re.compile(r"^Finished jobid: (\d+) ", re.M)
TOTAL = re.compile(r"^total +(\d+)$", re.M)
KILLED = re.compile(r"^  (\S+)(?: \S+=\S+)*: KILLED$", re.M)


class Job(NamedTuple):
    """A job as Snakemake announces it."""

    rule: str
    outputs: tuple[str, ...]
    log: str


class Told(NamedTuple):
    """What one call of Snakemake says that it has started and finished."""

    started: dict[int, Job]
    finished: dict[int, Job]
    total: int

    @property
    def running(self) -> dict[int, Job]:
        return {number: job for number, job in self.started.items() if number not in self.finished}

    @classmethod
    def by(cls, text: str) -> Told:
        started = {}
        for found in JOB.finditer(text):
            lines = (line.strip().partition(": ") for line in found["fields"].splitlines())
            fields = {key: value for key, _, value in lines}
            if "jobid" in fields and "log" in fields:  # not half a block, and no target
                outputs = tuple(fields["output"].split(", "))
                started[int(fields["jobid"])] = Job(found["rule"], outputs, fields["log"])
        done = {int(number) for number in FINISHED.findall(text)}
        total = TOTAL.search(text)
        finished = {number: job for number, job in started.items() if number in done}
        return cls(started, finished, int(total[1]) if total else 0)


def make_run(project: Path, *, unlock: bool = True) -> subprocess.Popen[bytes]:
    """Start what `make run` runs once the environment stands; a test below holds them together."""
    if unlock:
        command = [sys.executable, "-m", "saeflow", "unlock"]
        env = environment() | {"PYTHONPATH": str(project / "src")}
        subprocess.run(command, cwd=project, env=env, check=True, timeout=180)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *SMOKE]
    with (project / "last-run.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=project, env=environment(), stdout=log, stderr=log, start_new_session=True
        )


def jobs_of(main: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        children = psutil.Process(main.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [each for each in children if not is_snakemake(each)]


def scripts_of(main: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes that run a script, without the shells around them."""
    found = []
    for each in jobs_of(main):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "/.snakemake/scripts/" in " ".join(each.cmdline()[1:2]):
                found.append(each)
    return found


def kill_jobs(main: subprocess.Popen[bytes]) -> int:
    """Kill what runs for a call of Snakemake, and wait for its own end; gives its exit code."""
    for each in jobs_of(main):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return main.wait(timeout=300)


class Killer:
    """Kills runs of a project at random points of jobs of every rule, and keeps account.

    Parameters
    ----------
    project : Path
        Where runs are killed.
    benchmarks : Path
        Of a finished run; they tell how long jobs take.
    """

    def __init__(self, project: Path, benchmarks: Path) -> None:
        self.project, self.benchmarks = project, benchmarks
        self.chance = random.Random(2024)
        self.hits: Counter[str] = Counter()
        self.kills = 0
        self.start_over()

    def start_over(self) -> None:
        """Begin another pass from nothing."""
        shutil.rmtree(self.project / "results", ignore_errors=True)
        shutil.rmtree(self.project / ".snakemake", ignore_errors=True)
        (self.project / "results").mkdir()
        self.now: Counter[str] = Counter()
        self.seen: set[tuple[str, ...]] = set()
        self.done: dict[tuple[str, ...], list[int]] = {}
        self.total, self.before, self.unlock = 0, self.kills, False

    def round(self) -> bool:
        """Run until it is killed, or over: then True."""
        main = make_run(self.project, unlock=self.unlock)
        hit = self._kill_somewhere(main)
        found = self.told()
        again = [job for job in found.started.values() if job.outputs in self.done]
        assert not again, f"what was done is done again: {again}"
        for job in found.finished.values():
            self.done[job.outputs] = self._times(job.outputs)
        if hit is None:
            assert main.wait() == 0, self.said()[-4000:]
            for outputs, times in self.done.items():
                assert self._times(outputs) == times, f"a later call touched {outputs}"
            return True
        self.kills += 1
        self.hits.update(hit)
        self.now.update(hit)
        return False

    def said(self) -> str:
        return (self.project / "last-run.log").read_text(encoding="utf-8", errors="replace")

    def told(self) -> Told:
        return Told.by(self.said())

    def _times(self, outputs: tuple[str, ...]) -> list[int]:
        return [(self.project / path).stat().st_mtime_ns for path in outputs]

    def _kill_somewhere(self, main: subprocess.Popen[bytes]) -> list[str] | None:
        """Rules that a kill hit; None if the run came to its end."""
        while main.poll() is None:
            time.sleep(0.03)
            found = self.told()
            self.total = max(self.total, found.total)
            share = (len(self.done) + len(found.finished)) / max(1, self.total)
            due = (KILLS - self.before) * min(1.0, FASTER * share + AHEAD)
            if self.kills - self.before >= due:
                continue
            for number, job in found.running.items():
                if self.now[job.rule] or job.outputs in self.seen:
                    continue
                self.seen.add(job.outputs)
                hit = self._kill_in(main, number, job)
                if hit is not None:
                    return hit
        return None

    def _kill_in(self, main: subprocess.Popen[bytes], number: int, job: Job) -> list[str] | None:
        """Kill a job, or Snakemake, while it runs; None if it was faster."""
        time.sleep(self.chance.uniform(0.0, self._seconds(job)))
        before = self.told()
        if number in before.finished or main.poll() is not None:
            return None
        self.unlock = self.chance.random() < 0.5
        if self.unlock:
            os.kill(main.pid, signal.SIGKILL)
            main.wait(timeout=300)
            return sorted({each.rule for each in self.told().running.values()})
        scripts = scripts_of(main)
        own = re.search(r"process (\d+) on ", self._first_line(job))
        known = [each for each in scripts if own and each.pid == int(own[1])]
        if not scripts:
            return None
        (known or [self.chance.choice(scripts)])[0].kill()
        while main.poll() is None:
            if before.running.keys() <= self.told().finished.keys():
                return None  # the kill came too late
            time.sleep(0.05)
        killed = KILLED.findall(self.said())
        assert killed, f"nobody tells of the kill of {job}:\n{self.said()[-4000:]}"
        return killed

    def _first_line(self, job: Job) -> str:
        try:
            return (self.project / job.log).read_text(encoding="utf-8").partition("\n")[0]
        except OSError:
            return ""

    def _seconds(self, job: Job) -> float:
        path = self.benchmarks / Path(job.log).relative_to("results/logs").with_suffix(".tsv")
        return float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])


# `finished` counts, too, where this test is the first to ask for it.
@pytest.mark.timeout(1500 + 120 * KILLS)
def test_killed_runs_end_in_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    expected = artifact_digests(finished / "results")
    project = copy_project(tmp_path / "killed")
    killer = Killer(project, finished / "results/benchmarks")
    while True:
        over = killer.round()
        sys.stdout.write(f"{killer.kills} kills, {len(killer.hits)} rules hit\n")
        if over:
            assert artifact_digests(project / "results") == expected
            assert planned(project, *SMOKE) == {}
            if killer.kills >= KILLS:
                break
            killer.start_over()
    for rule, count in sorted(killer.hits.items()):
        sys.stdout.write(f"{count:4} {rule}\n")
    rules = {job.rule for job in killer.told().started.values()} | set(killer.hits)
    assert len(killer.hits) >= min(KILLS, len(rules)) // 2


def test_make_run_is_unlock_and_snakemake(finished: Path) -> None:
    command = ["make", "-n", "--no-print-directory", "run"]
    command.append("ARGS=--configfile tests/config/smoke.yaml")
    # Under `make test` the outer make's flags would reach this one.
    env = {key: value for key, value in environment().items() if not key.startswith("MAKE")}
    lines = subprocess.run(
        command, cwd=finished, env=env, capture_output=True, text=True, check=True
    )
    assert [line.split("python ")[-1] for line in lines.stdout.splitlines() if " -m " in line][
        -2:
    ] == [
        "-m saeflow unlock",
        "-m snakemake --cores all --configfile tests/config/smoke.yaml",
    ]


def test_a_capture_resumes_where_it_was_killed(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "resumed")
    overlay = project / "many.yaml"
    overlay.write_text(
        "datasets: {generated: {n_train: 1400, n_validation: 300}}\n", encoding="utf-8"
    )
    arguments = (*SMOKE, str(overlay))
    run(project, "results/datasets/generated/problems.parquet", *arguments)
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    target = "results/capture/llama/generated"
    main = subprocess.Popen(
        [*command, target, *arguments],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = project / f"{target}.partial"
    while len(list(partial.glob("*/answers/chunk*.parquet"))) < 2:
        assert main.poll() is None, "the capture ended before it could be killed"
        time.sleep(0.02)
    kill_jobs(main)
    (first,) = partial.glob("*/answers/chunk0.parquet")
    written = first.stat().st_mtime_ns
    kept = first.parent.parent / "resid_post/layer0/chunk0.parquet"
    resid_time = kept.stat().st_mtime_ns
    assert written
    run(project, target, *arguments)
    assert (project / target / "resid_post/layer0/chunk0.parquet").stat().st_mtime_ns == resid_time


WIDE = "results/saes/llama/llama_wide/seed0"


def wide_files(project: Path) -> dict[str, str]:
    folder = project / WIDE
    found = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in found}


def test_a_wide_sae_is_trained_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, killed = (copy_project(tmp_path / name) for name in ("whole", "killed"))
    tokens = "tokens: 65536, checkpoint_minutes: %s"
    arguments = {}
    for project, minutes in ((whole, 10), (killed, 0.001)):
        overlay = project / "long.yaml"
        stream = tokens % minutes
        overlay.write_text(f"dictionaries: {{llama_wide: {{stream: {{{stream}}}}}}}\n", "utf-8")
        arguments[project] = (*SMOKE, str(overlay))
    run(whole, WIDE, *arguments[whole])
    run(killed, "results/datasets/documents/texts.parquet", *arguments[killed])
    main = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", WIDE, *arguments[killed]],
        cwd=killed,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = killed / f"{WIDE}.training"
    while not list(state.glob("*/checkpoints/step?????????")):
        assert main.poll() is None, "the training ended before it could be killed"
        time.sleep(0.02)
    kill_jobs(main)
    assert not (killed / WIDE).exists()
    reached = max(path.name for path in state.glob("*/checkpoints/step?????????"))
    run(killed, WIDE, *arguments[killed])
    log = (killed / "results/logs/saes/llama/wide/llama_documents_0.log").read_text()
    assert f"goes on from step {int(reached.removeprefix('step'))}." in log
    assert wide_files(killed) == wide_files(whole)
    assert not state.exists()
