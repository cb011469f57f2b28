"""Tests of labels on units against all labelings, and their level."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.errors import SaeflowError
from saeflow.stats.labelings import even, every, label_difference, labeling_test


@given(st.integers(2, 8), st.integers(1, 7), st.integers(0, 1000))
def test_all_labelings_equal_the_slow_count(n_units: int, labelled: int, seed: int) -> None:
    labelled = min(labelled, n_units - 1)
    # Whole numbers, so that ties occur and are exact.
    values = np.random.default_rng(seed).integers(-3, 4, n_units).astype(float)
    labels = np.arange(n_units) < labelled
    found = labeling_test(values, labels)
    differences = []
    for some in combinations(range(n_units), labelled):
        inside = sum(values[unit] for unit in some)
        differences.append(inside - (values.sum() - inside))
    expected = np.mean(differences)
    observed = values[:labelled].sum() - values[labelled:].sum()
    as_far = [abs(each - expected) >= abs(observed - expected) - 1e-9 for each in differences]
    assert found.exact
    assert found.labelings == len(differences)
    assert found.difference == pytest.approx(observed)
    assert found.expected == pytest.approx(expected)
    assert found.p_value == pytest.approx(np.mean(as_far))


def test_planted_parity_is_found_and_its_sign_does_not_matter() -> None:
    values = np.where(even(32), 1.0, 0.0) + np.random.default_rng(0).normal(0, 0.1, 32)
    for found in (labeling_test(values, even(32)), labeling_test(-values, even(32))):
        assert found.p_value == 1 / 2001
        assert not found.exact
        assert found.labelings == 2000
    assert labeling_test(values, even(32)).difference == pytest.approx(16, abs=2)
    assert labeling_test(values, even(32)).expected == 0


def test_sampled_p_values_are_near_exact_ones_and_hold_their_level() -> None:
    rng = np.random.default_rng(3)
    sampled, exact = [], []
    for seed in range(150):
        values = rng.exponential(size=10)
        exact.append(labeling_test(values, even(10)).p_value)
        sampled.append(labeling_test(values, even(10), labelings=199, seed=seed).p_value)
    assert np.abs(np.array(sampled) - exact).max() < 0.15
    assert min(sampled) >= 1 / 200
    for level in (0.05, 0.2):
        reach = 3 * np.sqrt(150 * level * (1 - level))
        assert abs((np.array(sampled) <= level).sum() - 150 * level) < reach


def test_unequal_labels_are_compared_with_what_their_number_gives() -> None:
    labels = every(4, 32)
    assert labels.sum() == 8
    alike = labeling_test(np.ones(32), labels)
    assert (alike.difference, alike.expected, alike.p_value) == (8 - 24, 8 - 24, 1)
    # Labelled units have next to nothing, where a quarter is due.
    values = np.where(labels, 0.0, 1.0) + 0.01 * np.arange(32)
    assert labeling_test(values, labels).p_value < 0.01


def test_few_units_cannot_give_a_small_p_value() -> None:
    assert labeling_test(np.array([9.0, 0, 9, 0]), even(4)).p_value == pytest.approx(1 / 3)


def test_label_difference_is_taken_on_every_prompt() -> None:
    values = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(label_difference(values, even(4)), [-6, -6, -6])
    assert label_difference(values[:, 0], even(4)) == -6


def test_labels_of_all_or_none_are_refused() -> None:
    with pytest.raises(
        SaeflowError, match=r"^3 of 3 units are labelled; expected some, not all\.$"
    ):
        labeling_test(np.ones(3), np.ones(3, bool))
    with pytest.raises(SaeflowError, match="0 of 3"):
        labeling_test(np.ones(3), np.zeros(3, bool))
