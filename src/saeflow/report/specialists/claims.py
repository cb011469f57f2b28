"""Published sentences about specialists, beside what every model of this run shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.report import claims
from saeflow.report.claims import Row, claim_cell
from saeflow.report.finding import NO_BREAK
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.tables import MISSING, percent

SHARES = frozenset({"top_1", "right", "contained", "judged", "syntactic_share", "flip", "share"})
"""Measures that are shares, written in per cent."""


def claims_table(models: Sequence[SpecialistModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model, as `saeflow.report.claims.claims_table` gives them.

    Parameters
    ----------
    models : sequence of SpecialistModel
        In the order of the columns.
    """
    return claims.claims_table({model.name: model.numbers.claims for model in models}, _cell)


def _cell(_: str, row: Row) -> dict[str, str]:
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    metric = row["metric"]
    return claim_cell(
        _text(metric, value) or MISSING,
        () if None in ends else [_text(metric, end) for end in ends],
        procedure=_text(metric, row["published_value"]),
        null=_text(metric, row["null"]),
        layer=row["layer"],
    )


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric in SHARES:
        return f"{percent(value)}{NO_BREAK}%".replace("-", "−")
    whole = float(value).is_integer() and abs(value) > 1
    return (f"{value:.0f}" if whole else f"{value:.3f}").replace("-", "−")
