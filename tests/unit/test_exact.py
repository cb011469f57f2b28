"""Exact tests and effect sizes against SciPy and slow, obvious versions, one table at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import (
    false_discovery_control,
    fisher_exact,
    hypergeom,
    mannwhitneyu,
    pointbiserialr,
)

from saeflow.stats.effects import auroc, detection, log_odds_ratio, point_biserial
from saeflow.stats.exact import TailTable, adjusted, holm, stratified_tail, upper_tail


def random_margins(rng: np.random.Generator, total: int, count: int) -> tuple[np.ndarray, ...]:
    """Joint count, active and support of possible tables: thin ones, and of any size."""
    half = count // 2
    active = np.r_[rng.integers(0, total + 1, half), rng.integers(0, total // 5 + 2, count - half)]
    support = np.r_[rng.integers(0, total + 1, half), rng.integers(0, total // 9 + 2, count - half)]
    least, most = np.maximum(active + support - total, 0), np.minimum(active, support)
    return rng.integers(least, most + 1), active, support


def test_tail_equals_fisher_exact_on_many_tables() -> None:
    rng = np.random.default_rng(0)
    checked = 0
    for total in (3, 20, 137, 1000, 7473):
        joint, active, support = random_margins(rng, total, 4200)
        found = upper_tail(joint, active, support, total)
        expected = [
            fisher_exact([[a, n - a], [s - a, total - n - s + a]], alternative="greater").pvalue
            for a, n, s in zip(joint, active, support, strict=True)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)
        checked += len(joint)
    assert checked >= 20_000


@given(st.integers(1, 60), st.data())
def test_lowest_passing_count_is_where_the_tail_falls_below_the_level(
    total: int, data: st.DataObject
) -> None:
    margins = st.integers(0, total)
    active = np.array(data.draw(st.lists(margins, min_size=1, max_size=4)))
    support = np.array(data.draw(st.lists(margins, min_size=1, max_size=4)))
    level = data.draw(st.sampled_from([1e-6, 0.01, 0.05, 0.5]))
    table = TailTable(active, support, total)
    found = table.lowest(level)[table.row][:, table.column]
    for (row, n), (column, s) in itertools.product(enumerate(active), enumerate(support)):
        counts = range(max(n + s - total, 0), min(n, s) + 1)
        passing = [a for a in counts if hypergeom.sf(a - 1, total, n, s) <= level]
        assert found[row, column] == min(passing, default=total + 1)
        pairs = (np.full(len(counts), value) for value in (row, column))
        p_values = table.p_values(np.array(counts), *pairs)
        expected = upper_tail(np.array(counts), *np.array([(n, s)] * len(counts)).T, total)
        np.testing.assert_array_equal(p_values, expected)


@pytest.mark.parametrize("dependent", [False, True])
def test_adjusted_equals_scipy(dependent: bool) -> None:
    rng = np.random.default_rng(1)
    p_values = np.r_[rng.uniform(size=400), rng.uniform(size=60) ** 6, [0.0, 1.0, 0.3, 0.3]]
    expected = false_discovery_control(p_values, method="by" if dependent else "bh")
    np.testing.assert_allclose(
        adjusted(p_values, len(p_values), dependent=dependent), expected, rtol=1e-12
    )
    # Those above a level may be left out: what is no larger than it stays the same.
    small = p_values <= 0.05
    found = adjusted(p_values[small], len(p_values), dependent=dependent)
    decided = expected[small] <= 0.05
    assert decided.any()
    np.testing.assert_allclose(found[decided], expected[small][decided], rtol=1e-12)
    assert (found[~decided] > 0.05).all()


def test_stratified_tail_is_the_chance_of_the_sum() -> None:
    rng = np.random.default_rng(2)
    total = rng.integers(1, 15, (200, 2))
    active, support = rng.integers(0, total + 1), rng.integers(0, total + 1)
    joint = rng.integers(np.maximum(active + support - total, 0), np.minimum(active, support) + 1)
    found = stratified_tail(joint, active, support, total)
    for row in range(len(joint)):
        chances = [
            [hypergeom.pmf(a, total[row, i], active[row, i], support[row, i]) for a in range(16)]
            for i in range(2)
        ]
        expected = sum(
            chances[0][x] * chances[1][y]
            for x, y in itertools.product(range(16), repeat=2)
            if x + y >= joint[row].sum()
        )
        assert found[row] == pytest.approx(expected, rel=1e-9)


def test_one_stratum_is_fishers_test() -> None:
    joint, active, support = random_margins(np.random.default_rng(3), 90, 300)
    columns = [np.asarray(values)[:, None] for values in (joint, active, support)]
    found = stratified_tail(*columns, np.full((300, 1), 90))
    np.testing.assert_allclose(found, upper_tail(joint, active, support, 90), rtol=1e-9)


def test_what_is_only_carried_has_nothing_left_within_strata() -> None:
    # A label that occurs with the best one or alone, and follows the feature through it alone.
    rng = np.random.default_rng(4)
    best = rng.uniform(size=4000) < 0.3
    feature = np.where(best, rng.uniform(size=4000) < 0.9, rng.uniform(size=4000) < 0.02)
    carried = np.where(best, rng.uniform(size=4000) < 0.6, rng.uniform(size=4000) < 0.1)
    assert fisher_exact(counts(feature, carried), alternative="greater").pvalue < 1e-6
    strata = [[counts(feature[best == flag], carried[best == flag])] for flag in (True, False)]
    a, b, c, d = (np.array([[s[0][i][j] for s in strata]]) for i in (0, 1) for j in (0, 1))
    assert stratified_tail(a, a + b, a + c, a + b + c + d)[0] > 0.01


def counts(one: np.ndarray, other: np.ndarray) -> list[list[int]]:
    return [[int((one & other).sum()), int((one & ~other).sum())],
            [int((~one & other).sum()), int((~one & ~other).sum())]]  # fmt: skip


def test_log_odds_of_a_perfect_detector_is_finite() -> None:
    found = log_odds_ratio(*(np.array([each]) for each in (5, 20, 0, 975)))
    assert found.value[0] == pytest.approx(math.log(5.5 * 975.5 / (20.5 * 0.5)))
    reach = 1.959963984540054 * math.sqrt(1 / 5.5 + 1 / 20.5 + 1 / 0.5 + 1 / 975.5)
    assert found.low[0] == pytest.approx(found.value[0] - reach)
    assert found.high[0] == pytest.approx(found.value[0] + reach)


def test_detection_of_the_studys_top_feature() -> None:
    # methods/1, section 2.9: 5 of the 25 problems hold the token, which 6 hold in all.
    found = detection(np.array([5]), np.array([20]), np.array([1]))
    assert (found.precision[0], found.recall[0]) == (0.2, pytest.approx(5 / 6))
    assert found.f1[0] == pytest.approx(2 * 0.2 * (5 / 6) / (0.2 + 5 / 6))


def test_values_of_activations_equal_scipy() -> None:
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=(80, 6)), 1) * (rng.uniform(size=(80, 6)) < 0.4)
    present = rng.uniform(size=(80, 9)) < np.linspace(0, 1, 9)
    present[:, 0], present[:, 8] = False, True
    feature, label = (grid.ravel() for grid in np.meshgrid(range(6), range(9)))
    areas = auroc(np.abs(values), present, feature, label)
    correlations = point_biserial(values, present, feature, label)
    for f, t, area, correlation in zip(feature, label, areas, correlations, strict=True):
        if t in (0, 8):
            assert math.isnan(area)
            assert math.isnan(correlation)
            continue
        with_it, without = (np.abs(values[present[:, t] == flag, f]) for flag in (True, False))
        statistic = mannwhitneyu(with_it, without).statistic
        assert area == pytest.approx(statistic / (len(with_it) * len(without)))
        assert correlation == pytest.approx(pointbiserialr(present[:, t], values[:, f]).statistic)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_of_its_definition(p_values: list[float]) -> None:
    ordered = sorted(p_values)
    stepped = [min(1.0, (len(ordered) - place) * p) for place, p in enumerate(ordered)]
    expected = [max(stepped[: ordered.index(p) + 1]) for p in p_values]
    # Ties take the largest of their places, as they do in any order.
    tied = [max(stepped[: len(ordered) - ordered[::-1].index(p)]) for p in p_values]
    found = holm(np.array(p_values))
    for value, low, high in zip(found, expected, tied, strict=True):
        assert low - 1e-12 <= value <= high + 1e-12
    assert holm(np.array([0.01, 0.04])).tolist() == [0.02, 0.04]
