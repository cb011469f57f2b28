"""Lengths of prompts: when two sides differ, and what is chosen so that they do not."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from saeflow.datasets.prompt_lengths import check_lengths, matched_lengths
from saeflow.errors import SaeflowError


def test_sides_of_one_length_are_matched_and_longer_ones_are_not() -> None:
    same = check_lengths(np.array([5, 6, 7, 8]), np.array([6, 5, 8, 7]))
    assert (same.area, same.matched) == (0.5, True)
    longer = check_lengths(np.arange(20, 40), np.arange(5, 25))
    assert (longer.positive, longer.negative) == (29.5, 14.5)
    assert longer.area > 0.9
    assert longer.p_value < 0.001
    assert not longer.matched
    # With two a side no p-value is small, but the area tells.
    assert not check_lengths(np.array([9, 10]), np.array([3, 4])).matched
    assert not check_lengths(np.array([3, 4]), np.array([9, 10])).matched


def test_choice_is_the_cheapest_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        lengths, pool = rng.integers(1, 30, 3), rng.integers(1, 30, 6)
        found = matched_lengths(lengths, pool, 3)
        costs = {
            some: min(
                np.abs(np.log(lengths) - np.log(pool[list(order)])).sum()
                for order in permutations(some)
            )
            for some in combinations(range(6), 3)
        }
        assert costs[tuple(found)] == pytest.approx(min(costs.values()))


def test_fewer_or_more_than_there_are_lengths() -> None:
    pool = np.array([50, 10, 20, 11, 49, 21])
    assert matched_lengths(np.array([10, 20, 50]), pool, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert sorted(pool[matched_lengths(np.array([10, 20, 50]), pool, 2)]) == [10, 50]
    assert len(matched_lengths(np.array([10]), pool, 0)) == 0


def test_nothing_to_match_is_told() -> None:
    with pytest.raises(SaeflowError, match="4 are to be chosen of 2"):
        matched_lengths(np.array([3]), np.array([1, 2]), 4)
    with pytest.raises(SaeflowError, match="expected some"):
        check_lengths(np.array([3]), np.array([], np.int64))
