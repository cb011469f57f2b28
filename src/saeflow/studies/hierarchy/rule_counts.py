"""Numbers of the published rules, and features that they call specialised beside random problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binom

RANDOM_PROBLEMS = "random_problems"
"""Control: samples of each feature are as many random problems."""
INDEPENDENT = "independent_95"
"""Interval: holds 95 % of counts of independent features."""


class Number(NamedTuple):
    """One number of the summary: columns of `saeflow.artifacts.hierarchy.HIERARCHY`.

    Attributes
    ----------
    group, metric : str
        Of which features, and what.
    value : float or None
        None where it is a share of nothing.
    n : int
        Features, sites or rows that it is taken over.
    control : str
        "none" for what is measured.
    ci_low, ci_high : float or None
        Ends of the interval.
    interval : str
        Its kind.
    """

    group: str
    metric: str
    value: float | None
    n: int
    control: str = "none"
    ci_low: float | None = None
    ci_high: float | None = None
    interval: str = "none"


def specialist_numbers(
    group: str,
    found: Mapping[str, Bool[np.ndarray, " features"]],
    chance: Mapping[str, Float[np.ndarray, " features"]],
) -> Iterator[Number]:
    """Count specialised features of a group, beside what random problems would give.

    Parameters
    ----------
    group : str
        Its name.
    found : mapping of str to numpy.ndarray of bool, shape (features,)
        Which of its features are specialised, by ending of the metric: "" as published, "_untied"
        with ties counted.
    chance : mapping of str to numpy.ndarray of float64, shape (features,)
        Chance that as many random problems are, likewise.

    Yields
    ------
    Number
        n_specialised and share_specialised, each also for random problems.
    """
    for ending, marked in found.items():
        n, metric = len(marked), f"n_specialised{ending}"
        expected = expected_count(group, metric, chance[ending])
        measured = Number(group, metric, float(np.count_nonzero(marked)), n)
        for each in (measured, expected):
            yield each
            share = each.value / n if n and each.value is not None else None
            yield Number(group, f"share_specialised{ending}", share, n, each.control)


def expected_count(group: str, metric: str, chance: Float[np.ndarray, " features"]) -> Number:
    """Features that random problems give, with the range that holds 95 % of such counts."""
    low, high = independent_range(chance)
    total, n = float(chance.sum()), len(chance)
    return Number(group, metric, total, n, RANDOM_PROBLEMS, low, high, INDEPENDENT)


def independent_range(chance: Float[np.ndarray, " features"]) -> tuple[float, float]:
    """Range that holds the number of successes in 95 % of cases, if trials are independent.

    Parameters
    ----------
    chance : numpy.ndarray of float64, shape (features,)
        Probability of each trial's success.

    Returns
    -------
    low, high : float
        The 2.5 % and the 97.5 % quantile of the Poisson binomial distribution.
    """
    # Trials of the same chance make one binomial number. `scipy.stats.poisson_binom` takes no more
    # than 63 trials.
    chances, counts = np.unique(chance[chance > 0], return_counts=True)
    parts = [
        binom.pmf(np.arange(count + 1), count, each)
        for each, count in zip(chances.tolist(), counts.tolist(), strict=True)
    ]
    below = np.cumsum(reduce(np.convolve, parts, np.ones(1)))
    low, high = np.minimum(np.searchsorted(below, (0.025, 0.975)), len(below) - 1)
    return float(low), float(high)
