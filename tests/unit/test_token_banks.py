"""Banks of SAEs that read tokens of texts: trained, written, read and used."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.catalog import ANSWERS, PROBLEMS, QUALITY, TEXT_TOKENS, TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.token_captures import capture_texts, read_text_tokens
from saeflow.artifacts.vectors import chunk_paths, read_vectors
from saeflow.config.dictionaries import DictionarySettings, TokenHook
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.token_capture import capture_tokens
from saeflow.models.tokens import read_tokens
from saeflow.saes import tokens as saes_tokens
from saeflow.saes.bank import EVERY_TOKEN, Bank, Recipe, Site
from saeflow.saes.encoding import open_bank
from saeflow.saes.quality import site_quality
from saeflow.saes.sites import token_sites
from saeflow.saes.storage import load_bank, save_bank
from saeflow.saes.tokens import EncodedTokens, TokenSaes, encode_texts, token_sae
from saeflow.saes.train import train_bank
from saeflow.saes.training import sources_of, train_from_capture, write_bank
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, QUESTIONS, settings_of, small_model
from tests.unit.test_saes_bank import random_bank

PROVENANCE = Provenance(config="c")
CPU = torch.device("cpu")
WIDTH = 16
CONTENTS = [f"{question} {number}" for number in range(3) for question in QUESTIONS]
SPLITS = ["train"] * 8 + ["validation"] * 4


def recipe_of(**changes: Any) -> DictionarySettings:
    training = {"epochs": 2, "batch_size": 32}
    block = {"dataset": "t", "hook": "mlp_out", "architecture": "topk", "d_sae": 24, "k": 4,
             "training": training}  # fmt: skip
    return DictionarySettings.model_validate({**block, **changes})


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@pytest.fixture(scope="module")
def texts() -> pa.Table:
    numbers = pa.array(range(len(CONTENTS)), pa.int32())
    return pa.table({"text": numbers, "content": CONTENTS, "split": SPLITS})


@pytest.fixture(scope="module")
def capture(model: CodiModel, texts: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tokenizer that puts its first token before every text, as Llama's does."""
    target = tmp_path_factory.mktemp("capture") / "texts"

    def read(rows: pa.Table) -> Any:
        captured = capture_tokens(model, rows, settings_of("llama"), ["mlp_out", "resid_post"])
        begin = captured.position == 0
        # What must not be trained on would be seen by what it does to the SAEs.
        for values in captured.activations.values():
            values[:, begin] = 1e4
        return type(captured)(**{**vars(captured), "begin": begin})

    capture_texts(texts, target, read, fingerprint="f", provenance=PROVENANCE)
    return target


def gathered(capture: Path, hook: str, layer: int, split: str | None) -> torch.Tensor:
    """Rows by hand: of a split's texts, those behind the first token."""
    rows = []
    for path in chunk_paths(capture / hook / f"layer{layer}"):
        vectors = read_vectors(path)
        for text, place, values in zip(
            vectors.example, vectors.place, vectors.float32(), strict=True
        ):
            if place > 0 and split in (None, SPLITS[text]):
                rows.append(values)
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("hook", ["mlp_out", "resid_post"])
@pytest.mark.parametrize("rows", ["train", "all"])
def test_each_block_is_trained_on_its_tokens_but_the_first(
    hook: str, rows: str, capture: Path, texts: pa.Table
) -> None:
    settings = recipe_of(hook=hook, rows=rows)
    trained = train_from_capture(capture, texts, settings, 3, CPU)
    assert trained.bank.sites == tuple(Site(layer) for layer in range(LAYERS))
    for layer in range(LAYERS):
        x = gathered(capture, hook, layer, "train" if rows == "train" else None)
        recipe = Recipe.from_settings(settings, WIDTH)
        expected = train_bank(x[None], [Site(layer)], recipe, seed=3, device=CPU)
        for name, weights in expected.weights.items():
            assert torch.equal(trained.bank.weights[name][layer], weights[0])


def test_quality_is_of_the_tokens_of_each_split(capture: Path, texts: pa.Table) -> None:
    trained = train_from_capture(capture, texts, recipe_of(), 0, CPU)
    found = {
        (split, each.site.layer, each.metric): (each.value, each.n)
        for split, each in trained.quality
    }
    for split in ("train", "validation", "all"):
        x = gathered(capture, "mlp_out", 1, None if split == "all" else split)
        measured = site_quality(token_sae(trained.bank, 1), x)
        for metric, value in measured.items():
            assert found[split, 1, metric] == (pytest.approx(value), len(x))
    assert found["train", 1, "fvu"] != found["validation", 1, "fvu"]


def test_control_and_chosen_layers(capture: Path, texts: pa.Table) -> None:
    settings = recipe_of(control="pca", d_sae=None, k=WIDTH, layers=[2, 0], architecture="abstopk")
    trained = train_from_capture(capture, texts, settings, 0, CPU)
    assert trained.bank.sites == (Site(0), Site(2))
    assert trained.control == "pca"
    fvu = [each.value for _, each in trained.quality if each.metric == "fvu"]
    np.testing.assert_allclose(fvu, 0, atol=1e-6)


def test_bank_is_written_for_other_tools_and_read_back(
    capture: Path, texts: pa.Table, tmp_path: Path
) -> None:
    trained = train_from_capture(capture, texts, recipe_of(), 0, CPU)
    write_bank(trained, tmp_path, "mlp", 0, PROVENANCE)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"layer{layer}" for layer in range(LAYERS)),
        "quality.parquet",
    }
    found = open_bank(tmp_path)
    assert (found.sites, found.recipe) == (trained.bank.sites, trained.bank.recipe)
    assert found.recipe.hook == "mlp_out"
    for name, weights in trained.bank.weights.items():
        assert torch.equal(found.weights[name], weights)
    quality = read_table(tmp_path / "quality.parquet", QUALITY)
    assert quality["step"].null_count == len(quality)
    assert set(quality["layer"].to_pylist()) == set(range(LAYERS))


def test_sae_lens_reads_a_bank_of_tokens(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformer_lens warns of itself
        from sae_lens import SAE
    bank = token_bank(random_bank("topk", k=3, d_in=WIDTH, d_sae=20))
    save_bank(bank, tmp_path)
    x = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(0))
    theirs = SAE.load_from_disk(str(tmp_path / "layer1"))
    ours = token_sae(load_bank(tmp_path), 1).encode(x[None])[0]
    torch.testing.assert_close(theirs.encode(x), ours, atol=1e-5, rtol=1e-5)


def token_bank(bank: Bank, layers: tuple[int, ...] = (0, 1, 2), hook: Any = "mlp_out") -> Bank:
    recipe = Recipe(bank.recipe.architecture, bank.d_sae, bank.recipe.k, hook=hook)
    return Bank(recipe, tuple(map(Site, layers)), *bank.weights.values())


@pytest.mark.parametrize("hook", get_args(TokenHook))
def test_texts_are_encoded_at_the_hook_of_the_bank(hook: str, model: CodiModel) -> None:
    raw = random_bank("topk", k=3, d_in=WIDTH, d_sae=20)
    bank = token_bank(raw, (0, 2, 1), hook)
    found: list[EncodedTokens] = list(encode_texts(model, bank, QUESTIONS, batch_size=2))
    expected = list(read_tokens(model, QUESTIONS, hooks=[hook], batch_size=2))
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        for name in ("text", "position", "token"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert not one.begin.any()
        assert set(one.features) == {0, 1, 2}
        for place, layer in enumerate((0, 2, 1)):
            x = other.activations[hook][layer]
            torch.testing.assert_close(one.activations[layer], x)
            pre = x @ raw.W_enc[place] + raw.b_enc[place]
            kept = pre.topk(3).values[:, -1:]
            values = torch.where(pre >= kept, pre, 0).clamp(min=0)
            torch.testing.assert_close(one.features[layer], values, atol=1e-4, rtol=1e-4)


def test_saes_that_do_not_fit_are_moved_one_at_a_time_and_give_the_same(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = token_bank(random_bank("topk", k=3, d_in=WIDTH, d_sae=20), (0, 2, 1))
    whole = list(encode_texts(model, bank, QUESTIONS, batch_size=2))
    moved: list[int] = []

    class Elsewhere(TokenSaes):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self._resident = False

        def __getitem__(self, layer: int) -> Bank:
            found = super().__getitem__(layer)
            moved.append(len(self._there))
            return found

    monkeypatch.setattr(saes_tokens, "TokenSaes", Elsewhere)
    for one, other in zip(whole, encode_texts(model, bank, QUESTIONS, batch_size=2), strict=True):
        assert dict(one.features).keys() == dict(other.features).keys() == {0, 1, 2}
        for layer, values in one.features.items():
            assert torch.equal(values, other.features[layer])
    assert set(moved) == {1}


def test_features_of_a_block_are_computed_once_until_another_is_asked_for(
    model: CodiModel,
) -> None:
    bank = token_bank(random_bank("topk", k=3, d_in=WIDTH, d_sae=20))
    batch = next(encode_texts(model, bank, QUESTIONS))
    first = batch.features[1]
    assert batch.features[1] is first
    assert batch.features[2] is not first
    assert torch.equal(batch.features[1], first)
    with pytest.raises(KeyError):
        batch.features[7]


def test_one_sae_of_a_bank_is_no_copy() -> None:
    bank = token_bank(random_bank("topk", k=3, d_in=WIDTH, d_sae=20))
    one = token_sae(bank, 2)
    assert one.W_enc.data_ptr() == bank.W_enc[2].data_ptr()
    assert torch.equal(one.W_dec[0], bank.W_dec[2])


def test_bank_of_thoughts_or_of_another_model_is_refused(model: CodiModel) -> None:
    thoughts = random_bank("topk", k=3, d_in=WIDTH, d_sae=20)
    for use in (lambda: token_sae(thoughts, 0), lambda: next(encode_texts(model, thoughts, ["x"]))):
        with pytest.raises(SaeflowError) as caught:
            use()
        check_sentence(caught.value, "read latent thoughts", thoughts.sites[0].name)
    wide = token_bank(random_bank("topk", k=3, d_in=WIDTH + 8, d_sae=20))
    with pytest.raises(SaeflowError) as caught:
        next(encode_texts(model, wide, ["x"]))
    check_sentence(caught.value, "activations of 24 dimensions", "the model has 16")
    with pytest.raises(
        SaeflowError, match="the bank has no SAE for layer7; expected one of layer0"
    ):
        token_sae(token_bank(thoughts), 7)


def test_missing_layer_or_hook_is_named(capture: Path) -> None:
    with pytest.raises(
        SaeflowError, match=r"layers hold 3, but the model .* has the layers 0 to 2"
    ):
        token_sites(capture, "mlp_out", [3])
    with pytest.raises(SaeflowError, match="holds no attn_out activations"):
        token_sites(capture, "attn_out")


def test_tables_behind_a_recipe_and_names_of_sites() -> None:
    assert sources_of(recipe_of()) == (TEXTS, TEXT_TOKENS)
    assert sources_of(recipe_of(hook=None)) == (PROBLEMS, ANSWERS)
    assert (Site(2).name, Site(2, 0).name) == ("layer2", "layer2_step0")
    assert Site(2).step == EVERY_TOKEN


def test_captured_texts_know_their_tokens(capture: Path) -> None:
    tokens = read_text_tokens(capture)
    assert tokens["begin"].to_pylist() == [place == 0 for place in tokens["position"].to_pylist()]
