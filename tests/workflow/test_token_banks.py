"""Texts, their tokens and SAEs of them: what is planned, what is run, and what is run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.tables import read_table
from tests.workflow.running import SMOKE, copy_project, planned, run

pytestmark = pytest.mark.workflow

MLP = {"dataset": "texts", "hook": "mlp_out", "d_sae": 16, "k": 4, "training": {"epochs": 1}}
OVERLAY: dict[str, Any] = {
    "datasets": {
        "texts": {"source": "mixture", "n_train": 30, "n_validation": 12},
        "mine": {"source": "text_file", "path": "mine.txt"},
    },
    "dictionaries": {"mlp": MLP, "own": {**MLP, "dataset": "mine"}},
}
BANK = "results/saes/llama/{}/seed0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("tokens") / "project")
    (folder / "mine.txt").write_text("One text.\nAnother.\nA third.\n", encoding="utf-8")
    return folder


def arguments(project: Path, name: str, **dictionaries: Any) -> list[str]:
    overlay = {**OVERLAY, "dictionaries": {**OVERLAY["dictionaries"], **dictionaries}}
    (project / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return [*SMOKE, "overlay.yaml", "--", BANK.format(name)]


def test_bank_of_tokens_is_planned_from_texts_alone(project: Path) -> None:
    chain = {"load_texts": 1, "capture_tokens": 1, "train_bank": 1}
    assert planned(project, *arguments(project, "mlp")) == {"draw_texts": 1, **chain}
    assert planned(project, *arguments(project, "own")) == chain


def test_bank_of_tokens_is_run_and_rebuilt_for_what_it_reads(project: Path) -> None:
    run(project, *arguments(project, "mlp"))
    quality = read_table(project / BANK.format("mlp") / "quality.parquet", QUALITY)
    assert set(quality["split"].to_pylist()) == {"train", "validation", "all"}
    assert planned(project, *arguments(project, "mlp")) == {}
    again = arguments(project, "mlp", mlp={**MLP, "k": 2})
    assert planned(project, *again) == {"train_bank": 1}
    other = arguments(project, "new", new={**MLP, "k": 3})
    assert planned(project, *other) == {"train_bank": 1}
    hook = arguments(project, "new", new={**MLP, "hook": "resid_post"})
    assert planned(project, *hook) == {"capture_tokens": 1, "train_bank": 1}
