"""Tokens of texts on disk, and from a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts import token_captures
from saeflow.artifacts.captures import count_layers
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.token_captures import (
    TokenCapture,
    capture_texts,
    read_text_tokens,
    read_token_layer,
)
from saeflow.artifacts.vectors import export_vectors, read_vectors, write_vectors
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.models.hooks import transformer_blocks
from saeflow.models.token_capture import begin_tokens, capture_tokens
from saeflow.models.tokenizer import BEGIN_OF_TEXT
from saeflow.show import describe
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, LAYERS, QUESTIONS, settings_of, small_model

PROVENANCE = Provenance(config="abc")
HOOKS = ("mlp_out", "resid_post")
WIDTH = 4


def texts_of(contents: list[str], first: int = 0) -> pa.Table:
    numbers = pa.array(range(first, first + len(contents)), pa.int32())
    return pa.table({"text": numbers, "content": contents})


def read(texts: pa.Table) -> TokenCapture:
    """Activations that say where they are from: text, position, layer; text n has n % 3 + 1 tokens."""
    numbers = texts["text"].to_pylist()
    rows = [(number, position) for number in numbers for position in range(number % 3 + 1)]
    text, position = np.array(rows).T
    grid = np.zeros((2, len(rows), WIDTH), np.float32)
    grid += (text * 100 + position * 10)[None, :, None] + np.arange(2)[:, None, None]
    return TokenCapture(
        text.astype(np.int32),
        position.astype(np.int16),
        (text * 7).astype(np.int32),
        [f"t{number}" for number in text],
        position == 0,
        {"mlp_out": grid, "resid_post": grid + 0.5},
        "float32",
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_captures, "CHUNK", 4)


@pytest.fixture
def capture(tmp_path: Path, small_chunks: None) -> Path:
    target = tmp_path / "capture"
    texts = texts_of(["x"] * 10)
    capture_texts(texts, target, read, fingerprint="f", provenance=PROVENANCE)
    return target


def test_capture_is_read_back_by_layer_and_token(capture: Path) -> None:
    tokens = read_text_tokens(capture)
    assert len(tokens) == sum(number % 3 + 1 for number in range(10))
    assert tokens["text"].to_pylist()[:4] == [0, 1, 1, 2]
    assert count_layers(capture, "mlp_out") == 2
    wanted = ~tokens["begin"].to_numpy() & np.isin(tokens["text"].to_numpy(), [1, 5, 8])
    found = read_token_layer(capture, "mlp_out", 1, tokens, wanted)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], [111, 511, 521, 811, 821])
    everything = read_token_layer(capture, "resid_post", 0, tokens, wanted | True)
    keys = tokens["text"].to_numpy() * 100 + tokens["position"].to_numpy() * 10 + 0.5
    np.testing.assert_array_equal(everything[:, 3], keys)
    assert {path.name for path in capture.iterdir()} == {*HOOKS, "text_tokens.parquet"}
    assert not capture.with_name("capture.partial").exists()


def test_vectors_of_tokens_say_so_to_other_tools(capture: Path, tmp_path: Path) -> None:
    assert export_vectors(capture / "mlp_out" / "layer1", tmp_path / "out.parquet") == 19
    chunk = capture / "mlp_out" / "layer1" / "chunk0.parquet"
    assert read_vectors(chunk).of == "tokens"
    for told in (describe(chunk, 2), describe(tmp_path / "out.parquet", 2)):
        assert "position" in told
        assert "step" not in told


@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_resumed_capture_keeps_chunks_of_the_same_fingerprint(
    fingerprint: str, tmp_path: Path, small_chunks: None
) -> None:
    texts = texts_of(["x"] * 10)
    seen: list[int] = []

    def dying(rows: pa.Table) -> TokenCapture:
        if len(seen) == 2:
            raise KeyboardInterrupt
        return watched(rows)

    def watched(rows: pa.Table) -> TokenCapture:
        seen.append(rows["text"][0].as_py())
        return read(rows)

    with pytest.raises(KeyboardInterrupt):
        capture_texts(texts, tmp_path / "a", dying, fingerprint="same", provenance=PROVENANCE)
    assert not (tmp_path / "a").exists()
    seen.clear()
    capture_texts(texts, tmp_path / "a", watched, fingerprint=fingerprint, provenance=PROVENANCE)
    assert seen == ([8] if fingerprint == "same" else [0, 4, 8])
    capture_texts(texts, tmp_path / "b", read, fingerprint="x", provenance=PROVENANCE)
    for path in (tmp_path / "b").rglob("*.parquet"):
        other = tmp_path / "a" / path.relative_to(tmp_path / "b")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("damage", ["other", "fewer", "thoughts"])
def test_vectors_of_other_tokens_are_refused(damage: str, capture: Path) -> None:
    path = capture / "mlp_out" / "layer0" / "chunk2.parquet"
    if damage == "fewer":
        path.unlink()
    else:
        vectors = read_vectors(path)
        changes = {"place": vectors.place[::-1]} if damage == "other" else {"of": "thoughts"}
        place = Provenance("abc", extra={"hook": "mlp_out", "layer": "0", "chunk": "2"})
        write_vectors(type(vectors)(**{**vars(vectors), **changes}), path, place)
    tokens = read_text_tokens(capture)
    with pytest.raises(SaeflowError) as caught:
        read_token_layer(capture, "mlp_out", 0, tokens, np.ones(len(tokens), bool))
    check_sentence(caught.value, "layer0", "other tokens than text_tokens.parquet")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@torch.no_grad()
def alone(model: CodiModel, text: str) -> torch.Tensor:
    """Output of every block's MLP for one text by itself, by hooks of our own."""
    kept: list[torch.Tensor] = []
    handles = [
        block.mlp.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
        for block in transformer_blocks(model.language_model)
    ]
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    model.language_model.base_model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return torch.stack(kept)


def test_captured_tokens_are_what_a_text_alone_gives(model: CodiModel) -> None:
    texts = texts_of(QUESTIONS, first=5)
    captured = capture_tokens(model, texts, settings_of("llama", batch_size=2), HOOKS)
    ids = [model.tokenizer(text)["input_ids"] for text in QUESTIONS]
    assert captured.text.tolist() == [n + 5 for n, row in enumerate(ids) for _ in row]
    assert captured.position.tolist() == [place for row in ids for place in range(len(row))]
    assert captured.token_id.tolist() == [token for row in ids for token in row]
    assert captured.token == [model.tokenizer.decode([token]) for row in ids for token in row]
    assert set(captured.activations) == set(HOOKS)
    expected = torch.cat([alone(model, text) for text in QUESTIONS], dim=1)
    found = torch.from_numpy(captured.activations["mlp_out"])
    assert found.shape == (LAYERS, len(captured.text), 16)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_captured_tokens_keep_the_precision_asked_for(model: CodiModel) -> None:
    texts = texts_of(QUESTIONS)
    exact = capture_tokens(model, texts, settings_of("llama"), ["mlp_out"])
    half = capture_tokens(model, texts, settings_of("llama", capture_dtype="float16"), ["mlp_out"])
    assert half.activations["mlp_out"].dtype == np.float16
    rounded = exact.activations["mlp_out"].astype(np.float16)
    np.testing.assert_array_equal(half.activations["mlp_out"], rounded)


def test_begin_token_is_marked_where_a_tokenizer_adds_one(
    model: CodiModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = texts_of(QUESTIONS)
    plain = capture_tokens(model, texts, settings_of("llama"), ["mlp_out"])
    assert begin_tokens(model) == 0
    assert not plain.begin.any()
    tokenizer = model.tokenizer

    class Adding:
        """As Llama's tokenizer does."""

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [1, *tokenizer(text)["input_ids"]]}

        decode = staticmethod(tokenizer.decode)

    monkeypatch.setattr(model, "tokenizer", Adding())
    assert begin_tokens(model) == 1
    found = capture_tokens(model, texts, settings_of("llama"), ["mlp_out"])
    assert found.begin.tolist() == (found.position == 0).tolist()
    assert len(found.text) == len(plain.text) + len(QUESTIONS)


def test_shipped_llama_has_a_begin_token(root: Path) -> None:
    from transformers import AutoTokenizer

    begins = [
        AutoTokenizer.from_pretrained(root / "resources" / "models" / name)("")["input_ids"]
        for name in FAMILIES
    ]
    assert list(map(len, begins)) == [1, 0]
    llama = AutoTokenizer.from_pretrained(root / "resources" / "models" / "llama")
    assert llama.decode(begins[0]) == BEGIN_OF_TEXT


def test_text_that_is_too_long_is_named_by_its_number(model: CodiModel) -> None:
    texts = texts_of(["short", "long " * 200], first=40)
    with pytest.raises(SaeflowError) as caught:
        capture_tokens(model, texts, settings_of("llama"), ["mlp_out"])
    check_sentence(caught.value, "text 41 of the data set takes 1000 positions", "has 160")
