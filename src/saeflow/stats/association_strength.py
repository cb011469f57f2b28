"""How a specialist's activation goes with an outcome, such as a right answer: published and calibrated.

The study correlates activation with correctness over texts of very different length (methods/3, sections
4.5 E and 4.6). Calibrated, ranks are correlated with length and other covariates held fixed, and
pairs of texts are what is resampled and permuted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import orth
from scipy.stats import pointbiserialr, rankdata, ttest_ind

from saeflow.errors import SaeflowError
from saeflow.stats.resampling import Clusters, percentile_ends, resample_counts

ENOUGH = 100
"""Permutations as far from 0 after which no more are drawn: what is far from significant need not be told
to the third digit (Besag and Clifford 1991, whose p-value is exact)."""
BLOCK = 2**21
"""Numbers of resamples by examples that are held at a time."""


class PublishedAssociation(NamedTuple):
    """The study's tests of a specialist; all NaN where activation or correctness does not vary.

    Attributes
    ----------
    r, p_value : float
        Point-biserial correlation of activation with correctness, and its two-sided p-value.
    t, t_p_value : float
        Student's test of activation on right against wrong answers: the same p-value, by algebra.
    n : int
        Examples.
    """

    r: float
    p_value: float
    t: float
    t_p_value: float
    n: int


class Association(NamedTuple):
    """Rank correlation with covariates held fixed.

    Attributes
    ----------
    value : float
        Spearman's partial correlation; NaN where activation or outcome has nothing beyond covariates.
    low, high : float
        Ends of the cluster bootstrap 95 % interval.
    p_value : float
        Two-sided, with clusters permuted: permutations, the observed one included, that are as far
        from 0.
    n, n_clusters, left_out : int
        Examples, their clusters, and examples left out because a number is missing.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int
    n_clusters: int
    left_out: int


def published_association(
    activation: Float[np.ndarray, " examples"], correct: Bool[np.ndarray, " examples"]
) -> PublishedAssociation:
    """Point-biserial correlation and t-test as published (methods/3, section 4.5 E)."""
    n = len(activation)
    # Two of three right, say: Student's test needs one more example than groups.
    if n < 3 or correct.all() or not correct.any() or np.ptp(activation) == 0:
        return PublishedAssociation(np.nan, np.nan, np.nan, np.nan, n)
    values = activation.astype(np.float64)
    found = pointbiserialr(correct, values)
    test = ttest_ind(values[correct], values[~correct])
    return PublishedAssociation(
        float(found.statistic), float(found.pvalue), float(test.statistic), float(test.pvalue), n
    )


def spearman_association(
    activation: Float[np.ndarray, " examples"],
    outcome: Float[np.ndarray, " outcomes"],
    clusters: Clusters,
    generator: np.random.Generator,
    *,
    covariates: Float[np.ndarray, "rows covariates"] | None = None,
    permutations: int = 1000,
) -> Association:
    """Spearman's correlation, partial where covariates are given, with a cluster bootstrap and a test.

    Ranks are taken anew in every resample. For the test, residuals of the activation's ranks are moved
    as whole clusters between clusters of one size (Freedman and Lane), which keeps what texts of a
    pair have in common; a cluster of a size of its own stays. 300 examples take about 0.5 s.

    Parameters
    ----------
    activation, outcome : numpy.ndarray of float, shape (examples,)
        Such as a specialist's activation and a cloze margin, or 1 for a right answer.
    clusters : sequence of hashable or None
        Pair of each example, in an order of forms that is the same in all; None where each is its own.
    generator : numpy.random.Generator
        Draws resamples and permutations.
    covariates : numpy.ndarray of float, shape (examples, covariates), or None
        Held fixed by their ranks, such as length and token frequency.
    permutations : int
        How many to draw at most; fewer where `ENOUGH` of them are as far from 0.

    Raises
    ------
    SaeflowError
        If clusters or covariates are not one for each example.
    """
    n = len(activation)
    fixed = np.zeros((n, 0)) if covariates is None else covariates
    names = list(range(n)) if clusters is None else list(clusters)
    for kind, size in (
        ("outcomes", len(outcome)),
        ("clusters", len(names)),
        ("rows of covariates", len(fixed)),
    ):
        if size != n:
            raise SaeflowError(f"{size} {kind} are given for {n} examples; expected one for each.")
    columns = np.column_stack([activation, outcome, fixed]).astype(np.float64)
    kept = np.flatnonzero(~np.isnan(columns).any(1))
    columns = columns[kept]
    numbers: dict[object, int] = {}
    place = np.array([numbers.setdefault(names[each], len(numbers)) for each in kept], np.int64)
    counts = len(kept), len(numbers), n - len(kept)
    value = float(_partial(columns, np.ones((1, len(kept))))[0]) if len(kept) > 2 else float("nan")
    if np.isnan(value):
        return Association(np.nan, np.nan, np.nan, np.nan, *counts)
    low, high = percentile_ends(_resampled(columns, place, generator))
    p_value = _p_value(value, columns, place, permutations, generator)
    return Association(value, low, high, p_value, *counts)


def _resampled(
    columns: Float[np.ndarray, "examples columns"],
    place: Int[np.ndarray, " examples"],
    generator: np.random.Generator,
) -> Float[np.ndarray, " resamples"]:
    drawn = resample_counts(int(place.max()) + 1, generator)
    size = max(BLOCK // (len(columns) * columns.shape[1]), 1)
    return np.concatenate(
        [
            _partial(columns, drawn[start : start + size][:, place].astype(np.float64))
            for start in range(0, len(drawn), size)
        ]
    )


def _partial(
    columns: Float[np.ndarray, "examples columns"], weights: Float[np.ndarray, "resamples examples"]
) -> Float[np.ndarray, " resamples"]:
    """Partial correlation of the first two columns' ranks, each example counted `weights` times.

    From the matrix of covariances: what is left of the first two once the others are projected out.
    NaN where nothing is left of one.
    """
    ranks = np.stack([_weighted_ranks(column, weights) for column in columns.T], axis=2)
    total = weights.sum(1)[:, None]
    centred = ranks - (np.einsum("re,rec->rc", weights, ranks) / total)[:, None, :]
    covariance = np.einsum("re,rec,red->rcd", weights, centred, centred, optimize=True)
    covariance /= total[:, :, None]
    own, cross, rest = covariance[:, :2, :2], covariance[:, :2, 2:], covariance[:, 2:, 2:]
    if rest.shape[1]:
        left = own - cross @ np.linalg.pinv(rest, rcond=1e-10, hermitian=True) @ cross.swapaxes(
            1, 2
        )
    else:
        left = own
    before, after = own[:, [0, 1], [0, 1]], left[:, [0, 1], [0, 1]]
    some = (after > 1e-9 * before).all(1) & (before > 0).all(1)
    product = np.where(some, after[:, 0] * after[:, 1], 1.0)
    return np.where(some, np.clip(left[:, 0, 1] / np.sqrt(product), -1.0, 1.0), np.nan)


def _weighted_ranks(
    values: Float[np.ndarray, " examples"], weights: Float[np.ndarray, "resamples examples"]
) -> Float[np.ndarray, "resamples examples"]:
    """Mid-ranks of values, each as often as its weight."""
    levels, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(levels)))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(mass, axis=1) - (mass - 1) / 2
    found: Float[np.ndarray, "resamples examples"] = ranks[:, level]
    return found


def _p_value(
    value: float,
    columns: Float[np.ndarray, "examples columns"],
    place: Int[np.ndarray, " examples"],
    permutations: int,
    generator: np.random.Generator,
) -> float:
    ranks = rankdata(columns, axis=0)
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    span = orth(design)
    residual, target = (ranks[:, each] - span @ (span.T @ ranks[:, each]) for each in (0, 1))
    target = target / np.linalg.norm(target)
    # Texts of clusters of one size, a row for each cluster.
    sizes = np.bincount(place)
    by_cluster = np.argsort(place, kind="stable")
    ends = np.cumsum(sizes)
    blocks = [
        np.stack(
            [by_cluster[ends[each] - size : ends[each]] for each in np.flatnonzero(sizes == size)]
        )
        for size in np.unique(sizes)
    ]
    as_far: int = 0
    moved = np.empty(len(residual))
    for drawn in range(1, 1 + permutations):
        for rows in blocks:
            moved[rows] = residual[generator.permutation(rows)]
        left = moved - span @ (span.T @ moved)
        as_far += abs(left @ target) / np.linalg.norm(left) >= abs(value) - 1e-9
        if as_far == ENOUGH:
            return float(as_far / drawn)
    return float((1 + as_far) / (1 + permutations))
