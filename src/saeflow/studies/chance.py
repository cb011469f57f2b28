"""What the studies share: places that numbers are taken over, and numbers beside permutations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

FEWEST = 19
"""Permutations for an interval of 90 % or more."""


def places(
    layer: Int[np.ndarray, " features"], step: Int[np.ndarray, " features"]
) -> Iterator[tuple[int | None, int | None, Bool[np.ndarray, " features"]]]:
    """Where rates are taken: everything, each layer, each step, and each site.

    Parameters
    ----------
    layer, step : numpy.ndarray of int, shape (features,)
        Where each feature is.

    Yields
    ------
    layer, step : int or None
        None where the place spans all of them.
    chosen : numpy.ndarray of bool, shape (features,)
        Which features belong to it.
    """
    layers = [int(each) for each in np.unique(layer)]
    steps = [int(each) for each in np.unique(step)]
    yield None, None, np.ones(len(layer), bool)
    for each in layers:
        yield each, None, layer == each
    for each in steps:
        yield None, each, step == each
    for each in layers:
        for other in steps:
            yield each, other, (layer == each) & (step == other)


def band(values: Sequence[float]) -> dict[str, Any]:
    """Mean over permutations with their smallest and largest value, as columns of a table."""
    return {
        "value": float(np.mean(values)) if values else None,
        "ci_low": min(values, default=None),
        "ci_high": max(values, default=None),
        "interval": "permutation_range",
        "n": len(values),
    }


def excess(metric: str, value: float, permuted: Sequence[float], n: int) -> dict[str, Any]:
    """What a number exceeds its permuted mean by, as columns of a table.

    The interval ``permutation_95`` reaches from the observed number minus the 97.5 % quantile of
    the permuted ones to the same minus their 2.5 % quantile, each rounded outwards to a
    permutation. Where labels and features have no tie, the observed number is one more draw of
    the permuted ones, so the interval holds 0 in 95 % of runs (90 % with 20 permutations, of
    which it takes the smallest and the largest; there is none with fewer than `FEWEST`).
    Problems are not resampled (design, section 8).

    Parameters
    ----------
    metric : str
        Name of the excess.
    value : float
        The observed number.
    permuted : sequence of float
        The same under permutation; one or more.
    n : int
        Units that the number is taken over.
    """
    row: dict[str, Any] = {"metric": metric, "control": "none", "n": n}
    row |= {"value": value - float(np.mean(permuted)), "ci_low": None, "ci_high": None}
    if len(permuted) < FEWEST:
        return row | {"interval": "none"}
    low = float(np.quantile(permuted, 0.025, method="lower"))
    high = float(np.quantile(permuted, 0.975, method="higher"))
    return row | {"ci_low": value - high, "ci_high": value - low, "interval": "permutation_95"}
