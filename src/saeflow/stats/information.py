"""Information that three-state features share with class variables, chance subtracted.

A signed feature is positive, silent or negative on each example; a class variable puts each example into
one class. Their mutual information is never below 0, and larger for more classes by chance alone, so
it is adjusted (Vinh, Epps and Bailey, 2010): 0 is what chance gives, 1 the same partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import xlogy

from saeflow.stats.exact import upper_tail
from saeflow.stats.joint import ones_and_zeros, product

BLOCK = 2048
"""Features per matrix product; small enough that its result stays in the cache."""
DECIMALS = 12
"""Of adjusted information: equal counts in another order differ in the last bits of their sum."""


@dataclass(frozen=True)
class SharedInformation:
    """Information that features share with class variables.

    Attributes
    ----------
    mutual : numpy.ndarray of float64, shape (variables, features)
        Mutual information as counted, in nats.
    chance : numpy.ndarray of float64, shape (variables, features)
        Its mean over all permutations of the examples, exact.
    adjusted : numpy.ndarray of float64, shape (variables, features)
        (mutual - chance) / (mean entropy of feature and variable - chance); 0 where neither varies.
    null_score : numpy.ndarray of float64, shape (permutations, features)
        Largest adjusted information over variables, with the examples permuted.
    null_variable : numpy.ndarray of int64, shape (permutations, features)
        Which variable that is; the first of equals.
    """

    mutual: Float[np.ndarray, "variables features"]
    chance: Float[np.ndarray, "variables features"]
    adjusted: Float[np.ndarray, "variables features"]
    null_score: Float[np.ndarray, "permutations features"]
    null_variable: Int[np.ndarray, "permutations features"]


def shared_information(
    values: Float[np.ndarray, "examples features"],
    classes: Int[np.ndarray, "variables examples"],
    orders: Sequence[Int[np.ndarray, " examples"]],
    device: torch.device,
    *,
    centre: Sequence[Int[np.ndarray, " examples"]] | None = None,
) -> SharedInformation:
    """Information of every feature with every variable, and in permutations.

    The mean under permutation needs none of them: each cell of a table is then hypergeometric, given
    its margins. So it is the same for the measurement and for every permutation, has no error of its
    own, and makes the measurement one more draw of the permuted ones where there is nothing to find.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (examples, features)
        Signed activations, of which only the sign counts.
    classes : numpy.ndarray of int, shape (variables, examples)
        Class of each example, any numbers.
    orders : sequence of numpy.ndarray of int, shape (examples,)
        Permutations. Examples move with all their classes, so variables keep their dependences.
    device : torch.device
        Where to count.
    centre : sequence of numpy.ndarray of int, shape (examples,), optional
        Other permutations, whose mean is the chance level instead of that over all of them: where
        examples may only change places within groups, as `within` draws them.

    Returns
    -------
    SharedInformation
        The same bits for the same counts, in whichever order examples come.
    """
    states = np.stack([(values > 0).sum(0), (values < 0).sum(0), (values == 0).sum(0)])
    tables = _Tables(values, classes, device)
    sizes = [np.unique(each, return_counts=True)[1] for each in classes]
    total = len(values)
    terms = _terms(total)
    margins = terms[states].sum(0) + np.array([terms[each].sum() for each in sizes])[:, None]
    # Entropies are log n less the sum of count * log(count) over n; counts of 0 and 1 add nothing.
    log_total = float(np.log(max(total, 1)))
    offset = log_total - margins / max(total, 1)
    entropies = 2 * log_total - margins / max(total, 1)
    if centre is None:
        joint = np.stack([_expected_terms(states, each, total) for each in sizes])
    else:
        joint = np.zeros((len(sizes), values.shape[1]))
        for order in centre:
            joint += tables.terms(order) / len(centre)
    chance = np.maximum(joint / max(total, 1) + offset, 0.0)

    def informations(joint: Float[np.ndarray, "variables features"]) -> tuple[np.ndarray, ...]:
        mutual = np.maximum(joint / total + offset, 0.0)
        return mutual, _adjusted(mutual, chance, entropies / 2)

    mutual, adjusted = informations(tables.terms(np.arange(total)))
    null_score = np.empty((len(orders), values.shape[1]))
    null_variable = np.zeros((len(orders), values.shape[1]), np.int64)
    for number, order in enumerate(orders):
        _, permuted = informations(tables.terms(order))
        null_score[number], null_variable[number] = permuted.max(0), permuted.argmax(0)
    return SharedInformation(mutual, chance, adjusted, null_score, null_variable)


def threshold_at_false_share(
    observed: Float[np.ndarray, " observed"],
    permuted: Float[np.ndarray, "permutations features"],
    share: float,
) -> float:
    """Smallest score at which chance explains no more than a share of what is found.

    Of the observed scores it is the smallest t at which the mean over permutations of the number of
    permuted scores of t or more is at most `share` times the number of observed ones. That ratio
    estimates the false discovery rate, and from above, as it takes every feature for one without
    information (Storey and Tibshirani, 2003).

    Parameters
    ----------
    observed : numpy.ndarray of float64, shape (observed,)
        Scores; large ones are findings.
    permuted : numpy.ndarray of float64, shape (permutations, features)
        Scores of the same features in permutations.
    share : float
        Largest share of false findings.

    Returns
    -------
    float
        Infinity where no score will do.
    """
    scores, chance = np.sort(observed), np.sort(permuted, axis=None)
    return _threshold(scores, _as_large(chance, scores) / len(permuted), share)


def thresholds_among_others(
    permuted: Float[np.ndarray, "permutations features"], share: float
) -> Float[np.ndarray, " permutations"]:
    """Threshold of each permutation, held against the others as the measurement is against all.

    What `threshold_at_false_share` finds with one permutation's scores in place of the observed
    ones. Counts of scores that pass each its own threshold tell what the whole procedure, with its
    choice of a threshold, finds where there is nothing to find; counts at the threshold of the
    measurement do not, as that is chosen to have few of them.

    Parameters
    ----------
    permuted : numpy.ndarray of float64, shape (permutations, features)
        Scores in two permutations or more; minus infinity for those that do not count.
    share : float
        Largest share of false findings.

    Returns
    -------
    numpy.ndarray of float64, shape (permutations,)
        Infinity where no score will do.
    """
    chance = np.sort(permuted, axis=None)
    found = np.empty(len(permuted))
    for number, row in enumerate(permuted):
        own = np.sort(row[row > -np.inf])
        others = _as_large(chance, own) - _as_large(own, own)
        found[number] = _threshold(own, others / (len(permuted) - 1), share)
    return found


def _as_large(
    scores: Float[np.ndarray, " scores"], limits: Float[np.ndarray, " limits"]
) -> Int[np.ndarray, " limits"]:
    """How many of the scores, ascending, are as large as each limit or larger."""
    counts: Int[np.ndarray, " limits"] = len(scores) - np.searchsorted(scores, limits)
    return counts


def _threshold(
    scores: Float[np.ndarray, " scores"], false: Float[np.ndarray, " scores"], share: float
) -> float:
    """Smallest of ascending scores at which there are few false ones; infinity where none is."""
    passing = np.flatnonzero(false <= share * _as_large(scores, scores))
    return float(scores[passing[0]]) if len(passing) else float("inf")


def within(
    groups: Int[np.ndarray, " examples"], generator: np.random.Generator
) -> Int[np.ndarray, " examples"]:
    """Order in which examples change places at random with others of their group only."""
    order = np.arange(len(groups))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        order[members] = generator.permutation(members)
    return order


class _Tables:
    """Counts of features' states by class, read as sums of count * log(count).

    Classes of one example are left out: their counts are 0 and 1, which add nothing.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "examples features"],
        classes: Int[np.ndarray, "variables examples"],
        device: torch.device,
    ) -> None:
        self._device, self._slices = device, []
        parts, start = [], 0
        for variable in classes:
            names, counts = np.unique(variable, return_counts=True)
            kept = names[counts > 1]
            parts.append(variable[:, None] == kept)
            self._slices.append(slice(start, start + len(kept)))
            start += len(kept)
        self._flags = np.concatenate(parts, axis=1)
        self._sizes = self._held(torch.from_numpy(self._flags.sum(0)))
        self._table = self._held(torch.from_numpy(_terms(len(values))))
        signs = np.stack([values.T > 0, values.T < 0], axis=1)
        self._signs = ones_and_zeros(signs.reshape(-1, len(values)), device)

    def terms(self, order: Int[np.ndarray, " examples"]) -> Float[np.ndarray, "variables features"]:
        """Sum of count * log(count) over states and classes, with the examples in another order."""
        right = ones_and_zeros(self._flags[order], self._device)
        found = np.zeros((len(self._slices), len(self._signs) // 2))
        for start in range(0, found.shape[1] if len(self._sizes) else 0, BLOCK):
            chosen = slice(start, min(start + BLOCK, found.shape[1]))
            positive, negative = self._counts(self._signs[2 * start : 2 * chosen.stop], right)
            terms = self._table.take(positive)
            terms += self._table.take(negative)
            terms += self._table.take(self._sizes - positive - negative)
            for variable, columns in enumerate(self._slices):
                found[variable, chosen] = torch.as_tensor(terms[:, columns].sum(1)).cpu().numpy()
        return found

    def _counts(self, signs: torch.Tensor, right: torch.Tensor) -> tuple[Any, Any]:
        kind = torch.int32 if signs.dtype == torch.int8 else torch.float32
        joint = torch.empty((len(signs), right.shape[1]), dtype=kind, device=self._device)
        product(signs, right, joint)
        held = self._held(joint)
        counts = held.astype(np.int64) if isinstance(held, np.ndarray) else held.to(torch.int64)
        return counts[::2], counts[1::2]

    def _held(self, tensor: torch.Tensor) -> Any:
        """Hold a tensor on the device, or as an array where that is the CPU.

        NumPy is done before threads have found together, above all on a busy machine; what is done
        to either reads the same.
        """
        return tensor.numpy() if self._device.type == "cpu" else tensor.to(self._device)


def _terms(total: int) -> Float[np.ndarray, " counts"]:
    counts = np.arange(total + 1, dtype=np.float64)
    terms: Float[np.ndarray, " counts"] = xlogy(counts, counts)
    return terms


def _expected_terms(
    states: Int[np.ndarray, "states features"], sizes: Int[np.ndarray, " classes"], total: int
) -> Float[np.ndarray, " features"]:
    """Mean of the sum of count * log(count) over all permutations, margins given."""
    margins, row = np.unique(states, return_inverse=True)
    steps = np.diff(_terms(total))
    expected = np.zeros(len(margins))
    for size, times in zip(*np.unique(sizes, return_counts=True), strict=True):
        counts = np.arange(1, size + 1)
        # A mean is the sum of its upper tails, each by how much the term grows there.
        tails = upper_tail(
            np.tile(counts, len(margins)),
            np.repeat(margins, size),
            np.full(size * len(margins), size),
            total,
        )
        expected += times * (tails.reshape(len(margins), size) @ steps[:size])
    summed: Float[np.ndarray, " features"] = expected[row.reshape(states.shape)].sum(0)
    return summed


def _adjusted(
    mutual: Float[np.ndarray, "variables features"],
    chance: Float[np.ndarray, "variables features"],
    entropy: Float[np.ndarray, "variables features"],
) -> Float[np.ndarray, "variables features"]:
    possible = entropy - chance
    varies = possible > 10.0**-DECIMALS
    found = np.zeros(mutual.shape)
    np.divide(mutual - chance, possible, out=found, where=varies)
    return np.round(found, DECIMALS)
