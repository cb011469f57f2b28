"""Differences of two numbers that have intervals, of which nothing else is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t


class Interval(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float


def mean_of_units(values: Sequence[float]) -> Interval | None:
    """Mean over units, with Student's 95 % interval from how far they differ; None of fewer than two."""
    if len(values) < 2:
        return None
    mean = float(np.mean(values))
    reach = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - reach, mean + reach)


def independent_difference(one: Interval, two: Interval) -> Interval:
    """Subtract two independent numbers; the interval has the level of theirs.

    Variances are recovered from the ends that matter on either side (MOVER; Zou and Donner 2008).

    Parameters
    ----------
    one, two : Interval
        Of the same level.
    """
    value = one.value - two.value
    below = math.hypot(one.value - one.low, two.high - two.value)
    above = math.hypot(one.high - one.value, two.value - two.low)
    return Interval(value, value - below, value + above)


def bounded_difference(one: Interval, two: Interval) -> Interval:
    """Subtract two numbers; the interval holds every difference of what lies in theirs.

    So it is right whatever the two have in common, and wide. It is above 0 where the nearest ends of
    the two are apart, the first above the second.
    """
    return Interval(one.value - two.value, one.low - two.high, one.high - two.low)
