"""Ranks of features by how often they fire, and the problems on which each fires hardest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

LISTED = 10
"""Problems per feature that are named, strongest first."""


@dataclass(frozen=True)
class Ranking:
    """Features of one SAE.

    Attributes
    ----------
    rank : numpy.ndarray of int, shape (features,)
        Place by how often it fires, from 1; the first of equals has the smaller index.
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which it is not zero.
    mean_magnitude : numpy.ndarray of float64, shape (features,)
        Mean absolute activation, zeros included.
    samples : numpy.ndarray of bool, shape (features, problems)
        Problems that the rules look at: the active ones of largest absolute activation.
    top : list of numpy.ndarray of int
        Rows of the first ten of them, strongest first.
    """

    rank: Int[np.ndarray, " features"]
    n_active: Int[np.ndarray, " features"]
    mean_magnitude: Float[np.ndarray, " features"]
    samples: Bool[np.ndarray, "features problems"]
    top: list[Int[np.ndarray, " _"]]


def rank_features(magnitude: Float32[np.ndarray, "features problems"], samples: int) -> Ranking:
    """Rank the features of one SAE.

    Parameters
    ----------
    magnitude : numpy.ndarray of float32, shape (features, problems)
        Absolute activations.
    samples : int
        Problems per feature that the rules look at, at most.

    Returns
    -------
    Ranking
        Features in the order of `magnitude`.
    """
    n_active = np.count_nonzero(magnitude, axis=1)
    rank = np.empty(len(magnitude), np.int64)
    rank[np.argsort(-n_active, kind="stable")] = np.arange(1, len(magnitude) + 1)
    return Ranking(
        rank=rank,
        n_active=n_active,
        mean_magnitude=magnitude.mean(axis=1, dtype=np.float64),
        samples=strongest(magnitude, samples),
        top=_in_order(magnitude, strongest(magnitude, LISTED)),
    )


def strongest(
    magnitude: Float32[np.ndarray, "features problems"], count: int
) -> Bool[np.ndarray, "features problems"]:
    """Mark the largest activations of each feature; of equal ones the first.

    Parameters
    ----------
    magnitude : numpy.ndarray of float32, shape (features, problems)
        Absolute activations.
    count : int
        How many per feature; fewer where fewer are above 0.
    """
    n_problems = magnitude.shape[1]
    if count >= n_problems:
        return magnitude > 0
    place = n_problems - count
    least = np.partition(magnitude, place, axis=1)[:, place, None]
    marked = magnitude > least
    tied = (magnitude == least) & (magnitude > 0)
    room = count - np.count_nonzero(marked, axis=1)[:, None]
    marked |= tied & (np.cumsum(tied, axis=1) <= room)
    return marked


def _in_order(
    magnitude: Float32[np.ndarray, "features problems"],
    marked: Bool[np.ndarray, "features problems"],
) -> list[Int[np.ndarray, " _"]]:
    feature, problem = np.nonzero(marked)
    order = np.lexsort((problem, -magnitude[feature, problem], feature))
    return np.split(problem[order], np.cumsum(np.count_nonzero(marked, axis=1))[:-1])
