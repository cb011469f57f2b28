"""Information shared with class variables, beside counting by hand and all permutations."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from saeflow.stats import information, joint
from saeflow.stats.information import (
    SharedInformation,
    shared_information,
    threshold_at_false_share,
    thresholds_among_others,
)

CPU = torch.device("cpu")


def made_up(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features that follow no variable, one of two, or nearly; two variables, one with rare classes."""
    generator = np.random.default_rng(seed)
    wide = np.minimum(generator.geometric(2 / n_classes, n), n - 1)
    classes = np.stack([generator.integers(0, n_classes, n), wide])
    values = generator.integers(-1, 2, (n, 6)) * generator.random((n, 6))
    values[:, 1] = classes[0] % 3 - 1
    values[:, 2] = np.where(generator.random(n) < 0.3, values[:, 2], classes[1] % 3 - 1)
    values[:, 3] = generator.random(n) < 0.1
    values[:, 4] = -0.5
    return values, classes


def shared(values: np.ndarray, classes: np.ndarray, orders: Any = ()) -> SharedInformation:
    return shared_information(values, classes, list(orders), CPU)


def entropy(things: list[Any]) -> float:
    return -sum(n / len(things) * log(n / len(things)) for n in Counter(things).values())


def by_hand(feature: np.ndarray, classes: np.ndarray) -> float:
    states, names = np.sign(feature).tolist(), classes.tolist()
    both = list(zip(states, names, strict=True))
    return entropy(states) + entropy(names) - entropy(both)


def adjusted_by_hand(feature: np.ndarray, classes: np.ndarray, chance: float) -> float:
    most = (entropy(np.sign(feature).tolist()) + entropy(classes.tolist())) / 2
    return (by_hand(feature, classes) - chance) / (most - chance)


@pytest.mark.parametrize(("n", "n_classes"), [(7, 3), (60, 5), (300, 40)])
def test_information_is_that_counted_by_hand(n: int, n_classes: int) -> None:
    values, classes = made_up(n, n_classes)
    found = shared(values, classes)
    expected = [[by_hand(feature, each) for feature in values.T] for each in classes]
    np.testing.assert_allclose(found.mutual, expected, atol=1e-12)
    assert found.mutual.max() > 0.3
    assert found.mutual.min() >= 0


def test_chance_is_the_mean_over_all_permutations() -> None:
    values, classes = made_up(7, 3, seed=2)
    orders = [list(order) for order in permutations(range(7))]
    expected = [
        [
            float(np.mean([by_hand(feature, each[order]) for order in orders]))
            for feature in values.T[:4]
        ]
        for each in classes
    ]
    found = shared(values[:, :4], classes)
    np.testing.assert_allclose(found.chance, expected, atol=1e-12)
    assert found.chance.min() > 0.01
    for variable, feature in np.ndindex(2, 4):
        by_definition = adjusted_by_hand(
            values[:, feature], classes[variable], expected[variable][feature]
        )
        assert found.adjusted[variable, feature] == pytest.approx(by_definition, abs=1e-10)


def chance_by_hand(feature: np.ndarray, classes: np.ndarray) -> float:
    """Sum over cells of a table of what each adds for every count that it may have."""
    total, sum_of_cells = len(feature), 0.0
    for in_state in Counter(np.sign(feature).tolist()).values():
        for in_class in Counter(classes.tolist()).values():
            for both in range(1, min(in_state, in_class) + 1):
                chance = hypergeom.pmf(both, total, in_state, in_class)
                sum_of_cells += chance * both / total * log(total * both / (in_state * in_class))
    return sum_of_cells


def test_chance_is_that_of_hypergeometric_cells() -> None:
    values, classes = made_up(80, 6, seed=1)
    expected = [[chance_by_hand(feature, each) for feature in values.T] for each in classes]
    np.testing.assert_allclose(shared(values, classes).chance, expected, atol=1e-11)


def test_permutations_give_that_chance_within_their_error() -> None:
    values, classes = made_up(90, 8)
    generator = np.random.default_rng(5)
    drawn = np.stack(
        [shared(values, classes[:, generator.permutation(90)]).mutual for _ in range(300)]
    )
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn))
    away = np.abs(drawn.mean(0) - shared(values, classes).chance)
    varies = values.std(0) > 0
    assert (away[:, varies] < 4 * error[:, varies]).all()
    assert (away[:, ~varies] < 1e-12).all()


def test_independent_features_are_adjusted_to_nothing() -> None:
    generator = np.random.default_rng(3)
    classes = np.stack([generator.integers(0, count, 400) for count in (3, 20, 150)])
    values = generator.integers(-1, 2, (400, 3000)).astype(float)
    found = shared(values, classes)
    error = found.adjusted.std(1, ddof=1) / np.sqrt(3000)
    assert (np.abs(found.adjusted.mean(1)) < 4 * error).all()
    # What is not adjusted grows with the number of classes.
    assert (np.diff(found.mutual.mean(1)) > 0.03).all()


def test_the_same_partition_shares_everything() -> None:
    classes = np.repeat([0, 1, 2], [5, 12, 23])
    values = np.stack([np.array([0.3, 0.0, -2.0])[classes], np.array([0.0, -9.0, 1.0])[classes]], 1)
    found = shared(values, np.stack([classes, classes * 7 - 100]))
    np.testing.assert_array_equal(found.adjusted, np.ones((2, 2)))
    np.testing.assert_allclose(found.mutual, entropy(classes.tolist()), atol=1e-12)


def test_signs_matter_and_sizes_do_not() -> None:
    classes = np.tile([0, 1], 50)[None]
    always = np.where(classes[0] == 0, 1.0, -1.0)[:, None]
    generator = np.random.default_rng(0)
    sizes = generator.random((100, 1)) + 0.1
    found = shared(np.concatenate([always, always * sizes, np.abs(always) * sizes], 1), classes)
    np.testing.assert_array_equal(found.adjusted, [[1.0, 1.0, 0.0]])


def test_what_does_not_vary_shares_nothing() -> None:
    values, classes = made_up(40, 4)
    unique = np.arange(40)
    constant = np.zeros(40, int)
    found = shared(values, np.stack([constant, unique, classes[0]]), [np.arange(40)[::-1]])
    np.testing.assert_array_equal(found.adjusted[0], 0)
    np.testing.assert_array_equal(found.adjusted[:, 4], 0)
    # Classes of one problem each hold all there is to know of every feature, and so by chance.
    np.testing.assert_allclose(found.mutual[1], found.chance[1], atol=1e-12)
    np.testing.assert_allclose(found.adjusted[1], 0, atol=1e-11)
    alone = shared(values, unique[None])
    np.testing.assert_allclose(alone.adjusted, 0, atol=1e-11)
    none = shared(values[:, :0], classes, [np.arange(40)])
    assert (none.adjusted.shape, none.null_score.shape) == ((2, 0), (1, 0))


def test_a_permutation_is_a_measurement_with_the_problems_moved() -> None:
    values, classes = made_up(120, 6)
    generator = np.random.default_rng(1)
    orders = [generator.permutation(120) for _ in range(4)]
    found = shared(values, classes, orders)
    for number, order in enumerate(orders):
        moved = shared(values, classes[:, order])
        np.testing.assert_array_equal(found.null_score[number], moved.adjusted.max(0))
        np.testing.assert_array_equal(found.null_variable[number], moved.adjusted.argmax(0))
        np.testing.assert_array_equal(found.chance, moved.chance)
    assert len(np.unique(found.null_variable)) == 2


def test_problems_in_another_order_and_features_in_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, classes = made_up(200, 9)
    whole = shared(values, classes, [np.arange(200)])
    order = np.random.default_rng(2).permutation(200)
    moved = shared(values[order], classes[:, order], [np.arange(200)])
    monkeypatch.setattr(information, "BLOCK", 4)
    in_blocks = shared(values, classes, [np.arange(200)])
    # What devices without a product of bytes do.
    monkeypatch.setattr(joint, "_multiplies_bytes", lambda _: False)
    in_floats = shared(values, classes, [np.arange(200)])
    for other in (moved, in_blocks, in_floats):
        for name in ("mutual", "chance", "adjusted", "null_score", "null_variable"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))
    np.testing.assert_array_equal(whole.null_score[0], whole.adjusted.max(0))
    # What other devices do after that; they may add up in another order.
    monkeypatch.setattr(information._Tables, "_held", lambda _, tensor: tensor)
    in_tensors = shared(values, classes, [np.arange(200)])
    for name in ("mutual", "chance", "adjusted", "null_score"):
        np.testing.assert_allclose(getattr(in_tensors, name), getattr(whole, name), atol=1e-11)


def threshold_by_hand(observed: np.ndarray, permuted: np.ndarray, share: float) -> float:
    for score in map(float, sorted(observed)):
        false = np.mean([(row >= score).sum() for row in permuted])
        if false <= share * (observed >= score).sum():
            return score
    return float("inf")


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_threshold_is_the_smallest_that_chance_rarely_reaches(share: float) -> None:
    generator = np.random.default_rng(0)
    kinds = set()
    for lift in (0.0, 0.0, 0.0, 0.5, 1.0, 3.0):
        # Rounded, so that scores are tied.
        observed = np.round(generator.normal(size=40) + lift * (np.arange(40) < 20), 1)
        permuted = np.round(generator.normal(size=(9, 40)), 1)
        expected = threshold_by_hand(observed, permuted, share)
        assert threshold_at_false_share(observed, permuted, share) == expected
        kinds.add(np.isfinite(expected))
    assert kinds == {False, True}


def test_no_feature_has_no_threshold() -> None:
    assert threshold_at_false_share(np.zeros(0), np.zeros((5, 0)), 0.05) == float("inf")


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_each_permutation_is_held_against_the_others(share: float) -> None:
    kinds = set()
    for seed in range(6):
        generator = np.random.default_rng(seed)
        permuted = np.round(generator.normal(size=(8, 30)), 1)
        # Of other levels, and in one permutation all are.
        permuted[generator.random(permuted.shape) < 0.4] = -np.inf
        permuted[3] = -np.inf
        found = thresholds_among_others(permuted, share)
        for number, row in enumerate(permuted):
            others = np.delete(permuted, number, axis=0)
            expected = threshold_by_hand(row[np.isfinite(row)], others, share)
            assert found[number] == expected
        assert found[3] == float("inf")
        kinds |= set(np.isfinite(found))
    assert kinds == {False, True}


def test_one_permutation_above_all_others_is_a_finding_of_its_own() -> None:
    permuted = np.array([[1.0, 2.0], [5.0, 6.0], [1.5, 2.0]])
    found = thresholds_among_others(permuted, 0.05)
    np.testing.assert_array_equal(found, [np.inf, 5.0, np.inf])
