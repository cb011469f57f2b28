"""Two-by-two tables against SciPy, one table at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from saeflow.config.studies import AssociationSettings
from saeflow.stats import contingency, joint
from saeflow.stats.contingency import (
    chi2_p_value,
    enrichment,
    published_pairs,
    yates_chi2,
)

CPU = torch.device("cpu")
# methods/6, section 8: the study's five most enriched features.
ENRICHED = [
    ((5, 20, 1, 974), 195.0),
    ((4, 17, 1, 978), 186.476),
    ((4, 25, 1, 970), 133.931),
    ((3, 19, 1, 977), 133.364),
    ((3, 20, 1, 976), 127.435),
]


def scipy_values(table: tuple[int, int, int, int]) -> tuple[float, float]:
    a, b, c, d = table
    try:
        with np.errstate(invalid="ignore"):
            found = chi2_contingency([[a, b], [c, d]])
    except ValueError:  # a margin is zero
        return math.nan, math.nan
    return float(found.statistic), float(found.pvalue)


def random_tables(count: int) -> np.ndarray:
    """Of all sizes: tiny, sparse, thin as in the study, and near independence."""
    rng = np.random.default_rng(0)
    kinds = [
        rng.integers(0, 4, (count, 4)),
        rng.integers(0, 60, (count, 4)),
        rng.integers(0, 2000, (count, 4)),
        np.stack(
            [
                rng.integers(0, 9, count),
                rng.integers(10, 200, count),
                rng.integers(0, 9, count),
                rng.integers(700, 1000, count),
            ],
            1,
        ),
        (
            rng.integers(1, 30, (count, 1)) * np.array([2, 3, 4, 6])
            + rng.integers(-1, 2, (count, 4))
        ),
    ]
    return np.concatenate(kinds)


def test_chi_square_and_p_value_equal_scipy_on_many_tables() -> None:
    tables = random_tables(5000)
    assert len(tables) >= 20_000
    chi2 = yates_chi2(*tables.T)
    p_value = chi2_p_value(chi2)
    expected = np.array([scipy_values(tuple(table)) for table in tables.tolist()])
    assert np.isnan(expected[:, 0]).sum() > 100
    np.testing.assert_allclose(chi2, expected[:, 0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(p_value, expected[:, 1], rtol=1e-9, atol=1e-9)


@given(st.tuples(*[st.integers(0, 10**6)] * 4))
def test_chi_square_equals_scipy_on_any_table(table: tuple[int, int, int, int]) -> None:
    chi2 = yates_chi2(*(np.array([cell]) for cell in table))
    expected = scipy_values(table)
    np.testing.assert_allclose(chi2[0], expected[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(chi2_p_value(chi2)[0], expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("table", "expected"), ENRICHED)
def test_published_enrichments(table: tuple[int, int, int, int], expected: float) -> None:
    assert sum(table) == 1000
    a, b, c, d = table
    found = enrichment(*(np.array([cell]) for cell in table))[0]
    assert found == pytest.approx((a / (a + b)) / (c / (c + d)), rel=1e-15)
    assert round(float(found), 3) == expected


def test_degenerate_enrichments() -> None:
    cells = [np.array(values) for values in ([3, 0, 0], [1, 0, 2], [0, 5, 3], [6, 5, 3])]
    found = enrichment(*cells)
    assert found[0] == np.inf
    assert np.isnan(found[1])
    assert found[2] == 0


Row = tuple[int, int, int, int, int, int, float, float, float]


def slow_pairs(active: np.ndarray, present: np.ndarray, rule: AssociationSettings) -> list[Row]:
    """The study's loop (methods/1, section 2.5): feature by feature, token by token."""
    kept: list[Row] = []
    for feature in range(active.shape[1]):
        fires = active[:, feature]
        if fires.sum() < rule.min_active:
            continue
        own: list[Row] = []
        for label in range(present.shape[1]):
            has = present[:, label]
            a, b = int((fires & has).sum()), int((fires & ~has).sum())
            c, d = int((~fires & has).sum()), int((~fires & ~has).sum())
            if 0 in (a, b, c, d) or a + b + c + d < rule.min_total:
                continue
            chi2, p_value = scipy_values((a, b, c, d))
            ratio = (a / (a + b)) / (c / (c + d))
            if p_value < rule.p_value and ratio >= rule.min_enrichment:
                own.append((feature, label, a, b, c, d, chi2, p_value, ratio))
        kept += sorted(own, key=lambda row: -row[-1])  # stable: ties keep the order of labels
    return kept


def rows_of(pairs: contingency.Pairs) -> np.ndarray:
    return np.array([getattr(pairs, name) for name in contingency.Pairs.__dataclass_fields__]).T


RULES = [
    AssociationSettings(),
    AssociationSettings(min_active=1, p_value=0.5, min_enrichment=1.0),
    AssociationSettings(min_active=5, p_value=1.0, min_enrichment=1.0),
    AssociationSettings(min_active=1, min_total=81),
    AssociationSettings(min_active=1, p_value=0.05, min_enrichment=1.5, min_total=80),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_pairs_equal_the_double_loop(rule: AssociationSettings, seed: int) -> None:
    rng = np.random.default_rng(seed)
    present = rng.random((80, 25)) < rng.random(25) * 0.6
    noise = rng.random((80, 30)) < rng.random(30) * 0.8
    copied = present[:, rng.integers(0, 25, 12)] ^ (rng.random((80, 12)) < 0.1)
    active = np.hstack([noise, copied, np.zeros((80, 1), bool), np.ones((80, 1), bool)])
    present = np.hstack([present, present[:, :5], np.zeros((80, 1), bool), np.ones((80, 1), bool)])
    found, expected = (
        rows_of(published_pairs(active, present, rule, CPU)),
        slow_pairs(active, present, rule),
    )
    if rule.min_total <= 80 and rule.min_active < 20:
        assert len(expected) > 10
    np.testing.assert_array_equal(found[:, :6], np.array(expected).reshape(-1, 9)[:, :6])
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 9), rtol=1e-9, atol=1e-9)


def matrix_of(tables: list[tuple[int, int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """One feature-label pair per table, as columns of equal length."""
    fires = [np.repeat([True, True, False, False], table) for table in tables]
    has = [np.repeat([True, False, True, False], table) for table in tables]
    return np.stack(fires, 1), np.stack(has, 1)


def test_p_value_next_to_the_threshold_decides() -> None:
    table = (12, 18, 25, 145)
    exact = scipy_values(table)[1]
    active, present = matrix_of([table])
    for share, kept in ((1 - 1e-9, 0), (1.0, 0), (1 + 1e-9, 1)):
        rule = AssociationSettings(p_value=exact * share, min_enrichment=1.0)
        assert len(published_pairs(active, present, rule, CPU).feature) == kept


@pytest.mark.parametrize(
    ("table", "change", "kept"),
    [
        ((20, 20, 20, 140), {}, 1),
        ((20, 20, 40, 120), {"p_value": 0.5}, 1),  # enrichment is exactly 2
        ((20, 20, 41, 119), {"p_value": 0.5}, 0),
        ((20, 20, 0, 160), {}, 0),  # the perfect detector is invisible
        ((20, 0, 20, 160), {}, 0),
        ((20, 20, 160, 0), {}, 0),
        ((10, 9, 1, 180), {}, 0),  # 19 active problems
        ((10, 10, 1, 180), {}, 1),
        ((3, 2, 1, 3), {"min_active": 1, "p_value": 1.0}, 0),  # nine examples
        ((3, 2, 1, 4), {"min_active": 1, "p_value": 1.0}, 1),
    ],
)
def test_quirks_of_the_rule(
    table: tuple[int, int, int, int], change: dict[str, float], kept: int
) -> None:
    active, present = matrix_of([table])
    found = published_pairs(active, present, AssociationSettings(**change), CPU)
    assert len(found.feature) == kept


def test_ties_keep_the_order_of_labels() -> None:
    active, present = matrix_of([(10, 10, 2, 80)])
    strong = matrix_of([(15, 5, 2, 80)])[1]
    found = published_pairs(
        active, np.hstack([present, strong, present]), AssociationSettings(), CPU
    )
    assert found.label.tolist() == [1, 0, 2]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    active, present = rng.random((100, 50)) < 0.4, rng.random((100, 20)) < 0.3
    rule = AssociationSettings(p_value=0.3, min_enrichment=1.0)
    whole = rows_of(published_pairs(active, present, rule, CPU))
    monkeypatch.setattr(joint, "BLOCK", 7)
    np.testing.assert_array_equal(rows_of(published_pairs(active, present, rule, CPU)), whole)
    assert len(whole) > 10


def test_products_of_floats_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    active, present = rng.random((100, 50)) < 0.4, rng.random((100, 20)) < 0.3
    rule = AssociationSettings(p_value=0.3, min_enrichment=1.0)
    whole = rows_of(published_pairs(active, present, rule, CPU))
    monkeypatch.setattr(joint, "_multiplies_bytes", lambda device: False)
    np.testing.assert_array_equal(rows_of(published_pairs(active, present, rule, CPU)), whole)
    assert len(whole) > 10


def test_test_is_used_again_for_permuted_labels() -> None:
    rng = np.random.default_rng(4)
    active, present = rng.random((100, 50)) < 0.4, rng.random((100, 20)) < 0.3
    rule = AssociationSettings(p_value=0.3, min_enrichment=1.0)
    test = contingency.PublishedTest(active, present.sum(0), rule, CPU)
    for _ in range(3):
        permuted = present[rng.permutation(100)]
        fresh = rows_of(published_pairs(active, permuted, rule, CPU))
        np.testing.assert_array_equal(rows_of(test.pairs(permuted)), fresh)


def test_labels_that_are_too_rare_to_pass_are_no_pairs() -> None:
    active = np.random.default_rng(5).random((100, 8)) < 0.4
    found = published_pairs(active, np.eye(100, dtype=bool), AssociationSettings(), CPU)
    assert rows_of(found).shape == (0, 9)


@pytest.mark.parametrize("shape", [(30, 0, 5), (30, 5, 0), (30, 5, 5)])
def test_nothing_to_find_is_empty(shape: tuple[int, int, int]) -> None:
    examples, features, labels = shape
    active, present = np.zeros((examples, features), bool), np.ones((examples, labels), bool)
    found = published_pairs(active, present, AssociationSettings(), CPU)
    assert rows_of(found).shape == (0, 9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    active, present = rng.random((1000, 600)) < 0.2, rng.random((1000, 300)) < 0.1
    rule = AssociationSettings(p_value=0.2, min_enrichment=1.0)
    on_cpu = rows_of(published_pairs(active, present, rule, CPU))
    on_cuda = rows_of(published_pairs(active, present, rule, torch.device("cuda")))
    np.testing.assert_array_equal(on_cpu, on_cuda)
