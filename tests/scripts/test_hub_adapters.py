"""The adapter that fetches models, with a stand-in for Snakemake's object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.tables import read_table
from tests.hub_cache import offline, put_repo
from tests.scripts.adapters import adapter

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("n_layers", [12, 1])
def test_fetched_model_has_the_layers_that_studies_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_layers: int
) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    block = {"weights": "hub", "repo": "someone/tiny", "revision": "a" * 40}
    config["models"]["llama"] = block
    config["studies"]["gsm8k"]["published"]["layers"] = [3]
    content = json.dumps({"model_type": "gpt2", "n_layer": n_layers}).encode()
    files = {"config.json": content, "model.safetensors": b"weights", "tokenizer.json": b"{}"}
    put_repo(tmp_path / "cache", "someone/tiny", "a" * 40, files)
    offline(monkeypatch, tmp_path / "cache")
    target = tmp_path / "model"
    parts = {
        "config": config,
        "wildcards": {"model": "llama"},
        "params": {"spec": block},
        "output": {"model": str(target)},
    }
    if n_layers == 12:
        adapter("fetch_model", tmp_path, **parts | {"config": config})
        table = read_table(target / FILES_TABLE, MODEL_FILES_TABLE)
        assert table["file"].to_pylist() == sorted(files)
        return
    with pytest.raises(SystemExit):
        adapter("fetch_model", tmp_path, **parts)
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "published.layers holds 3, but model 'llama' has the layers 0 to 0" in said
    assert not target.exists()
