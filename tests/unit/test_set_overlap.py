"""Jaccard indices with their ceiling and floor against slow versions and planted features."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.errors import SaeflowError
from saeflow.stats.set_overlap import (
    expected_jaccard,
    jaccard,
    overlap_beside_ceiling,
    top_by_mean,
    top_specialists,
)
from tests.planted_texts import FORM, TOPIC, planted_texts
from tests.sentences import check_sentence

SETS = st.sets(st.integers(0, 8))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def array(members: set[int]) -> np.ndarray:
    return np.array(sorted(members), np.int64)


@given(SETS, SETS)
def test_jaccard_equals_pythons_sets(one: set[int], two: set[int]) -> None:
    found = jaccard(array(one), array(two))
    if one | two:
        assert found == len(one & two) / len(one | two)
    else:
        assert np.isnan(found)


@given(st.integers(1, 7), st.data())
def test_floor_equals_the_mean_over_all_sets(pool: int, data: st.DataObject) -> None:
    first, second = (data.draw(st.integers(0, pool)) for _ in range(2))
    fixed = set(range(first))
    others = [set(each) for each in combinations(range(pool), second)]
    if first or second:
        expected = np.mean([len(fixed & each) / len(fixed | each) for each in others])
        assert expected_jaccard(pool, first, second) == pytest.approx(expected)
    else:
        assert np.isnan(expected_jaccard(pool, first, second))


def test_floor_of_the_studys_sets() -> None:
    # Two random 20-subsets of 300 active features share 4/3 on average.
    assert expected_jaccard(300, 20, 20) == pytest.approx(0.0351, abs=5e-4)
    assert expected_jaccard(20, 20, 20) == 1
    with pytest.raises(
        SaeflowError, match=r"^Sets of 5 and 20 features are drawn from 10"
    ) as error:
        expected_jaccard(10, 5, 20)
    check_sentence(error.value)


def test_top_features_of_means_fill_up_with_zeros_as_published() -> None:
    means = np.array([0.0, 3, 0, 5, 3])
    assert top_by_mean(means, 4).tolist() == [3, 1, 4, 0]
    assert top_by_mean(means, 4, active_only=True).tolist() == [3, 1, 4]


def test_top_specialists_are_by_score_then_by_maximum() -> None:
    values = np.array([[6.0, 9, 7, 0, 8], [6, 9, 0, 0, 0], [0, 9, 0, 0, 0], [0, 0, 0, 9, 0]])
    inside = np.arange(4) < 2
    assert top_specialists(values, inside, ~inside).tolist() == [0, 1, 4, 2]
    assert top_specialists(values, inside, ~inside, top=2).tolist() == [0, 1]
    assert not len(top_specialists(values, inside, ~inside, threshold=10.0))


def two_classes(kinds: tuple[str, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    planted = planted_texts(kinds, seed, forms=(3,), n_pairs=20, n_noise=60)
    one, two = planted.classes == 0, planted.classes == 1
    return planted.values[one], planted.values[two], planted.pairs[one], planted.pairs[two]


def test_overlap_of_two_halves_of_one_thing_is_its_ceiling() -> None:
    relative = []
    for seed in range(20):
        found = overlap_beside_ceiling(*two_classes((TOPIC,), seed), generator(seed), top=10)
        assert found.ceiling < 0.6  # noise ranks most of the ten
        relative.append(found.relative)
    assert abs(np.mean(relative) - 1) < 4 * np.std(relative) / np.sqrt(20)


def test_noise_overlaps_at_its_floor() -> None:
    found = [
        overlap_beside_ceiling(*two_classes((), seed), generator(seed), top=10)
        for seed in range(30)
    ]
    for kind in ("between", "ceiling"):
        values = [getattr(each, kind) for each in found]
        floor = np.mean([each.floor for each in found])
        assert abs(np.mean(values) - floor) < 4 * np.std(values) / np.sqrt(30)


def test_forms_with_features_of_their_own_overlap_below_their_ceiling() -> None:
    rng = generator(3)
    values = rng.random((40, 300)) * (rng.random((40, 300)) < 0.2)
    values[:20, :10] += 4
    values[20:, 10:20] += 4
    pairs = np.tile(np.arange(20), 2)
    parts = values[:20], values[20:], pairs[:20], pairs[20:]
    found = overlap_beside_ceiling(*parts, generator(), top=10)
    assert found.ceiling == 1
    assert found.between == found.relative == 0
    assert found.floor == pytest.approx(expected_jaccard(300, 10, 10), rel=0.01)
    assert overlap_beside_ceiling(*parts, generator(), top=10, pool=1000).floor < found.floor / 3


def test_planted_form_lowers_overlap_and_planted_topic_does_not() -> None:
    by_form = overlap_beside_ceiling(*two_classes((FORM,)), generator(), top=1)
    by_topic = overlap_beside_ceiling(*two_classes((TOPIC,)), generator(), top=1)
    assert (by_form.ceiling, by_form.between) == (1, 0)
    assert (by_topic.ceiling, by_topic.between) == (1, 1)


def test_halves_never_share_a_pair_and_are_the_same_for_both_classes() -> None:
    """A feature for each pair, on in both forms: halves share none, so no set is like another."""
    values = np.eye(12)
    pairs = np.arange(12)
    found = overlap_beside_ceiling(values, values, pairs, pairs, generator(), top=12)
    assert found.between == found.ceiling == 0
    assert np.isnan(found.relative)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99))
def test_every_class_has_texts_in_both_halves(
    both: int, first: int, second: int, seed: int
) -> None:
    if min(both + first, both + second) < 2:
        return
    one = np.arange(both + first)
    two = np.r_[np.arange(both), 100 + np.arange(second)]
    # A mean of no texts would warn, which is an error here.
    found = overlap_beside_ceiling(
        np.ones((len(one), 3)), np.ones((len(two), 3)), one, two, generator(seed), top=2, splits=5
    )
    assert found.between == found.ceiling == found.relative == 1


def test_silent_classes_and_single_pairs() -> None:
    silent = np.zeros((4, 6))
    found = overlap_beside_ceiling(silent, silent, np.arange(4), np.arange(4), generator())
    assert np.isnan([found.between, found.ceiling, found.relative, found.floor]).all()
    with pytest.raises(SaeflowError, match=r"one pair only"):
        overlap_beside_ceiling(silent, silent, np.zeros(4, int), np.arange(4), generator())
