"""Sets of units: those that the study of the decimal bug tried, and random ones to stand beside them.

The study numbered blocks of 128 coordinates of the residual stream and called them heads (methods/4,
sections 5.3 and 5.6). The sets are the same for any units that are numbered.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator

PUBLISHED_UNITS = 32
"""Blocks of coordinates in the study's model, Llama-3.1-8B."""
WORKING = frozenset(
    {
        "all_32",
        "even_16",
        "first_8_even",
        "last_8_even",
        "every_other_even",
        "random_16_seed_0",
        "random_16_seed_1",
    }
)
"""Sets with which every published answer was right; with all others none was."""
_RANDOM_SEEDS = range(3)
_LISTED = 10_000
"""So many sets are listed and drawn from; of more, sets are drawn one by one."""


class UnitSet(NamedTuple):
    """A set of units with a name.

    Attributes
    ----------
    name : str
        The study's, with numbers of units instead of its 32.
    units : tuple of int
        Ascending.
    published : float or None
        Published share of right answers, of 20 to 100 repeats of one deterministic run, so in truth
        one answer: 1 right, 0 not. None for other numbers of units than the study's.
    """

    name: str
    units: tuple[int, ...]
    published: float | None


def study_sets(n_units: int) -> tuple[UnitSet, ...]:
    """Sets of units that the study tried, each once under its first name.

    All; even, odd, the first and the last half; of even and of odd ones the halves, every other, the
    first, last and middle quarter, every fourth, the first and last two of 16, both ends, and three
    single ones; mixed ones, half even or a quarter odd; every fourth from 2 and from 3; and three
    random halves, as Python's generator draws them. For other numbers of units the sets are made by
    the same rules, and those that cannot be are left out.

    Parameters
    ----------
    n_units : int
        Units; those of the study are 32.

    Raises
    ------
    SaeflowError
        If there is no unit.
    """
    if n_units < 1:
        raise SaeflowError(f"{n_units} units are given; expected one or more.")
    found: dict[tuple[int, ...], str] = {}
    for name, units in _rules(n_units):
        if units:
            found.setdefault(tuple(sorted(units)), name)
    known = n_units == PUBLISHED_UNITS
    return tuple(
        UnitSet(name, units, float(name in WORKING) if known else None)
        for units, name in found.items()
    )


def random_sets(
    pool: Sequence[int], size: int, count: int, *, seed: int, without: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Draw different sets of as many units as some other set has.

    Parameters
    ----------
    pool : sequence of int
        Units to draw from, such as the even ones.
    size : int
        Units per set.
    count : int
        Sets; fewer where there are not as many.
    seed : int
        Seed of the draw.
    without : collection of int
        The other set, which is not drawn.

    Returns
    -------
    tuple of tuple of int
        Ascending units, sets in the order in which they are drawn.

    Raises
    ------
    SaeflowError
        If a set is to hold more units than there are.
    """
    if not 0 <= size <= len(pool):
        raise SaeflowError(f"Sets of {size} of {len(pool)} units are asked for; there is none.")
    generator = numpy_generator(seed, "stats", "random sets", len(pool), size)
    units, other = sorted(pool), tuple(sorted(without))
    possible = comb(len(units), size)
    if possible <= max(_LISTED, 2 * count):
        listed = [each for each in combinations(units, size) if each != other]
        return tuple(listed[place] for place in generator.permutation(len(listed))[:count])
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        drawn = tuple(sorted(generator.choice(units, size, replace=False).tolist()))
        if drawn != other:
            found.setdefault(drawn)
    return tuple(found)


def exchanged_units(n_units: int, *, seed: int) -> Int[np.ndarray, " units"]:
    """Permute the numbers of units so that none keeps its own: whose activation each is given.

    Raises
    ------
    SaeflowError
        If there is only one unit.
    """
    if n_units < 2:
        raise SaeflowError(f"{n_units} units cannot be exchanged; expected two or more.")
    generator = numpy_generator(seed, "stats", "exchanged units", n_units)
    # A third of all orders or more are such, however many units there are.
    while True:
        order = generator.permutation(n_units)
        if (order != np.arange(n_units)).all():
            return order


def _rules(n_units: int) -> Iterator[tuple[str, Sequence[int]]]:
    """Names and units, empty where a rule asks for a part that is not whole."""
    units, half = range(n_units), n_units // 2
    yield f"all_{n_units}", units
    if n_units % 2:
        return
    evens, odds = units[::2], units[1::2]
    yield f"even_{half}", evens
    yield f"odd_{half}", odds
    yield f"first_{half}", units[:half]
    yield f"last_{half}", units[half:]
    for some, parity in ((evens, "even"), (odds, "odd")):
        yield from _parity_rules(some, parity)
    yield from _mixed_rules(evens, odds)
    if half % 2 == 0:
        # From 0 and from 1 these are every other even and every other odd unit.
        yield "index_mod_4_is_2", units[2::4]
        yield "index_mod_4_is_3", units[3::4]
    for seed in _RANDOM_SEEDS:
        yield f"random_{half}_seed_{seed}", random.Random(seed).sample(units, half)


def _parity_rules(some: Sequence[int], parity: str) -> Iterator[tuple[str, Sequence[int]]]:
    half, quarter, eighth = (_part(len(some), of) for of in (2, 4, 8))
    yield f"first_{half}_{parity}", some[:half]
    yield f"last_{half}_{parity}", some[len(some) - half :]
    if half:
        yield f"every_other_{parity}", some[::2]
    yield f"first_{quarter}_{parity}", some[:quarter]
    yield f"last_{quarter}_{parity}", some[len(some) - quarter :]
    start = (len(some) - quarter) // 2
    yield f"middle_{quarter}_{parity}", some[start : start + quarter]
    if quarter:
        yield f"every_4th_{parity}", some[::4]
    yield f"first_{eighth}_{parity}", some[:eighth]
    yield f"last_{eighth}_{parity}", some[len(some) - eighth :]
    if len(some) > 1:
        yield f"extreme_{parity}", (some[0], some[-1])
    for unit in (some[0], some[(len(some) - 1) // 2], some[-1]):
        yield f"single_{unit}", (unit,)


def _mixed_rules(evens: Sequence[int], odds: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """As many of both, a quarter of each; and three even ones for each odd one, half of them all."""
    quarter, eighth = _part(len(evens), 4), _part(len(evens), 8)
    yield f"mixed_{quarter}_odd_{quarter}_even", (*odds[:quarter], *evens[:quarter])
    yield f"mixed_{eighth}_odd_{3 * eighth}_even", (*odds[:eighth], *evens[: 3 * eighth])


def _part(count: int, of: int) -> int:
    """How many are one part of so many; 0 where that is not a whole number."""
    return count // of if count % of == 0 else 0
