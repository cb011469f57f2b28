"""Captures shared between runs through Snakemake's cache: found, or made anew, and by what."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.running import SMOKE, artifact_digests, copy_project, planned, run, snakemake

pytestmark = pytest.mark.workflow

MODEL = "resources/models/llama"
TARGETS = ("results/capture/mine/generated", "results/capture/mine/read_texts")
# A model from files, whose content counts; that of the smoke run has none.
OVERLAY = "models: {mine: {weights: path, path: resources/models/llama}}\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project that has captured, and the cache in which the captures are."""
    base = tmp_path_factory.mktemp("cache")
    (base / "cache").mkdir()
    project = ready(base / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(base / "cache"))
        run(project, *TARGETS, "--cache", *SMOKE, "mine.yaml")
    return project, base / "cache"


@pytest.fixture
def cache(shared: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(shared[1]))
    return shared[1]


def ready(target: Path) -> Path:
    copy_project(target)
    (target / "mine.yaml").write_text(OVERLAY)
    return target


def entries(cache: Path) -> list[Path]:
    return sorted(path for folder in cache.iterdir() for path in folder.iterdir())


def told(project: Path, target: str, *more: str) -> str:
    """What a dry run says of the cache: ``obtained from`` or ``written to``."""
    done = run(project, "-n", target, "--cache", *SMOKE, "mine.yaml", *more)
    said = [line for line in done.splitlines() if line.endswith("between-workflow cache.")]
    assert len(said) == 1, done
    return (
        said[0]
        .removeprefix(f"Output file {target} will be ")
        .removesuffix(" global between-workflow cache.")
    )


def test_another_clone_takes_what_one_has_captured(
    shared: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    project, before = shared[0], entries(cache)
    assert len(before) == len(TARGETS)
    other = ready(tmp_path / "else where/second")
    run(other, *TARGETS, "--cache", *SMOKE, "mine.yaml")
    assert entries(cache) == before
    for target in TARGETS:
        # No job ran: it would have written to its log, which Snakemake makes in any case.
        log = f"results/logs/{target.removeprefix('results/')}.log"
        assert "chunks" in (project / log).read_text()
        assert not (other / log).read_text()
        assert artifact_digests(other / target) == artifact_digests(project / target)
        assert artifact_digests(project / target)
    # What one takes looks no newer to the other: neither has anything left to do.
    for each in (project, other):
        assert planned(each, *TARGETS, *SMOKE, "mine.yaml") == {}
    # And what follows reads the linked files.
    bank = "results/saes/mine/llama_mlp/seed0"
    run(other, bank, "--cache", *SMOKE, "mine.yaml")
    assert (other / bank / "quality.parquet").is_file()
    # A capture made anew, without the cache, leaves the shared one alone.
    kept = artifact_digests(cache)
    run(project, TARGETS[1], "--forcerun", "capture_tokens", *SMOKE, "mine.yaml")
    assert not (project / TARGETS[1]).is_symlink()
    assert artifact_digests(cache) == kept
    assert artifact_digests(project / TARGETS[1]) == artifact_digests(other / TARGETS[1])


def test_what_decides_a_capture_decides_where_it_is_looked_for(cache: Path, tmp_path: Path) -> None:
    project = ready(tmp_path / "third")
    target = TARGETS[0]
    assert told(project, target) == "obtained from"

    # The content of the weights, not their place or time.
    weights = project / MODEL / "model.safetensors"
    shutil.copytree(project / MODEL, project / "elsewhere")
    os.utime(project / "elsewhere/model.safetensors", (1, 1))
    (project / "moved.yaml").write_text("models: {mine: {path: elsewhere}}\n")
    assert told(project, target, "moved.yaml") == "obtained from"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert told(project, target) == "written to"
    content[-1] ^= 1
    weights.write_bytes(content)

    # How the model is run, and on what.
    for overlay in ("models: {mine: {dtype: bfloat16}}", "datasets: {generated: {n_train: 95}}"):
        (project / "changed.yaml").write_text(f"{overlay}\n")
        assert told(project, target, "changed.yaml") == "written to", overlay

    # What the code does, not what it says of itself.
    module = project / "src/saeflow/models/capture.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(f"{text}# A remark.\n", encoding="utf-8")
    assert told(project, target) == "obtained from"
    module.write_text(f"{text}CHANGED = 1\n", encoding="utf-8")
    assert told(project, target) == "written to"


def test_a_cache_that_is_not_there_stops_the_run_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ready(tmp_path / "fourth")
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "absent"))
    done = snakemake(project, *TARGETS, "--cache", *SMOKE, "mine.yaml")
    assert done.returncode
    assert "which is no folder that can be written to" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (project / "results/datasets").exists()
