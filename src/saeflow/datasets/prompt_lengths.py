"""Whether two sets of prompts differ in length, and negatives that do not.

Features that fire on every tenth token have larger maxima on longer prompts, so a search may find
length instead of what the prompts are about (methods/5, 6.8: contrast with negatives of equal length).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu

from saeflow.errors import SaeflowError

MATCHED_P_VALUE = 0.05
"""Smaller p-values of lengths say that the sides differ in length."""
MATCHED_AREA = 0.65
"""So do larger areas, or smaller ones than 1 less this: with few prompts no p-value is small."""


class LengthCheck(NamedTuple):
    """How well length alone tells positive from negative prompts.

    Attributes
    ----------
    positive, negative : float
        Median length of each side.
    area : float
        Area under the curve of length; above ½ where positive ones are longer.
    p_value : float
        Mann and Whitney's, two-sided.
    matched : bool
        Whether length tells them apart no better than `MATCHED_P_VALUE` and `MATCHED_AREA` allow.
    """

    positive: float
    negative: float
    area: float
    p_value: float
    matched: bool


def check_lengths(
    positive: Int[np.ndarray, " positive"], negative: Int[np.ndarray, " negative"]
) -> LengthCheck:
    """Compare the lengths of two sides.

    Parameters
    ----------
    positive, negative : numpy.ndarray of int
        Such as tokens of every prompt.

    Raises
    ------
    SaeflowError
        If a side is empty.
    """
    if not len(positive) or not len(negative):
        raise SaeflowError(
            f"There are {len(positive)} positive and {len(negative)} negative lengths; expected some "
            "of each."
        )
    found = mannwhitneyu(positive, negative)
    area = float(found.statistic / (len(positive) * len(negative)))
    p_value = float(found.pvalue)
    matched = p_value >= MATCHED_P_VALUE and 1 - MATCHED_AREA <= area <= MATCHED_AREA
    return LengthCheck(
        float(np.median(positive)), float(np.median(negative)), area, p_value, bool(matched)
    )


def matched_lengths(
    lengths: Int[np.ndarray, " wanted"], pool: Int[np.ndarray, " pool"], count: int
) -> Int[np.ndarray, " count"]:
    """Choose members of a pool whose lengths are nearest to given ones, as a whole.

    Parameters
    ----------
    lengths : numpy.ndarray of int, shape (wanted,)
        Such as tokens of the positive prompts, at least 1 each. Where more are to be chosen than there
        are lengths, each is matched as often as any other, the first ones once more.
    pool : numpy.ndarray of int, shape (pool,)
        Lengths of what can be chosen, at least 1 each.
    count : int
        How many to choose.

    Returns
    -------
    numpy.ndarray of int64, shape (count,)
        Members of the pool, ascending: those for which the sum of differences of logarithms of lengths
        is smallest.

    Raises
    ------
    SaeflowError
        If the pool holds fewer, or there is no length to match.
    """
    if count > len(pool) or not len(lengths):
        raise SaeflowError(
            f"{count} are to be chosen of {len(pool)} to match {len(lengths)} lengths; expected no more "
            "than there are, and a length to match."
        )
    # The first `count` of the lengths again and again, or spread evenly over them where fewer are wanted.
    order = np.sort(lengths)
    if count < len(order):
        wanted = order[np.round(np.linspace(0, len(order) - 1, count)).astype(np.int64)]
    else:
        wanted = np.resize(lengths, count)
    cost = np.abs(np.log(wanted)[:, None] - np.log(pool)[None])
    return np.sort(linear_sum_assignment(cost)[1]).astype(np.int64)
