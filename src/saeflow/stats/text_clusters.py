"""Texts that belong together: split in halves and exchanged whole, for tests of what two models share.

Texts of one content in several forms are no independent examples, so a cluster is what is permuted
(methods/6, section 11).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.errors import SaeflowError


class NullTest(NamedTuple):
    """A number beside what exchanged texts give.

    Attributes
    ----------
    value : float
        As observed.
    expected, low, high : float
        Mean, and ends of the middle 95 %, over permutations.
    p_value : float
        One-sided: permutations with as large a value or a larger one, the observed one counted as one
        of them, so that it is never 0.
    permutations : int
        Drawn.
    """

    value: float
    expected: float
    low: float
    high: float
    p_value: float
    permutations: int


class TextClusters:
    """Texts in clusters, such as one content in several forms, that are split and exchanged whole.

    Clusters are exchanged if they have equally many texts with the same strata: the text of one takes
    the place of that of the other with the same stratum (of several, in their order). So with a
    stratum per form a null keeps what forms share, and with one per topic and form what topics share;
    without strata any two clusters of the same size are exchanged.

    Parameters
    ----------
    clusters : sequence of hashable, one per text
        What each text is of; all different if texts stand for themselves.
    strata : sequence of hashable, one per text, optional
        What an exchange must not mix.

    Raises
    ------
    SaeflowError
        If there are more or fewer strata than texts, or no two clusters can be exchanged.
    """

    def __init__(
        self, clusters: Sequence[Hashable], strata: Sequence[Hashable] | None = None
    ) -> None:
        labels = [None] * len(clusters) if strata is None else list(strata)
        if len(labels) != len(clusters):
            raise SaeflowError(
                f"{len(labels)} strata are named for {len(clusters)} texts; expected one for each."
            )
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        self._clusters = list(clusters)
        self._strata = [numbers[label] for label in labels]
        members: dict[Hashable, list[int]] = {}
        for text, cluster in enumerate(clusters):
            members.setdefault(cluster, []).append(text)
        kinds: dict[tuple[int, ...], list[list[int]]] = {}
        for texts in members.values():
            texts.sort(key=lambda text: self._strata[text])
            kinds.setdefault(tuple(self._strata[text] for text in texts), []).append(texts)
        # By kind: an array of its clusters by their texts.
        self._kinds = [np.array(group, np.int64) for group in kinds.values()]
        if all(len(group) < 2 for group in self._kinds):
            raise SaeflowError(
                f"none of {len(members)} clusters of texts can be exchanged for another; expected two "
                "with equally many texts of the same strata, at least."
            )

    def __len__(self) -> int:
        return len(self._clusters)

    def exchange(self, generator: np.random.Generator) -> Int[np.ndarray, " texts"]:
        """Which text comes in the place of each, when clusters are permuted at random."""
        order = np.arange(len(self))
        for group in self._kinds:
            order[group] = group[generator.permutation(len(group))]
        return order

    def half(self, generator: np.random.Generator) -> Bool[np.ndarray, " texts"]:
        """Mark a random half of the clusters of each kind; an odd one falls on either side."""
        marked = np.zeros(len(self), dtype=bool)
        for group in self._kinds:
            count = (len(group) + int(generator.integers(2))) // 2
            marked[group[generator.permutation(len(group))[:count]]] = True
        return marked

    def cut(self, chosen: Bool[np.ndarray, " texts"]) -> list[Hashable]:
        """Clusters of which some texts are chosen and others are not."""
        inside = {self._clusters[text] for text in np.flatnonzero(chosen).tolist()}
        outside = {self._clusters[text] for text in np.flatnonzero(~chosen).tolist()}
        return [each for each in dict.fromkeys(self._clusters) if each in inside & outside]

    def select(self, chosen: Bool[np.ndarray, " texts"]) -> TextClusters:
        """Clusters of some texts, for matrices of their rows alone.

        Raises
        ------
        SaeflowError
            If no two clusters of these can be exchanged.
        """
        kept = np.flatnonzero(chosen).tolist()
        return TextClusters(
            [self._clusters[text] for text in kept], [self._strata[text] for text in kept]
        )


def null_test(value: float, drawn: Float[np.ndarray, " permutations"]) -> NullTest:
    """Compare a number with those of permutations; NaN with p-value 1 if it is NaN itself."""
    if np.isnan(value):
        return NullTest(value, np.nan, np.nan, np.nan, 1.0, len(drawn))
    low, high = np.quantile(drawn, [0.025, 0.975])
    p_value = (1 + int(at_least(drawn, value).sum())) / (1 + len(drawn))
    return NullTest(value, float(drawn.mean()), float(low), float(high), p_value, len(drawn))


def at_least(
    drawn: Float[np.ndarray, "*shape"], value: Float[np.ndarray, "*shape"] | float
) -> Bool[np.ndarray, "*shape"]:
    """Where a permutation reaches the observed value.

    Sums in another order differ in their last bits, and would break ties at random.
    """
    return drawn >= value - 1e-9 * np.maximum(np.abs(value), 1e-3)


def against_exchanges(
    statistic: Callable[[Int[np.ndarray, " texts"]], float],
    clusters: TextClusters,
    generator: np.random.Generator,
    permutations: int,
) -> NullTest:
    """Test a number of two models that pairs each text of the one with a text of the other.

    Parameters
    ----------
    statistic : callable
        Gets which text of the second model comes in the place of each; large where much is shared.
    clusters : TextClusters
        What is exchanged.
    generator : numpy.random.Generator
        Draws the permutations.
    permutations : int
        How many.
    """
    value = statistic(np.arange(len(clusters)))
    drawn = [statistic(clusters.exchange(generator)) for _ in range(permutations)]
    return null_test(value, np.array(drawn, dtype=np.float64))
