"""Work shared among jobs: the same bytes for any number of them, and none is done again for another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.workflow.running import SMOKE, artifact_digests, copy_project, environment, planned, run
from tests.workflow.test_kills import kill_jobs

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SOAK = bool(os.environ.get("SAEFLOW_SOAK"))
MANY = """\
datasets:
  generated: {n_train: 600, n_validation: 200}
  read_texts: {n_train: 250, n_validation: 50}
"""
"""Four chunks of problems and three of texts; of wide SAEs and of k there are two, of sizes four."""
OPTIONS = (*SMOKE, "many.yaml")
PROBLEMS = "results/capture/llama/generated"
TEXTS = "results/capture/llama/read_texts"
WIDE = ("results/saes/llama/llama_wide/seed0", "results/saes/llama/llama_wide_frozen_decoder/seed0")
CAPACITY = "results/gsm8k/llama/capacity.parquet"
SWEEP = "results/hierarchy/llama/parts/generated/llama_k100/sweep.parquet"
SHARED = (PROBLEMS, TEXTS, *WIDE, CAPACITY, SWEEP)


def shards(count: int) -> tuple[str, ...]:
    """Options for a number of shards, where there are as many pieces of work."""
    kinds = ("capture", "training", "ablation")
    return ("--set-scatter", *(f"{kind}={count}" for kind in kinds), *OPTIONS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which one job each has made what can be shared."""
    folder = copy_project(tmp_path_factory.mktemp("shards") / "a project")
    (folder / "many.yaml").write_text(MANY, encoding="utf-8")
    run(folder, *SHARED, *OPTIONS)
    return folder


@pytest.fixture
def project(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "project"))


def remove(project: Path, paths: Sequence[str]) -> None:
    for path in paths:
        if (project / path).is_dir():
            shutil.rmtree(project / path)
        else:
            (project / path).unlink()


def left_over(project: Path) -> Iterator[Path]:
    """What only killed or running jobs may leave."""
    yield from (path for path in project.glob("results/shards/**/*") if path.is_file())
    yield from project.glob("results/**/*.partial")
    yield from project.glob("results/**/*.training")


def test_one_shard_is_no_shard(whole: Path) -> None:
    assert not (whole / "results/shards").exists()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_another_count_rebuilds_nothing(whole: Path, count: int) -> None:
    assert planned(whole, *SHARED, *shards(count)) == {}


def test_touched_inputs_rebuild_nothing(whole: Path) -> None:
    inputs = [*(whole / "resources/models/llama").iterdir(), *whole.glob("results/datasets/*/*.p*")]
    for path in inputs:
        path.touch()
    assert planned(whole, *SHARED, *OPTIONS) == {}
    assert planned(whole, *SHARED, *shards(3)) == {}


@pytest.mark.parametrize(
    ("count", "targets", "changed", "jobs"),
    [
        (
            3,
            (PROBLEMS, TEXTS),
            "models: {llama: {batch_size: 7}}",
            {
                "capture_thoughts_shard": 3,
                "capture_thoughts_gather": 1,
                "capture_tokens_shard": 3,
                "capture_tokens_gather": 1,
            },
        ),
        (
            8,
            WIDE,
            "dictionaries: {llama_wide: {k: 3}}",
            {"train_wide_llama_documents_0_shard": 2, "train_wide_llama_documents_0_gather": 1},
        ),
        (
            8,
            (CAPACITY,),
            "studies: {gsm8k: {calibrated: {capacity: {seed: 3}}}}",
            {"capacity_grid_shard": 4, "capacity_grid_gather": 1},
        ),
        (
            8,
            (SWEEP,),
            "studies: {hierarchy: {calibrated: {sweep: {seed: 3}}}}",
            {"sweep_k_shard": 2, "sweep_k_gather": 1},
        ),
    ],
    ids=["captures", "wide", "capacity", "sweep"],
)
def test_a_change_runs_the_shards_of_what_reads_it(
    whole: Path,
    tmp_path: Path,
    count: int,
    targets: Sequence[str],
    changed: str,
    jobs: dict[str, int],
) -> None:
    overlay = tmp_path / "changed.yaml"
    overlay.write_text(f"{changed}\n", encoding="utf-8")
    assert planned(whole, *targets, *shards(count), str(overlay)) == jobs


@pytest.mark.parametrize("count", [1, 2, 3, 8] if SOAK else [3])
def test_shards_give_the_same_bytes(whole: Path, project: Path, count: int) -> None:
    remove(project, SHARED)
    run(project, *SHARED, *shards(count))
    assert artifact_digests(project / "results") == artifact_digests(whole / "results")
    assert not list(left_over(project))
    assert planned(project, *SHARED, *OPTIONS) == {}
    # Nor is anything made again for times of shards that are older than what one job has read since.
    remove(project, [PROBLEMS])
    run(project, PROBLEMS, CAPACITY, SWEEP, *OPTIONS)
    assert planned(project, CAPACITY, SWEEP, *shards(count)) == {}


def test_a_killed_shard_goes_on_whatever_the_count(whole: Path, project: Path) -> None:
    remove(project, [PROBLEMS])
    main = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", PROBLEMS, *shards(2)],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = project / f"{PROBLEMS}.partial"
    while not (done := list(partial.glob("*/answers/chunk*.parquet"))):
        assert main.poll() is None, "the shards ended before they could be killed"
        time.sleep(0.01)
    assert kill_jobs(main) != 0
    assert not (project / PROBLEMS).exists()
    kept = [path.parents[1] / "resid_post/layer0" / path.name for path in done]
    times = {path.name: path.stat().st_mtime_ns for path in kept}
    run(project, PROBLEMS, *shards(3))
    for name, changed in times.items():
        found = project / PROBLEMS / "resid_post/layer0" / name
        assert found.stat().st_mtime_ns == changed
    assert artifact_digests(project / "results") == artifact_digests(whole / "results")
    assert not list(left_over(project))


def test_what_is_remembered_of_old_shards_rebuilds_nothing(project: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "changed.yaml"
    overlay.write_text("models: {llama: {batch_size: 7}}\n", encoding="utf-8")
    run(project, TEXTS, *shards(2), str(overlay))
    run(project, TEXTS, *OPTIONS)
    assert planned(project, TEXTS, *shards(2)) == {}


@pytest.mark.skipif(not SOAK, reason="a whole run for each number of shards: make soak")
@pytest.mark.parametrize("count", [2, 3, 8])
def test_whole_runs_have_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, every: Path, count: int
) -> None:
    project = copy_project(tmp_path_factory.mktemp("shared"))
    (project / "many.yaml").write_text(MANY, encoding="utf-8")
    run(project, *shards(count))
    assert artifact_digests(project / "results") == artifact_digests(every / "results")
    assert planned(project, *OPTIONS) == {}


@pytest.fixture(scope="module")
def every(whole: Path) -> Path:
    """A whole run, one job each."""
    run(whole, *OPTIONS)
    return whole


NULLS = "studies: {gsm8k: {calibrated: {permutations: {count: 24, per_job: %d}}}}\n"
CALIBRATED = "results/gsm8k/llama/parts/generated/llama_k100/seed0/calibrated.parquet"


@pytest.mark.skipif(not SOAK, reason="jobs of nulls are those of the configuration: make soak")
def test_nulls_of_any_number_of_jobs_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    found = []
    for count in (1, 2, 3, 8):
        overlay = tmp_path / f"{count}.yaml"
        overlay.write_text(NULLS % (24 // count), encoding="utf-8")
        run(project, CALIBRATED, *OPTIONS, str(overlay))
        assert len(list((project / CALIBRATED).parent.glob("nulls/*.parquet"))) >= count
        found.append((project / CALIBRATED).read_bytes())
    assert len(set(found)) == 1
