"""Sizes of models and results, against numbers worked out by hand and against what a rule wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saeflow.config.models import FreshModel, HubModel, PathModel
from saeflow.config.root import parse_config
from saeflow.sizes.requests import LEAST_MB, memory_mb, minutes, size_warnings, training_mb
from saeflow.sizes.results import Results
from saeflow.sizes.shapes import model_shape, sizes_in
from tests.configs import default_values, merged
from tests.conftest import ROOT
from tests.hub_cache import offline, put_repo

SHA = "a" * 40
CONFIG = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 32}
HAND = {
    "datasets": {"few": {"source": "generated", "n_train": 80, "n_validation": 20}},
    "models": {
        "tiny": {"weights": "fresh", "family": "llama", "hidden_size": 64, "num_hidden_layers": 3,
                 "num_attention_heads": 4, "intermediate_size": 128},
        "half": {"weights": "fresh", "family": "llama", "hidden_size": 64, "num_hidden_layers": 3,
                 "num_attention_heads": 4, "capture_dtype": "float16"},
        "gemma": {"weights": "hub", "repo": "google/gemma-2-9b", "revision": SHA,
                  "weights_gb": 37.0, "dtype": "bfloat16"},
        "codi": {"weights": "hub", "repo": "a/b", "revision": SHA, "weights_gb": 6.0,
                 "checkpoint": "codi",
                 "base": {"repo": "meta-llama/Llama-3.2-1B-Instruct", "revision": SHA}},
        "unknown": {"weights": "hub", "repo": "some/model", "revision": SHA, "weights_gb": 16.0,
                    "dtype": "bfloat16"},
        "unknown_untrained": {"of": "unknown", "weights": "fresh"},
    },
    "dictionaries": {
        "thoughts": {"dataset": "few", "d_sae": 256, "k": 10, "steps": [0, 2]},
        "wide": {"dataset": "documents", "hook": "resid_post", "layers": [1], "d_sae": 1024, "k": 8,
                 "stream": {"tokens": 3000, "cached": True}},
        "scope": {"dataset": "documents", "hook": "resid_post", "layers": [23, 30],
                  "released": {"release": "gemma-scope-9b-pt-res-canonical",
                               "sae_id": "layer_{layer}/width_16k/canonical"}},
    },
}  # fmt: skip


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    offline(monkeypatch, tmp_path / "cache")
    values: dict[str, Any] = merged(default_values(), HAND)
    return Results(parse_config(values), ROOT, tmp_path)


def hub(repo: str, **more: Any) -> HubModel:
    return HubModel.model_validate({"weights": "hub", "repo": repo, "revision": SHA, **more})


def test_captures_are_examples_times_steps_places_width_and_bytes(results: Results) -> None:
    found = results.size("results/capture/tiny/few")
    # 6 latents and the token before them; 3 blocks, the embedding and the final norm.
    assert found == (100 * 7 * 5 * 64 * 4, "captures", "computed")
    assert results.size("results/capture/half/few").bytes == 100 * 7 * 5 * 64 * 2


def test_banks_are_two_matrices_and_two_biases_a_site(results: Results) -> None:
    one = 4 * (2 * 256 * 64 + 256 + 64)
    assert results.size("results/saes/tiny/thoughts/seed0") == (6 * one, "saes", "computed")
    scope = 4 * (2 * 16384 * 3584 + 16384 + 3584)
    assert results.size("results/released/gemma/scope").bytes == 2 * scope
    # Linked to those that were fetched.
    assert results.size("results/saes/gemma/scope/seed0").bytes == 0


def test_features_are_what_is_active(results: Results) -> None:
    assert results.size("results/features/tiny/few/thoughts/seed0").bytes == 100 * 6 * 10 * 6


def test_streams_keep_checkpoints_and_a_cache(results: Results) -> None:
    sae = 4 * (2 * 1024 * 64 + 1024 + 64)
    assert results.temporary([("tiny", "wide")]) == 3 * sae + 3000 * (64 * 4 + 6)


def test_models_of_the_hub_take_what_is_configured(results: Results) -> None:
    assert results.size("results/models/gemma") == (37e9, "models", "computed")
    # A checkpoint stays in the cache beside what it is converted to.
    assert results.size("results/models/codi").bytes == 12e9


def test_models_are_loaded_in_their_own_precision(results: Results) -> None:
    assert results.loaded_gb("gemma") == pytest.approx(18.5)
    assert results.loaded_gb("codi") == pytest.approx(6.0)
    assert results.loaded_gb("unknown") == pytest.approx(16.0)
    assert results.loaded_gb("unknown_untrained") == results.loaded_gb("unknown")


def test_what_is_there_is_measured(results: Results) -> None:
    path = results.folder / "results/capture/tiny/few/resid_post"
    path.mkdir(parents=True)
    (path / "chunk0.parquet").write_bytes(b"x" * 1234)
    assert results.size("results/capture/tiny/few") == (1234, "captures", "on disk")
    assert results.computed("results/capture/tiny/few").basis == "computed"


def test_guesses_are_named_so(results: Results) -> None:
    shape = results.shape("unknown")
    assert shape.guessed
    # Llama-3.1-8B has 32 blocks of width 4,096.
    assert 3000 < shape.width < 5200
    assert 20 < shape.n_layers < 45
    assert results.size("results/capture/unknown/few").basis == "assumed"


def test_a_configuration_in_the_hubs_cache_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    offline(monkeypatch, cache)
    put_repo(cache, "some/model", SHA, {"config.json": json.dumps(CONFIG).encode()})
    shape = model_shape(hub("some/model", weights_gb=1.0), tmp_path / "results/models/x")
    assert (shape.n_layers, shape.width, shape.heads_width) == (3, 64, 128)
    assert shape.parameters == 0.25e9
    base = hub("c/d", checkpoint="codi", base={"repo": "some/model", "revision": SHA})
    assert model_shape(base, None).width == 64


def test_a_directory_tells_its_own_shape() -> None:
    settings = PathModel(weights="path", path="resources/models/llama")
    shape = model_shape(settings, ROOT / settings.path)
    assert (shape.n_layers, shape.width, shape.guessed) == (4, 128, False)
    # 5,056,464 bytes of float32, 1.26 million parameters.
    assert 1.2e6 < shape.parameters < 1.3e6


@pytest.mark.parametrize(
    ("files", "parameters"),
    [
        ({"model.safetensors": 400, "pytorch_model.bin": 404}, 100),
        ({f"model-0000{n}-of-00002.safetensors": 200 for n in (1, 2)}
         | {"pytorch_model.bin": 404, "consolidated.safetensors": 400}, 100),
        ({"pytorch_model.bin": 400}, 100),
        ({}, 0),
    ],
)  # fmt: skip
def test_weights_in_several_forms_count_once(
    tmp_path: Path, files: dict[str, int], parameters: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    for name, size in files.items():
        (tmp_path / name).write_bytes(b"x" * size)
    settings = PathModel(weights="path", path=str(tmp_path))
    assert model_shape(settings, tmp_path).parameters == parameters


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CONFIG, (3, 64, 128)),
        ({"n_embd": 768, "n_layer": 12, "n_head": 12}, (12, 768, 768)),
        ({"hidden_size": 64, "num_layers": 2, "num_heads": 16}, (2, 64, 64)),
        ({}, (0, 0, 0)),
    ],
)
def test_configurations_of_families(config: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert sizes_in(config) == expected


@pytest.mark.parametrize("text", ["", "[]", '{"n_embd": 8}', '{"hidden_size": "x"}'])
def test_a_broken_configuration_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    settings = PathModel(weights="path", path=str(tmp_path))
    assert model_shape(settings, tmp_path).guessed


def test_fresh_models_have_the_shape_of_their_block() -> None:
    settings = FreshModel(weights="fresh", family="gpt2", hidden_size=32, num_hidden_layers=5)
    shape = model_shape(settings, None)
    assert (shape.n_layers, shape.width) == (5, 32)


def test_memory_follows_the_model_and_what_is_read(results: Results) -> None:
    assert memory_mb(results, [], "tiny") == LEAST_MB
    assert memory_mb(results, [], "gemma") == int(1.25 * 18_500)
    # Activations three times, though nothing is made yet.
    capture = results.computed("results/capture/codi/few").bytes / 1e6
    read = memory_mb(results, ["results/capture/codi/few"], "gemma")
    assert read == int(1.25 * 18_500 + 3 * capture)
    assert memory_mb(results, ["results/capture/codi/few"], "gemma", vectors=False) == 23_125
    # Of released SAEs one layer is held at a time.
    one = results.sae_bytes("gemma", results.config.dictionaries["scope"]) / 1e6  # type: ignore[arg-type]
    assert memory_mb(results, ["results/saes/gemma/scope/seed0"], "gemma") == int(23_125 + 3 * one)


def test_weights_of_writers_count_as_weights(results: Results) -> None:
    (results.folder / "model.safetensors").write_bytes(b"x" * 2_000_000_0)
    assert memory_mb(results, [str(results.folder / "model.safetensors")], "gemma") == 23_175


def test_training_holds_weights_gradients_and_moments(results: Results) -> None:
    one = 4 * (2 * 1024 * 64 + 1024 + 64)
    assert training_mb(results, [("tiny", "wide")] * 10) == int(10 * 4 * one / 1e6)


def test_limits_of_time_grow_with_the_model(results: Results) -> None:
    assert minutes(results, None) == minutes(results, "tiny") == 60
    assert minutes(results, "gemma") == 60 + 277
    # A minute per GB to load it, and a share of the other 14.
    assert [minutes(results, "gemma", shards) for shards in (2, 8)] == [60 + 148, 60 + 50]
    assert minutes(results, None, 8) == 60


def test_models_of_unknown_size_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch, tmp_path / "cache")
    values: dict[str, Any] = merged(default_values(), HAND)
    values["models"]["unknown"]["weights_gb"] = None
    results = Results(parse_config(values), ROOT, tmp_path)
    folder = tmp_path / "results/models/unknown"
    read = ["results/models/gemma", "results/models/unknown", "results/models/unknown"]
    (told,) = size_warnings(results, read)
    assert told.startswith("warning: models.unknown.weights_gb is null")
    assert told.count(".") == 3  # of the key and at the end
    assert list(size_warnings(results, read[:1])) == []
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"0" * 10)
    assert list(size_warnings(results, read)) == []
