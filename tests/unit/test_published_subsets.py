"""The study's sets of units as published (methods/4, 5.3), their rules, and sets drawn beside them."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.errors import SaeflowError
from saeflow.stats.subsets import WORKING, exchanged_units, random_sets, study_sets

RANDOM = (
    (1, 4, 6, 8, 9, 11, 12, 13, 15, 16, 18, 24, 25, 28, 30, 31),
    (2, 3, 6, 8, 12, 14, 15, 18, 20, 21, 23, 24, 25, 27, 29, 31),
    (1, 2, 3, 5, 6, 8, 9, 11, 13, 19, 21, 23, 24, 26, 27, 30),
)
LISTED = {
    "first_16": tuple(range(16)),
    "last_16": tuple(range(16, 32)),
    "first_8_even": (0, 2, 4, 6, 8, 10, 12, 14),
    "last_8_even": (16, 18, 20, 22, 24, 26, 28, 30),
    "every_other_even": (0, 4, 8, 12, 16, 20, 24, 28),
    "first_4_even": (0, 2, 4, 6),
    "last_4_even": (24, 26, 28, 30),
    "middle_4_even": (12, 14, 16, 18),
    "every_4th_even": (0, 8, 16, 24),
    "first_2_even": (0, 2),
    "last_2_even": (28, 30),
    "extreme_even": (0, 30),
    "single_0": (0,),
    "single_14": (14,),
    "single_30": (30,),
    "first_8_odd": (1, 3, 5, 7, 9, 11, 13, 15),
    "last_8_odd": (17, 19, 21, 23, 25, 27, 29, 31),
    "every_other_odd": (1, 5, 9, 13, 17, 21, 25, 29),
    "middle_4_odd": (13, 15, 17, 19),
    "every_4th_odd": (1, 9, 17, 25),
    "last_2_odd": (29, 31),
    "extreme_odd": (1, 31),
    "single_15": (15,),
    "mixed_4_odd_4_even": (0, 1, 2, 3, 4, 5, 6, 7),
    "mixed_2_odd_6_even": (0, 1, 2, 3, 4, 6, 8, 10),
    "index_mod_4_is_2": (2, 6, 10, 14, 18, 22, 26, 30),
    "index_mod_4_is_3": (3, 7, 11, 15, 19, 23, 27, 31),
}


def test_sets_of_32_are_the_published_ones() -> None:
    sets = {each.name: each for each in study_sets(32)}
    assert {name: sets[name].units for name in LISTED} == LISTED
    for seed, units in enumerate(RANDOM):
        assert sets[f"random_16_seed_{seed}"].units == units
    assert sets["all_32"].units == tuple(range(32))
    assert sets["even_16"].units == tuple(range(0, 32, 2))
    assert sets["odd_16"].units == tuple(range(1, 32, 2))
    assert len(sets) == 38


def test_published_answers_are_not_a_matter_of_size() -> None:
    sets = {each.name: each for each in study_sets(32)}
    assert {name for name, each in sets.items() if each.published == 1} == set(WORKING)
    assert {each.published for each in sets.values()} == {0, 1}
    # Both halves contain a set of eight that works, and do not work.
    for whole, part in (("first_16", "first_8_even"), ("last_16", "last_8_even")):
        assert set(sets[part].units) < set(sets[whole].units)
        assert (sets[part].published, sets[whole].published) == (1, 0)
    assert sets["random_16_seed_2"].published == 0


@pytest.mark.parametrize("n_units", [*range(1, 41), 64])
def test_sets_of_other_numbers_follow_the_rules(n_units: int) -> None:
    sets = study_sets(n_units)
    assert max(Counter(each.name for each in sets).values()) == 1
    assert max(Counter(each.units for each in sets).values()) == 1
    assert sets[0].units == tuple(range(n_units))
    for each in sets:
        assert each.units == tuple(sorted(set(each.units)))
        assert each.units
        assert set(each.units) <= set(range(n_units))
        assert (each.published is None) == (n_units != 32)
        size = next((int(part) for part in each.name.split("_") if part.isdigit()), None)
        if each.name.startswith(("all", "even", "odd", "first", "last", "middle", "random")):
            assert len(each.units) == size


def test_sets_of_four_are_all_that_the_rules_give() -> None:
    assert {each.name: each.units for each in study_sets(4)} == {
        "all_4": (0, 1, 2, 3),
        "even_2": (0, 2),
        "odd_2": (1, 3),
        "first_2": (0, 1),
        "last_2": (2, 3),
        "first_1_even": (0,),
        "last_1_even": (2,),
        "first_1_odd": (1,),
        "last_1_odd": (3,),
        # The draw of seed 0 is the odd ones.
        "random_2_seed_1": (1, 2),
        "random_2_seed_2": (0, 3),
    }


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 200), st.integers(0, 99))
def test_random_sets_are_different_and_avoid_the_one_they_stand_beside(
    n_units: int, size: int, count: int, seed: int
) -> None:
    size = min(size, n_units)
    pool = range(1, 2 * n_units, 2)
    without = pool[:size]
    found = random_sets(pool, size, count, seed=seed, without=without)
    every = set(itertools.combinations(pool, size)) - {tuple(without)}
    assert set(found) <= every
    assert len(set(found)) == len(found) == min(count, len(every))
    assert found == random_sets(pool, size, count, seed=seed, without=without)


def test_random_sets_of_many_units_are_drawn_alike() -> None:
    first, *_ = random_sets(range(32), 16, 1, seed=0)
    found = random_sets(range(32), 16, 400, seed=0, without=first)
    assert len(set(found)) == 400
    assert first not in found
    assert {len(each) for each in found} == {16}
    counts = np.bincount(np.array(found).ravel(), minlength=32)
    assert np.abs(counts - 200).max() < 5 * 10  # standard deviation: 10
    assert random_sets(range(32), 16, 5, seed=0) != random_sets(range(32), 16, 5, seed=1)


@given(st.integers(2, 40), st.integers(0, 99))
def test_exchanged_units_all_get_another(n_units: int, seed: int) -> None:
    order = exchanged_units(n_units, seed=seed)
    assert sorted(order.tolist()) == list(range(n_units))
    assert (order != np.arange(n_units)).all()


def test_what_cannot_be_drawn_is_told_in_one_sentence() -> None:
    with pytest.raises(SaeflowError, match=r"^0 units are given; expected one or more\.$"):
        study_sets(0)
    with pytest.raises(
        SaeflowError, match=r"^Sets of 3 of 2 units are asked for; there is none\.$"
    ):
        random_sets((4, 5), 3, 1, seed=0)
    with pytest.raises(
        SaeflowError, match=r"^1 units cannot be exchanged; expected two or more\.$"
    ):
        exchanged_units(1, seed=0)
