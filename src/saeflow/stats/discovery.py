"""Which labels follow which features, with the rate of false discoveries held down.

Exact one-sided tests of all pairs that occur often enough, corrected for their number; then, of each
feature's labels, which still follow it once its best label is accounted for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from saeflow.stats.exact import TailTable, adjusted, stratified_tail
from saeflow.stats.joint import JointCounts, Window


@dataclass(frozen=True)
class Discoveries:
    """Pairs whose adjusted p-value is small, by feature, then p-value, then label.

    Attributes
    ----------
    feature, label : numpy.ndarray of shape (pairs,), int64
        Column of the features' and of the labels' matrix.
    a, b, c, d : numpy.ndarray of shape (pairs,), int64
        Active and present, active and absent, inactive and present, inactive and absent.
    p_value, q_value : numpy.ndarray of shape (pairs,), float64
        One-sided and exact; and adjusted for `n_tests` tests.
    n_tests : int
        Pairs that were tested.
    """

    feature: Int[np.ndarray, " pairs"]
    label: Int[np.ndarray, " pairs"]
    a: Int[np.ndarray, " pairs"]
    b: Int[np.ndarray, " pairs"]
    c: Int[np.ndarray, " pairs"]
    d: Int[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]
    q_value: Float[np.ndarray, " pairs"]
    n_tests: int


class Candidates(NamedTuple):
    """Tested pairs with a small p-value, by feature, then label.

    Attributes
    ----------
    feature, label : numpy.ndarray of shape (pairs,), int64
        Column of the features' and of the labels' matrix.
    joint : numpy.ndarray of shape (pairs,), int64
        Examples with both.
    p_value : numpy.ndarray of shape (pairs,), float64
        One-sided and exact.
    """

    feature: Int[np.ndarray, " pairs"]
    label: Int[np.ndarray, " pairs"]
    joint: Int[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]


class ExactTest:
    """Test the same features against labels whose rows may move, as in a permutation.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are active.
    support : numpy.ndarray of int, shape (labels,)
        Examples with each label, which a permutation does not change.
    device : torch.device
        Where to multiply.
    level : float
        Largest adjusted p-value of a discovery.
    min_active, min_support : int
        Features active, and labels present, on fewer examples are not tested. The choice looks at
        margins only, which say nothing about whether a pair is associated.
    dependent : bool
        Correct as Benjamini and Yekutieli do, which allows for any dependence between tests,
        instead of as Benjamini and Hochberg do.

    Attributes
    ----------
    features, labels : numpy.ndarray of int64
        Columns that are tested.
    n_active, support : numpy.ndarray of int64
        Examples of every column, tested or not.
    """

    def __init__(
        self,
        active: Bool[np.ndarray, "examples features"],
        support: Int[np.ndarray, " labels"],
        device: torch.device,
        *,
        level: float = 0.05,
        min_active: int = 20,
        min_support: int = 10,
        dependent: bool = False,
    ) -> None:
        self._total, self._level, self._dependent = len(active), level, dependent
        self.n_active, self.support = active.sum(0), support
        self.features = np.flatnonzero(self.n_active >= min_active)
        self.labels = np.flatnonzero(support >= min_support)
        self.n_tests = len(self.features) * len(self.labels)
        self._counts = JointCounts(active[:, self.features], device)
        self._tails = TailTable(
            self.n_active[self.features], self.support[self.labels], self._total
        )
        self._windows: dict[float, Window] = {}

    def candidates(
        self, present: Bool[np.ndarray, "examples labels"], level: float | None = None
    ) -> Candidates:
        """Tested pairs with a p-value of `level` or less, by default that of a discovery.

        No pair with a larger p-value can be a discovery. `present` has the support that was given.
        """
        level = self._level if level is None else level
        row, column, joint = self._counts.inside(present[:, self.labels], self._window(level))
        p_value = self._tails.p_values(joint, row, column)
        return Candidates(self.features[row], self.labels[column], joint, p_value)

    def discoveries(self, present: Bool[np.ndarray, "examples labels"]) -> Discoveries:
        """Pairs whose adjusted p-value is `level` or less; `present` has the support that was given."""
        return self.adjust(self.candidates(present), self.n_tests)

    def adjust(self, found: Candidates, n_tests: int) -> Discoveries:
        """Correct candidates for a number of tests, and keep those that remain significant."""
        q_value = adjusted(found.p_value, max(n_tests, 1), dependent=self._dependent)
        kept = np.flatnonzero(q_value <= self._level)
        order = kept[np.lexsort((found.label[kept], found.p_value[kept], found.feature[kept]))]
        feature, label, a, p_value = (column[order] for column in found)
        b, c = self.n_active[feature] - a, self.support[label] - a
        pairs = (feature, label, a, b, c, self._total - a - b - c)
        return Discoveries(*pairs, p_value, q_value[order], n_tests)

    def smallest(self, present: Bool[np.ndarray, "examples labels"]) -> float:
        """Smallest p-value of all tests: what a max-statistic threshold is the quantile of."""
        # Most often few pairs pass the first level, and the smallest is among them.
        for level in (1e-4, 1e-2, 1.0):
            found = self.candidates(present, level)
            if len(found.p_value):
                return float(found.p_value.min())
        return 1.0

    def _window(self, level: float) -> Window:
        if level not in self._windows:
            lowest = self._tails.lowest(level)[:, self._tails.column]
            above = np.full_like(lowest, self._total + 1)
            self._windows[level] = Window(self._tails.row, lowest, above)
        return self._windows[level]


def conditional_p_values(
    active: Bool[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    found: Discoveries,
) -> Float[np.ndarray, " pairs"]:
    """Test each discovered label again, among examples with and without the feature's best label.

    A label that follows a feature only because it occurs together with the best one, and is *carried*
    by it, has no association left within these two strata (the exact form of the
    Cochran-Mantel-Haenszel test).

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are active.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    found : Discoveries
        As `ExactTest.discoveries` gives them; the first pair of a feature is its best.

    Returns
    -------
    numpy.ndarray of float64, shape (pairs,)
        One-sided p-values; the p-value itself for a feature's best label.
    """
    if not len(found.feature):
        return found.p_value.copy()
    starts = np.flatnonzero(np.r_[True, found.feature[1:] != found.feature[:-1]])
    tables = np.zeros((4, len(found.feature), 2), np.int64)
    for start, end in zip(starts, [*starts[1:], len(found.feature)], strict=True):
        fires = active[:, found.feature[start]].astype(np.int64)
        labels = present[:, found.label[start:end]].astype(np.int64)
        for stratum in (0, 1):
            inside = present[:, found.label[start]] == bool(stratum)
            own = fires[inside]
            tables[0, start:end, stratum] = own @ labels[inside]
            tables[1, start:end, stratum] = own.sum()
            tables[2, start:end, stratum] = labels[inside].sum(0)
            tables[3, start:end, stratum] = inside.sum()
    others = np.setdiff1d(np.arange(len(found.feature)), starts)
    p_values = found.p_value.copy()
    p_values[others] = stratified_tail(*(table[others] for table in tables))
    return p_values


def carried(
    found: Discoveries, given_best: Float[np.ndarray, " pairs"], level: float = 0.05
) -> Bool[np.ndarray, " pairs"]:
    """Discovered labels but a feature's best without a significant association of their own.

    Parameters
    ----------
    found : Discoveries
        The first pair of a feature is its best.
    given_best : numpy.ndarray of float64, shape (pairs,)
        As `conditional_p_values` gives them.
    level : float
        Largest conditional p-value of a label with an association of its own.
    """
    best = np.r_[True, found.feature[1:] != found.feature[:-1]][: len(found.feature)]
    marked: Bool[np.ndarray, " pairs"] = ~((given_best <= level) | best)
    return marked
