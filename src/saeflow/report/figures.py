"""Figures of the report, as plain plotly dictionaries."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.bands import Banded, ModelBands, Place, run_names

RATES = {"interpretable_rate": "interpretable", "monosemantic_rate": "monosemantic"}
"""Rates of the figure, one row of panels each, and what their axis says."""
COLOURS = ("#2f7fc1", "#d9702b", "#2a9d78", "#a565c0", "#b8901f", "#c94f6d")
"""Legible on white and on near-black; symbols differ too, so colour is never alone."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star")
MARKS = (
    "diamond-open",
    "triangle-up-open",
    "square-open",
    "cross-open",
    "star-open",
    "pentagon-open",
    "hourglass-open",
    "bowtie-open",
)
"""Of controls, one each."""
BAND = "47"
"""Alpha of a band, in hexadecimal."""
SLOT = 0.8
"""Share of the space between two layers or steps that their runs divide among them."""


class Point(NamedTuple):
    """One number of a figure: where it stands, and what it is."""

    x: int
    cell: Banded


class Marks(NamedTuple):
    """Numbers of a control: its name, along which axis, of which metric, by layer or step."""

    name: str
    axis: str
    metric: str
    values: Mapping[int, float]


def rates_figure(
    bands: ModelBands, rates: Mapping[str, str] = RATES, marks: Sequence[Marks] = ()
) -> dict[str, Any]:
    """Rates by layer and by step, each with its own band.

    Parameters
    ----------
    bands : ModelBands
        Numbers of one model.
    rates : mapping of str to str, optional
        Rates, one row of panels each, and what their axis says.
    marks : sequence of Marks, optional
        Numbers of controls to stand beside them.

    Returns
    -------
    dict
        ``data`` and ``layout`` as plotly.js reads them; colours of text and grid are left to the
        page, which knows whether it is light or dark.
    """
    counts = [len(places(bands, axis)) for axis in ("layer", "step")]
    share = min(max(counts[0] / max(sum(counts), 1), 0.4), 0.7)
    figure = make_subplots(
        rows=len(rates),
        cols=2,
        shared_xaxes="columns",
        shared_yaxes="rows",
        column_widths=[share, 1 - share],
        horizontal_spacing=0.03,
        vertical_spacing=0.06 if len(rates) > 1 else 0,
    )
    names = run_names(list(bands.runs))
    for index, (name, cells) in enumerate(zip(names, bands.runs.values(), strict=True)):
        offset = (index - (len(names) - 1) / 2) * SLOT / len(names)
        for row, metric in enumerate(rates, start=1):
            for column, axis in enumerate(("layer", "step"), start=1):
                points = list(_points(cells, axis, metric))
                style = _Style(index, name, offset, SLOT / len(names), row == column == 1, axis)
                for trace in _traces(points, style):
                    figure.add_trace(trace, row=row, col=column)
    _add_marks(figure, rates, marks)
    _label_axes(figure, bands, rates)
    return plain_figure(figure)


def plain_figure(figure: go.Figure) -> dict[str, Any]:
    """Return a figure as plain dictionaries, without colours of its own behind the data."""
    figure.update_layout(
        template=go.layout.Template(),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    found = figure.to_plotly_json()
    return {"data": found["data"], "layout": found["layout"]}


def literal(text: str) -> str:
    """Write text so that plotly shows it as it is, and reads no markup in it."""
    return html.escape(text, quote=False)


def places(bands: ModelBands, axis: str) -> list[int]:
    """Layers or steps that the numbers of a model are given for, sorted."""
    other = "step" if axis == "layer" else "layer"
    return sorted(
        {
            getattr(place, axis)
            for cells in bands.runs.values()
            for place in cells
            if getattr(place, axis) is not None and getattr(place, other) is None
        }
    )


def units(bands: ModelBands, axis: str, metric: str) -> list[int]:
    """How many units each number of a panel is taken over, sorted."""
    found = [
        point.cell.n for cells in bands.runs.values() for point in _points(cells, axis, metric)
    ]
    return sorted(n for n in found if n is not None)


def error_bars(rows: Sequence[Mapping[str, Any]], width: int = 2) -> dict[str, Any]:
    """Bars over the intervals of rows; one without an interval has none.

    Parameters
    ----------
    rows : sequence of mapping
        ``value``, ``ci_low`` and ``ci_high``.
    width : int
        Of the bars' ends, in pixels.
    """
    return {
        "type": "data",
        "symmetric": False,
        "array": [_end(row, "ci_high") - row["value"] for row in rows],
        "arrayminus": [row["value"] - _end(row, "ci_low") for row in rows],
        "thickness": 1.2,
        "width": width,
    }


def interval_band(rows: Mapping[Any, Mapping[str, Any]], colour: str, **more: Any) -> go.Scatter:
    """Fill what lies between the ends of intervals along a line; a row without one has no width.

    Parameters
    ----------
    rows : mapping
        ``value``, ``ci_low`` and ``ci_high`` by where they stand, in order.
    colour : str
        Of the line.
    **more
        Further settings of the trace.
    """
    low, high = ([_end(row, end) for row in rows.values()] for end in ("ci_low", "ci_high"))
    return go.Scatter(
        x=[*rows, *reversed(rows)],
        y=[*high, *reversed(low)],
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=colour + BAND,
        showlegend=False,
        hoverinfo="skip",
        **more,
    )


def _end(row: Mapping[str, Any], key: str) -> float:
    return float(row["value"] if row[key] is None else row[key])


class _Style(NamedTuple):
    number: int
    name: str
    offset: float
    width: float
    in_legend: bool
    axis: str


def _points(cells: dict[Place, Banded], axis: str, metric: str) -> Iterator[Point]:
    other = "step" if axis == "layer" else "layer"
    found = {
        getattr(place, axis): cell
        for place, cell in cells.items()
        if place.metric == metric and getattr(place, other) is None
    }
    for x in sorted(key for key in found if key is not None):
        yield Point(x, found[x])


def _traces(points: list[Point], style: _Style) -> list[Any]:
    colour = COLOURS[style.number % len(COLOURS)]
    symbol = SYMBOLS[style.number % len(SYMBOLS)]
    banded = [point for point in points if point.cell.low is not None]
    band = go.Bar(
        x=[point.x for point in banded],
        base=[point.cell.low for point in banded],
        y=[_height(point.cell) for point in banded],
        offset=style.offset - 0.42 * style.width,
        width=0.84 * style.width,
        marker={"color": colour + BAND, "line": {"width": 0}},
        name=f"{style.name}: permuted, smallest to largest",
        legendgroup=f"{style.name} permuted",
        showlegend=style.in_legend,
        hoverinfo="skip",
    )
    mean = go.Scatter(
        x=[point.x + style.offset for point in banded],
        y=[point.cell.mean for point in banded],
        mode="markers",
        marker={"symbol": "line-ew", "size": 9, "line": {"width": 2, "color": colour}},
        legendgroup=f"{style.name} permuted",
        showlegend=False,
        hoverinfo="skip",
    )
    observed = go.Scatter(
        x=[point.x + style.offset for point in points],
        y=[point.cell.value for point in points],
        mode="lines+markers",
        line={"width": 1, "color": colour},
        marker={"symbol": symbol, "size": 8, "color": colour},
        name=f"{style.name}: observed",
        legendgroup=f"{style.name} observed",
        showlegend=style.in_legend,
        text=[_hover(point, style) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    return [band, mean, observed]


def _height(cell: Banded) -> float:
    return (cell.high or 0.0) - (cell.low or 0.0)


def _hover(point: Point, style: _Style) -> str:
    cell = point.cell
    where = f"layer {point.x}" if style.axis == "layer" else f"step s{point.x}"
    value = "not defined" if cell.value is None else f"{cell.value:.1%}"
    value += "" if cell.n is None else f" of {cell.n:,}"
    lines = [f"<b>{where}, {style.name}</b>", f"observed {value}"]
    if cell.mean is not None:
        lines.append(f"permuted {cell.mean:.1%}, from {cell.low:.1%} to {cell.high:.1%}")
    lines.append(f"place: {cell.word}")
    return "<br>".join(lines)


def _add_marks(figure: Any, rates: Mapping[str, str], marks: Sequence[Marks]) -> None:
    names = list(dict.fromkeys(each.name for each in marks))
    for each in marks:
        number = names.index(each.name)
        trace = go.Scatter(
            x=list(each.values),
            y=list(each.values.values()),
            mode="markers",
            marker={
                "symbol": MARKS[number % len(MARKS)],
                "size": 9,
                "color": COLOURS[(number + 2) % len(COLOURS)],
                "line": {"width": 2},
            },
            name=each.name,
            legendgroup=each.name,
            showlegend=each is next(other for other in marks if other.name == each.name),
            text=[f"{each.name}: {value:.1%}" for value in each.values.values()],
            hovertemplate="%{text}<extra></extra>",
        )
        column = ("layer", "step").index(each.axis) + 1
        figure.add_trace(trace, row=list(rates).index(each.metric) + 1, col=column)


def _label_axes(figure: Any, bands: ModelBands, rates: Mapping[str, str]) -> None:
    for column, axis in enumerate(("layer", "step"), start=1):
        values = places(bands, axis)
        names = [str(value) if axis == "layer" else f"s{value}" for value in values]
        last = len(rates)
        figure.update_xaxes(tickvals=values, ticktext=names, col=column)
        title = "layer (all steps)" if axis == "layer" else "thought step (all layers)"
        figure.update_xaxes(title_text=title, row=last, col=column)
    for row, title in enumerate(rates.values(), start=1):
        figure.update_yaxes(tickformat=".0%", row=row)
        figure.update_yaxes(title_text=f"{title} rate", row=row, col=1)
    figure.update_xaxes(zeroline=False, showgrid=False)
    figure.update_yaxes(zeroline=False)
    if len(rates) == 1:
        # Of an untrained model, rates are hundredths of a per cent.
        figure.update_yaxes(rangemode="tozero", tickformat=".2~%")
    figure.update_layout(
        barmode="overlay",
        height=560 if len(rates) > 1 else 380,
        margin={"l": 64, "r": 12, "t": 16, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
