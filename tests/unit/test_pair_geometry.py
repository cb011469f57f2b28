"""Retrieval across forms and shares of variance against slow versions, planted structure and nulls."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saeflow.errors import SaeflowError
from saeflow.stats.geometry import cosines, gram_matrix
from saeflow.stats.pair_geometry import (
    Retrieval,
    disjoint_pairs,
    expected_reciprocal_ranks,
    pair_retrieval,
    retrieval_design,
)
from saeflow.stats.pair_variance import (
    TERMS,
    Decomposition,
    variance_decomposition,
    variance_design,
)
from tests.planted_texts import FORM, PAIR, TOPIC, PlantedTexts, planted_texts
from tests.sentences import check_sentence

RATE_ERROR = 3.5 * np.sqrt(0.05 * 0.95)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(arrays(np.float64, (3, 5), elements=st.sampled_from([0.0, 0.5, 0.5 + 1e-12, 1.0])))
def test_ranks_are_those_of_all_orders_of_ties(similarity: np.ndarray) -> None:
    first, reciprocal = expected_reciprocal_ranks(similarity)
    for query, row in enumerate(np.round(similarity, 9)):
        ranks = np.zeros((5, 0))
        for order in itertools.permutations(range(5)):
            ordered = sorted(order, key=lambda each: -row[each])
            ranks = np.column_stack([ranks, [ordered.index(each) + 1 for each in range(5)]])
        np.testing.assert_allclose(first[query], (ranks == 1).mean(1))
        np.testing.assert_allclose(reciprocal[query], (1 / ranks).mean(1))


def retrieval_of(planted: PlantedTexts, seed: int = 0, permutations: int = 99) -> Retrieval:
    similarity = cosines(gram_matrix(planted.values))
    design = retrieval_design(planted.classes, planted.pairs, permutations, generator(seed))
    return pair_retrieval(similarity, design)


def test_retrieval_equals_a_slow_look_up() -> None:
    planted = planted_texts({PAIR}, strength=1.0, n_noise=5)
    kept = np.delete(np.arange(len(planted.topics)), [0, 30, 31])
    similarity = cosines(gram_matrix(planted.values[kept]))
    classes, pairs = planted.classes[kept], planted.pairs[kept]
    topics = planted.topics[kept]
    found = pair_retrieval(similarity, retrieval_design(classes, pairs, 9, generator()))
    nearest, reciprocal, chance = [], [], []
    for query, form in itertools.product(range(len(kept)), np.unique(classes)):
        candidates = np.flatnonzero(classes == form)
        own = candidates[pairs[candidates] == pairs[query]]
        if form == classes[query] or not len(own):
            continue
        assert (topics[candidates] == topics[query]).all()
        rank = 1 + (similarity[query, candidates] > similarity[query, own[0]]).sum()
        nearest.append(rank == 1)
        reciprocal.append(1 / rank)
        chance.append([1 / len(candidates), np.mean(1 / np.arange(1, len(candidates) + 1))])
    assert found.n_queries == len(nearest)
    assert found.top_1 == pytest.approx(np.mean(nearest))
    assert found.mrr == pytest.approx(np.mean(reciprocal))
    assert (found.top_1_chance, found.mrr_chance) == pytest.approx(np.mean(chance, axis=0))
    assert found.top_1_low < found.top_1 < found.top_1_high
    assert found.mrr_low < found.mrr < found.mrr_high
    # Of two pairs in two forms one text is gone, so there is nothing to look up.
    assert found.n_pairs == 30


def test_retrieval_finds_planted_pairs_only() -> None:
    found = retrieval_of(planted_texts({PAIR}))
    assert found.top_1 == found.mrr == 1
    assert found.p_value == 0.01
    assert np.isnan([found.top_1_low, found.mrr_high]).all()
    p_values = []
    for seed in range(10):
        other = retrieval_of(planted_texts({FORM, TOPIC}, seed), seed)
        assert abs(other.top_1 - 1 / 8) < 0.1
        p_values.append(other.p_value)
    assert min(p_values) > 0.01
    design = retrieval_design(np.arange(12) // 4, np.arange(12) % 4, 19, generator())
    alike = pair_retrieval(np.ones((12, 12)), design)
    assert alike.top_1 == pytest.approx(1 / 4)
    assert alike.mrr == pytest.approx(alike.mrr_chance) == pytest.approx(25 / 48)
    assert alike.p_value == 1


def test_retrieval_without_pairs_passes_at_the_nominal_rate() -> None:
    found = [
        retrieval_of(planted_texts((FORM,), seed, forms=(3, 2), n_pairs=6), seed)
        for seed in range(300)
    ]
    rate = np.mean([each.p_value <= 0.05 for each in found])
    assert abs(rate - 0.05) < RATE_ERROR / np.sqrt(300)
    spread = np.std([each.mrr for each in found]) / np.sqrt(300)
    assert abs(np.mean([each.mrr for each in found]) - found[0].mrr_chance) < 4 * spread


def test_retrieval_wants_one_text_of_each_form() -> None:
    with pytest.raises(SaeflowError, match=r"two texts of form 0") as error:
        retrieval_design(np.array([0, 0, 1]), np.array([5, 5, 5]), 9, generator())
    check_sentence(error.value)
    with pytest.raises(SaeflowError, match=r"^No pair has"):
        retrieval_design(np.array([0, 1]), np.array([0, 1]), 9, generator())


def test_disjoint_pairs_give_each_pair_to_one_form() -> None:
    planted = planted_texts(n_pairs=7)
    chosen = disjoint_pairs(planted.classes, planted.pairs, planted.topics, generator())
    assert sorted(planted.pairs[chosen]) == np.unique(planted.pairs).tolist()
    sizes = Counter(planted.classes[chosen].tolist())
    assert set(sizes) == set(range(11))
    assert set(sizes.values()) <= {2, 3, 4}


def decomposition_of(planted: PlantedTexts, seed: int = 0, permutations: int = 99) -> Decomposition:
    parts = (planted.topics, planted.classes, planted.pairs)
    design = variance_design(*parts, permutations, generator(seed))
    return variance_decomposition(gram_matrix(planted.values), design)


def test_shares_of_variance_equal_slow_sums_of_squares() -> None:
    planted = planted_texts({FORM, TOPIC, PAIR}, strength=1.0)
    values = planted.values.astype(float)

    def fitted(labels: np.ndarray) -> np.ndarray:
        means = {each: values[labels == each].mean(0) for each in np.unique(labels)}
        return np.stack([means[each] for each in labels])

    topic, form, pair = (fitted(each) for each in (planted.topics, planted.classes, planted.pairs))
    parts = [topic - values.mean(0), form - topic, pair - topic, values - form - pair + topic]
    squares = np.array([(each**2).sum() for each in parts])
    found = decomposition_of(planted, permutations=9)
    np.testing.assert_allclose(found.share, squares / squares.sum())
    assert found.share.sum() == pytest.approx(1)
    assert found.degrees.tolist() == [3, 7, 28, 49]
    assert found.degrees.sum() == len(values) - 1
    mean = squares / found.degrees
    expected = found.degrees[:3] * [mean[1] + mean[2] - mean[3], mean[3], mean[3]] / squares.sum()
    np.testing.assert_allclose(found.chance_share[:3], expected)
    assert np.isnan([found.chance_share[3], found.p_value[3]]).all()


@pytest.mark.parametrize("kind", [TOPIC, FORM, PAIR])
def test_each_term_finds_its_own_planted_features_only(kind: str) -> None:
    found = [decomposition_of(planted_texts({kind}, seed), seed) for seed in range(8)]
    p_values = np.array([each.p_value for each in found])
    excess = np.mean([each.share - each.chance_share for each in found], axis=0)
    for place, term in enumerate(TERMS[:3]):
        if term == kind:
            assert (p_values[:, place] <= 0.02).all()
            assert excess[place] > 0.05
        else:
            assert np.median(p_values[:, place]) > 0.1
            assert abs(excess[place]) < 0.02


@pytest.mark.parametrize("kinds", [(), (FORM, PAIR), (TOPIC,)], ids=["noise", "others", "topic"])
def test_terms_without_effect_pass_at_the_nominal_rate(kinds: tuple[str, ...]) -> None:
    p_values = np.array(
        [
            decomposition_of(
                planted_texts(kinds, seed, forms=(3, 2, 3, 3), n_pairs=6, strength=2.0), seed, 59
            ).p_value
            for seed in range(120)
        ]
    )
    for place, term in enumerate(TERMS[:3]):
        if term not in kinds:
            rate = (p_values[:, place] <= 0.05).mean()
            assert abs(rate - 0.05) < RATE_ERROR / np.sqrt(120), term


def test_decomposition_wants_complete_tables() -> None:
    planted = planted_texts()
    labels = (planted.topics[1:], planted.classes[1:], planted.pairs[1:])
    with pytest.raises(SaeflowError, match=r"^Topic 0 has 23 texts of 8 pairs in 3 forms") as error:
        variance_design(*labels, 9, generator())
    check_sentence(error.value)
    alone = planted_texts({PAIR}, forms=(3,))
    found = decomposition_of(alone)
    assert np.isnan(found.p_value[0])
    assert found.p_value[2] == 0.01
    parts = (planted.topics, planted.classes, planted.pairs)
    design = variance_design(*parts, 9, generator())
    alike = variance_decomposition(np.ones((88, 88)), design)
    assert np.isnan(alike.share).all()
    assert (alike.p_value[:3] == 1).all()
