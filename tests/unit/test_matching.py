"""Matching of features against a search through all ways, and on a shuffled dictionary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from saeflow.stats.matching import (
    best_matching,
    chance_agreement,
    correlations,
    cosines,
    shared_similarity,
)


def test_matching_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        similarity = rng.normal(size=(4, 5))
        found = best_matching(similarity)
        best = max(
            sum(similarity[row, column] for row, column in enumerate(columns))
            for columns in itertools.permutations(range(5), 4)
        )
        assert found.similarity.sum() == pytest.approx(best)
        assert len(set(found.second.tolist())) == 4


def test_shuffled_dictionary_is_found_again() -> None:
    rng = np.random.default_rng(1)
    decoder = rng.normal(size=(16, 40))
    order = rng.permutation(40)
    shuffled = decoder[:, order] * rng.uniform(0.5, 2, 40) + 0.01 * rng.normal(size=(16, 40))
    found = best_matching(cosines(decoder, shuffled))
    np.testing.assert_array_equal(order[found.second], found.first)
    assert found.similarity.min() > 0.99


def test_correlations_equal_numpy() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
    second[:, 1] = 0.1
    found = correlations(first, second)
    expected = np.corrcoef(first.T, second[:, [0, 2, 3]].T)[:3, 3:]
    np.testing.assert_allclose(found[:, [0, 2, 3]], expected, atol=1e-12)
    assert (found[:, 1] == 0).all()
    assert (cosines(np.zeros((3, 2)), np.ones((3, 1))) == 0).all()


def test_shared_similarity_reaches_a_threshold_where_both_do_with_one_sign() -> None:
    cosine, correlation = np.random.default_rng(3).uniform(-1, 1, (2, 40, 50))
    for level in (0.1, 0.5, 0.9):
        positive = (cosine >= level) & (correlation >= level)
        negative = (cosine <= -level) & (correlation <= -level)
        signed = shared_similarity(cosine, correlation, signed=True) >= level
        np.testing.assert_array_equal(signed, positive | negative)
        unsigned = shared_similarity(cosine, correlation, signed=False) >= level
        np.testing.assert_array_equal(unsigned, positive)
        assert negative.any()
        assert positive.any()
    assert (shared_similarity(cosine, -cosine, signed=True) == 0).all()


def test_chance_agreement_is_the_mean_over_all_ways_to_pair() -> None:
    first, second = list("aabbc"), list("abbbd")
    agreeing = [
        sum(one == other for one, other in zip(first, ordered, strict=True))
        for ordered in itertools.permutations(second)
    ]
    assert chance_agreement(first, second) == pytest.approx(np.mean(agreeing))
    assert chance_agreement([], []) == 0
