"""Two-by-two tables of many features against many labels, as the published study tests them.

All tables of a block come from one matrix product. Whether a table passes depends on its margins and
on the joint count alone, and from some joint count on it does, so statistics are computed once per
distinct pair of margins, and again only for what passes. Counts are exact, so CPU and CUDA agree to
the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from scipy.special import chdtrc, chdtri

from saeflow.config.studies import AssociationSettings
from saeflow.stats.joint import JointCounts, Window


@dataclass(frozen=True)
class Pairs:
    """Tables that pass, sorted by feature, then enrichment descending, then label.

    Attributes
    ----------
    feature, label : numpy.ndarray of shape (pairs,), int64
        Column of the features' and of the labels' matrix.
    a, b, c, d : numpy.ndarray of shape (pairs,), int64
        Active and present, active and absent, inactive and present, inactive and absent.
    chi2, p_value, enrichment : numpy.ndarray of shape (pairs,), float64
        See `yates_chi2` and `enrichment`.
    """

    feature: Int[np.ndarray, " pairs"]
    label: Int[np.ndarray, " pairs"]
    a: Int[np.ndarray, " pairs"]
    b: Int[np.ndarray, " pairs"]
    c: Int[np.ndarray, " pairs"]
    d: Int[np.ndarray, " pairs"]
    chi2: Float[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]
    enrichment: Float[np.ndarray, " pairs"]


def yates_chi2(
    a: Num[np.ndarray, "*shape"],
    b: Num[np.ndarray, "*shape"],
    c: Num[np.ndarray, "*shape"],
    d: Num[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Pearson's chi-square of 2 x 2 tables with Yates's correction, one degree of freedom.

    Equals ``scipy.stats.chi2_contingency([[a, b], [c, d]]).statistic``, whose correction moves each
    cell towards its expectation by at most one half. No expected count is checked, as in the study
    (methods/1, section 2.5).

    Returns
    -------
    numpy.ndarray of float64
        NaN where a margin is zero, for which SciPy raises.
    """
    a, b, c, d = (np.asarray(cell, np.float64) for cell in (a, b, c, d))
    total = a + b + c + d
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.maximum(np.abs(a * d - b * c) / total - 0.5, 0.0)
        return np.where(margins > 0, distance**2 * total**3 / margins, np.nan)


def chi2_p_value(chi2: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Upper tail of the chi-square distribution with one degree of freedom."""
    return np.asarray(chdtrc(1, chi2), np.float64)


def enrichment(
    a: Num[np.ndarray, "*shape"],
    b: Num[np.ndarray, "*shape"],
    c: Num[np.ndarray, "*shape"],
    d: Num[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Rate of the label when the feature is active over its rate when it is not.

    Returns
    -------
    numpy.ndarray of float64
        Infinite where the label occurs only with the feature, NaN where a row is empty.
    """
    a, b, c, d = (np.asarray(cell, np.float64) for cell in (a, b, c, d))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a / (a + b)) / (c / (c + d))


def published_pairs(
    active: Bool[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    criteria: AssociationSettings,
    device: torch.device,
) -> Pairs:
    """Feature-label pairs that pass the published criteria (methods/1, section 2.5).

    Quirks of the study, all kept: a table with any empty cell is skipped, so the perfect detector,
    whose label occurs *only* when the feature fires (c = 0), is invisible; expected counts are not
    checked; p-values are not corrected for the number of tests; sign and size of an activation do
    not count.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are not zero.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    criteria : AssociationSettings
        Thresholds.
    device : torch.device
        Where to multiply.

    Returns
    -------
    Pairs
        All pairs that pass, not only those that the study stores.
    """
    return PublishedTest(active, present.sum(0), criteria, device).pairs(present)


class PublishedTest:
    """`published_pairs` of the same features against labels whose rows move, as in a permutation.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are not zero.
    support : numpy.ndarray of int, shape (labels,)
        Examples with each label, which a permutation does not change.
    criteria : AssociationSettings
        Thresholds.
    device : torch.device
        Where to multiply.
    """

    def __init__(
        self,
        active: Bool[np.ndarray, "examples features"],
        support: Int[np.ndarray, " labels"],
        criteria: AssociationSettings,
        device: torch.device,
    ) -> None:
        self._total, self._support, self._n_active = len(active), support, active.sum(0)
        analysed = np.flatnonzero(self._n_active >= criteria.min_active)
        self._features = analysed if len(active) >= criteria.min_total else analysed[:0]
        self._counts = JointCounts(active[:, self._features], device)
        margins, row = np.unique(self._n_active[self._features], return_inverse=True)
        supports, column = np.unique(support, return_inverse=True)
        lowest = lowest_published(margins, supports, len(active), criteria)[:, column]
        # Passing needs examples with the one and not the other, both ways.
        below = np.minimum(margins[:, None], support[None, :])
        self._window = Window(row, lowest, below)

    def pairs(self, present: Bool[np.ndarray, "examples labels"]) -> Pairs:
        """Pairs that pass; `present` has the support that was given."""
        row, label, a = self._counts.inside(present, self._window)
        feature = self._features[row]
        b, c = self._n_active[feature] - a, self._support[label] - a
        d = self._total - a - b - c
        chi2 = yates_chi2(a, b, c, d)
        ratio = enrichment(a, b, c, d)
        order = np.lexsort((label, -ratio, feature))
        values = (feature, label, a, b, c, d, chi2, chi2_p_value(chi2), ratio)
        return Pairs(*(value[order] for value in values))


def lowest_published(
    active: Int[np.ndarray, " features"],
    support: Int[np.ndarray, " labels"],
    total: int,
    criteria: AssociationSettings,
) -> Int[np.ndarray, "features labels"]:
    """Smallest joint count with which a table passes the published criteria; all larger ones do, too.

    Larger, that is, as long as no cell is empty: a joint count of the whole margin never passes.

    Parameters
    ----------
    active, support : numpy.ndarray of int
        Examples on which each feature is active and each label is present.
    total : int
        Examples.
    criteria : AssociationSettings
        Thresholds; an enrichment of one or more makes the criteria one-sided.

    Returns
    -------
    numpy.ndarray of int64, shape (features, labels)
        ``total + 1`` where no joint count passes.
    """
    n, s = active[:, None], support[None, :]
    low = np.maximum(1, n + s - total + 1)
    high = np.minimum(n, s) - 1
    low, end = np.broadcast_arrays(low, high + 1)
    low, end = low.copy(), np.maximum(end, low)
    nothing = end
    high = end.copy()
    # Bisection, all margins at once: what passes is an interval that ends where a cell is empty.
    while (searching := low < high).any():
        middle = (low + high) // 2
        passing = _passes(middle, n, s, total, criteria)
        high = np.where(searching & passing, middle, high)
        low = np.where(searching & ~passing, middle + 1, low)
    return np.where(low < nothing, low, total + 1)


def _passes(
    a: Int[np.ndarray, "features labels"],
    n: Int[np.ndarray, "features one"],
    s: Int[np.ndarray, "one labels"],
    total: int,
    criteria: AssociationSettings,
) -> Bool[np.ndarray, "features labels"]:
    cells = (a, n - a, s - a, total - n - s + a)
    chi2 = yates_chi2(*cells)
    # The tail function is the costly part; it decides only next to the critical value.
    critical = chdtri(1, min(criteria.p_value, 1.0))
    significant: Bool[np.ndarray, "features labels"] = chi2 > critical * (1 + 1e-6)
    near = ~significant & (chi2 > critical * (1 - 1e-6) - 1e-12)
    significant[near] = chi2_p_value(chi2[near]) < criteria.p_value
    return significant & (enrichment(*cells) >= criteria.min_enrichment)
