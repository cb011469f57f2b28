"""Random features that fire exactly as often: against enumeration, brute force and the real tokens."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from saeflow.config.datasets import PathDataset, SubsetSettings
from saeflow.config.studies import AssociationSettings
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.stats.contingency import published_pairs
from saeflow.stats.frequency import (
    _label_ranks,
    _Windows,
    frequency_matched,
)
from saeflow.studies.gsm8k.association import token_matrix

CPU = torch.device("cpu")
TINY = AssociationSettings(min_active=2, min_total=5, p_value=0.5, min_enrichment=1.5)


def tiny_table() -> np.ndarray:
    """Twelve examples; labels that are alike, nested, exclusive, everywhere and nowhere."""
    present = np.random.default_rng(4).random((12, 9)) < 0.35
    present[:, 1] = present[:, 0]
    present[:, 2] = present[:, 0] & present[:, 3]
    present[:, 4] = ~present[:, 0]
    present[:, 7:] = [True, False]
    return present


def sets_of(size: int, total: int) -> np.ndarray:
    chosen = list(combinations(range(total), size))
    active = np.zeros((total, len(chosen)), bool)
    for column, examples in enumerate(chosen):
        active[list(examples), column] = True
    return active


def found_in(active: np.ndarray, present: np.ndarray, rule: AssociationSettings) -> np.ndarray:
    """Labels that pass, per feature."""
    pairs = published_pairs(active, present, rule, CPU)
    return np.bincount(pairs.feature, minlength=active.shape[1])


@pytest.mark.parametrize("change", [{}, {"min_enrichment": 3.0}, {"p_value": 0.3}])
def test_chance_equals_all_sets_of_each_size(change: dict[str, float]) -> None:
    present, rule = tiny_table(), TINY.model_copy(update=change)
    sizes = np.arange(13)
    found = frequency_matched(sizes, present, rule, draws=20_000)
    passing = [found_in(sets_of(size, 12), present, rule) for size in sizes]
    np.testing.assert_allclose(found.expected, [each.mean() for each in passing], atol=1e-12)
    exact = np.array([(each > 0).mean() for each in passing])
    assert (exact > 0.02).sum() >= 4
    assert (found.chance <= found.expected).all()
    assert found.error.max() < 0.005
    assert (np.abs(found.chance - exact) <= 4 * found.error + 1e-9).all()


def test_every_draw_counts_the_labels_that_pass() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((60, 40)) < rng.random(40) ** 3
    rules = [
        AssociationSettings(min_active=3, p_value=0.6),
        AssociationSettings(min_active=8, p_value=0.4, min_enrichment=2.5),
    ]
    sizes = np.array([0, 1, 3, 4, 7, 8, 9, 20, 33, 50, 58, 59, 60])
    windows = _Windows(sizes, present.sum(0), 60, rules)
    joint = np.concatenate([np.arange(1, each + 1) for each in present.sum(0)])
    # The same seed with one label per example gives the orders themselves.
    (places,) = _label_ranks(np.eye(60, dtype=bool), 200, np.random.default_rng(1))
    (ranks,) = _label_ranks(present, 200, np.random.default_rng(1))
    for number, rule in enumerate(rules):
        found = windows.passing(number, ranks, joint)
        expected = [found_in(size >= places.T, present, rule) for size in sizes]
        np.testing.assert_array_equal(found, np.array(expected).T)
        assert found.max() > 1
        assert (found > 0).sum() > 200


def test_expected_labels_equal_scipys_probabilities() -> None:
    rule = AssociationSettings(min_active=5, p_value=0.05)
    support = np.array([1, 2, 5, 5, 17, 40, 79, 80])
    sizes = np.array([30, 4, 5, 12, 30, 79])
    expected = np.zeros(len(sizes))
    for place, size in enumerate(sizes):
        for each in support:
            for joint in range(max(0, size + each - 80), min(size, each) + 1):
                cells = (joint, size - joint, each - joint, 80 - size - each + joint)
                kinds = [(True, True), (True, False), (False, True), (False, False)]
                table = np.repeat(np.array(kinds), cells, axis=0)
                passes = found_in(table[:, :1], table[:, 1:], rule)[0]
                expected[place] += passes * hypergeom.pmf(joint, 80, each, size)
    present = np.arange(80)[:, None] < support
    found = frequency_matched(sizes, present, rule, draws=2).expected
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found[1] == 0
    assert (found[[0, 2, 3]] > 0.01).all()


def test_seeds_decide_and_nothing_gives_zeros() -> None:
    present, features = tiny_table(), np.array([4, 6])
    first, again, other = (
        frequency_matched(features, present, TINY, draws=50, seed=seed).chance for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    few = AssociationSettings(min_active=2, min_total=13, p_value=0.3)
    for found in (
        frequency_matched(np.array([], int), present, TINY),
        frequency_matched(features, present, few, draws=50),
        frequency_matched(features, present[:, :0], TINY, draws=50),
        frequency_matched(np.array([1, 0]), present, TINY, draws=50),
    ):
        assert found.expected.sum() == found.chance.sum() == 0


@pytest.mark.data
def test_real_tokens_agree_with_random_features(gsm8k_data: Path) -> None:
    settings = PathDataset(
        source="path",
        path=str(gsm8k_data / "train.jsonl"),
        id_prefix="train_",
        subset=SubsetSettings(kind="published", n=1000),
    )
    problems = load_problems(settings).table
    numbers = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    present = token_matrix(cot_token_table(problems), numbers).present
    assert present.shape == (1000, 628)
    draws = 1000
    rng = np.random.default_rng(0)
    sizes = np.array([20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 700, 900])
    places = rng.permuted(np.tile(np.arange(1000), (len(sizes) * draws, 1)), axis=1)
    active = np.repeat(sizes, draws) > places.T
    rules = [AssociationSettings(), AssociationSettings(min_enrichment=5.0)]
    for rule in rules:
        passing = found_in(active, present, rule).reshape(len(sizes), draws)
        found = frequency_matched(sizes, present, rule)
        # Active on 900 examples, a feature may have no label in any draw.
        error = passing.std(1, ddof=1) / np.sqrt(draws) + 1 / draws
        assert (np.abs(passing.mean(1) - found.expected) <= 4 * error).all()
        share = (passing > 0).mean(1)
        error = np.sqrt(found.chance * (1 - found.chance) / draws + found.error**2)
        assert (np.abs(share - found.chance) <= 4 * error).all()
        assert (found.chance[:4] > 0.5).all()
