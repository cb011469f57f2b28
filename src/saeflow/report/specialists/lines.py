"""Numbers by block as lines, a panel per way to pool, each beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.figures import COLOURS, SYMBOLS, interval_band, literal, plain_figure
from saeflow.report.specialists.numbers import Figure, Row

SOLID, DASHED, DOTTED = "solid", "dash", "dot"
"""Styles: what is measured, what a control gives, and what chance gives."""
_HEIGHT, _TOP, _BOTTOM = 250, 86, 56


class Line(NamedTuple):
    """One line of a panel.

    Attributes
    ----------
    name : str
        In the legend; lines of one name look alike in all panels.
    rows : mapping of int to mapping
        Rows of a table by block.
    style : str
        `SOLID`, `DASHED` or `DOTTED`.
    """

    name: str
    rows: Mapping[int, Row]
    style: str = SOLID


class Panel(NamedTuple):
    """One panel: its title and its lines; those without rows are left out."""

    title: str
    lines: Sequence[Line]


def constant(layers: Sequence[int], row: Row | None) -> dict[int, Row]:
    """Put what no block changes at each of them; nothing where it is not there."""
    return {} if row is None else dict.fromkeys(layers, row)


def lines_figure(
    rows: Mapping[str, Sequence[Panel]],
    *,
    format: str = ".3f",
    full: bool = False,
    bands: bool = True,
) -> Figure | None:
    """Draw rows of panels; those of a row share their vertical axis.

    Parameters
    ----------
    rows : mapping of str to sequence of Panel
        Panels beside each other, by what their vertical axis says.
    format : str
        How hover texts write numbers.
    full : bool
        Whether the vertical axis starts at 0.
    bands : bool
        Whether intervals are shaded; they stand in the hover texts in any case.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no line has a row.
    """
    shown = {
        name: panels
        for name, panels in rows.items()
        if any(line.rows for panel in panels for line in panel.lines)
    }
    if not shown:
        return None
    columns = max(map(len, shown.values()))
    inner = _HEIGHT * len(shown)
    figure = make_subplots(
        rows=len(shown),
        cols=columns,
        shared_yaxes="rows",
        subplot_titles=_titles(shown, columns),
        horizontal_spacing=0.02,
        vertical_spacing=60 / inner if len(shown) > 1 else 0,
    )
    names = list(
        dict.fromkeys(
            line.name
            for panels in shown.values()
            for panel in panels
            for line in panel.lines
            if line.rows
        )
    )
    told: set[str] = set()
    for row, (title, panels) in enumerate(shown.items(), start=1):
        for column, panel in enumerate(panels, start=1):
            for line in panel.lines:
                if line.rows:
                    trace = _trace(line, names.index(line.name), panel.title, format, told)
                    if bands and line.style != DASHED and _has_ends(line.rows):
                        # Bands of every control would hide each other.
                        figure.add_trace(_band(line, trace), row=row, col=column)
                    figure.add_trace(trace, row=row, col=column)
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(type="category", categoryorder="array", showgrid=False)
    figure.update_xaxes(categoryarray=_layers(shown))
    figure.update_xaxes(title_text="layer", row=len(shown))
    figure.update_yaxes(zeroline=False, **({"rangemode": "tozero"} if full else {}))
    figure.update_layout(
        height=inner + _TOP + _BOTTOM,
        margin={"l": 64, "r": 12, "t": _TOP, "b": _BOTTOM},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _titles(rows: Mapping[str, Sequence[Panel]], columns: int) -> list[str]:
    """Titles of panels, left out where the row above has the same."""
    found: list[str] = []
    before = [""] * columns
    for panels in rows.values():
        own = [*(literal(panel.title) for panel in panels), *[""] * (columns - len(panels))]
        found += ["" if one == two else one for one, two in zip(own, before, strict=True)]
        before = own
    return found


def _layers(rows: Mapping[str, Sequence[Panel]]) -> list[str]:
    found = {
        each
        for some in rows.values()
        for panel in some
        for line in panel.lines
        for each in line.rows
    }
    return [str(each) for each in sorted(found)]


def _trace(line: Line, number: int, title: str, format: str, told: set[str]) -> go.Scatter:
    colour = COLOURS[number % len(COLOURS)]
    # With more lines than colours the next round has other symbols.
    symbol = SYMBOLS[(number + number // len(COLOURS)) % len(SYMBOLS)]
    rows = {str(layer): row for layer, row in line.rows.items()}
    trace = go.Scatter(
        x=list(rows),
        y=[row["value"] for row in rows.values()],
        mode="lines+markers",
        line={"width": 2 if line.style == SOLID else 1.5, "color": colour, "dash": line.style},
        marker={
            "symbol": symbol + ("" if line.style == SOLID else "-open"),
            "size": 7,
        },
        name=literal(line.name),
        legendgroup=line.name,
        showlegend=line.name not in told,
        text=[_hover(line.name, title, layer, row, format) for layer, row in rows.items()],
        hovertemplate="%{text}<extra></extra>",
    )
    told.add(line.name)
    return trace


def _has_ends(rows: Mapping[int, Row]) -> bool:
    return any(None not in (row["ci_low"], row["ci_high"]) for row in rows.values())


def _band(line: Line, trace: go.Scatter) -> go.Scatter:
    rows = {str(layer): row for layer, row in line.rows.items()}
    return interval_band(rows, trace.line.color, legendgroup=line.name)


def _hover(name: str, title: str, layer: str, row: Row, format: str) -> str:
    text = f"<b>{literal(name)}</b><br>{literal(title)}, layer {layer}<br>{row['value']:{format}}"
    if None not in (row["ci_low"], row["ci_high"]):
        text += f" [{row['ci_low']:{format}}, {row['ci_high']:{format}}]"
    return text
