"""Which features of one SAE fire together more often than their frequencies say, and in what groups.

All numbers follow from how often each feature fires and how often each two do. The reference is firing
on independent problems, every feature as often as it does. The rows of a top-k SAE have exactly k active
features, which independent firing does not keep: it makes any two fire together a little less often
than independent ones (by one part in k where all are as frequent), so the reference errs on the side
of finding too few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from saeflow.stats.exact import TailTable


class Pairs(NamedTuple):
    """Pairs of features with a small p-value, by first feature, then by the other.

    Attributes
    ----------
    feature, other : numpy.ndarray of shape (pairs,), int64
        Columns; the other is larger.
    joint : numpy.ndarray of shape (pairs,), int64
        Examples on which both fire.
    p_value : numpy.ndarray of shape (pairs,), float64
        One-sided and exact (Fisher).
    """

    feature: Int[np.ndarray, " pairs"]
    other: Int[np.ndarray, " pairs"]
    joint: Int[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]


class PairTest:
    """Test each pair of features once, wherever they fire as often as given.

    Parameters
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Examples on which each feature fires.
    n_examples : int
        Examples.
    level : float
        Pairs with a larger p-value are not listed.

    Attributes
    ----------
    n_tests : int
        Pairs.
    """

    def __init__(self, n_active: Int[np.ndarray, " features"], n_examples: int, level: float):
        self.n_tests = len(n_active) * (len(n_active) - 1) // 2
        self._tails = TailTable(n_active, n_active, n_examples)
        lowest = self._tails.lowest(level)[self._tails.row][:, self._tails.column]
        # The diagonal and the other half would list a pair twice, or a feature with itself.
        self._lowest = np.where(np.tri(len(n_active), dtype=bool), n_examples + 1, lowest)

    def pairs(self, joint: Int[np.ndarray, "features features"]) -> Pairs:
        """Pairs whose p-value is `level` or less.

        Parameters
        ----------
        joint : numpy.ndarray of int, shape (features, features)
            As `joint_counts` gives them; features fire as often as given.
        """
        # On flat arrays this takes a fifth of the time.
        feature, other = np.divmod(np.flatnonzero(joint >= self._lowest), len(joint))
        both = joint[feature, other].astype(np.int64)
        return Pairs(feature, other, both, self._tails.p_values(both, feature, other))


def joint_counts(
    active: Bool[np.ndarray, "examples features"],
) -> Int[np.ndarray, "features features"]:
    """Examples on which each two features fire; those of each feature on the diagonal."""
    ones = active.astype(np.float32)  # exact up to 2**24 examples
    return (ones.T @ ones).astype(np.int32)


def shuffled(
    active: Bool[np.ndarray, "examples features"], generator: np.random.Generator
) -> Bool[np.ndarray, "examples features"]:
    """Permute each feature's firing by itself, which keeps how often it fires."""
    return generator.permuted(np.ascontiguousarray(active.T), axis=1).T


def total_lift(joint: Int[np.ndarray, "features features"], n_examples: int) -> float:
    """Sum the lift over pairs: how many times as often they fire together as independent ones would.

    Parameters
    ----------
    joint : numpy.ndarray of int, shape (features, features)
        As `joint_counts` gives them; every feature fires at least once.
    n_examples : int
        Examples.
    """
    weight = 1 / np.diag(joint)
    return float(weight @ joint @ weight - weight.sum()) * n_examples / 2


def correlations(
    joint: Int[np.ndarray, "features features"], n_examples: int
) -> Float[np.ndarray, "features features"]:
    """Correlation (phi) of the firing of each two features.

    Parameters
    ----------
    joint : numpy.ndarray of int, shape (features, features)
        As `joint_counts` gives them; every feature fires at least once, and not always.
    n_examples : int
        Examples.
    """
    n_active = np.diag(joint)
    weight = 1 / np.sqrt(n_active * (n_examples - n_active))
    found: Float[np.ndarray, "features features"] = joint * (n_examples * weight)
    found *= weight[:, None]
    found -= np.outer(n_active * weight, n_active * weight)
    # Of features that fire alike rounding makes more than 1, and distances below 0.
    bounded: Float[np.ndarray, "features features"] = np.clip(found, -1, 1)
    return bounded


def groups(
    correlation: Float[np.ndarray, "features features"], min_correlation: float, min_size: int
) -> list[Int[np.ndarray, " members"]]:
    """Group features by average linkage, as long as the mean correlation between groups suffices.

    Parameters
    ----------
    correlation : numpy.ndarray of float, shape (features, features)
        Symmetric.
    min_correlation : float
        Least mean correlation, over all pairs of two groups, at which they are joined.
    min_size : int
        Smaller groups are left out.

    Returns
    -------
    list of numpy.ndarray of int64
        Columns of each group, ascending; the largest group first, then by its first column.
    """
    found = [
        chosen[members]
        for chosen in _connected(correlation >= min_correlation, min_size)
        for members in _linked(correlation[np.ix_(chosen, chosen)], min_correlation)
        if len(members) >= min_size
    ]
    return sorted(found, key=lambda each: (-len(each), each[0]))


def _connected(
    near: Bool[np.ndarray, "features features"], min_size: int
) -> Iterator[Int[np.ndarray, " members"]]:
    """Parts that no pair joins: no mean over pairs of two of them suffices, so none is joined."""
    row, column = np.divmod(np.flatnonzero(near), len(near))
    graph = coo_array((np.ones(len(row), bool), (row, column)), shape=near.shape)
    count, part = connected_components(graph, directed=False)
    for number in np.flatnonzero(np.bincount(part, minlength=count) >= max(min_size, 2)):
        yield np.flatnonzero(part == number)


def _linked(
    correlation: Float[np.ndarray, "features features"], min_correlation: float
) -> Iterator[Int[np.ndarray, " members"]]:
    distance = squareform(1 - correlation, checks=False)
    number = fcluster(linkage(distance, "average"), 1 - min_correlation, "distance")
    for each in np.unique(number):
        yield np.flatnonzero(number == each)
