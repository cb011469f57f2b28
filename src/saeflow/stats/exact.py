"""Exact tests of many features against many labels: hypergeometric tails, discovery rates, carriers.

Whatever is said of a pair depends on three counts only: how often the feature is active, how often the
label occurs, and how often both do. So tails are computed once per distinct pair of margins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import digamma, gammaln

Counts = Int[np.ndarray, "*shape"]


def upper_tail(
    joint: Int[np.ndarray, " tables"],
    active: Int[np.ndarray, " tables"],
    support: Int[np.ndarray, " tables"],
    total: int,
) -> Float[np.ndarray, " tables"]:
    """Chance of this many joint examples or more, all margins given: Fisher's one-sided p-value.

    Equals ``scipy.stats.fisher_exact(..., alternative="greater")`` to 1e-9, relative, for up to
    20,000 examples.

    Parameters
    ----------
    joint, active, support : numpy.ndarray of int, shape (tables,)
        Examples with both, with the feature active, with the label present.
    total : int
        Examples.

    Returns
    -------
    numpy.ndarray of float64, shape (tables,)
        One for tables whose joint count is as small as can be.
    """
    found = np.ones(len(joint))
    factorials = gammaln(np.arange(total + 2, dtype=np.float64) + 1)
    for chosen, each in _groups(support):
        margins, row = np.unique(active[chosen], return_inverse=True)
        tails = _tails(margins, each, total, factorials)
        found[chosen] = tails[row, joint[chosen]]
    return found


class TailTable:
    """One-sided p-values of all joint counts, for each distinct pair of margins.

    Parameters
    ----------
    active : numpy.ndarray of int, shape (features,)
        Distinct or not; examples on which each feature is active.
    support : numpy.ndarray of int, shape (labels,)
        Examples with each label.
    total : int
        Examples.

    Attributes
    ----------
    row, column : numpy.ndarray of int, shape (features,) and (labels,)
        Which distinct margin is each feature's, and each label's.
    """

    def __init__(
        self, active: Int[np.ndarray, " features"], support: Int[np.ndarray, " labels"], total: int
    ) -> None:
        self._active, self.row = np.unique(active, return_inverse=True)
        self._support, self.column = np.unique(support, return_inverse=True)
        self._total = total
        factorials = gammaln(np.arange(total + 2, dtype=np.float64) + 1)
        sizes = len(self._active) * (self._support + 1)
        self._start = np.r_[0, np.cumsum(sizes)]
        self._tails = np.empty(self._start[-1])
        for place, each in enumerate(self._support):
            tails = _tails(self._active, int(each), total, factorials)
            self._tails[self._start[place] : self._start[place + 1]] = tails.ravel()

    def p_values(
        self,
        joint: Int[np.ndarray, " tables"],
        feature: Int[np.ndarray, " tables"],
        label: Int[np.ndarray, " tables"],
    ) -> Float[np.ndarray, " tables"]:
        """Chance of this many joint examples or more: what `upper_tail` computes anew."""
        column = self.column[label]
        width = self._support[column] + 1
        found: Float[np.ndarray, " tables"] = self._tails[
            self._start[column] + self.row[feature] * width + joint
        ]
        return found

    def lowest(self, p_value: float) -> Int[np.ndarray, "rows columns"]:
        """Smallest joint count whose p-value is this or less, for each pair of distinct margins.

        Returns
        -------
        numpy.ndarray of int64, shape (rows, columns)
            ``total + 1`` where no count passes.
        """
        lowest = np.empty((len(self._active), len(self._support)), np.int64)
        for place, each in enumerate(self._support):
            tails = self._tails[self._start[place] : self._start[place + 1]]
            # Tails fall, so the first count that passes is the number of those that do not.
            first = (tails.reshape(len(self._active), each + 1) > p_value).sum(1)
            possible = first <= np.minimum(self._active, each)
            lowest[:, place] = np.where(possible, first, self._total + 1)
        return lowest


def adjusted(
    p_values: Float[np.ndarray, " tests"], n_tests: int, *, dependent: bool = False
) -> Float[np.ndarray, " tests"]:
    """Benjamini-Hochberg's adjusted p-values, or Benjamini-Yekutieli's, of the smallest of many.

    Parameters
    ----------
    p_values : numpy.ndarray of float64, shape (tests,)
        All p-values up to some level, of `n_tests` in all.
    n_tests : int
        How many tests were made, those left out included.
    dependent : bool
        Whether to allow for any dependence between tests (Benjamini and Yekutieli, 2001).

    Returns
    -------
    numpy.ndarray of float64, shape (tests,)
        Exact wherever it is no larger than the level up to which p-values are given, which is all
        that a decision at that level needs; at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    ranks = np.arange(1, len(p_values) + 1)
    factor = n_tests * (harmonic_number(n_tests) if dependent else 1.0)
    scaled = p_values[order] * factor / ranks
    found = np.empty(len(p_values))
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def holm(p_values: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Holm's adjusted p-values, which hold the chance of any false finding, however tests depend.

    Parameters
    ----------
    p_values : numpy.ndarray of float64, shape (tests,)
        Of all tests that are reported.

    Returns
    -------
    numpy.ndarray of float64, shape (tests,)
        At most 1.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    found = np.empty(len(p_values))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found


def harmonic_number(n: int) -> float:
    """Sum of 1, 1/2, ... 1/n: by how much Benjamini and Yekutieli are stricter."""
    return float(digamma(n + 1) + np.euler_gamma)


def stratified_tail(
    joint: Int[np.ndarray, "tables strata"],
    active: Int[np.ndarray, "tables strata"],
    support: Int[np.ndarray, "tables strata"],
    total: Int[np.ndarray, "tables strata"],
) -> Float[np.ndarray, " tables"]:
    """Chance of this many joint examples or more over strata, all margins of each stratum given.

    The exact form of the Cochran-Mantel-Haenszel test: counts of the strata are independent
    hypergeometric variables under the hypothesis, so their sum's distribution is a convolution.

    Parameters
    ----------
    joint, active, support, total : numpy.ndarray of int, shape (tables, strata)
        Counts as in `upper_tail`, stratum by stratum.

    Returns
    -------
    numpy.ndarray of float64, shape (tables,)
        One-sided p-values.
    """
    found = np.ones(len(joint))
    if not len(joint):
        return found
    factorials = gammaln(np.arange(int(total.max()) + 2, dtype=np.float64) + 1)
    keys = np.concatenate([active, support, total], axis=1)
    margins, row = np.unique(keys, axis=0, return_inverse=True)
    width = joint.shape[1]
    for place, key in enumerate(margins):
        sums = np.ones(1)
        for stratum in range(width):
            n, s, whole = (int(key[stratum + width * part]) for part in range(3))
            sums = np.convolve(sums, _masses(np.array([n]), s, whole, factorials)[0])
        tails = np.cumsum(sums[::-1])[::-1]
        chosen = np.flatnonzero(row == place)
        found[chosen] = np.minimum(tails[joint[chosen].sum(1)], 1.0)
    return found


def _masses(
    active: Int[np.ndarray, " margins"],
    support: int,
    total: int,
    factorials: Float[np.ndarray, " numbers"],
) -> Float[np.ndarray, "margins counts"]:
    """Hypergeometric probabilities of 0 to `support` joint examples."""
    joint = np.arange(support + 1)[None, :]
    n = active[:, None]
    rest = total - n - support + joint
    possible: Bool[np.ndarray, "margins counts"] = (joint <= n) & (rest >= 0)
    a, b, d = joint, np.maximum(n - joint, 0), np.maximum(rest, 0)
    logs = (
        factorials[n]
        + factorials[total - n]
        + factorials[support]
        + factorials[total - support]
        - factorials[total]
        - factorials[a]
        - factorials[b]
        - factorials[support - joint]
        - factorials[d]
    )
    return np.where(possible, np.exp(logs), 0.0)


def _tails(
    active: Int[np.ndarray, " margins"],
    support: int,
    total: int,
    factorials: Float[np.ndarray, " numbers"],
) -> Float[np.ndarray, "margins counts"]:
    masses = _masses(active, support, total, factorials)
    # Summed from the far end, so that small tails lose nothing to large masses.
    tails = np.cumsum(masses[:, ::-1], axis=1)[:, ::-1]
    least = np.maximum(active + support - total, 0)[:, None]
    return np.where(np.arange(support + 1)[None, :] <= least, 1.0, np.minimum(tails, 1.0))


def _groups(values: Int[np.ndarray, " tables"]) -> Iterator[tuple[Int[np.ndarray, " group"], int]]:
    if not len(values):
        return
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    for value, chosen in zip(found, np.split(order, starts[1:]), strict=True):
        yield chosen, int(value)
