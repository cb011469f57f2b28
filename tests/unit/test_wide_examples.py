"""Kept examples against a sort of everything, whatever the blocks."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeflow.errors import SaeflowError
from saeflow.saes.wide.neighbours import Coactivations
from saeflow.saes.wide.reading import FeatureSums, TokenBlock
from saeflow.saes.wide.slots import draw_numbers
from saeflow.saes.wide.token_counts import TokenCounts
from saeflow.saes.wide.top_examples import (
    BinSamples,
    Examples,
    SilentPool,
    TopExamples,
    places_of,
    size_keys,
)
from saeflow.saes.wide.windows import NO_TOKEN
from tests.sentences import check_sentence
from tests.unit.test_saes_bank import cuda_only
from tests.unit.test_wide_reading import SIZES, fed
from tests.wide_blocks import VOCABULARY, Corpus, random_corpus

pytestmark = pytest.mark.usefixtures("one_thread")
D_SAE = 6
FEATURES = [3, 5, 0, 4]


def features(chosen: list[int] = FEATURES) -> torch.Tensor:
    return torch.tensor(chosen, dtype=torch.long)


def rows_of(found: Examples) -> list[tuple[Any, ...]]:
    return list(zip(*(each.tolist() for each in found[:-1]), strict=True))


def once_per_document(rows: list[tuple[Any, ...]], asked: bool) -> list[tuple[Any, ...]]:
    """Rows are sorted; their second last entries are document and position."""
    if not asked:
        return rows
    first: dict[int, tuple[Any, ...]] = {}
    for row in rows:
        first.setdefault(row[1], row)
    return list(first.values())


@given(
    seed=st.integers(0, 10**6),
    sizes=SIZES,
    keep=st.integers(0, 5),
    per_document=st.booleans(),
    signed=st.booleans(),
    documents=st.integers(1, 9),
)
def test_top_examples_are_those_of_a_sort(
    seed: int, sizes: list[int], keep: int, per_document: bool, signed: bool, documents: int
) -> None:
    corpus = random_corpus(seed, documents=documents, signed=signed)
    made = TopExamples(features(), D_SAE, keep=keep, per_document=per_document)
    found = rows_of(fed(made, corpus.blocks(sizes)).examples())
    expected = []
    for cell, feature in enumerate(FEATURES):
        rows = [
            (-abs(value), document, position, value)
            for document, position, value in zip(
                corpus.document.tolist(),
                corpus.position.tolist(),
                corpus.latents[:, feature].tolist(),
                strict=True,
            )
            if value
        ]
        best = once_per_document(sorted(rows), per_document)[:keep]
        expected += [(cell, rank, *row[1:]) for rank, row in enumerate(best)]
    assert found == expected


def numbers_of(corpus: Corpus, seed: int, feature: int | None = None) -> list[int]:
    parts = [torch.from_numpy(corpus.document), torch.from_numpy(corpus.position)]
    if feature is not None:
        parts.append(torch.full_like(parts[0], feature))
    numbers: list[int] = draw_numbers(seed, *parts).tolist()
    return numbers


@given(
    seed=st.integers(0, 10**6),
    sizes=SIZES,
    keep=st.integers(0, 3),
    bins=st.integers(1, 4),
    per_document=st.booleans(),
    signed=st.booleans(),
)
def test_bins_are_sampled_whatever_the_order(
    seed: int, sizes: list[int], keep: int, bins: int, per_document: bool, signed: bool
) -> None:
    corpus = random_corpus(seed, signed=signed)
    largest = fed(FeatureSums(D_SAE), corpus.blocks(sizes)).largest
    made = fed(
        BinSamples(features(), D_SAE, largest[features()], bins=bins, keep=keep, seed=3,
                   per_document=per_document),
        corpus.blocks(sizes),
    )  # fmt: skip
    found, expected = rows_of(made.examples()), []
    for place, feature in enumerate(FEATURES):
        values = np.abs(corpus.latents[:, feature]).astype(np.float64)
        edges = values.max() * np.arange(1, bins + 1) / bins
        numbers = numbers_of(corpus, 3, feature)
        for each in range(bins):
            low = 0 if each == 0 else edges[each - 1]
            inside = np.flatnonzero((values > low) & (values <= edges[each]) & (values > 0))
            assert made.counts[place, each] == len(inside)
            rows = sorted(
                (numbers[row], int(corpus.document[row]), int(corpus.position[row]), row)
                for row in inside.tolist()
            )
            best = once_per_document(rows, per_document)[:keep]
            expected += [
                (place * bins + each, rank, row[1], row[2], float(corpus.latents[row[3], feature]))
                for rank, row in enumerate(best)
            ]
    assert found == expected


@given(seed=st.integers(0, 10**6), sizes=SIZES, size=st.integers(0, 8), keep=st.integers(0, 3))
def test_silent_places_are_of_one_pool(seed: int, sizes: list[int], size: int, keep: int) -> None:
    corpus = random_corpus(seed)
    made = SilentPool(features(), D_SAE, size=size, seed=3, per_document=False)
    found = rows_of(fed(made, corpus.blocks(sizes)).examples(keep))
    numbers = numbers_of(corpus, 3)
    pool = sorted(np.flatnonzero(~corpus.begin).tolist(), key=numbers.__getitem__)[:size]
    expected = []
    for cell, feature in enumerate(FEATURES):
        own = numbers_of(corpus, 3, feature)
        silent = sorted((own[row], row) for row in pool if not corpus.latents[row, feature])
        expected += [
            (cell, rank, int(corpus.document[row]), int(corpus.position[row]), 0.0)
            for rank, (_, row) in enumerate(silent[:keep])
        ]
    assert found == expected


@given(seed=st.integers(0, 10**6), context=st.integers(0, 3), per_block=st.integers(1, 9))
def test_windows_show_the_document_around(seed: int, context: int, per_block: int) -> None:
    corpus = random_corpus(seed)
    largest = torch.from_numpy(corpus.latents.max(0))
    options: dict[str, Any] = {"context": context, "per_document": False}
    made = [
        TopExamples(features(), D_SAE, keep=3, **options),
        BinSamples(features(), D_SAE, largest[features()], bins=2, keep=2, seed=1, **options),
        SilentPool(features(), D_SAE, size=5, seed=1, **options),
    ]
    for each in made:
        fed(each, corpus.documents(per_block))
    top, bins, silent = made[0].examples(), made[1].examples(), made[2].examples(4)
    for found, per_feature in ((top, 1), (bins, 2), (silent, 1)):
        rows = zip(rows_of(found), *(each.tolist() for each in found.windows), strict=True)
        for (cell, _, document, position, value), tokens, activations in rows:
            own, feature = corpus.document == document, FEATURES[cell // per_feature]
            for offset in range(-context, context + 1):
                token, activation = tokens[offset + context], activations[offset + context]
                at = np.flatnonzero(own & (corpus.position == position + offset))
                if not len(at):
                    assert token == NO_TOKEN
                    assert np.isnan(activation)
                    continue
                assert token == corpus.token[at[0]]
                if corpus.begin[at[0]]:
                    assert np.isnan(activation)
                else:
                    assert activation == corpus.latents[at[0], feature]
                if found is silent:
                    assert not corpus.latents[at[0], feature]
            assert activations[context] == value
    silent_everywhere = [row for row in rows_of(silent) if FEATURES[row[0]] == 4]
    assert not silent_everywhere, "feature 4 fires on every token"


def test_windows_need_whole_documents() -> None:
    corpus = random_corpus(0, documents=3, longest=8)
    made = TopExamples(features(), D_SAE, keep=3, context=1)
    with pytest.raises(SaeflowError) as error:
        fed(made, corpus.blocks([2]))
    check_sentence(error.value, "comes in two blocks", "whole documents")


def test_samples_of_many_seeds_are_uniform() -> None:
    corpus = random_corpus(2, documents=12, levels=1)
    fires = np.flatnonzero(corpus.latents[:, 3])
    largest = torch.full((len(FEATURES),), 3.0)
    seen: Counter[tuple[int, int]] = Counter()
    draws = 400
    for seed in range(draws):
        made = BinSamples(features(), D_SAE, largest, bins=1, keep=2, seed=seed, per_document=False)
        made.add(corpus.block(slice(0, len(corpus.document))))
        seen.update(row[2:4] for row in rows_of(made.examples()) if row[0] == 0)
    expected = 2 * draws / len(fires)
    assert len(seen) == len(fires)
    statistic = sum((count - expected) ** 2 / expected for count in seen.values())
    assert statistic < len(fires) + 4 * np.sqrt(2 * len(fires))


def test_keys_order_floats_as_they_are_compared() -> None:
    values = torch.tensor([0.0, 1e-40, -1e-3, 1.0, 1.0000001, -7e30, 3e38])
    assert size_keys(values).tolist() == sorted(size_keys(values).tolist(), reverse=True)
    assert size_keys(torch.tensor([-2.0])) == size_keys(torch.tensor([2.0]))


def test_drawn_numbers_do_not_repeat() -> None:
    document = torch.arange(300)[:, None].expand(300, 300)
    numbers = draw_numbers(0, document, document.T)
    assert len(numbers.unique()) == numbers.numel()
    assert int(numbers.min()) >= 0
    assert (draw_numbers(1, document, document.T) != numbers).all()


@pytest.mark.parametrize(("chosen", "part"), [([7], "to 7"), ([-1], "-1 to"), ([2, 2], "twice")])
def test_features_must_be_different_latents(chosen: list[int], part: str) -> None:
    with pytest.raises(SaeflowError) as error:
        places_of(features(chosen), D_SAE)
    check_sentence(error.value, part)
    with pytest.raises(SaeflowError):
        TopExamples(features(), D_SAE, keep=-1)


def test_nothing_to_keep() -> None:
    """No feature is chosen, no token is read, or all documents are silent."""
    corpus = random_corpus(0)
    made = TopExamples(features([]), D_SAE, keep=3, context=1)
    assert not rows_of(fed(made, corpus.documents()).examples())
    assert not rows_of(TopExamples(features(), D_SAE, keep=3).examples())
    corpus.latents[:] = 0
    made = TopExamples(features(), D_SAE, keep=3, context=1)
    assert not rows_of(fed(made, corpus.documents()).examples())
    pool = SilentPool(features(), D_SAE, size=4, seed=0, context=2)
    assert len(rows_of(fed(pool, corpus.documents(3)).examples(2))) == 2 * len(FEATURES)
    assert not rows_of(SilentPool(features(), D_SAE, size=4, seed=0).examples(2))


@cuda_only
def test_cuda_keeps_what_the_cpu_does() -> None:
    corpus = random_corpus(3, documents=40)
    kept = []
    for device in ("cpu", "cuda"):
        chosen, most = features().to(device), torch.full((len(FEATURES),), 3.0, device=device)
        options: dict[str, Any] = {"context": 2}
        made = [
            TopExamples(chosen, D_SAE, keep=3, **options),
            BinSamples(chosen, D_SAE, most, bins=3, keep=2, seed=1, **options),
            SilentPool(chosen, D_SAE, size=9, seed=1, **options),
        ]
        sums, tokens = (
            FeatureSums(D_SAE, device),
            TokenCounts(torch.arange(D_SAE), D_SAE, VOCABULARY, device),
        )
        pairs = Coactivations(chosen, D_SAE)
        for block in corpus.documents(7):
            for each in (*made, sums, tokens, pairs):
                each.add(on(block, device))
        examples = [made[0].examples(), made[1].examples(), made[2].examples(2)]
        kept.append((examples, sums, tokens.top(3, "total"), pairs.correlation(sums)))
    (here, sums, tokens, pairs), (there, other_sums, other_tokens, other_pairs) = kept
    for one, other in zip(here, there, strict=True):
        assert rows_of(one) == rows_of(other)
        for ours, theirs in zip(one.windows, other.windows, strict=True):
            torch.testing.assert_close(ours, theirs.cpu(), equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(sums.squares, other_sums.squares.cpu())
    assert sums.in_documents.tolist() == other_sums.in_documents.tolist()
    assert tokens.token.tolist() == other_tokens.token.tolist()
    torch.testing.assert_close(pairs, other_pairs.cpu())


def on(block: TokenBlock, device: str) -> TokenBlock:
    names = ("document", "position", "token", "begin", "rows", "latents", "values")
    return TokenBlock(*(getattr(block, name).to(device) for name in names))


def shifted(block: TokenBlock, by: int) -> TokenBlock:
    parts = (block.position, block.token, block.begin, block.rows, block.latents, block.values)
    return TokenBlock(block.document + by, *parts, block.activations)


def most_memory(repeats: int) -> int:
    """Of NumPy and Python only, so what is kept is counted by its tensors, too."""
    blocks = list(random_corpus(0, documents=100, longest=5).documents(100))
    everything, most = features(list(range(D_SAE))), torch.full((D_SAE,), 3.0)
    made = [
        FeatureSums(D_SAE),
        TokenCounts(torch.arange(D_SAE), D_SAE, VOCABULARY),
        TopExamples(everything, D_SAE, keep=40, context=8),
        BinSamples(everything, D_SAE, most, bins=3, keep=10, seed=0, context=8),
        SilentPool(everything, D_SAE, size=100, seed=0, context=8),
    ]
    tracemalloc.start()
    for repeat in range(repeats):
        for block in blocks:
            for each in made:
                each.add(shifted(block, 1000 * repeat))
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return traced + sum(held(each) for each in made)


def held(thing: Any) -> int:
    """Bytes of all tensors that an object reaches."""
    if isinstance(thing, torch.Tensor):
        return thing.nbytes
    if isinstance(thing, (list, tuple)):
        return sum(map(held, thing))
    return sum(map(held, vars(thing).values())) if hasattr(thing, "__dict__") else 0


def test_memory_does_not_grow_with_documents() -> None:
    most_memory(2)
    few, many = most_memory(6), most_memory(150)
    assert many < 1.3 * few, "14,400 documents more, of which a number each were as much again"
