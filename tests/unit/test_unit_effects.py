"""Which units change which features, against all permutations and on planted effects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from saeflow.errors import SaeflowError
from saeflow.stats.unit_effects import unit_effects


def test_p_values_are_those_of_labels_permuted_within_prompts() -> None:
    # Few prompts and units, so that all permutations of labels can be tried.
    effects = np.random.default_rng(0).normal(size=(3, 3, 2))
    found = unit_effects(effects, permutations=20_000)
    orders = list(itertools.permutations(range(3)))
    drawn = np.array(
        [
            np.mean([effect[list(order)] for effect, order in zip(effects, chosen, strict=True)], 0)
            for chosen in itertools.product(orders, repeat=3)
        ]
    )
    observed = np.abs(effects.mean(0))
    expected = (np.abs(drawn) >= observed - 1e-12).mean(0)
    np.testing.assert_allclose(found.p_value, expected, atol=0.015)
    np.testing.assert_allclose(found.effect, effects.mean(0))
    assert found.n == 3


def test_a_planted_unit_is_found_in_its_feature_only() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(30, 4, 5))
    effects[:, 2, 3] -= 3
    # All units damage feature 1 alike: no unit does it more than others do.
    effects[:, :, 1] += 5
    found = unit_effects(effects)
    assert found.p_value[2, 3] == 1 / 1000
    passing = np.argwhere(found.q_value <= 0.05)
    assert passing.tolist() == [[2, 3]]
    assert found.effect[2, 3] == pytest.approx(-3, abs=0.6)
    expected = false_discovery_control(found.p_value.ravel()).reshape(4, 5)
    np.testing.assert_allclose(found.q_value, expected)


def test_units_without_a_difference_hold_the_level() -> None:
    rng = np.random.default_rng(2)
    values = rng.exponential(size=(12, 4, 300)) * rng.exponential(size=(12, 1, 300))
    found = unit_effects(values, permutations=199).p_value
    # The four units of a feature share its prompts, so at most 300 tests are independent.
    for level in (0.05, 0.2):
        assert abs((found <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / 300)


def test_prompts_of_one_pair_count_once() -> None:
    effects = np.random.default_rng(3).normal(size=(4, 3, 2))
    twice = np.repeat(effects, 2, axis=0)
    clusters = [(number // 2, "pair") for number in range(8)]
    once, found = unit_effects(effects), unit_effects(twice, clusters)
    assert found.n == 4
    np.testing.assert_allclose(found.p_value, once.p_value)
    np.testing.assert_allclose(found.effect, once.effect)
    assert (unit_effects(twice).p_value != once.p_value).any()


def test_a_unit_that_does_nothing_is_not_found() -> None:
    effects = np.ones((10, 3, 1))
    effects[:, 0] = 0
    assert unit_effects(effects).p_value[0, 0] == 1


def test_impossible_effects_are_told_in_one_sentence() -> None:
    with pytest.raises(
        SaeflowError, match=r"^Effects of 1 units are given; expected two or more\.$"
    ):
        unit_effects(np.zeros((3, 1, 2)))
    with pytest.raises(SaeflowError, match="An effect is not a number"):
        unit_effects(np.full((3, 2, 2), np.nan))
