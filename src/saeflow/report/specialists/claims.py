"""Published sentences about specialists, beside what every model of this run shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.report import claims
from saeflow.report.claims import Row, claim_cell, metrics_of
from saeflow.report.finding import NO_BREAK
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.tables import MISSING, percent
from saeflow.studies.specialists.counted import (
    ANY_SIGN,
    BEYOND_OTHERS,
    LARGEST_FLIP,
    NEGATIVE,
    POSITIVE,
)
from saeflow.studies.specialists.published_claims import PUBLISHED

SHARES = frozenset(
    {
        *("right", "contained", "judged", "top_1", "share", "syntactic_share", "flip"),
        *(ANY_SIGN, POSITIVE, NEGATIVE, LARGEST_FLIP, BEYOND_OTHERS),
    }
)
"""Measures that are shares, written in per cent."""
COUNTS = frozenset({"n_specialists", "rule_half_a", "rule_half_b"})
"""Numbers of classes."""
_PERCENT = f"{NO_BREAK}%"
_WANTED = {each.claim: each for each in PUBLISHED}


def claims_table(models: Sequence[SpecialistModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model, as `saeflow.report.claims.claims_table` gives them.

    Parameters
    ----------
    models : sequence of SpecialistModel
        In the order of the columns.
    """
    found = {model.name: model.numbers.claims for model in models}
    return claims.claims_table(found, _cell, list(_WANTED))


def _cell(claim: str, row: Row) -> dict[str, str]:
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    wanted = _WANTED.get(claim)
    own, procedure, null = metrics_of(wanted)
    # What the procedure gives may be of another block than the number: then neither is named.
    read = (wanted.found, wanted.by_procedure) if wanted else ()
    one_block = len({each.layer for each in read if each is not None}) < 2
    return claim_cell(
        _text(own, value) or MISSING,
        () if None in ends else [_text(own, end).removesuffix(_PERCENT) for end in ends],
        procedure=_text(procedure, row["published_value"]),
        null=_text(null, row["null"]),
        layer=row["layer"] if one_block else None,
    )


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric in SHARES:
        return f"{percent(value)}{_PERCENT}".replace("-", "−")
    return (f"{value:.3g}" if metric in COUNTS else f"{value:.3f}").replace("-", "−")
