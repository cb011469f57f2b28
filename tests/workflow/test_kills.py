"""SIGKILL at random moments, then the same command again: nothing lost, nothing different."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from saeflow.artifacts.digest import file_digest
from saeflow.jobs import is_snakemake
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
LONGEST_WAIT = 10.0


def make_run(project: Path) -> subprocess.Popen[bytes]:
    """Start what `make run` runs once the environment stands; a test below holds them together."""
    unlock = [sys.executable, "-m", "saeflow", "unlock"]
    env = environment() | {"PYTHONPATH": str(project / "src")}
    subprocess.run(unlock, cwd=project, env=env, check=True, timeout=180)
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


def kill_somewhere(main: subprocess.Popen[bytes], chance: random.Random) -> str:
    """Kill the main process or one of its jobs; say which, or that the run was over before."""
    deadline = time.monotonic() + chance.uniform(0.2, LONGEST_WAIT)
    while time.monotonic() < deadline:
        if main.poll() is not None:
            return "finished"
        time.sleep(0.02)
    jobs = jobs_of(main)
    if jobs and chance.random() < 0.5:
        victim = chance.choice(jobs)
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return "finished"
        main.wait(timeout=120)
        return "job"
    os.kill(main.pid, signal.SIGKILL)
    main.wait(timeout=30)
    return "main"


def test_killed_runs_end_in_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    chance = random.Random(2024)
    expected = artifact_digests(finished / "results")
    project = copy_project(tmp_path / "killed")
    counts = {"main": 0, "job": 0, "finished": 0}
    while counts["main"] + counts["job"] < KILLS:
        main = make_run(project)
        fate = kill_somewhere(main, chance)
        counts[fate] += 1
        print(counts, flush=True)
        if fate == "finished":
            assert main.wait() == 0, (project / "last-run.log").read_text()[-4000:]
            assert artifact_digests(project / "results") == expected
            shutil.rmtree(project / "results")
            shutil.rmtree(project / ".snakemake")
    last = make_run(project)
    assert last.wait(timeout=3600) == 0, (project / "last-run.log").read_text()[-4000:]
    assert artifact_digests(project / "results") == expected
    assert planned(project, *SMOKE) == {}


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
    for job in jobs_of(main):
        job.kill()
    main.wait(timeout=60)
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
    for job in jobs_of(main):
        job.kill()
    main.wait(timeout=60)
    assert not (killed / WIDE).exists()
    reached = max(path.name for path in state.glob("*/checkpoints/step?????????"))
    run(killed, WIDE, *arguments[killed])
    log = (killed / "results/logs/saes/llama/wide/llama_documents_0.log").read_text()
    assert f"goes on from step {int(reached.removeprefix('step'))}." in log
    assert wide_files(killed) == wide_files(whole)
    assert not state.exists()
