"""Features of one dictionary matched to those of another, one to one."""

from __future__ import annotations

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


def best_matching(similarity: Float[np.ndarray, "features others"]) -> Matches:
    """Pair features one to one so that the similarities add up to the most.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (features, others)
        Sign included; take the absolute value first where a feature may come back negated.

    Returns
    -------
    Matches
        As many as the smaller dictionary has features (Hungarian method, by SciPy).
    """
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return Matches(rows, columns, similarity[rows, columns].astype(np.float64))


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
