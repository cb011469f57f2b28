"""Sums over a corpus against NumPy on all of it, whatever the blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.quality import site_quality
from saeflow.saes.wide.reading import (
    DocumentQuality,
    FeatureSums,
    TokenBlock,
    check_wide,
    decode_block,
    density_counts,
    encode_block,
    read_corpus,
)
from saeflow.saes.wide.token_counts import TokenCounts
from saeflow.stats.streaming import ResampledSums, document_weights, drawn_ends
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, bytes_with_begin, small_model, with_tokenizer
from tests.wide_blocks import VOCABULARY, Corpus, random_corpus

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def fed(made: Any, blocks: Iterable[TokenBlock]) -> Any:
    for block in blocks:
        made.add(block)
    return made


@given(seed=st.integers(0, 10**6), sizes=SIZES, signed=st.booleans(), documents=st.integers(1, 9))
def test_feature_sums_are_those_of_numpy(
    seed: int, sizes: list[int], signed: bool, documents: int
) -> None:
    corpus = random_corpus(seed, documents=documents, signed=signed)
    sums = fed(FeatureSums(6), corpus.blocks(sizes))
    x, counted = corpus.latents.astype(np.float64), ~corpus.begin
    assert sums.tokens == counted.sum()
    assert sums.documents == len(np.unique(corpus.document[counted]))
    assert sums.active.tolist() == (x != 0).sum(0).tolist()
    fires = [np.unique(corpus.document[x[:, feature] != 0]) for feature in range(6)]
    assert sums.in_documents.tolist() == [len(each) for each in fires]
    np.testing.assert_allclose(sums.total.numpy(), x.sum(0), atol=1e-12)
    np.testing.assert_allclose(sums.squares.numpy(), (x**2).sum(0), atol=1e-12)
    assert sums.largest.tolist() == np.abs(x).max(0).tolist()
    assert sums.dead_share == (x == 0).all(0).mean()
    if counted.any():
        np.testing.assert_allclose(sums.density.numpy(), (x != 0).sum(0) / counted.sum())


def test_no_token_has_no_density() -> None:
    sums = FeatureSums(3)
    assert np.isnan(sums.density.numpy()).all()
    assert (sums.dead_share, sums.tokens, sums.documents) == (1.0, 0, 0)


def test_density_bins_hold_every_feature_once() -> None:
    density = np.array([0.0, 0.0, 1.0, 0.1, 0.0999, 0.011, 1e-9, 0.01])
    rows = density_counts(density, per_decade=1, decades=2)
    assert [count for _, _, count in rows] == [2, 5, 1]
    assert rows[2][1] == 1
    rows = density_counts(density, per_decade=4, decades=6)
    assert sum(count for _, _, count in rows) == len(density)
    assert len(rows) == 25
    for low, high, count in rows[2:]:
        assert count == ((density > low) & (density <= high)).sum()


@given(seed=st.integers(0, 10**6), sizes=SIZES, signed=st.booleans())
def test_token_counts_are_those_of_a_loop(seed: int, sizes: list[int], signed: bool) -> None:
    corpus = random_corpus(seed, signed=signed)
    counts = fed(TokenCounts(torch.arange(6), 6, VOCABULARY), corpus.blocks(sizes))
    counted = corpus.token[~corpus.begin]
    assert counts.occurrences.tolist() == np.bincount(counted, minlength=VOCABULARY).tolist()
    for by, n in (("count", 3), ("total", 1), ("count", 100)):
        expected = []
        for feature in range(6):
            rows = []
            for token in range(VOCABULARY):
                values = np.abs(corpus.latents[corpus.token == token, feature]).astype(np.float64)
                if values.any():
                    rows.append((int((values > 0).sum()), float(values.sum()), token))
            place = 0 if by == "count" else 1
            rows.sort(key=lambda row: (-row[place], row[2]))
            expected += [(feature, rank, *row) for rank, row in enumerate(rows[:n])]
        top = counts.top(n, by)
        found = list(zip(*(each.tolist() for each in top), strict=True))
        found = [
            (feature, rank, count, total, token) for feature, rank, token, count, total in found
        ]
        if by == "count":
            assert [row[:3] + row[4:] for row in found] == [row[:3] + row[4:] for row in expected]
        assert [row[3] for row in found] == pytest.approx([row[3] for row in expected])


def test_only_features_that_are_named_are_counted() -> None:
    blocks = list(random_corpus(0).blocks([5, 9]))
    every = fed(TokenCounts(torch.arange(6), 6, VOCABULARY), blocks).top(100, "count")
    some = fed(TokenCounts(torch.tensor([4, 1]), 6, VOCABULARY), blocks).top(100, "count")
    kept = np.isin(every.feature, [1, 4])
    assert 0 < kept.sum() < len(kept)
    assert all((one[kept] == two).all() for one, two in zip(every, some, strict=True))


def test_token_counts_of_nothing_are_empty() -> None:
    assert len(TokenCounts(torch.arange(6), 6, VOCABULARY).top(3, "count").feature) == 0


def bank(
    d_in: int = 3, d_sae: int = 6, k: int = 2, architecture: Any = "topk", layer: int = 1
) -> Bank:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    recipe = Recipe(architecture, d_sae, k, hook="resid_post")
    return Bank(
        recipe, (Site(layer),), draw(d_in, d_sae), draw(d_sae), draw(d_sae, d_in), draw(d_in)
    )


def encoded(corpus: Corpus, sae: Bank) -> Corpus:
    """The corpus with the latents that an SAE gives."""
    latents = sae.encode(torch.from_numpy(corpus.activations)[None])[0].numpy()
    latents[corpus.begin] = 0
    parts = (corpus.document, corpus.position, corpus.token, corpus.begin)
    return Corpus(*parts, latents, corpus.activations)


@pytest.mark.parametrize("architecture", ["topk", "abstopk"])
@pytest.mark.parametrize("per_block", [1, 4, 100])
def test_quality_is_that_of_all_tokens_at_once(architecture: str, per_block: int) -> None:
    sae = bank(architecture=architecture)
    corpus = encoded(random_corpus(3, documents=30), sae)
    quality, mean = quality_over(corpus, sae, per_block)
    counted = torch.from_numpy(corpus.activations[~corpus.begin])
    expected = site_quality(sae, counted)
    del expected["dead_share"]
    assert {each.name: each.value for each in quality} == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )
    assert {each.n for each in quality} == {len(counted)}
    np.testing.assert_allclose(mean, counted.double().mean(0).numpy(), rtol=1e-12)
    for each in quality:
        if each.name in ("l0_mean", "l0_std"):
            assert each.ends is None, "every token has two latents"
        else:
            assert each.ends is not None
            assert each.ends[0] < each.value < each.ends[1]


def quality_over(corpus: Corpus, sae: Bank, per_block: int) -> tuple[list, np.ndarray]:
    made = DocumentQuality(sae)
    for block in corpus.documents(per_block):
        numbers = block.documents[0].numpy()
        made.add(block, document_weights(numbers, 1))
    return made.metrics(), made.mean


def test_intervals_are_those_of_the_ordinary_bootstrap() -> None:
    """Poisson numbers instead of multinomial ones change the ends by little."""
    sae = bank()
    corpus = encoded(random_corpus(8, documents=200), sae)
    fvu = next(each for each in quality_over(corpus, sae, 50)[0] if each.name == "fvu")
    numbers = np.unique(corpus.document)
    generator = np.random.default_rng(0)
    x = corpus.activations.astype(np.float64)
    error = ((x - sae.decode(torch.from_numpy(corpus.latents)[None])[0].numpy()) ** 2).sum(1)
    drawn = []
    for _ in range(1000):
        times = np.bincount(generator.choice(len(numbers), len(numbers)), minlength=len(numbers))
        weight = times[np.searchsorted(numbers, corpus.document)] * ~corpus.begin
        mean = weight @ x / weight.sum()
        drawn.append(weight @ error / (weight @ ((x - mean) ** 2).sum(1)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert fvu.ends is not None
    assert fvu.ends[0] == pytest.approx(low, abs=0.15 * (high - low))
    assert fvu.ends[1] == pytest.approx(high, abs=0.15 * (high - low))


def test_one_document_has_no_interval() -> None:
    sae = bank()
    corpus = encoded(random_corpus(3, documents=1, longest=30), sae)
    assert all(each.ends is None for each in quality_over(corpus, sae, 1)[0])
    assert all(np.isnan(each.value) for each in DocumentQuality(sae).metrics())


def test_weights_follow_from_the_number_alone() -> None:
    numbers = np.array([5, 900, 5])
    weights = document_weights(numbers, 0, "reading")
    assert (weights[0] == weights[2]).all()
    assert (weights[0] != weights[1]).any()
    assert weights.mean() == pytest.approx(1, abs=0.05)
    sums = ResampledSums(1)
    sums.add(np.array([[2.0]]), weights[:1])
    sums.add(np.array([[3.0], [1.0]]), weights[1:])
    assert sums.total.tolist() == [6.0]
    assert (sums.drawn[:, 0] == 3 * weights[0] + 3 * weights[1]).all()
    assert drawn_ends(sums.drawn[:, 0], 1.0) is None


def test_blocks_decode_as_the_bank_does() -> None:
    sae = bank()
    corpus = encoded(random_corpus(1), sae)
    block = corpus.block(slice(0, 20))
    expected = sae.decode(torch.from_numpy(corpus.latents[:20])[None])[0]
    torch.testing.assert_close(decode_block(sae, block), expected)
    empty = corpus.block(slice(0, 0))
    assert decode_block(sae, empty).shape == (0, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_are_read_with_their_numbers(family: str) -> None:
    model = small_model(family)
    if family == "llama":
        model = with_tokenizer(model, bytes_with_begin(0, eos_token="<s>"))
    begin = len(model.tokenizer("")["input_ids"])
    sae = bank(16, 24, 4)
    contents, numbers = ["one", "a longer one", "", "x"], [40, 7, 9, 3]
    seen = {}
    for batch in read_corpus(model, sae, numbers, contents, batch_size=2):
        block = encode_block(model, sae, batch)
        assert block.activations is not None
        dense = torch.zeros(len(block.token), 24)
        dense[block.rows, block.latents] = block.values
        expected = sae.encode(block.activations[None])[0]
        expected[block.begin] = 0
        torch.testing.assert_close(dense, expected)
        assert block.n_counted == len(block.token) - int(block.begin.sum())
        for number in block.documents[0].tolist():
            own = block.document == number
            seen[number] = block.token[own].tolist()
            assert block.begin[own].sum() == begin
    expected_ids = {
        number: model.tokenizer(content)["input_ids"]
        for number, content in zip(numbers, contents, strict=True)
    }
    assert seen == {number: ids for number, ids in expected_ids.items() if ids}


def test_other_banks_are_refused() -> None:
    model = small_model("gpt2")
    with pytest.raises(SaeflowError) as error:
        list(read_corpus(model, bank(8), [1], ["x"]))
    check_sentence(error.value, "8 dimensions", "has 16")
    made = bank()
    thoughts = Bank(Recipe("topk", 6, 2), (Site(1, 0),), *made.weights.values())
    with pytest.raises(SaeflowError) as error:
        check_wide(thoughts)
    check_sentence(error.value, "layer1_step0", "one SAE of tokens")
