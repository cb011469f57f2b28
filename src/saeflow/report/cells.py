"""How pages of studies write numbers, and tables that sort by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from saeflow.report.controls import Row
from saeflow.report.tables import MISSING, cell_text, number_text, percent, points

Cell = dict[str, Any]
"""``value`` and ``interval`` as text, ``order`` to sort by, and whether it is ``numeric``."""
Head = tuple[str, bool]
"""Title of a column, and whether it holds numbers."""


def nats(value: float) -> str:
    """Write a difference of log-probabilities: with its sign, and none on zero."""
    text = f"{value:+.3f}"
    return text.replace("-", "−") if float(text) else "0.000"


def p_text(value: float) -> str:
    """Write a p-value or a q-value."""
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def text_cell(text: str, order: float | str | None = None, *, wrap: bool = False) -> Cell:
    """A cell of words; sorts by them where no other order is given."""
    return {"value": text, "interval": "", "order": order, "numeric": False, "wrap": wrap}


def number_cell(row: Row | None, text: Callable[[float], str], unit: str = "") -> Cell:
    """A number with its interval; sorts by the number, what is missing last."""
    order = None if row is None else row["value"]
    return {**cell_text(row, text, unit), "order": order, "numeric": True, "wrap": False}


def plain_cell(value: float | None, text: Callable[[float], str]) -> Cell:
    """A number without an interval."""
    row = {"value": value, "ci_low": None, "ci_high": None}
    return number_cell(row, text)


def whole_cell(value: int | None) -> Cell:
    """A whole number: of a layer, a feature, or of how many there are."""
    return plain_cell(None if value is None else float(value), integer)


def share_cell(row: Row | None) -> Cell:
    """A share, in per cent."""
    return number_cell(row, percent, " %")


def points_cell(row: Row | None) -> Cell:
    """A difference of shares, in percentage points."""
    return number_cell(row, points)


def nats_cell(row: Row | None) -> Cell:
    """A difference of log-probabilities."""
    return number_cell(row, nats)


def count_cell(row: Row | None) -> Cell:
    """A number of something; a mean of such numbers gets a digit."""
    return number_cell(row, count)


def count(value: float) -> str:
    """Write a count, or a mean of counts."""
    return number_text(value, "count", mean=True)


def difference(value: float) -> str:
    """Write a difference of counts, with its sign."""
    text = number_text(abs(value), "count", mean=True)
    return text if not value else ("+" if value > 0 else "−") + text


def ratio(value: float) -> str:
    """Write a ratio with four digits after the point."""
    return f"{value:.4f}"


def signed_ratio(value: float) -> str:
    """Write a difference of ratios, with its sign."""
    return f"{value:+.4f}".replace("-", "−")


def integer(value: float) -> str:
    """Write a whole number, without separators."""
    return f"{value:.0f}"


def table(heads: Sequence[Head], rows: Sequence[Sequence[Cell]], **more: Any) -> dict[str, Any]:
    """What the template's table macro reads: ``heads``, ``rows``, and anything else."""
    titled = [{"title": title, "numeric": numeric} for title, numeric in heads]
    return {"heads": titled, "rows": [list(row) for row in rows], **more}


def filled(made: dict[str, Any]) -> dict[str, Any]:
    """Leave out columns of a table in which nothing was measured, but never the first."""
    kept = [
        place
        for place, _ in enumerate(made["heads"])
        if not place or any(row[place]["value"] != MISSING for row in made["rows"])
    ]
    return {
        **made,
        "heads": [made["heads"][place] for place in kept],
        "rows": [[row[place] for place in kept] for row in made["rows"]],
    }


def site_cell(layer: int, step: int, feature: int | None = None) -> Cell:
    """Name of a site, or of a feature, which sorts by layer, step and index."""
    text = f"L{layer}_P{step}" + ("" if feature is None else f"_F{feature}")
    return text_cell(text, (layer * 1000 + step) * 1e7 + (feature or 0))
