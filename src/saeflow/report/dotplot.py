"""Rates of models as dots, each before the band that permutations give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.figures import BAND, COLOURS, plain_figure
from saeflow.report.tables import percent

NARROW = 0.02
"""Where all rates lie closer together than this, the axis tells tenths of a per cent."""

Row = Mapping[str, Any]


class Panel(NamedTuple):
    """One rate: its title, a row per model as the comparison lays them out, published rates."""

    title: str
    models: Sequence[Row]
    published: Sequence[Row]


def dotplot(panels: Sequence[Panel]) -> dict[str, Any]:
    """Draw panels side by side; all list the same models.

    Parameters
    ----------
    panels : sequence of Panel
        At least one.

    Returns
    -------
    dict
        ``data`` and ``layout`` as plotly.js reads them.
    """
    figure = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        subplot_titles=[panel.title for panel in panels] if len(panels) > 1 else None,
        horizontal_spacing=0.04,
    )
    for column, panel in enumerate(panels, start=1):
        for trace in _traces(panel):
            trace.showlegend = column == 1
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(tickformat=_tick_format(panel), zeroline=False, row=1, col=column)
    first = panels[0]
    names = [*(_name(row, first.models) for row in first.models)]
    names += [each["name"] for each in first.published]
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.4, -0.7],
        showgrid=False,
        zeroline=False,
        automargin=True,
    )
    figure.update_annotations(font={"size": 14})
    figure.update_layout(
        barmode="overlay",
        height=150 + 38 * len(names),
        margin={"l": 20, "r": 16, "t": 34 if len(panels) > 1 else 16, "b": 64},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"},
    )
    return plain_figure(figure)


def _traces(panel: Panel) -> list[Any]:
    observed = _numbered(row["numbers"][0] for row in panel.models)
    banded = _numbered(row["numbers"][1] for row in panel.models)
    published = range(len(panel.models), len(panel.models) + len(panel.published))
    band = go.Bar(
        orientation="h",
        y=list(banded),
        base=[row["ci_low"] for row in banded.values()],
        x=[row["ci_high"] - row["ci_low"] for row in banded.values()],
        width=0.5,
        marker={"color": COLOURS[0] + BAND, "line": {"width": 0}},
        name="permuted, smallest to largest",
        hoverinfo="skip",
    )
    dots = _dots(
        list(observed),
        [row["value"] for row in observed.values()],
        {"size": 10, "color": COLOURS[0]},
        name="observed, mean and range of SAE seeds",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_end(row, "ci_high") - row["value"] for row in observed.values()],
            "arrayminus": [row["value"] - _end(row, "ci_low") for row in observed.values()],
            "thickness": 1.5,
        },
    )
    other = _dots(
        list(published),
        [each["rate"] for each in panel.published],
        {"size": 10, "symbol": "diamond-open", "color": COLOURS[1], "line": {"width": 2}},
        name="published, other weights",
    )
    return [band, dots, other]


def _dots(places: list[int], rates: list[float], marker: dict[str, Any], **more: Any) -> Any:
    return go.Scatter(
        x=rates,
        y=places,
        mode="markers+text",
        marker=marker,
        text=[percent(rate) for rate in rates],
        textposition="top center",
        textfont={"size": 11},
        cliponaxis=False,
        hovertemplate="%{text} %<extra></extra>",
        **more,
    )


def _numbered(rows: Any) -> dict[int, Row]:
    """Rows that have a value, and for a band both ends, by their place from the top."""
    return {
        place: row for place, row in enumerate(rows) if row is not None and row["value"] is not None
    }


def _end(row: Row, key: str) -> float:
    value = row["value"] if row[key] is None else row[key]
    return float(value)


def _tick_format(panel: Panel) -> str:
    rates = [each["rate"] for each in panel.published]
    rates += [row["value"] for row in _numbered(r["numbers"][0] for r in panel.models).values()]
    return ".1%" if rates and max(rates) - min(rates) < NARROW else ".0%"


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Model, and of data set and dictionary what is needed to tell its rows apart."""
    same = [each for each in rows if each["model"] == row["model"]]
    parts = [row[key] for key in ("dataset", "dictionary") if len({each[key] for each in same}) > 1]
    return ", ".join([row["model"], *parts])
