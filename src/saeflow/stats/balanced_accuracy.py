"""Balanced accuracy of yes and no, with an exact interval over documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv

from saeflow.stats.resampling import cluster_averages

EXACT = "exact 95 %"
"""Kind of its interval, as tables name it."""


class Accuracy(NamedTuple):
    """How well two kinds of contexts are told apart.

    Attributes
    ----------
    value : float
        Balanced accuracy; NaN where one of both kinds has no verdict.
    low, high : float
        Ends of its 95 % interval.
    """

    value: float
    low: float
    high: float


def balanced_accuracy(
    hits: Float[np.ndarray, " positives"],
    hit_documents: Sequence[int],
    refusals: Sequence[Float[np.ndarray, " _"]],
    refusal_documents: Sequence[Sequence[int]],
) -> Accuracy:
    """Mean of the share of activating contexts recognised and of negatives refused.

    Each share has an exact interval (Clopper and Pearson) over documents, a document's contexts being
    averaged; their levels add up to 5 %, so that all of them hold at once in 95 % of runs, whatever they
    have in common. The interval of the mean is the mean of their ends: rather too wide.

    Parameters
    ----------
    hits : numpy.ndarray of float64, shape (positives,)
        1 where an activating context is recognised, else 0.
    hit_documents : sequence of int
        Their documents.
    refusals : sequence of numpy.ndarray of float64, shape (negatives,)
        Of each kind of negative, 1 where one is refused, else 0; kinds count alike.
    refusal_documents : sequence of sequence of int
        Theirs.

    Returns
    -------
    Accuracy
        0.5 for one that always says the same.
    """
    if not len(hits) or not refusals or not all(len(each) for each in refusals):
        return Accuracy(float("nan"), float("nan"), float("nan"))
    level = 0.05 / (1 + len(refusals))
    shares = [(hits, hit_documents), *zip(refusals, refusal_documents, strict=True)]
    ends = [_exact(values, documents, level) for values, documents in shares]
    means = [float(values.mean()) for values, _ in shares]
    low, value, high = (
        (of_hits + float(np.mean(of_refusals))) / 2
        for of_hits, *of_refusals in (
            [low for low, _ in ends],
            means,
            [high for _, high in ends],
        )
    )
    return Accuracy(value, min(low, value), max(high, value))


def exact_ends(successes: float, count: int, level: float) -> tuple[float, float]:
    """Ends of Clopper and Pearson's interval of a share.

    Equals ``scipy.stats.binomtest(...).proportion_ci(1 - level, "exact")``, which takes milliseconds.

    Parameters
    ----------
    successes : float
        How many, at most `count`; a number that is not whole is rounded outwards.
    count : int
        Of how many, at least one.
    level : float
        Chance that the interval misses the share, at most.
    """
    fewer, more = np.floor(successes), np.ceil(successes)
    low = 0.0 if fewer == 0 else float(betaincinv(fewer, count - fewer + 1, level / 2))
    high = 1.0 if more == count else float(betaincinv(more + 1, count - more, 1 - level / 2))
    return low, high


def _exact(
    values: Float[np.ndarray, " contexts"], documents: Sequence[int], level: float
) -> tuple[float, float]:
    """Exact interval of a share over documents; what is split inside one is rounded outwards."""
    shares = cluster_averages(values, documents)
    return exact_ends(round(float(shares.sum()), 9), len(shares), level)
