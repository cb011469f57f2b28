"""Features of one dictionary matched to those of another, one to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment


class Matches(NamedTuple):
    """One row per feature of the first dictionary that has a partner, in ascending order.

    Attributes
    ----------
    first, second : numpy.ndarray of int64, shape (matches,)
        Partners.
    similarity : numpy.ndarray of float64, shape (matches,)
        Theirs; between -1 and 1.
    """

    first: Int[np.ndarray, " matches"]
    second: Int[np.ndarray, " matches"]
    similarity: Float[np.ndarray, " matches"]


def cosines(
    first: Float[np.ndarray, "rows features"], second: Float[np.ndarray, "rows others"]
) -> Float[np.ndarray, "features others"]:
    """Cosine of every column of one matrix with every column of another; 0 for a column of zeros."""
    found: Float[np.ndarray, "features others"] = _unit(first).T @ _unit(second)
    return found


def correlations(
    first: Float[np.ndarray, "examples features"], second: Float[np.ndarray, "examples others"]
) -> Float[np.ndarray, "features others"]:
    """Pearson correlation of every column with every other; 0 for one that does not vary."""
    return cosines(_centred(first), _centred(second))


def shared_similarity(
    cosine: Float[np.ndarray, "features others"],
    correlation: Float[np.ndarray, "features others"],
    *,
    signed: bool,
) -> Float[np.ndarray, "features others"]:
    """Smaller of cosine and correlation in size; 0 where their signs differ.

    Two features are the same only if they both point the same way and fire together, so the weaker
    of the two decides: it reaches a threshold where, and only where, both do. A product would let
    one make up for the other.

    Parameters
    ----------
    cosine, correlation : numpy.ndarray of float, shape (features, others)
        Of directions and of activations.
    signed : bool
        Whether activations take both signs. If so, the opposite direction with the opposite
        activation is the same feature, and two negative numbers count as two positive ones do.

    Returns
    -------
    numpy.ndarray of float, shape (features, others)
        Between 0 and 1.
    """
    weaker: Float[np.ndarray, "features others"] = np.minimum(cosine, correlation).clip(0)
    return np.maximum(weaker, np.minimum(-cosine, -correlation)) if signed else weaker


def best_matching(similarity: Float[np.ndarray, "features others"]) -> Matches:
    """Pair features one to one so that the similarities add up to the most.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (features, others)
        Larger is better; `shared_similarity` serves where a feature may come back negated.

    Returns
    -------
    Matches
        As many as the smaller dictionary has features (Hungarian method, by SciPy).
    """
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return Matches(rows, columns, similarity[rows, columns].astype(np.float64))


def chance_agreement(first: Sequence[str], second: Sequence[str]) -> float:
    """Number of pairs with equal labels that is expected when partners are exchanged at random.

    Parameters
    ----------
    first, second : sequence of str
        Labels of partners, pair by pair.

    Returns
    -------
    float
        The mean over all ways to pair them, exactly: each label's counts multiplied, summed and
        divided by the number of pairs. 0 where there is no pair.
    """
    ours, theirs = Counter(first), Counter(second)
    return sum(count * theirs[label] for label, count in ours.items()) / max(len(first), 1)


def _unit(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    values = values.astype(np.float64)
    lengths = np.linalg.norm(values, axis=0)
    scaled: Float[np.ndarray, "rows columns"] = values / np.where(lengths > 0, lengths, 1.0)
    return scaled


def _centred(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    values = values.astype(np.float64)
    centred = values - values.mean(0)
    # A column of equal values leaves rounding errors behind, which would correlate at random.
    return np.where(np.ptp(values, axis=0) > 0, centred, 0.0)
