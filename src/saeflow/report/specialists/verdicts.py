"""What decides a sentence of the specialists' pages: intervals and tests, never two bare numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED
from saeflow.report.specialists.effects import LEVEL
from saeflow.report.specialists.numbers import Row, holds
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.resampling import sign_flip_p_value

TOO_FEW, UNTOLD = "Too few contents to tell", "Cannot be told here"
FLIPS = 10_000
"""Flips of topics that are drawn at most; up to 13 topics all are tried."""


class Gain(NamedTuple):
    """By how much one model's areas exceed another's, form by form.

    Attributes
    ----------
    value : float
        Mean difference over forms.
    p_value : float
        Two-sided, by sign flips of topics.
    topics : int
        That are flipped.
    """

    value: float
    p_value: float
    topics: int


def above(row: Row | None, other: Row | None) -> bool:
    """Whether the whole interval lies above another one; False where either has none."""
    ends = (row and row["ci_low"], other and other["ci_high"])
    return None not in ends and bool(ends[0] > ends[1])  # type: ignore[operator]


def told_beyond_words(against: Row, untrained: Row | None) -> bool:
    """Whether texts tell meaning that words do not: tested, and more than without training.

    Parameters
    ----------
    against, untrained : mapping
        Share of texts that features put farther than words do, of the model and of the untrained one;
        None where there is no untrained one.
    """
    beyond = holds(against, LEVEL, 0.5)
    return beyond and (untrained is None or above(against, untrained))


def reach(row: Row, permuted: Row | None) -> Row | None:
    """Interval of a number, from what is left of it where labels mean nothing.

    The middle of what permuted labels give is how far a number lies from what it stands for; where
    labels mean something they give more than that, so the interval is rather too wide.

    Returns
    -------
    mapping or None
        The row with its ``ci_low`` and ``ci_high``; None where no permuted labels stand beside it.
    """
    if permuted is None or None in (permuted["ci_low"], permuted["ci_high"]):
        return None
    low, high = (row["value"] - permuted[end] for end in ("ci_high", "ci_low"))
    return {**row, "ci_low": low, "ci_high": high}


def gain_of_forms(areas: Mapping[str, float], untrained: Mapping[str, float]) -> Gain | None:
    """Compare areas of the same forms in two models; forms of one topic are flipped together.

    Parameters
    ----------
    areas, untrained : mapping of str to float
        Area under the curve by class, such as ``"Formal: plain"``.

    Returns
    -------
    Gain or None
        None where no form is in both.
    """
    shared = [name for name in areas if name in untrained]
    if not shared:
        return None
    differences = np.array([areas[name] - untrained[name] for name in shared])
    topics = [name.partition(": ")[0] for name in shared]
    generator = numpy_generator(0, "report", "specialists", "forms", len(shared))
    p_value = sign_flip_p_value(differences, topics, FLIPS, generator)
    return Gain(float(differences.mean()), p_value, len(set(topics)))


def least_p_value(clusters: int) -> float:
    """Smallest p-value that two-sided sign flips of so many clusters can give."""
    return float(min(1.0, 2.0 ** (1 - clusters)))


def too_few(contents: Sequence[int]) -> list[bool]:
    """Which tests cannot pass after Holm, whatever is found.

    Holm's p-values grow with those that they adjust, so the smallest that can be reached are those of
    the smallest p-values. Less than all contents may say anything, so a test that is not named here may
    be out of reach, too.

    Parameters
    ----------
    contents : sequence of int
        Contents of all tests that are adjusted together.
    """
    if not contents:
        return []
    least = holm(np.array([least_p_value(number) for number in contents]))
    return [bool(each > LEVEL) for each in least]


def if_most(passed: int, tried: int, short: int = 0) -> str:
    """Word for a sentence about most of what was tried: one among a hundred would say nothing.

    Parameters
    ----------
    passed, tried : int
        How many tests pass, and of how many.
    short : int
        How many could not pass, whatever is found: where these decide, nothing is told.
    """
    if 2 * passed > tried:
        return SUPPORTED
    return TOO_FEW if 2 * (passed + short) > tried else NOT_SUPPORTED
