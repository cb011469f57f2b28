"""Numbers of several things as dots on lines, each beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from saeflow.report.dotplot import name_rows
from saeflow.report.figures import COLOURS, SYMBOLS, error_bars, literal, plain_figure
from saeflow.report.scaling.numbers import Figure, Row

SPREAD = 0.62
"""Share of the room of a line over which its dots are spread, so that none hides another."""


class Dots(NamedTuple):
    """Dots of one kind.

    Attributes
    ----------
    name : str
        In the legend.
    rows : mapping of int to mapping
        Rows with ``value``, ``ci_low`` and ``ci_high`` by the number of their line.
    full : bool
        Whether they are filled: what is measured is, controls are not.
    """

    name: str
    rows: Mapping[int, Row]
    full: bool = False


def dots_figure(
    names: Sequence[str],
    kinds: Sequence[Dots],
    *,
    format: str,
    title: str,
    chance: float | None = None,
) -> Figure | None:
    """Draw lines of dots.

    Parameters
    ----------
    names : sequence of str
        Of the lines, from above.
    kinds : sequence of Dots
        Those without rows are left out.
    format : str
        How axis and hover texts write numbers.
    title : str
        Of the axis.
    chance : float, optional
        Where a dotted line stands.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where there is no dot.
    """
    shown = [kind for kind in kinds if kind.rows]
    if not shown:
        return None
    figure = go.Figure()
    for number, kind in enumerate(shown):
        offset = SPREAD * ((number + 0.5) / len(shown) - 0.5)
        figure.add_trace(_trace(kind, number, offset, names, format))
    if chance is not None:
        figure.add_vline(x=chance, line={"width": 1.2, "dash": "dot", "color": COLOURS[3]})
    name_rows(figure, list(map(literal, names)))
    figure.update_xaxes(tickformat=format, zeroline=False, title={"text": title})
    figure.update_layout(
        height=120 + (16 + 11 * len(shown)) * len(names),
        margin={"l": 20, "r": 24, "t": 64, "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _trace(kind: Dots, number: int, offset: float, names: Sequence[str], format: str) -> go.Scatter:
    rows = list(kind.rows.values())
    return go.Scatter(
        x=[row["value"] for row in rows],
        y=[place + offset for place in kind.rows],
        mode="markers",
        marker={
            "size": 9,
            "color": COLOURS[number % len(COLOURS)],
            "symbol": SYMBOLS[(number + number // len(COLOURS)) % len(SYMBOLS)]
            + ("" if kind.full else "-open"),
            "line": {"width": 1.5},
        },
        error_x=error_bars(rows),
        name=literal(kind.name),
        text=[_hover(kind.name, names[place], row, format) for place, row in kind.rows.items()],
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(name: str, line: str, row: Row, format: str) -> str:
    text = f"<b>{literal(line)}</b><br>{literal(name)}<br>{row['value']:{format}}"
    if None not in (row["ci_low"], row["ci_high"]):
        text += f" [{row['ci_low']:{format}}, {row['ci_high']:{format}}]"
    return text
