"""Verdicts on published sentences, and the rules that several studies share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from saeflow.studies.claims.sentences import Published, Row

SUPPORTED = "supported"
CHANCE = "not distinguishable from chance"
CONTRADICTED = "contradicted"
NOT_TESTABLE = "not testable in this run"
NEVER_MEASURED = "reported but never measured"
VERDICTS = (SUPPORTED, CHANCE, CONTRADICTED, NOT_TESTABLE, NEVER_MEASURED)
EVEN = 0.5
"""Share of right answers that a coin gives."""
LEVEL = 0.05
"""Largest p-value of what is called supported."""
UNMEASURED = "This run does not measure it."
UNTESTED = "This run has no interval and control for it."
OVERLAP = "The interval and that of the control have values in common."
Verdict = tuple[str, str]
"""One of `VERDICTS`, and the rule that gave it."""


class Numbers(NamedTuple):
    """Rows that a sentence is held against.

    Attributes
    ----------
    found : mapping
        What says the same of this run's model; its value is not None.
    procedure, null : mapping, optional
        By the published procedure, and of the control.
    further : tuple of mapping or None
        What else the sentence names.
    """

    found: Row
    procedure: Row | None
    null: Row | None
    further: tuple[Row | None, ...] = ()


Rule = Callable[[Numbers], Verdict]


def beyond(found: Row, null: Row | None) -> int | None:
    """Whether a number is above its control (1) or below (-1) with all of both intervals.

    Returns
    -------
    int or None
        0 where they have values in common; None where there is no interval, or no control.
    """
    if null is None or null["value"] is None or found["ci_low"] is None:
        return None
    low, high = (null["value"] if null[end] is None else null[end] for end in ("ci_low", "ci_high"))
    return int(found["ci_low"] > high) - int(found["ci_high"] < low)


def beyond_null(numbers: Numbers, published: Published) -> Verdict:
    """Hold an interval against that of the control, in the direction of the sentence."""
    found, null = numbers.found, numbers.null
    side = beyond(found, null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    if not side:
        return CHANCE, OVERLAP
    apart = (
        f"The whole interval is {'below' if side < 0 else 'above'} the control{own_interval(null)}"
    )
    if (side < 0) != published.below:
        return CONTRADICTED, f"{apart}."
    if published.suffices and found["ci_high"] < EVEN:
        return CONTRADICTED, f"{apart}, but below one half: it helps, and does not suffice."
    if published.suffices and found["ci_low"] <= EVEN:
        return CHANCE, (
            f"{apart}, but it holds one half: more than the control gives, and whether in most cases cannot "
            "be told from these."
        )
    return SUPPORTED, f"{apart}."


def does_nothing(numbers: Numbers) -> Verdict:
    """A sentence that says that something has no effect: its share is no larger than the control's."""
    found, null = numbers.found, numbers.null
    side = beyond(found, null)
    if side is None:
        return NOT_TESTABLE, UNTESTED
    if side > 0:
        return CONTRADICTED, f"The whole interval is above the control{own_interval(null)}."
    if found["ci_high"] < EVEN:
        return SUPPORTED, "The interval reaches down to the control's, and is below one half."
    return CHANCE, OVERLAP


def own_interval(null: Row | None) -> str:
    """How a sentence goes on behind "the control"."""
    return "" if null is None or null["ci_low"] is None else "'s interval"
