"""Figures of listed features: where their directions lie, and how often they fire beside all others."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from saeflow.report.figures import COLOURS, SYMBOLS, literal, plain_figure
from saeflow.report.scaling.features_rows import (
    NONE,
    FeatureTables,
    FoundBy,
    densities_of,
    first_explanations,
    found_features,
)
from saeflow.report.specialists.choices import offer
from saeflow.report.tables import percent

DRAWN = 2000
"""Features on the map at most; more would make the page slow."""
HOVER = 240
"""Characters of an explanation that the map shows."""
GREY = "#8a8d90"
SIZES = 6, 15
"""Of points by density, the rarest and the most frequent, in pixels."""

Figure = dict[str, Any]


def map_figure(main: FeatureTables) -> Figure | None:
    """Draw features as points of a plane, coloured by the topic of the search or by density.

    A point's ``customdata`` is its feature.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them, ``layout.meta`` what to colour by; None where
        no feature is on the map.
    """
    found = found_features(main)
    points = _points(main.tables["map"].to_pylist(), found)
    if not points:
        return None
    density = densities_of(main)
    hover = _hovers(main, [point["feature"] for point in points], found, density)
    figure, options = go.Figure(), dict[str, list[int]]()
    topics = sorted({each.topic for each in found.values()})
    for number, topic in enumerate(["", *topics]):
        own = [point for point in points if _topic(found, point["feature"]) == topic]
        if own and topics:
            options.setdefault("Topic of the search", []).append(len(figure.data))
            figure.add_trace(_scatter(own, hover, _topic_style(topic, number - 1)))
    fires = [point for point in points if density.get(point["feature"])]
    options["Density"] = [len(figure.data)]
    logs = [math.log10(density[point["feature"]]) for point in fires]
    figure.add_trace(_scatter(fires, hover, _density_style(logs)))
    # Places in the map have no unit.
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    figure.update_layout(
        height=560,
        margin={"l": 12, "r": 12, "t": 12, "b": 12},
        legend={"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top"},
        hovermode="closest",
        dragmode="pan",
    )
    return offer(plain_figure(figure), {"Colour": options})


def _points(rows: list[dict[str, Any]], found: Mapping[int, FoundBy]) -> list[dict[str, Any]]:
    """As many as are drawn: those that the search found, and others evenly spaced."""
    if len(rows) <= DRAWN:
        return rows
    first = [row for row in rows if row["feature"] in found][:DRAWN]
    others = [row for row in rows if row["feature"] not in found]
    spaced = np.linspace(0, len(others) - 1, DRAWN - len(first)).round().astype(int)
    return [*first, *(others[place] for place in spaced.tolist())]


def _topic(found: Mapping[int, FoundBy], feature: int) -> str:
    return found[feature].topic if feature in found else ""


def _hovers(
    main: FeatureTables,
    features: Sequence[int],
    found: Mapping[int, FoundBy],
    density: Mapping[int, float],
) -> dict[int, str]:
    explained = first_explanations(main)
    told = {}
    for feature in features:
        lines = [f"<b>feature {feature}</b>"]
        if feature in density:
            lines[0] += f", fires on {percent(density[feature])} % of tokens"
        by = found.get(feature)
        if by is not None:
            area = "" if by.area is None else f", held-out AUROC {by.area:.3f}"
            lines.append(f"{literal(by.topic)}: place {by.place}{area}")
        text = textwrap.shorten(explained.get(feature, ""), HOVER, placeholder="…")
        lines += [literal(line) for line in textwrap.wrap(text, 60)]
        told[feature] = "<br>".join(lines)
    return told


def _topic_style(topic: str, number: int) -> dict[str, Any]:
    if not topic:
        marker = {"symbol": "circle-open", "size": 7, "color": GREY}
        return {"name": "found for no topic", "marker": marker}
    # Topics beyond the colours differ from earlier ones of their colour by the symbol.
    symbol = SYMBOLS[(number + number // len(COLOURS)) % len(SYMBOLS)]
    marker = {"symbol": symbol, "size": 11, "color": COLOURS[number % len(COLOURS)]}
    return {"name": literal(topic), "marker": marker}


def _density_style(logs: Sequence[float]) -> dict[str, Any]:
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    ticks = list(range(math.floor(low), math.ceil(high) + 1))
    scale = (high - low) or 1.0
    sizes = [SIZES[0] + (SIZES[1] - SIZES[0]) * (each - low) / scale for each in logs]
    return {
        "name": "density",
        "showlegend": False,
        "marker": {
            "size": sizes,
            "color": list(logs),
            "colorscale": "Viridis",
            "line": {"width": 0.7, "color": GREY},
            "colorbar": {
                "title": {"text": "density"},
                "tickvals": ticks,
                "ticktext": [f"{100 * 10.0**tick:g} %" for tick in ticks],
            },
        },
    }


def _scatter(
    points: Sequence[Mapping[str, Any]], hover: Mapping[int, str], style: Mapping[str, Any]
) -> go.Scatter:
    return go.Scatter(
        x=[point["x"] for point in points],
        y=[point["y"] for point in points],
        mode="markers",
        customdata=[point["feature"] for point in points],
        text=[hover[point["feature"]] for point in points],
        hovertemplate="%{text}<extra></extra>",
        **style,
    )


def density_figure(main: FeatureTables, features: Sequence[int]) -> Figure | None:
    """Draw how many features fire how often: all of the SAE, those listed, and those of other SAEs.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no density was counted.
    """
    table, split = main.tables["densities"], main.splits[0] if main.splits else ""
    table = table.filter(pc.equal(table["split"], split))
    runs = _histograms(table)
    own = runs.pop((main.dictionary, main.seed, NONE), None)
    if own is None:
        return None
    ends = sorted(own)
    labels = ["never" if not high else _upper_end(high) for _, high in ends]
    figure = go.Figure()
    figure.add_trace(_bars(labels, [own[end] for end in ends], "all features", COLOURS[0]))
    density = densities_of(main)
    listed = [density[each] for each in features if each in density]
    # As `saeflow.saes.wide.reading.density_counts` does, the first bin takes what is rarer still.
    highs = np.array([high for _, high in ends if high])
    places = np.searchsorted(highs, [each for each in listed if each]) + (len(ends) - len(highs))
    counts = np.bincount(places, minlength=len(ends))
    counts[0] += sum(not each for each in listed) if not ends[0][1] else 0
    figure.add_trace(_bars(labels, counts.tolist(), "listed above", COLOURS[1]))
    for number, ((dictionary, seed, control), found) in enumerate(runs.items(), start=2):
        title = f"{dictionary}, seed {seed}" + ("" if control == NONE else f" ({control})")
        figure.add_trace(
            go.Scatter(
                x=labels,
                y=_shares([found.get(end, 0) for end in ends]),
                mode="lines+markers",
                line={"width": 1.2, "color": COLOURS[number % len(COLOURS)]},
                marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 6},
                name=literal(title),
            )
        )
    figure.update_xaxes(type="category", title_text="fires on up to this share of tokens")
    figure.update_yaxes(title_text="share of features", tickformat=".0%", zeroline=False)
    figure.update_layout(
        height=380,
        barmode="group",
        margin={"l": 64, "r": 12, "t": 16, "b": 80},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _upper_end(share: float) -> str:
    digits = np.format_float_positional(100 * share, precision=2, fractional=False, trim="-")
    return f"{digits} %"


def _histograms(table: pa.Table) -> dict[tuple[str, int, str], dict[tuple[float, float], int]]:
    found: dict[tuple[str, int, str], dict[tuple[float, float], int]] = {}
    for row in table.to_pylist():
        key = row["dictionary"], row["seed"], row["control"]
        found.setdefault(key, {})[row["low"], row["high"]] = row["n_features"]
    return found


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _bars(labels: Sequence[str], counts: Sequence[int], name: str, colour: str) -> go.Bar:
    return go.Bar(
        x=list(labels),
        y=_shares(counts),
        name=f"{name} ({sum(counts):,})",
        marker={"color": colour},
        customdata=list(counts),
        hovertemplate="%{x}: %{customdata:,} (%{y:.1%})<extra>%{fullData.name}</extra>",
    )
