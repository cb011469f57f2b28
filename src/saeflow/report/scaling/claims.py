"""Published sentences about wide SAEs, beside what every model of this run shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.report import claims
from saeflow.report.claims import Row, claim_cell, metrics_of
from saeflow.report.finding import NO_BREAK
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.tables import MISSING, percent
from saeflow.studies.scaling.published_claims import PUBLISHED

SHARES = frozenset(
    {
        *("zero_share", "active_share", "dead_share", "ce_recovered_zero", "ce_recovered_mean"),
        *("share_found", "first_found", "share_rising", "share_falling", "share"),
        *("balanced_accuracy", "beyond_decoder_bias"),
    }
)
"""Measures that are shares, written in per cent."""
COUNTS = frozenset({"l0_mean", "d_in", "position"})
"""Numbers of features, dimensions or places."""
_PERCENT = f"{NO_BREAK}%"
_WANTED = {each.claim: each for each in PUBLISHED}


def claims_table(models: Sequence[ScalingModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model, as `saeflow.report.claims.claims_table` gives them.

    Parameters
    ----------
    models : sequence of ScalingModel
        In the order of the columns.
    """
    found = {model.name: model.numbers.claims for model in models}
    return claims.claims_table(found, _cell, list(_WANTED))


def _cell(claim: str, row: Row) -> dict[str, str]:
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    own, procedure, null = metrics_of(_WANTED.get(claim))
    # A claim without a number of its own has that of the procedure for an analogue.
    own = own or procedure or row["metric"]
    return claim_cell(
        _text(own, value) or MISSING,
        () if None in ends else [_text(own, end).removesuffix(_PERCENT) for end in ends],
        procedure=_text(procedure or own, row["published_value"]),
        null=_text(null or own, row["null"]),
        layer=row["layer"],
    )


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if metric in SHARES:
        return f"{percent(value)}{_PERCENT}".replace("-", "−")
    return (f"{value:,.4g}" if metric in COUNTS else f"{value:.3f}").replace("-", "−")
