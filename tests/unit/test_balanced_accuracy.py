"""Balanced accuracy beside SciPy's exact intervals, and how often its interval holds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from saeflow.stats.balanced_accuracy import balanced_accuracy, exact_ends


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_ends_are_scipy_s(count: int, level: float) -> None:
    for successes in range(count + 1):
        wanted = binomtest(successes, count).proportion_ci(1 - level, "exact")
        np.testing.assert_allclose(
            exact_ends(float(successes), count, level), [wanted.low, wanted.high], atol=1e-9
        )


def test_a_part_of_a_document_is_rounded_outwards() -> None:
    low, high = exact_ends(3.5, 9, 0.05)
    assert low == exact_ends(3.0, 9, 0.05)[0]
    assert high == exact_ends(4.0, 9, 0.05)[1]


def test_value_is_the_mean_of_both_shares() -> None:
    found = balanced_accuracy(
        np.array([1.0, 1, 1, 0]), [0, 1, 2, 3], [np.array([1.0, 0])], [[4, 5]]
    )
    assert found.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert 0 <= found.low < found.value < found.high <= 1


def test_kinds_of_negatives_count_alike() -> None:
    hits = np.ones(4)
    refusals = [np.ones(1), np.zeros(50)]
    found = balanced_accuracy(hits, [*range(4)], refusals, [[9], [*range(10, 60)]])
    assert found.value == pytest.approx((1 + 0.5) / 2)


def test_contexts_of_one_document_are_one_example() -> None:
    many = balanced_accuracy(np.ones(30), [0] * 30, [np.ones(30)], [[1] * 30])
    one = balanced_accuracy(np.ones(1), [0], [np.ones(1)], [[1]])
    assert many == one
    assert many.low < 0.1


def test_nothing_is_said_of_one_side_alone() -> None:
    empty = np.zeros(0)
    for found in (
        balanced_accuracy(empty, [], [np.ones(2)], [[0, 1]]),
        balanced_accuracy(np.ones(2), [0, 1], [], []),
        balanced_accuracy(np.ones(2), [0, 1], [empty], [[]]),
    ):
        assert np.isnan(found).all()


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.9, 0.7), (1.0, 0.95)])
def test_the_interval_holds_in_95_percent_of_all_outcomes(first: float, second: float) -> None:
    n, true = 12, (first + second) / 2
    held = 0.0
    for hit in range(n + 1):
        for refused in range(n + 1):
            chance = binom.pmf(hit, n, first) * binom.pmf(refused, n, second)
            found = balanced_accuracy(
                (np.arange(n) < hit).astype(float),
                [*range(n)],
                [(np.arange(n) < refused).astype(float)],
                [[*range(n)]],
            )
            held += chance * (found.low <= true <= found.high)
    assert held >= 0.95
