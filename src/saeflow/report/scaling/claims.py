"""Published sentences about wide SAEs, beside what every model of this run shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saeflow.report import claims
from saeflow.report.claims import Row, claim_cell
from saeflow.report.finding import NO_BREAK
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.tables import MISSING, percent

_PERCENT = f"{NO_BREAK}%"
_SHARES = ("_share", "share_", "recovered", "accuracy", "probability")
"""What names of measures that are shares hold; they are written in per cent."""
_COUNTS = ("n_", "l0", "position", "tokens", "rank")
"""What names of counts begin with."""


def claims_table(models: Sequence[ScalingModel]) -> dict[str, Any] | None:
    """A row per published sentence, a column per model, as `saeflow.report.claims.claims_table` gives them.

    Parameters
    ----------
    models : sequence of ScalingModel
        In the order of the columns.
    """
    return claims.claims_table({model.name: model.numbers.claims for model in models}, _cell)


def _cell(claim: str, row: Row) -> dict[str, str]:
    value = row["value"] if row["value"] is not None else row["analogue_value"]
    ends = (row["ci_low"], row["ci_high"])
    metric = row["metric"]
    return claim_cell(
        _text(metric, value) or MISSING,
        () if None in ends else [_text(metric, end).removesuffix(_PERCENT) for end in ends],
        procedure=_text(metric, row["published_value"]),
        null=_text(metric, row["null"]),
        layer=row["layer"],
    )


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    if any(part in metric for part in _SHARES) and not metric.endswith("_slope"):
        return f"{percent(value)}{_PERCENT}".replace("-", "−")
    text = f"{value:,.4g}" if metric.startswith(_COUNTS) else f"{value:.3f}"
    return text.replace("-", "−")
