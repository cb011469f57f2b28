"""Lines in panels: training by tokens, and what is written by dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.figures import COLOURS, SYMBOLS, interval_band, literal, plain_figure
from saeflow.report.scaling.numbers import Figure, Row

SOLID, DASHED, DOTTED = "solid", "dash", "dot"
"""Styles: what is measured, what controls give, and what an untrained model gives."""
_HEIGHT, _TOP, _BOTTOM, _GAP = 230, 96, 56, 84


class Line(NamedTuple):
    """One line of a panel.

    Attributes
    ----------
    name : str
        In the legend; lines of one name look alike in all panels.
    rows : mapping of str or float to mapping
        Rows with ``value``, ``ci_low`` and ``ci_high`` by where they stand.
    style : str
        `SOLID`, `DASHED` or `DOTTED`.
    """

    name: str
    rows: Mapping[Any, Row]
    style: str = SOLID


class Panel(NamedTuple):
    """One panel: its title and its lines; those without rows are left out."""

    title: str
    lines: Sequence[Line]


def panels_figure(
    panels: Sequence[Panel],
    *,
    columns: int,
    title: str,
    format: str,
    shared: bool = False,
    band: str = "",
) -> Figure | None:
    """Draw panels in rows, all with the same horizontal axis.

    Parameters
    ----------
    panels : sequence of Panel
        Those without lines are left out.
    columns : int
        Panels beside each other.
    title : str
        Of the horizontal axis.
    format : str
        How hover texts write numbers.
    shared : bool
        Whether all have the same vertical axis.
    band : str
        Name of the line whose intervals are shaded; those of all would hide each other.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no line has a row.
    """
    shown = [panel for panel in panels if any(line.rows for line in panel.lines)]
    if not shown:
        return None
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    inner = _HEIGHT * rows + _GAP * (rows - 1)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all" if shared else False,
        subplot_titles=[literal(panel.title) for panel in shown],
        horizontal_spacing=0.03 if shared else 0.08,
        vertical_spacing=_GAP / inner if rows > 1 else 0,
    )
    names = list(dict.fromkeys(line.name for panel in shown for line in panel.lines if line.rows))
    told: set[str] = set()
    for number, panel in enumerate(shown):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        for line in panel.lines:
            if line.rows:
                trace = _trace(line, names.index(line.name), panel.title, format, told)
                if line.name == band:
                    area = interval_band(line.rows, trace.line.color, legendgroup=line.name)
                    figure.add_trace(area, **place)
                figure.add_trace(trace, **place)
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_xaxes(title_text=title, row=rows)
    figure.update_yaxes(zeroline=False)
    figure.update_layout(
        height=inner + _TOP + _BOTTOM,
        margin={"l": 52, "r": 12, "t": _TOP, "b": _BOTTOM},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _trace(line: Line, number: int, title: str, format: str, told: set[str]) -> go.Scatter:
    colour = COLOURS[number % len(COLOURS)]
    # With more lines than colours the next round has other symbols.
    symbol = SYMBOLS[(number + number // len(COLOURS)) % len(SYMBOLS)]
    many = len(line.rows) > 20
    trace = go.Scatter(
        x=list(line.rows),
        y=[row["value"] for row in line.rows.values()],
        mode="lines" if many else "lines+markers",
        line={"width": 2 if line.style == SOLID else 1.5, "color": colour, "dash": line.style},
        marker={"symbol": symbol + ("" if line.style == SOLID else "-open"), "size": 7},
        name=literal(line.name),
        legendgroup=line.name,
        showlegend=line.name not in told,
        text=[_hover(line.name, title, place, row, format) for place, row in line.rows.items()],
        hovertemplate="%{text}<extra></extra>",
    )
    told.add(line.name)
    return trace


def _hover(name: str, title: str, place: Any, row: Row, format: str) -> str:
    where = place if isinstance(place, str) else f"{place:,}"
    text = f"<b>{literal(name)}</b><br>{literal(title)}, {where}<br>{row['value']:{format}}"
    if None not in (row["ci_low"], row["ci_high"]):
        text += f" [{row['ci_low']:{format}}, {row['ci_high']:{format}}]"
    return text
