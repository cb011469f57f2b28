"""Matching of features against a search through all ways, and on a shuffled dictionary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from saeflow.stats.matching import best_matching, correlations, cosines


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
