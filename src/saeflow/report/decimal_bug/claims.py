"""Published sentences, each beside what every model of this run shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.datasets.texts.judge import RIGHT, UNCLEAR, WRONG
from saeflow.report import claims
from saeflow.report.claims import Row, claim_cell, metrics_of
from saeflow.report.decimal_bug.model import DecimalModel
from saeflow.report.decimal_bug.subsets import VALUES
from saeflow.report.finding import NO_BREAK
from saeflow.report.tables import MISSING, percent
from saeflow.studies.decimal_bug.published_claims import PUBLISHED

SHARES = frozenset(
    {
        *(RIGHT, WRONG, UNCLEAR, *VALUES),
        *("share_of_own_head", "mixed_share"),
    }
)
"""Measures that are shares; others are as they are, but for those that are in per cent already."""
_WANTED = {each.claim: each for each in PUBLISHED}


def claims_table(models: Sequence[DecimalModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model, as `saeflow.report.claims.claims_table` gives them.

    Parameters
    ----------
    models : sequence of DecimalModel
        In the order of the columns.
    """
    found = {model.name: model.numbers.claims for model in models}
    return claims.claims_table(found, _cell, list(_WANTED))


def _cell(claim: str, row: Row) -> dict[str, str]:
    """What one model shows: its number, and by the published procedure and the control below it."""
    own, procedure, null = metrics_of(_WANTED.get(claim))
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    return claim_cell(
        _named(own, value) or MISSING,
        () if None in ends else [_text(own, end) for end in ends],
        procedure=_named(procedure, row["published_value"]),
        null=_named(null, row["null"]),
        layer=row["layer"],
    )


def _named(metric: str, value: float | None) -> str:
    """Write a number; a share of answers says of which."""
    text = _text(metric, value)
    return f"{text} {metric}" if text and metric in (RIGHT, WRONG, UNCLEAR) else text


def _text(metric: str, value: float | None) -> str:
    """Write a number as its measure wants it; nothing where there is none."""
    if value is None:
        return ""
    if metric == "overlap_percent":
        return f"{value:.1f}{NO_BREAK}%"
    text = f"{percent(value)}{NO_BREAK}%" if metric in SHARES else f"{value:.3f}"
    return text.replace("-", "−")
