"""How strongly a label follows a feature: sizes of effects, of counts and of activations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.special import ndtri
from scipy.stats import rankdata


class LogOdds(NamedTuple):
    """Log odds ratios with the ends of their intervals, each of float64."""

    value: Float[np.ndarray, " tables"]
    low: Float[np.ndarray, " tables"]
    high: Float[np.ndarray, " tables"]


class Detection(NamedTuple):
    """How well "the feature is active" detects a label, each of float64."""

    precision: Float[np.ndarray, " tables"]
    recall: Float[np.ndarray, " tables"]
    f1: Float[np.ndarray, " tables"]


def log_odds_ratio(
    a: Num[np.ndarray, " tables"],
    b: Num[np.ndarray, " tables"],
    c: Num[np.ndarray, " tables"],
    d: Num[np.ndarray, " tables"],
    level: float = 0.95,
) -> LogOdds:
    """Log odds ratio with Haldane's correction: one half is added to each cell.

    Defined for every table, so the label that occurs only with the feature (c = 0) has one, too.

    Parameters
    ----------
    a, b, c, d : numpy.ndarray, shape (tables,)
        Active and present, active and absent, inactive and present, inactive and absent.
    level : float
        Coverage of the interval, by Woolf's standard error of the corrected cells.

    Returns
    -------
    LogOdds
        In natural logarithms.
    """
    cells = np.stack([np.asarray(cell, np.float64) + 0.5 for cell in (a, b, c, d)])
    value = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    reach = float(ndtri(0.5 + level / 2)) * np.sqrt((1 / cells).sum(0))
    return LogOdds(value, value - reach, value + reach)


def detection(
    a: Num[np.ndarray, " tables"], b: Num[np.ndarray, " tables"], c: Num[np.ndarray, " tables"]
) -> Detection:
    """Precision, recall and F1 of the feature as a detector of the label; NaN where undefined."""
    a, b, c = (np.asarray(cell, np.float64) for cell in (a, b, c))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Detection(a / (a + b), a / (a + c), 2 * a / (2 * a + b + c))


def auroc(
    values: Float[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    feature: Int[np.ndarray, " pairs"],
    label: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Area under the receiver operating curve of a feature's values for a label, pair by pair.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (examples, features)
        What to rank examples by; ties count one half.
    present : numpy.ndarray of bool, shape (examples, labels)
        Where labels occur.
    feature, label : numpy.ndarray of int, shape (pairs,)
        Columns of each pair.

    Returns
    -------
    numpy.ndarray of float64, shape (pairs,)
        NaN where a label occurs everywhere or nowhere.
    """
    ranks = rankdata(values, axis=0)
    positive = present.sum(0).astype(np.float64)[label]
    negative = len(present) - positive
    sums = _sums_where_present(ranks, present, feature, label)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            (positive > 0) & (negative > 0),
            (sums - positive * (positive + 1) / 2) / (positive * negative),
            np.nan,
        )


def point_biserial(
    values: Float[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    feature: Int[np.ndarray, " pairs"],
    label: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Correlation of a feature's values, sign included, with a label's presence, pair by pair.

    Returns
    -------
    numpy.ndarray of float64, shape (pairs,)
        NaN where one of both does not vary.
    """
    values = values.astype(np.float64)
    centred = values - values.mean(0)
    spread = np.sqrt((centred**2).sum(0))[feature]
    share = present.mean(0)[label]
    wide = np.sqrt(len(present) * share * (1 - share))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _sums_where_present(centred, present, feature, label) / (spread * wide)
    return np.where((spread > 0) & (wide > 0), found, np.nan)


def _sums_where_present(
    values: Float[np.ndarray, "examples features"],
    present: Bool[np.ndarray, "examples labels"],
    feature: Int[np.ndarray, " pairs"],
    label: Int[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Sum of a feature's values over the examples that hold a label."""
    used, place = np.unique(label, return_inverse=True)
    sums = np.empty(len(label))
    for number, each in enumerate(used):
        pairs = place == number
        sums[pairs] = values[present[:, each]].sum(0)[feature[pairs]]
    return sums
