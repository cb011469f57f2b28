"""Relabelings of classes and nulls of the best of all features, against slow loops."""

from __future__ import annotations

import numpy as np

from saeflow.stats.selectivity_null import (
    class_relabelings,
    max_nulls,
    relabelings,
    specialist_tests,
)
from tests.planted_texts import FORM, planted_texts
from tests.unit.test_selectivity import generator, slow_areas, within_pairs


def test_relabelings_keep_the_shape_of_the_class() -> None:
    planted = planted_texts(n_pairs=5)
    inside, outside = planted.classes == 0, planted.topics != 0
    found = relabelings(inside, outside, planted.pairs, 300, generator())
    np.testing.assert_array_equal(found.inside, inside)
    np.testing.assert_array_equal(found.outside, outside)
    for chosen, others in zip(found.drawn_inside.T, found.drawn_outside.T, strict=True):
        assert chosen.sum() == 5
        assert len(set(planted.pairs[chosen])) == 5
        assert not set(planted.pairs[chosen]) & set(planted.pairs[others])
        assert set(planted.pairs[chosen]) | set(planted.pairs[others]) == set(planted.pairs)
    # Every text is drawn about as often as any other of a pair of as many.
    drawn = found.drawn_inside.mean(1)
    threes = planted.topics != 1
    assert np.ptp(drawn[threes]) < 6 * np.sqrt(drawn.mean() / 300)
    paired = relabelings(*within_pairs(planted, 0), planted.pairs, 50, generator())
    for chosen, others in zip(paired.drawn_inside.T, paired.drawn_outside.T, strict=True):
        assert set(planted.topics[chosen | others]) == {0}
        assert (np.bincount(planted.pairs[chosen]) == 1).all()
        assert (chosen | others).sum() == 15
    # A topic of whole pairs goes only to pairs with as many texts.
    whole = relabelings(planted.topics == 0, planted.topics != 0, planted.pairs, 50, generator())
    for chosen in whole.drawn_inside.T:
        assert set(np.bincount(planted.pairs[chosen])) <= {0, 3}
        assert 1 not in planted.topics[chosen]


def slow_relabelings(
    inside: np.ndarray, outside: np.ndarray, pairs: np.ndarray, rng: np.random.Generator
) -> tuple[set[int], set[int]]:
    """One draw, pair by pair; no pair is on both sides, and pairs are numbered from 0."""
    quota = np.bincount(pairs, inside)
    taking_part = inside | outside | (quota[pairs] > 0)
    sizes = np.bincount(pairs, taking_part)
    drawn: dict[int, int] = {}
    for number in sorted(set(quota[quota > 0]), reverse=True):
        free = [pair for pair in range(len(sizes)) if sizes[pair] >= number and pair not in drawn]
        wanted = int((quota == number).sum())
        drawn |= dict.fromkeys(rng.choice(free, wanted, replace=False).tolist(), int(number))
    keys = rng.random(len(pairs))
    chosen: set[int] = set()
    for pair, number in drawn.items():
        own = np.flatnonzero((pairs == pair) & taking_part)
        chosen |= set(own[np.argsort(keys[own])][:number].tolist())
    others = {n for n in np.flatnonzero(taking_part).tolist() if pairs[n] not in drawn}
    return chosen, others


def test_relabelings_are_those_of_the_slow_loop() -> None:
    planted = planted_texts(n_pairs=5)
    every = [(planted.classes == each, planted.topics != planted.topics[planted.classes == each][0])
             for each in (0, 3, 5)]  # fmt: skip
    # A class of one pair's three texts and one of another's, told from some others only.
    uneven = np.isin(np.arange(len(planted.pairs)), [*np.flatnonzero(planted.pairs == 0), 1])
    every.append((uneven, np.isin(planted.pairs, [2, 3, 4, 9, 14, 16])))
    for inside, outside in every:
        found = relabelings(inside, outside, planted.pairs, 20, generator(4))
        rng = generator(4)
        for number in range(20):
            chosen, others = slow_relabelings(inside, outside, planted.pairs, rng)
            assert set(np.flatnonzero(found.drawn_inside[:, number]).tolist()) == chosen
            assert set(np.flatnonzero(found.drawn_outside[:, number]).tolist()) == others


def test_classes_share_draws_where_they_could_have_been_the_same() -> None:
    planted = planted_texts({FORM}, strength=1.0)
    # Each of 8 texts of 8 pairs, told from all pairs of other topics.
    designs = class_relabelings(planted.classes, planted.pairs, planted.topics, permutations=30)
    assert len({id(each.drawn_inside) for each in designs}) == 1
    for design, found in zip(designs, max_nulls(planted.values, designs), strict=True):
        (alone,) = max_nulls(planted.values, [design])
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one, other)
    # Forms told from one another share, and a form and all others are of different sizes.
    for each in range(4):
        own = planted.topics == each
        classes = np.unique(planted.classes[own], return_inverse=True)[1]
        paired = class_relabelings(classes, planted.pairs[own], permutations=5)
        assert paired[0].drawn_inside is paired[1].drawn_inside
    uneven = class_relabelings(np.minimum(planted.classes, 1), planted.pairs, permutations=5)
    assert uneven[0].drawn_inside is not uneven[1].drawn_inside


def test_max_null_is_the_slow_one_and_an_area_where_no_text_is_left_out() -> None:
    planted = planted_texts(seed=5, n_noise=6)
    values = planted.values.copy()
    values[:, 2] = 1.5
    inside = planted.classes == 0
    clusters = np.arange(len(inside))
    design = relabelings(inside, ~inside, clusters, 30, generator())
    null = max_nulls(values, [design])[0]
    drawn = [inside, *design.drawn_inside.T]
    areas = [slow_areas(values, chosen, ~chosen) for chosen in drawn]
    np.testing.assert_allclose(null.statistic, areas[0], atol=1e-12)
    np.testing.assert_allclose(null.maxima, [each.max() for each in areas[1:]], atol=1e-12)
    for feature, value in enumerate(null.statistic):
        expected = (1 + sum(each.max() >= value - 1e-12 for each in areas[1:])) / 31
        assert null.p_value[feature] == expected
    assert null.statistic[2] == 0.5
    # With texts left out: shares of all texts below, inside less outside.
    design = relabelings(inside, planted.topics != 0, planted.pairs, 5, generator())
    null = max_nulls(values, [design])[0]
    share = ((values[:, None] > values).mean(1) + (values[:, None] >= values).mean(1)) / 2
    slow = [
        0.5 + share[chosen].mean(0) - share[others].mean(0)
        for chosen, others in [
            (inside, planted.topics != 0),
            *zip(design.drawn_inside.T, design.drawn_outside.T, strict=True),
        ]
    ]
    np.testing.assert_allclose(null.statistic, slow[0], atol=1e-12)
    np.testing.assert_allclose(null.maxima, np.max(slow[1:], axis=1), atol=1e-12)
    area = slow_areas(values, inside, planted.topics != 0)
    np.testing.assert_allclose(null.statistic, area, atol=0.08)


def test_tests_of_classes_depend_on_their_seed_only() -> None:
    planted = planted_texts({FORM}, strength=1.0)
    parts = (planted.classes, planted.pairs, planted.topics)
    found, again, other = (
        specialist_tests(planted.values, class_relabelings(*parts, permutations=50, seed=seed))
        for seed in (7, 7, 8)
    )
    for one, two in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (found.statistic == other.statistic).all()
    assert (found.threshold != other.threshold).any()
