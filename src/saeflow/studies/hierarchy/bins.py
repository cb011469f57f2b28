"""Bins of how many problems a feature fires on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from saeflow.config.hierarchy import BIN_EDGES, BIN_LABELS

ALL = "all"
"""Group of all features, whichever bin they are in."""


def bin_of(n_active: Int[np.ndarray, " features"]) -> Int[np.ndarray, " features"]:
    """Bin of each feature.

    Parameters
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which each fires.

    Returns
    -------
    numpy.ndarray of int64, shape (features,)
        Place in `BIN_LABELS`; -1 for features that never fire.
    """
    return np.searchsorted(BIN_EDGES, n_active, side="right") - 1


def bin_groups(
    n_active: Int[np.ndarray, " features"],
) -> Iterator[tuple[str, Bool[np.ndarray, " features"]]]:
    """Features by group: all that fire, then those of each bin, empty bins included.

    Parameters
    ----------
    n_active : numpy.ndarray of int, shape (features,)
        Problems on which each fires.

    Yields
    ------
    label : str
        "all" or the bin's name.
    chosen : numpy.ndarray of bool, shape (features,)
        Which features belong to it; those that never fire belong to none.
    """
    place = bin_of(n_active)
    yield ALL, place >= 0
    for number, label in enumerate(BIN_LABELS):
        yield label, place == number
