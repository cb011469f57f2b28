"""Means of per-example quantities with bootstrap intervals over clusters, and tests by sign flips.

A cluster is what can be drawn anew, such as a pair of numbers that is asked about in both orders. For
rates of discoveries none of this holds (design, section 8).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest, permutation_test

from saeflow.errors import SaeflowError

STAGE, STAGE_LEVEL = 199, 0.05
"""Flips drawn first where many are asked for, and the p-value up to which all of them are."""
BOOTSTRAP = "cluster bootstrap 95 %"
WILSON = "wilson 95 %"
"""Kinds of intervals, as tables name them."""
RESAMPLES = 2000

Clusters = Sequence[Hashable] | None
"""What each example is of; None where each is its own cluster."""


class Means(NamedTuple):
    """Means of some quantities, each over the examples that have it.

    Attributes
    ----------
    value : numpy.ndarray of float64, shape (quantities,)
        NaN where no example has the quantity.
    low, high : numpy.ndarray of float64, shape (quantities,)
        Ends of the 95 % interval; NaN where all clusters agree, so that there is nothing to resample.
    n : numpy.ndarray of int64, shape (quantities,)
        Clusters with at least one example that has the quantity.
    left_out : numpy.ndarray of int64, shape (quantities,)
        Examples that have it not.
    """

    value: Float[np.ndarray, " quantities"]
    low: Float[np.ndarray, " quantities"]
    high: Float[np.ndarray, " quantities"]
    n: Int[np.ndarray, " quantities"]
    left_out: Int[np.ndarray, " quantities"]


def resample_counts(count: int, generator: np.random.Generator) -> Int[np.ndarray, "resamples n"]:
    """How often each of `count` clusters is drawn, in every resample of as many clusters."""
    return generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)


def percentile_ends(drawn: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Ends of the 95 % percentile interval; NaN marks resamples that hold nothing to average."""
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def cluster_sums(
    values: Float[np.ndarray, "examples ..."], clusters: Clusters
) -> tuple[Float[np.ndarray, "clusters ..."], Int[np.ndarray, "clusters ..."]]:
    """Sum examples that are not NaN cluster by cluster, and count them.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (examples, ...)
        One row per example.
    clusters : sequence of hashable or None
        What each example is of.

    Returns
    -------
    sums : numpy.ndarray of float64, shape (clusters, ...)
        In the order in which clusters first appear.
    sizes : numpy.ndarray of int64, shape (clusters, ...)
        Examples that are not NaN.

    Raises
    ------
    SaeflowError
        If there are more or fewer clusters named than examples.
    """
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0).astype(np.float64)
    if clusters is None:
        return filled, present.astype(np.int64)
    if len(clusters) != len(values):
        raise SaeflowError(
            f"{len(clusters)} clusters are named for {len(values)} examples; expected one for each."
        )
    numbers: dict[Hashable, int] = {}
    place = np.array([numbers.setdefault(each, len(numbers)) for each in clusters], np.int64)
    sums = np.zeros((len(numbers), *values.shape[1:]))
    sizes = np.zeros(sums.shape, np.int64)
    np.add.at(sums, place, filled)
    np.add.at(sizes, place, present)
    return sums, sizes


def cluster_averages(
    values: Float[np.ndarray, "examples ..."], clusters: Clusters
) -> Float[np.ndarray, "clusters ..."]:
    """Average the examples of each cluster, so that it counts once; NaN where none has a value."""
    sums, sizes = cluster_sums(values, clusters)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)


def cluster_means(
    values: Float[np.ndarray, "quantities examples"],
    clusters: Clusters,
    generator: np.random.Generator,
) -> Means:
    """Mean of each quantity over examples, with a bootstrap interval over clusters.

    Every quantity is resampled alike. An example without a quantity (NaN) takes no part in its mean and
    is counted; a resample in which no cluster has the quantity is skipped.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (quantities, examples)
        NaN where an example has no such quantity.
    clusters : sequence of hashable or None
        What each example is of, such as one pair of numbers in two orders.
    generator : numpy.random.Generator
        Draws the resamples.
    """
    count = values.shape[1] if clusters is None else len(set(clusters))
    counts = resample_counts(count, generator) if count else np.zeros((0, 0), np.int64)
    return resampled_means(values, clusters, counts)


def resampled_means(
    values: Float[np.ndarray, "quantities examples"],
    clusters: Clusters,
    counts: Int[np.ndarray, "resamples clusters"],
) -> Means:
    """`cluster_means` with resamples that were drawn before, such as for many matrices.

    Parameters
    ----------
    values, clusters
        As of `cluster_means`.
    counts : numpy.ndarray of int64, shape (resamples, clusters)
        As `resample_counts` draws them; clusters in the order in which they first appear.
    """
    sums, sizes = cluster_sums(values.T, clusters)
    averages = sums / np.maximum(sizes, 1)
    value, low, high = np.full((3, len(values)), np.nan)
    for place in range(len(values)):
        total, size = sums[:, place], sizes[:, place]
        if not size.any():
            continue
        value[place] = total.sum() / size.sum()
        if np.ptp(averages[size > 0, place]) > 0:
            drawn = counts @ size
            some = drawn > 0
            low[place], high[place] = percentile_ends((counts[some] @ total) / drawn[some])
    left_out = np.isnan(values).sum(1)
    return Means(value, low, high, (sizes > 0).sum(0), left_out)


def sign_flip_p_value(
    differences: Float[np.ndarray, " examples"],
    clusters: Clusters,
    permutations: int,
    generator: np.random.Generator,
) -> float:
    """Test whether paired differences are symmetric about 0, by flipping their signs.

    Differences of one cluster are averaged and flipped together. All flips are tried where there are
    no more than `permutations`; otherwise as many are drawn, and the p-value counts the observed
    signs as one of them, so that it is never 0 (SciPy's `permutation_test`).

    Parameters
    ----------
    differences : numpy.ndarray of float, shape (examples,)
        NaN where there is nothing to compare; such examples take no part.
    clusters : sequence of hashable or None
        What each example is of.
    permutations : int
        Flips drawn at most.
    generator : numpy.random.Generator
        Draws them.

    Returns
    -------
    float
        Two-sided; 1 where all differences are 0, or there is none.
    """
    averages = cluster_averages(differences, clusters)
    averages = averages[~np.isnan(averages)]
    # Of a single one either sign is as far from 0, and SciPy wants two.
    if len(averages) < 2 or not averages.any():
        return 1.0
    found = permutation_test(
        (averages,),
        np.mean,
        permutation_type="samples",
        n_resamples=permutations,
        random_state=generator,
    )
    return float(found.pvalue)


def staged_sign_flip_p_value(
    differences: Float[np.ndarray, " examples"],
    clusters: Clusters,
    permutations: int,
    generator: np.random.Generator,
) -> float:
    """Test by `sign_flip_p_value` with few flips, and again with all if it may be significant.

    For hundreds of tests that are adjusted together. The p-value is as valid: it reaches a level up to
    `STAGE_LEVEL` only if the second drawing does, and another one only if the first does.

    Parameters
    ----------
    differences, clusters, generator
        As of `sign_flip_p_value`.
    permutations : int
        Flips of the second drawing; the first has `STAGE` at most.
    """
    first = sign_flip_p_value(differences, clusters, min(permutations, STAGE), generator)
    if first > STAGE_LEVEL or permutations <= STAGE:
        return first
    return sign_flip_p_value(differences, clusters, permutations, generator)


def wilson_of_shares(shares: Float[np.ndarray, " examples"]) -> tuple[float, float]:
    """Wilson's 95 % interval for the mean of shares, each of which counts as one example.

    A share between 0 and 1 varies at most as much as a coin with the same mean does, so the interval
    for coins is wide enough. Their sum is rounded to whole examples, down for the lower end and up for
    the upper one; where shares are 0 or 1 nothing is rounded.

    Parameters
    ----------
    shares : numpy.ndarray of float, shape (examples,)
        At least one.
    """
    total = round(float(shares.sum()), 9)
    fewer, more = (binomtest(int(end(total)), len(shares)) for end in (np.floor, np.ceil))
    return (
        float(fewer.proportion_ci(method="wilson").low),
        float(more.proportion_ci(method="wilson").high),
    )
