"""Bootstrap intervals, sign flips and Wilson's intervals against slow or known results."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from saeflow.errors import SaeflowError
from saeflow.stats.resampling import (
    cluster_averages,
    cluster_means,
    cluster_sums,
    resample_counts,
    sign_flip_p_value,
    wilson_of_shares,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_means_equal_a_slow_bootstrap_on_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 12))
    values[0, [0, 1, 5]] = np.nan
    clusters = [("pair", number // 2) for number in range(12)]
    found = cluster_means(values, clusters, generator())
    drawn = resample_counts(6, generator())
    for place, row in enumerate(values):
        means = []
        for counts in drawn:
            repeated = np.concatenate(
                [row[2 * each : 2 * each + 2] for each in range(6) for _ in range(counts[each])]
            )
            means.append(np.nanmean(repeated))
        assert found.value[place] == pytest.approx(np.nanmean(row))
        assert found.low[place] == pytest.approx(np.quantile(means, 0.025))
        assert found.high[place] == pytest.approx(np.quantile(means, 0.975))
    assert found.n.tolist() == [5, 6, 6]
    assert found.left_out.tolist() == [3, 0, 0]


def test_resamples_without_a_value_are_skipped() -> None:
    values = np.array([[1.0, 2.0, *[np.nan] * 8]])
    found = cluster_means(values, None, generator())
    assert found.value[0] == 1.5
    assert (found.low[0], found.high[0]) == (1, 2)
    assert found.n.tolist() == [2]
    assert found.left_out.tolist() == [8]


def test_nothing_to_resample_gives_no_interval() -> None:
    found = cluster_means(np.array([[2.0, 2, 2], [np.nan] * 3]), None, generator())
    assert found.value[0] == 2
    assert np.isnan([*found.low, *found.high, found.value[1]]).all()
    assert found.n.tolist() == [3, 0]
    empty = cluster_means(np.zeros((1, 0)), None, generator())
    assert np.isnan([empty.value[0], empty.low[0]]).all()
    assert empty.n.tolist() == [0]


def test_intervals_over_clusters_cover_where_those_over_examples_do_not() -> None:
    hits = {True: 0, False: 0}
    for seed in range(80):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.normal(size=40), 4)[None] + 0.1 * rng.normal(size=(1, 160))
        for clustered in hits:
            names = [number // 4 for number in range(160)] if clustered else None
            found = cluster_means(values, names, rng)
            hits[clustered] += bool(found.low[0] <= 0 <= found.high[0])
    assert hits[True] >= 80 * 0.95 - 3 * np.sqrt(80 * 0.95 * 0.05)
    assert hits[False] < 60


def test_clusters_keep_the_order_in_which_they_appear() -> None:
    values = np.array([[1.0, 2], [3, np.nan], [5, 6], [np.nan, np.nan]])
    sums, sizes = cluster_sums(values, ["b", "a", "b", "c"])
    np.testing.assert_array_equal(sums, [[6, 8], [3, 0], [0, 0]])
    np.testing.assert_array_equal(sizes, [[2, 2], [1, 0], [0, 0]])
    averages = cluster_averages(values, ["b", "a", "b", "c"])
    np.testing.assert_array_equal(averages, [[3, 4], [3, np.nan], [np.nan, np.nan]])
    with pytest.raises(SaeflowError, match=r"^3 clusters are named for 4 examples"):
        cluster_sums(values, ["a", "b", "c"])


@given(st.lists(st.floats(-5, 5).map(lambda value: round(value, 2)), min_size=2, max_size=7))
def test_sign_flips_equal_the_slow_count(differences: list[float]) -> None:
    values = np.array(differences)
    found = sign_flip_p_value(np.append(values, np.nan), None, 1000, generator())
    means = [np.mean(values * signs) for signs in itertools.product((1, -1), repeat=len(values))]
    as_far = [abs(each) >= abs(values.mean()) - 1e-9 for each in means]
    assert found == pytest.approx(np.mean(as_far))


def test_sign_flips_of_one_cluster_go_together() -> None:
    differences = np.repeat([1.0, 2.0, 3.0], 10)
    clusters = [number // 10 for number in range(30)]
    assert sign_flip_p_value(differences, clusters, 9999, generator()) == pytest.approx(2 / 8)
    assert sign_flip_p_value(differences, None, 9999, generator()) < 0.001
    assert sign_flip_p_value(np.full(4, np.nan), None, 99, generator()) == 1
    assert sign_flip_p_value(np.array([3.0]), None, 99, generator()) == 1


def test_drawn_sign_flips_hold_their_level_and_are_never_0() -> None:
    rng = np.random.default_rng(7)
    found = np.array([sign_flip_p_value(rng.normal(size=30), None, 199, rng) for _ in range(200)])
    assert abs((found <= 0.1).sum() - 20) < 3 * np.sqrt(200 * 0.1 * 0.9)
    assert sign_flip_p_value(rng.normal(9, 1, 30), None, 199, rng) == pytest.approx(2 / 200)


def test_wilson_of_whole_examples_is_scipys_and_of_shares_is_wider() -> None:
    expected = binomtest(3, 8).proportion_ci(method="wilson")
    whole = np.array([1.0, 1, 1, 0, 0, 0, 0, 0])
    assert wilson_of_shares(whole) == pytest.approx((expected.low, expected.high))
    tenths = np.full(10, 0.3)  # sums to 3 but for its last bits
    assert tenths.sum() < 3
    expected = binomtest(3, 10).proportion_ci(method="wilson")
    assert wilson_of_shares(tenths) == pytest.approx((expected.low, expected.high))
    low, high = wilson_of_shares(np.array([0.5, 0, 0, 0, 1, 1]))
    assert low == pytest.approx(binomtest(2, 6).proportion_ci(method="wilson").low)
    assert high == pytest.approx(binomtest(3, 6).proportion_ci(method="wilson").high)
