"""What a stream will take (`saeflow.models.stream_cost`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from saeflow.config.streams import ContextSettings
from saeflow.models.activation_stream import ActivationStream, compute_block
from saeflow.models.codi import CodiModel
from saeflow.models.contexts import Contexts
from saeflow.models.stream_cost import estimate, flops_per_position
from tests.small_models import FAMILIES, small_model
from tests.unit.corpora import write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")

DOCUMENTS = [f"Document {n}, " + "word " * (n % 7) for n in range(30)]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cost") / "texts.parquet"
    return write_corpus(path, DOCUMENTS, ["held out"] * 9)


def contexts_of(model: CodiModel, corpus: Path, **changes: Any) -> Contexts:
    return Contexts(model, corpus, ContextSettings(**{"length": 16, **changes}), batch_size=2)


@pytest.mark.parametrize("packing", ["packed", "documents"])
def test_counts_are_exact_where_every_group_is_read(
    model: CodiModel, corpus: Path, packing: str, tmp_path: Path
) -> None:
    contexts = contexts_of(model, corpus, packing=packing)
    before = contexts.state()
    cost = estimate(model, contexts, hook="resid_post", layer=1, cache=True, groups=100)
    assert contexts.state() == before
    assert (cost.documents, cost.counted) == (30, True)
    assert cost.tokens == cost.tokens_per_epoch == sum(len(text.encode()) for text in DOCUMENTS)
    blocks = [block for group in range(contexts.n_groups) for block in contexts.blocks(group)]
    assert cost.positions == sum(block.ids.size for block in blocks)
    assert cost.cache_bytes == cost.tokens * (16 * 4 + 6)
    assert cost.seconds > 0
    stream = ActivationStream(
        model, contexts, hook="resid_post", layer=1, buffer_tokens=100, cache=tmp_path
    )
    while stream.tokens_per_epoch is None:
        stream.next_batch(50)
    assert stream.tokens_per_epoch == cost.tokens_per_epoch


def test_operations_are_those_that_torch_counts(model: CodiModel, corpus: Path) -> None:
    contexts = contexts_of(model, corpus, bos=False, separator="none")
    block = max(contexts.blocks(0), key=lambda each: each.ids.size)
    # Torch counts no fused attention on a CPU.
    model.language_model.set_attn_implementation("eager")
    places = [
        ("resid_post", 1),
        ("resid_post", 2),
        ("resid_pre", 2),
        ("final_norm", 0),
        ("embed", 0),
    ]
    for hook, layer in places:
        with FlopCounterMode(display=False) as counter:
            compute_block(model, block, hook, layer)
        expected = (
            flops_per_position(model, hook, layer, float(block.ids.shape[1])) * block.ids.size
        )
        # Biases and norms are counted as if each weight were multiplied, and rotations not at all.
        assert expected == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_a_cache_spares_later_epochs(model: CodiModel, corpus: Path) -> None:
    contexts = contexts_of(model, corpus)
    chosen: dict[str, Any] = {"hook": "resid_post", "layer": 0, "groups": 100}
    one = estimate(model, contexts, **chosen)
    three = estimate(model, contexts, tokens=3 * one.tokens, **chosen)
    cached = estimate(
        model, contexts, tokens=3 * one.tokens, cache=True, dtype="bfloat16", **chosen
    )
    assert three.flops == pytest.approx(3 * one.flops)
    assert cached.flops == pytest.approx(one.flops)
    assert (one.cache_bytes, three.cache_bytes) == (0, 0)
    assert cached.cache_bytes == one.tokens * (16 * 2 + 6)


def test_some_groups_stand_for_all(model: CodiModel, corpus: Path) -> None:
    contexts = contexts_of(model, corpus)
    cost = estimate(model, contexts, hook="embed", layer=0, groups=3)
    exact = sum(len(text.encode()) for text in DOCUMENTS)
    assert not cost.counted
    assert cost.tokens_per_epoch == pytest.approx(exact, rel=0.25)
    assert cost.flops == 0
    said = cost.sentence()
    assert said.startswith("stream: 30 documents with about ")
    assert "1.00 epochs" in said
    assert "cache" not in said


def test_nothing_to_read_costs_nothing(model: CodiModel, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "texts.parquet", [], ["held out"])
    cost = estimate(model, contexts_of(model, corpus), hook="resid_post", layer=0)
    assert (cost.documents, cost.tokens, cost.positions, cost.seconds) == (0, 0, 0, 0)
    assert torch.isfinite(torch.tensor(cost.flops))
