"""What features that fire at random, exactly as often, would give under the published criteria.

The number of labels that pass is expected exactly, from hypergeometric probabilities. The chance that
any passes has no closed form, because labels share examples: on the study's tokens, treating them as
independent overstates it by up to 2.4 points. It is simulated with a fixed seed instead, for all active
counts at once; that the expected number is known makes the simulation more exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.studies import AssociationSettings
from saeflow.seeds import numpy_generator
from saeflow.stats.contingency import lowest_published
from saeflow.stats.exact import upper_tail

DRAWS = 2000
"""Random orders of the examples; their first n are the examples of a random feature active on n."""
CELLS = 300_000
"""Numbers of a batch of draws; bounds memory."""


@dataclass(frozen=True)
class FrequencyMatched:
    """Chance level of features, by how often each is active.

    Attributes
    ----------
    expected : numpy.ndarray of shape (features,), float64
        Labels that pass, on average; exact.
    chance : numpy.ndarray of shape (features,), float64
        Probability that at least one label passes; simulated.
    error : numpy.ndarray of shape (features,), float64
        Standard error of `chance`. Errors of different features go together.
    """

    expected: Float[np.ndarray, " features"]
    chance: Float[np.ndarray, " features"]
    error: Float[np.ndarray, " features"]


def frequency_matched(
    n_active: Int[np.ndarray, " features"],
    present: Bool[np.ndarray, "examples labels"],
    criteria: AssociationSettings,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> FrequencyMatched:
    """Chance level of each feature under the published criteria.

    Parameters
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Examples on which each feature is active.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    criteria : AssociationSettings
        Thresholds. With a higher `min_enrichment`, the chance is that of a label so enriched.
    draws : int
        Random orders of the examples, two or more.
    seed : int
        Seed of the orders.

    Returns
    -------
    FrequencyMatched
        Zeros for features that are not analysed.
    """
    if not len(n_active):
        return FrequencyMatched(*(np.zeros(0) for _ in range(3)))
    counts, row = np.unique(n_active, return_inverse=True)
    windows = _Windows(counts, present.sum(0), len(present), [criteria])
    (expected,), (values,) = windows.expected, _simulated(windows, present, draws, seed)
    chance = np.clip(values.mean(0), 0.0, np.minimum(expected, 1.0))
    error = values.std(0, ddof=1) / np.sqrt(draws)
    return FrequencyMatched(expected[row], chance[row], error[row])


class _Windows:
    """Joint counts with which a label passes each of some rules, for each distinct active count."""

    def __init__(
        self,
        counts: Int[np.ndarray, " counts"],
        support: Int[np.ndarray, " labels"],
        total: int,
        rules: list[AssociationSettings],
    ) -> None:
        self.counts, self.total = counts, total
        self._supports, self._column = np.unique(support, return_inverse=True)
        self.lowest = []
        for rule in rules:
            lowest = lowest_published(counts, self._supports, total, rule)
            analysed = (counts >= rule.min_active) & (total >= rule.min_total)
            lowest[~analysed] = total + 1
            self.lowest.append(lowest)

    @cached_property
    def expected(self) -> list[Float[np.ndarray, " counts"]]:
        """Labels that pass each rule, on average."""
        n, s = np.broadcast_arrays(self.counts[:, None], self._supports[None, :])
        possible = np.any([lowest <= self.total for lowest in self.lowest], axis=0)
        n, s = n[possible], s[possible]
        # Tails are the costly part, so all of them are asked for at once. With as many joint
        # examples as either margin has, a cell is empty.
        below = np.minimum(n, s)
        ends = [np.minimum(lowest[possible], below) for lowest in self.lowest] + [below]
        copies = len(ends)
        tails = upper_tail(np.concatenate(ends), np.tile(n, copies), np.tile(s, copies), self.total)
        *firsts, beyond = tails.reshape(copies, -1)
        labels = np.bincount(self._column, minlength=len(self._supports)).astype(np.float64)
        found = []
        for first in firsts:
            inside = np.zeros(possible.shape)
            inside[possible] = first - beyond
            found.append(inside @ labels)
        return found

    def last(self, rule: int) -> Int[np.ndarray, " entries"]:
        """Behind the last active count with which 1, 2, ... joint examples pass, label by label.

        At a fixed joint count, chi-square and enrichment fall as the feature is active more often, so
        the active counts with which it passes follow one another.
        """
        least = np.minimum.accumulate(self.lowest[rule][::-1], axis=0)[::-1]
        found = []
        for column, support in enumerate(self._supports):
            ends = np.searchsorted(least[:, column], np.arange(1, support + 1), "right")
            ends[-1:] = 0  # where all examples of a label are joint, a cell is empty
            found.append(ends)
        return np.concatenate([np.zeros(0, np.int64), *(found[each] for each in self._column)])

    def passing(
        self, rule: int, ranks: Int[np.ndarray, "draws entries"], joint: Int[np.ndarray, " entries"]
    ) -> Int[np.ndarray, "draws counts"]:
        """Labels that pass when the first n examples of an order are active, for each count n.

        Parameters
        ----------
        rule : int
            Which rule.
        ranks : numpy.ndarray of int, shape (draws, entries)
            Places of each label's examples in the order, from 1, ascending, label by label.
        joint : numpy.ndarray of int, shape (entries,)
            1, 2, ... for each label.

        Returns
        -------
        numpy.ndarray of int64, shape (draws, counts)
            How many.
        """
        last = self.last(rule)
        kept = np.flatnonzero(last)
        place = np.searchsorted(self.counts, np.arange(self.total + 2))
        # There are this many joint examples from the rank of one until that of the next.
        first = place[np.maximum(ranks[:, kept], joint[kept] + 1)]
        end = np.minimum(place[ranks[:, kept + 1]], last[kept])
        draw, entry = np.nonzero(first < end)
        width = len(self.counts) + 1
        opened, closed = (
            np.bincount(draw * width + edge[draw, entry], minlength=len(ranks) * width)
            for edge in (first, end)
        )
        found = np.cumsum((opened - closed).reshape(-1, width), axis=1)[:, :-1]
        found[:, (self.lowest[rule] > self.total).all(1)] = 0
        return found


def _simulated(
    windows: _Windows, present: Bool[np.ndarray, "examples labels"], draws: int, seed: int
) -> list[Float[np.ndarray, "draws counts"]]:
    """Per rule and draw, a value whose mean is the chance that any label passes."""
    joint = np.concatenate([np.arange(1, each + 1) for each in (0, *present.sum(0))])
    parts: list[list[Int[np.ndarray, "batch counts"]]] = [[] for _ in windows.lowest]
    for ranks in _label_ranks(present, draws, numpy_generator(seed, "frequency_matched")):
        for rule, part in enumerate(parts):
            part.append(windows.passing(rule, ranks, joint))
    return [
        _sharpened(np.concatenate(part), expected)
        for part, expected in zip(parts, windows.expected, strict=True)
    ]


def _label_ranks(
    present: Bool[np.ndarray, "examples labels"], draws: int, generator: np.random.Generator
) -> Iterator[Int[np.ndarray, "batch entries"]]:
    """Places of each label's examples in random orders, from 1, ascending, label by label."""
    label, example = np.nonzero(present.T)
    total = len(present)
    batch = max(1, CELLS // max(len(example), total, 1))
    # Labels are far enough apart that all of them are sorted at once.
    apart = label * (total + 1)
    apart = apart.astype(np.int32 if apart.max(initial=0) < 2**30 else np.int64)
    for start in range(0, draws, batch):
        places = np.tile(np.arange(1, total + 1, dtype=np.int32), (min(batch, draws - start), 1))
        places = generator.permuted(places, axis=1)
        yield np.sort(places[:, example] + apart, axis=1) - apart


def _sharpened(
    passing: Int[np.ndarray, "draws counts"], expected: Float[np.ndarray, " counts"]
) -> Float[np.ndarray, "draws counts"]:
    """Whether any label passes, corrected by how far the number of labels is from its expectation.

    The number of labels that pass is a control variate. Its factor is that of least squares, or one
    where nothing varies, which leaves the expected number where nothing ever passed.
    """
    found = (passing > 0).astype(np.float64)
    centred = passing - passing.mean(0)
    squares = (centred**2).sum(0)
    factor = np.ones(len(expected))
    np.divide((centred * found).sum(0), squares, out=factor, where=squares > 0)
    values: Float[np.ndarray, "draws counts"] = found - factor * (passing - expected)
    return values
