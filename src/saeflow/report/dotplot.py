"""Rates of models as dots, each before the band that permutations give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from saeflow.report.figures import BAND, COLOURS, plain_figure
from saeflow.report.tables import percent

NARROW = 0.02
"""Where all rates lie closer together than this, the axis tells tenths of a per cent."""

Row = Mapping[str, Any]


def dotplot(
    models: Sequence[Row], published: Sequence[Row], title: str | None = None
) -> dict[str, Any]:
    """Draw one rate of every model.

    Parameters
    ----------
    models : sequence of mapping
        A row per model and bank, as the comparison lays them out.
    published : sequence of mapping
        ``name`` and ``rate`` of each published model.
    title : str, optional
        Above the figure.

    Returns
    -------
    dict
        ``data`` and ``layout`` as plotly.js reads them.
    """
    figure = go.Figure(_traces(models, published))
    names = [*(_name(row, models) for row in models), *(each["name"] for each in published)]
    name_rows(figure, names)
    figure.update_xaxes(tickformat=_tick_format(models, published), zeroline=False)
    figure.update_layout(
        barmode="overlay",
        height=150 + 38 * len(names),
        margin={"l": 20, "r": 24, "t": 34 if title else 16, "b": 64},
        legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"},
    )
    if title:
        figure.update_layout(title={"text": title, "x": 0, "xref": "paper", "font": {"size": 15}})
    return plain_figure(figure)


def name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Name the rows of a dot plot, the first on top."""
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=list(names),
        range=[len(names) - 0.4, -0.7],
        showgrid=False,
        zeroline=False,
        automargin=True,
    )


def _traces(models: Sequence[Row], published: Sequence[Row]) -> list[Any]:
    observed = _numbered(row["numbers"][0] for row in models)
    banded = _numbered(row["numbers"][1] for row in models)
    band = go.Bar(
        orientation="h",
        y=list(banded),
        base=[row["ci_low"] for row in banded.values()],
        x=[row["ci_high"] - row["ci_low"] for row in banded.values()],
        width=0.5,
        marker={"color": COLOURS[0] + BAND, "line": {"width": 0}},
        name="permuted",
        hoverinfo="skip",
    )
    dots = _dots(
        list(observed),
        [row["value"] for row in observed.values()],
        {"size": 10, "color": COLOURS[0]},
        name="observed",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_end(row, "ci_high") - row["value"] for row in observed.values()],
            "arrayminus": [row["value"] - _end(row, "ci_low") for row in observed.values()],
            "thickness": 1.5,
        },
    )
    other = _dots(
        list(range(len(models), len(models) + len(published))),
        [each["rate"] for each in published],
        {"size": 10, "symbol": "diamond-open", "color": COLOURS[1], "line": {"width": 2}},
        name="published",
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


def _tick_format(models: Sequence[Row], published: Sequence[Row]) -> str:
    rates = [each["rate"] for each in published]
    rates += [row["value"] for row in _numbered(r["numbers"][0] for r in models).values()]
    return ".1%" if rates and max(rates) - min(rates) < NARROW else ".0%"


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Model, and of data set and dictionary what is needed to tell its rows apart."""
    same = [each for each in rows if each["model"] == row["model"]]
    parts = [row[key] for key in ("dataset", "dictionary") if len({each[key] for each in same}) > 1]
    return ", ".join([row["model"], *parts])
