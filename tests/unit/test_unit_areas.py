"""Areas under the curve by units against scipy and slow loops; labels and resamples by whole units."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csc_array
from scipy.stats import kstest, mannwhitneyu

from saeflow.errors import SaeflowError
from saeflow.stats.unit_areas import (
    area_tests,
    best_features,
    rank_sums,
    stability,
    unit_areas,
)


def drawn(seed: int, sizes: list[int], features: int, levels: int = 4) -> csc_array:
    """Sparse values with many ties, some features constant or silent."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-1, levels, (sum(sizes), features)).astype(np.float32)
    values *= rng.random(values.shape) < 0.5
    values[:, 0], values[:, 1] = 0, 2
    return csc_array(values)


@given(
    st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=2, max_size=7), st.integers(1, 6)
)
def test_areas_equal_scipys_with_ties(seed: int, sizes: list[int], n_positive: int) -> None:
    values = drawn(seed, sizes, 6)
    unit = np.repeat(np.arange(len(sizes)), sizes)
    positive = np.arange(len(sizes)) < min(n_positive, len(sizes) - 1)
    order = np.random.default_rng(seed).permutation(len(unit))
    ranked = rank_sums(csc_array(values[order]), unit[order])
    found = unit_areas(ranked, positive[:, None])[:, 0]
    one, two = values[positive[unit]].toarray(), values[~positive[unit]].toarray()
    expected = mannwhitneyu(one, two, axis=0).statistic / (len(one) * len(two))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found[:2], 0.5)


def test_every_labeling_is_compared_where_there_are_few() -> None:
    sizes = [1, 3, 2, 1, 4]
    unit = np.repeat(np.arange(5), sizes)
    values = drawn(3, sizes, 5)
    positive = np.array([True, True, False, False, False])
    ranked = rank_sums(values, unit)
    found = area_tests(ranked, positive, labelings=10, generator=np.random.default_rng(0))
    areas = np.array(
        [
            unit_areas(ranked, np.isin(np.arange(5), pair)[:, None])[:, 0]
            for pair in combinations(range(5), 2)
        ]
    )
    assert found.exact
    np.testing.assert_allclose(found.maxima, areas.max(1))
    np.testing.assert_allclose(found.p_value, (areas >= found.area - 1e-12).mean(0))
    best = (areas.max(1)[:, None] >= found.area - 1e-12).mean(0)
    np.testing.assert_allclose(found.best_p_value, best)
    sampled = area_tests(ranked, positive, labelings=9, generator=np.random.default_rng(0))
    assert not sampled.exact
    assert (sampled.p_value * 10 >= 1 - 1e-12).all()


def test_p_values_are_uniform_where_there_is_nothing_though_tokens_hang_together() -> None:
    by_unit, by_token, best = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        unit = np.repeat(np.arange(16), rng.integers(1, 12, 16))
        # What a prompt's tokens share is most of their variance.
        values = rng.normal(size=(16, 8))[unit] + 0.3 * rng.normal(size=(len(unit), 8))
        positive = np.isin(np.arange(16), rng.permutation(16)[:8])
        ranked = rank_sums(csc_array(values), unit)
        found = area_tests(ranked, positive, labelings=199, generator=rng)
        by_unit.append(found.p_value[0])
        best.append(found.best_p_value[found.area.argmax()])
        one, two = values[positive[unit], 0], values[~positive[unit], 0]
        by_token.append(mannwhitneyu(one, two, alternative="greater").pvalue)
    for p_values in (by_unit, best):
        assert kstest(p_values, "uniform").pvalue > 0.01
        assert np.mean(np.array(p_values) <= 0.05) < 0.1
    # Tokens as if they were independent: what the test must not do.
    assert np.mean(np.array(by_token) <= 0.05) > 0.2


def test_the_best_of_ties_is_the_one_that_differs_most() -> None:
    values = csc_array(
        np.array([[1, 9, 1, 0], [1, 8, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    )
    positive = np.array([True, True, False, False])
    area = unit_areas(rank_sums(values, np.arange(4)), positive[:, None])[:, 0]
    np.testing.assert_allclose(area, [1, 1, 1, 0.75])
    # Feature 1: means 8.5 and .5, variances ½ each. Features 0 and 2 do not vary within a side.
    assert best_features(values, area, positive, 3).tolist() == [1, 0, 2]
    assert best_features(values, area, positive, 99).tolist() == [1, 0, 2, 3]


def slow_area(column: np.ndarray, one: list[int], two: list[int], unit: np.ndarray) -> float:
    first = np.concatenate([column[unit == each] for each in one])
    second = np.concatenate([column[unit == each] for each in two])
    wins = (first[:, None] > second).mean() + (first[:, None] == second).mean() / 2
    return float(wins)


def test_stability_equals_a_slow_loop() -> None:
    sizes = [2, 1, 3, 1, 2, 2]
    unit = np.repeat(np.arange(6), sizes)
    values = drawn(5, sizes, 7)
    positive = np.array([True, False, True, False, True, False])
    area = unit_areas(rank_sums(values, unit), positive[:, None])[:, 0]
    found = stability(
        values, unit, positive, area, top=2, resamples=30, generator=np.random.default_rng(1)
    )
    rng = np.random.default_rng(1)
    counts = [rng.multinomial(3, np.full(3, 1 / 3), size=30) for _ in range(2)]
    expected = np.zeros(7)
    for one, two in zip(*counts, strict=True):
        above = np.repeat(np.flatnonzero(positive), one).tolist()
        below = np.repeat(np.flatnonzero(~positive), two).tolist()
        areas = np.array(
            [slow_area(column, above, below, unit) for column in values.toarray().T]
        ).round(10)
        last = np.sort(areas)[-2]
        left = 2 - (areas > last).sum()
        expected += (areas > last) + (areas == last) * left / (areas == last).sum()
    np.testing.assert_allclose(found, expected / 30)
    assert found.sum() == pytest.approx(2)


def test_planted_feature_is_stable_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(size=(40, 300))).astype(np.float32)
    positive = np.arange(40) < 20
    values[positive, 7] += 3
    sparse = csc_array(values)
    area = unit_areas(rank_sums(sparse, np.arange(40)), positive[:, None])[:, 0]
    found = stability(sparse, np.arange(40), positive, area, top=1, resamples=100, generator=rng)
    assert found.argmax() == 7
    assert found[7] > 0.95
    assert (
        stability(sparse, np.arange(40), positive, area, top=1, resamples=0, generator=rng).max()
        == 0
    )


def test_zeros_are_equal_whether_stored_or_not() -> None:
    values = np.array([[0, -1], [-0.0, 2], [3, 0], [0, 0]], np.float32)
    stored = csc_array((values.T.ravel(), np.tile(np.arange(4), 2), [0, 4, 8]), shape=(4, 2))
    assert stored.nnz == 8
    for each in (stored, csc_array(values)):
        np.testing.assert_array_equal(
            rank_sums(each, np.arange(4)).sums, [[4, 4, 8, 4], [2, 8, 5, 5]]
        )


def test_one_sided_labels_empty_units_and_infinite_values_are_refused() -> None:
    values = csc_array(np.ones((3, 2), np.float32))
    ranked = rank_sums(values, np.arange(3))
    for positive in (np.ones(3, bool), np.zeros(3, bool)):
        with pytest.raises(SaeflowError, match="inside a class"):
            area_tests(ranked, positive, labelings=9, generator=np.random.default_rng(0))
    with pytest.raises(SaeflowError, match="have none"):
        rank_sums(values, np.array([0, 2, 2]))
    with pytest.raises(SaeflowError, match="not finite"):
        rank_sums(csc_array(np.array([[np.nan], [1.0]])), np.arange(2))


def test_a_sparse_wide_sae_takes_a_fraction_of_scipys_time() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros((60, 16_384), np.float32)
    for row in values:
        row[rng.integers(0, 16_384, 32)] = np.abs(rng.normal(size=32))
    positive, sparse = np.arange(60) < 30, csc_array(values)

    def ours() -> np.ndarray:
        return unit_areas(rank_sums(sparse, np.arange(60)), positive[:, None])[:, 0]

    def scipys() -> np.ndarray:
        one, two = values[positive], values[~positive]
        return mannwhitneyu(one, two, axis=0, method="asymptotic").statistic / 900

    spent: dict[str, list[float]] = {"ours": [], "scipys": []}
    for _ in range(3):
        for run in (ours, scipys):
            before = time.process_time()
            run()
            spent[run.__name__].append(time.process_time() - before)
    np.testing.assert_allclose(ours(), scipys(), atol=1e-12)
    assert min(spent["ours"]) < min(spent["scipys"]) / 2
