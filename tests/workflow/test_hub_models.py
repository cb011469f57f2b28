"""Models of the hub through Snakemake, from a cache that tests fill, without a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.tables import read_table
from saeflow.config.models import HubModel
from saeflow.models.codi import CodiModel
from saeflow.models.loading import load_model
from tests.hub_cache import put_repo
from tests.workflow.running import SMOKE, copy_project, planned, run, snakemake
from tests.workflow.test_bad_input import overlay, refused

COMMITS = {"llama": "a" * 40, "gpt2": "b" * 40}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project, in whose cache the bundled models stand as repositories of the hub."""
    made = copy_project(tmp_path_factory.mktemp("hub") / "a project")
    cache = made.parent / "cache"
    for name, commit in COMMITS.items():
        folder = made / "resources/models" / name
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        if name == "gpt2":  # as it would be without latent thoughts
            files = {key: value for key, value in files.items() if not key.startswith("codi")}
        put_repo(cache, f"someone/{name}", commit, files)
    changed = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    before = {key: os.environ.get(key) for key in changed}
    os.environ.update(changed)
    yield made
    for key, value in before.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value


def hub_block(name: str, **changes: object) -> dict[str, object]:
    return {"weights": "hub", "repo": f"someone/{name}", "revision": COMMITS[name]} | changes


def test_models_are_fetched_once_and_loaded(project: Path, tmp_path: Path) -> None:
    blocks = {
        "plain": hub_block("gpt2", revision="main", weights_gb=0.01),
        "also": hub_block("llama"),
        "also_untrained": {"of": "also", "weights": "fresh"},
    }
    given = (*SMOKE, overlay(tmp_path, {"models": blocks}))
    run(project, "results/models/plain", "results/models/also", *given)
    for name, repo, commit in (("plain", "gpt2", "b" * 40), ("also", "llama", "a" * 40)):
        folder = project / "results/models" / name
        table = read_table(folder / FILES_TABLE, MODEL_FILES_TABLE)
        assert set(table["revision"].to_pylist()) == {commit}
        settings = HubModel.model_validate(hub_block(repo, revision="main"))
        model = load_model(settings, None, folder)
        assert model.revision == commit
        assert type(model) is CodiModel or name == "plain"
    output = run(project, "results/models/plain", "results/models/also", *given)
    assert "Nothing to be done" in output


def test_control_reads_what_its_model_fetched(project: Path, tmp_path: Path) -> None:
    blocks = {"also": hub_block("llama"), "also_untrained": {"of": "also", "weights": "fresh"}}
    wanted = "results/evaluation/also_untrained/evaluation.parquet"
    given = (*SMOKE, overlay(tmp_path, {"models": blocks}))
    told = snakemake(project, "-n", "-F", wanted, *given).stdout
    assert told.count("rule fetch_model:") == 1
    assert "results/models/also_untrained" not in told
    assert "results/models/also" in told
    assert "weights_gb" not in told


@pytest.mark.parametrize(
    ("preset", "jobs"),
    [("gsm8k", {"load_problems": 2}), ("codi", {"fetch_model": 2, "load_problems": 2})],
)
def test_fetch_takes_models_and_data_sets(project: Path, preset: str, jobs: dict[str, int]) -> None:
    assert planned(project, "fetch", "--configfile", f"workflow/presets/{preset}.yaml") == jobs


def test_cache_without_the_repository_is_told(project: Path, tmp_path: Path) -> None:
    given = overlay(tmp_path, {"models": {"lost": hub_block("gpt2", repo="someone/else")}})
    sentence = "someone/else@"
    output = refused(project, "results/capture/lost/generated", *SMOKE, given, sentence=sentence)
    assert "HF_HUB_OFFLINE is set and the cache does not hold it" in output
    assert output.count("warning: models.lost.weights_gb is null") == 1
    assert not (project / "results/models/lost").exists()
