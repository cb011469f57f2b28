"""Discoveries on data whose truth is known: planted pairs are found, others are not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control, fisher_exact

from saeflow.stats.discovery import ExactTest, carried, conditional_p_values
from saeflow.stats.signed import halves

CPU = torch.device("cpu")
EXAMPLES, GROUPS, PER_GROUP = 1000, 12, 15
DATA_SETS = 60


class Planted(NamedTuple):
    """A data set of tokens that occur together, with the features planted on some of them."""

    active: np.ndarray
    present: np.ndarray
    group: np.ndarray
    """Which tokens occur together; tokens of different groups are independent."""
    truth: np.ndarray
    """The planted token of each feature; -1 for a feature that follows none."""


def planted(seed: int) -> Planted:
    rng = np.random.default_rng(seed)
    tokens = GROUPS * PER_GROUP
    group = np.repeat(np.arange(GROUPS), PER_GROUP)
    factor = rng.random((EXAMPLES, GROUPS)) < rng.uniform(0.1, 0.4, GROUPS)
    # Supports fall as Zipf says; within a group, tokens come with its factor or rarely at all.
    rate = rng.permutation(0.6 / np.arange(1, tokens + 1) ** 0.7)
    within = factor[:, group]
    present = rng.random((EXAMPLES, tokens)) < np.where(within, np.minimum(3 * rate, 0.9), rate / 4)
    frequent = np.flatnonzero(present.sum(0) >= 10)
    truth = np.full(300, -1)
    truth[:100] = rng.choice(frequent, 100)
    active = rng.random((EXAMPLES, 300)) < 10 ** rng.uniform(-1.7, -0.3, 300)
    for feature, token in enumerate(truth[:100]):
        has = present[:, token]
        noise = rng.uniform(0, 0.5) * has.sum() / EXAMPLES
        chance = np.where(has, rng.uniform(0.6, 1.0), noise)
        active[:, feature] = rng.random(EXAMPLES) < chance
    return Planted(active, present, group, truth)


def rates(data: Planted) -> tuple[float, int, int]:
    """False-discovery proportion; planted pairs that ought to be found, and those that are."""
    test = ExactTest(data.active, data.present.sum(0), CPU)
    found = test.discoveries(data.present)
    own = data.truth[found.feature]
    # Pairs that a planted token carries, through the tokens of its group, are neither.
    false = (own < 0) | (data.group[found.label] != data.group[own])
    marked = carried(found, conditional_p_values(data.active, data.present, found))
    kept = set(zip(found.feature[~marked], found.label[~marked], strict=True))
    wanted = []
    for feature, token in enumerate(data.truth[:100]):
        fires, has = data.active[:, feature], data.present[:, token]
        if has.sum() >= 20 and (fires & has).sum() / fires.sum() >= 0.5:
            wanted.append((feature, token))
    return float(false.mean()) if len(false) else 0.0, len(wanted), len(kept & set(wanted))


@pytest.mark.usefixtures("one_thread")
def test_false_discoveries_are_few_and_planted_pairs_are_found() -> None:
    proportions, wanted, found = zip(
        *(rates(planted(seed)) for seed in range(DATA_SETS)), strict=True
    )
    error = np.std(proportions, ddof=1) / np.sqrt(DATA_SETS)
    assert sum(wanted) > 20 * DATA_SETS
    assert np.mean(proportions) <= 0.05 + 2 * error
    assert sum(found) >= 0.9 * sum(wanted)


def test_discoveries_equal_scipys_tests_of_all_pairs() -> None:
    data = planted(1000)
    active, present = data.active[:, 60:130], data.present[:, :60]
    found = ExactTest(active, present.sum(0), CPU, min_active=25, min_support=12).discoveries(
        present
    )
    tested = [
        (f, t, fisher_exact(table_of(active[:, f], present[:, t]), alternative="greater").pvalue)
        for f in np.flatnonzero(active.sum(0) >= 25)
        for t in np.flatnonzero(present.sum(0) >= 12)
    ]
    assert found.n_tests == len(tested)
    q_values = false_discovery_control([p for _, _, p in tested])
    expected = {(f, t): (p, q) for (f, t, p), q in zip(tested, q_values, strict=True) if q <= 0.05}
    pairs = list(zip(found.feature, found.label, strict=True))
    assert set(pairs) == set(expected)
    assert len(pairs) > 20
    for pair, p_value, q_value in zip(pairs, found.p_value, found.q_value, strict=True):
        assert (p_value, q_value) == pytest.approx(expected[pair], rel=1e-9)
    for f, t, *cells in zip(
        found.feature, found.label, found.a, found.b, found.c, found.d, strict=True
    ):
        assert np.ravel(table_of(active[:, f], present[:, t])).tolist() == cells
    for feature in np.unique(found.feature):
        own = found.p_value[found.feature == feature]
        assert (np.diff(own) >= 0).all()


def table_of(one: np.ndarray, other: np.ndarray) -> list[list[int]]:
    return [[int((a & b).sum()) for b in (other, ~other)] for a in (one, ~one)]


def test_smallest_p_value_of_all_tests() -> None:
    data = planted(1001)
    for order in (np.arange(EXAMPLES), np.random.default_rng(0).permutation(EXAMPLES)):
        present = data.present[order][:, :40]
        active = data.active[:, :30]
        expected = min(
            fisher_exact(table_of(active[:, f], present[:, t]), alternative="greater").pvalue
            for f in np.flatnonzero(active.sum(0) >= 20)
            for t in np.flatnonzero(present.sum(0) >= 10)
        )
        test = ExactTest(active, present.sum(0), CPU)
        assert test.smallest(present) == pytest.approx(expected, rel=1e-9)


@pytest.mark.usefixtures("one_thread")
def test_max_statistic_threshold_on_pure_noise() -> None:
    """A discovery in at most 5 % of runs, within their error."""
    runs, hits = 120, 0
    rng = np.random.default_rng(7)
    for _ in range(runs):
        active = rng.random((200, 30)) < 0.2
        present = rng.random((200, 40)) < 0.15
        test = ExactTest(active, present.sum(0), CPU, min_active=5, min_support=5)
        # Below all of 19 permutations: a level of 1 in 20.
        null = [test.smallest(present[rng.permutation(200)]) for _ in range(19)]
        hits += test.smallest(present) < min(null)
    assert hits / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_best_label_is_not_carried_and_a_companion_is() -> None:
    rng = np.random.default_rng(3)
    best = rng.random(2000) < 0.2
    companion = np.where(best, rng.random(2000) < 0.6, rng.random(2000) < 0.05)
    own = rng.random(2000) < 0.1
    feature = np.where(best | own, rng.random(2000) < 0.8, rng.random(2000) < 0.02)
    active, present = feature[:, None], np.stack([best, companion, own], 1)
    found = ExactTest(active, present.sum(0), CPU).discoveries(present)
    assert found.label.tolist() == [0, 2, 1] or found.label.tolist() == [0, 1, 2]
    marked = dict(
        zip(found.label, carried(found, conditional_p_values(active, present, found)), strict=True)
    )
    assert marked == {0: False, 1: True, 2: False}
    assert conditional_p_values(active, present, found)[0] == found.p_value[0]


def test_nothing_is_discovered_where_nothing_is() -> None:
    active, present = np.zeros((50, 3), bool), np.ones((50, 2), bool)
    found = ExactTest(active, present.sum(0), CPU).discoveries(present)
    assert (len(found.feature), found.n_tests) == (0, 0)
    assert conditional_p_values(active, present, found).shape == (0,)
    assert ExactTest(active, present.sum(0), CPU).smallest(present) == 1.0


def test_halves_of_signed_features() -> None:
    values = np.array([[1.5, -2.0], [0.0, 3.0]])
    assert halves(values).tolist() == [[1.5, 0.0, 0.0, 2.0], [0.0, 3.0, 0.0, 0.0]]
