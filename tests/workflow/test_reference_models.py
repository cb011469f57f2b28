"""Reference models from nothing to their card, and never by accident."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from saeflow.artifacts.catalog import EVALUATION, TRAINING
from saeflow.artifacts.tables import read_table
from tests.workflow.running import ROOT, SMOKE, copy_project, planned, run, snakemake

pytestmark = pytest.mark.workflow
MODELS = "tests/config/models"
"""Beside the mixture of the smoke configuration."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("reference") / "project")
    run(project, "reference_models", *SMOKE)
    return project


def test_models_are_put_where_runs_read_them(trained: Path) -> None:
    for name in ("llama", "gpt2"):
        folder = trained / MODELS / name
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert f"`{name}`" in card
        assert "snakemake --cores all reference_models" in card
        assert json.loads((folder / "config.json").read_text())["model_type"] == name
        assert len(read_table(folder / "evaluation.parquet", EVALUATION)) > 100
        assert len(read_table(folder / "training.parquet", TRAINING)) > 10
    shipped = trained / "resources" / "models"
    assert not shipped.exists() or all(
        (shipped / name).read_bytes() == (ROOT / "resources" / "models" / name).read_bytes()
        for name in ("llama/model.safetensors", "gpt2/model.safetensors")
    ), "models of another mixture must not replace the shipped ones"


def test_trained_models_run_through_the_study_and_the_report(trained: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "trained.yaml"
    overlay.write_text(
        "models:\n"
        f"  mine: {{weights: path, path: {MODELS}/llama, thoughts: {{latents: 6}}}}\n"
        "reference_models: {evaluate: [mine]}\n"
        "studies: {gsm8k: {published: {models: {llama: null, gpt2: null, "
        "mine: {datasets: [generated], dictionaries: [llama_k100], seeds: [0]}}}}}\n"
    )
    run(trained, *SMOKE, str(overlay))
    page = (trained / "results/report/models.html").read_text(encoding="utf-8")
    assert "model-1-curves" in page


def test_a_default_run_never_trains(trained: Path) -> None:
    os.utime(trained / "resources" / "mixture.yaml")
    os.utime(trained / "tests" / "config" / "mixture.yaml")
    assert "train_reference" not in planned(trained, *SMOKE)
    assert "train_reference" not in planned(ROOT, "--forceall")


def test_a_bad_mixture_stops_the_run_with_one_sentence(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    path = project / "tests" / "config" / "mixture.yaml"
    path.write_text(path.read_text().replace("n_held_out: 40", "n_hold_out: 40"))
    done = snakemake(project, *SMOKE, "-n")
    assert done.returncode != 0
    assert "mixture.yaml: parts.problems.n_hold_out" in done.stdout
    assert "Traceback" not in done.stdout
    path.unlink()
    done = snakemake(project, *SMOKE, "-n")
    assert (
        "reference_models.mixture is 'tests/config/mixture.yaml', which does not exist"
        in done.stdout
    )
