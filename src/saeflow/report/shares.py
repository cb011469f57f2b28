"""Heat maps of shares by anything that has a name, with even odds as the middle of their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.controls import Row
from saeflow.report.figures import plain_figure
from saeflow.report.heatmaps import WRITTEN
from saeflow.report.tables import percent

EVEN = 0.5
"""What a coin gives where one of two answers is right."""
_CELL, _GAP, _TOP = 24, 46, 34
_WRITTEN = 2 * WRITTEN
"""With more columns than this the cells are too narrow for numbers."""


class Shares(NamedTuple):
    """One heat map.

    Attributes
    ----------
    title : str
        Above it.
    rows, columns : sequence of str
        Names from the top and from the left.
    cells : mapping of (str, str) to mapping
        Rows of a table by the names of row and column; may lack some.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Mapping[tuple[str, str], Row]


def shares_figure(
    panels: Sequence[Shares], *, of: str, breaks: Sequence[int] = (), rows: str = ""
) -> dict[str, Any] | None:
    """Draw heat maps of shares below each other, with the same columns.

    Parameters
    ----------
    panels : sequence of Shares
        From the top; those without a cell are left out.
    of : str
        What the shares are of, for the hover texts.
    breaks : sequence of int
        Columns before which a line parts kinds of columns.
    rows : str
        What the rows are; empty where their names say it.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where there is nothing to draw.
    """
    shown = [panel for panel in panels if panel.cells]
    if not shown:
        return None
    inner = _CELL * sum(len(panel.rows) for panel in shown) + _GAP * (len(shown) - 1)
    figure = make_subplots(
        rows=len(shown),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[panel.title for panel in shown],
        row_heights=[len(panel.rows) for panel in shown],
        vertical_spacing=_GAP / inner if len(shown) > 1 else 0,
    )
    for number, panel in enumerate(shown, start=1):
        figure.add_trace(_heatmap(panel, of, rows), row=number, col=1)
        _name_axes(figure, panel, number, rows)
    for place in breaks:
        figure.add_vline(x=place - 0.5, line={"width": 2, "color": "#808080"})
    # Slanted names reach down by about half of their length; the colour bar goes below them.
    bottom = 70 + 4 * max(len(name) for panel in shown for name in panel.columns)
    figure.update_xaxes(tickangle=-35, row=len(shown))
    figure.update_annotations(font={"size": 13}, x=0, xanchor="left")
    figure.update_layout(
        coloraxis={
            "colorscale": "RdBu",
            "cmin": 0,
            "cmid": EVEN,
            "cmax": 1,
            "colorbar": _COLOUR_BAR,
        },
        height=inner + _TOP + bottom,
        margin={"l": 20, "r": 12, "t": _TOP, "b": bottom},
    )
    return plain_figure(figure)


_COLOUR_BAR = {
    "orientation": "h",
    "x": 0.5,
    "len": 0.5,
    "thickness": 10,
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "tickvals": [0, EVEN, 1],
    "ticktext": ["0 %", "50 %, a coin", "100 %"],
    "outlinewidth": 0,
}


def _heatmap(panel: Shares, of: str, rows: str) -> go.Heatmap:
    cells = [[panel.cells.get((row, column)) for column in panel.columns] for row in panel.rows]
    places = [
        [(f"{rows} {row}".lstrip(), column) for column in panel.columns] for row in panel.rows
    ]
    hover = [
        [_hover(panel.title, where, cell, of) for where, cell in zip(*pair, strict=True)]
        for pair in zip(places, cells, strict=True)
    ]
    written = len(panel.columns) <= _WRITTEN
    return go.Heatmap(
        x=list(panel.columns),
        y=list(panel.rows),
        z=[[None if cell is None else cell["value"] for cell in line] for line in cells],
        text=[["" if cell is None else _short(cell["value"]) for cell in line] for line in cells],
        texttemplate="%{text}" if written else None,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _short(value: float) -> str:
    """Write a share without a digit, but never as all or nothing where it is neither."""
    text = f"{100 * value:.0f}"
    return text if text not in ("0", "100") or value in (0, 1) else percent(value)


def _hover(title: str, where: tuple[str, str], cell: Row | None, of: str) -> str:
    named = f"<b>{title}</b><br>{', '.join(where)}"
    if cell is None:
        return named
    text = f"{named}<br>{percent(cell['value'])} % of {cell['n']:,} {of}"
    if None in (cell["ci_low"], cell["ci_high"]):
        return text
    return f"{text}<br>from {percent(cell['ci_low'])} to {percent(cell['ci_high'])} %"


def _name_axes(figure: Any, panel: Shares, number: int, rows: str) -> None:
    named = {"type": "category", "showgrid": False, "zeroline": False, "categoryorder": "array"}
    figure.update_xaxes(**named, categoryarray=list(panel.columns), row=number)
    figure.update_yaxes(
        **named,
        categoryarray=list(panel.rows),
        # Names stand in the order in which they are given, the first on top.
        autorange="reversed",
        automargin=True,
        row=number,
    )
    if rows:
        figure.update_yaxes(title_text=rows, row=number)
