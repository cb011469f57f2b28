"""How strongly labelled features are enriched, beside what permutations give."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from saeflow.report.bands import Banded, ModelBands, Place, run_names
from saeflow.report.figures import BAND, COLOURS, SLOT, SYMBOLS, plain_figure
from saeflow.report.tables import number_text

PREFIX = "n_enrichment."


def enrichment_figure(bands: ModelBands) -> dict[str, Any] | None:
    """Labelled features by the enrichment of their top token, each count with its band.

    Parameters
    ----------
    bands : ModelBands
        Numbers of one model.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no feature is labelled, in the
        measurement or under any permutation.
    """
    edges = _edges(bands)
    if not edges:
        return None
    figure = go.Figure()
    names = run_names(list(bands.runs))
    width = SLOT / len(names)
    for index, (name, cells) in enumerate(zip(names, bands.runs.values(), strict=True)):
        found = [cells.get(Place(None, None, f"{PREFIX}{edge}"), Banded()) for edge in edges]
        offset = (index - (len(names) - 1) / 2) * width
        for trace in _traces(found, _labels(edges), name, index, offset, width):
            figure.add_trace(trace)
    figure.update_xaxes(
        tickvals=list(range(len(edges))),
        ticktext=_labels(edges),
        title_text="enrichment of the top token",
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title_text="labelled features", rangemode="tozero")
    figure.update_layout(
        barmode="overlay",
        height=380,
        margin={"l": 64, "r": 12, "t": 16, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    return plain_figure(figure)


def _traces(
    found: list[Banded], labels: list[str], name: str, index: int, offset: float, width: float
) -> list[Any]:
    colour = COLOURS[index % len(COLOURS)]
    places = list(range(len(found)))
    band = go.Bar(
        x=places,
        base=[cell.low for cell in found],
        y=[(cell.high or 0) - (cell.low or 0) for cell in found],
        offset=offset - 0.42 * width,
        width=0.84 * width,
        marker={"color": colour + BAND, "line": {"width": 0}},
        name=f"{name}: permuted, smallest to largest",
        legendgroup=name,
        hoverinfo="skip",
    )
    observed = go.Scatter(
        x=[place + offset for place in places],
        y=[cell.value for cell in found],
        mode="markers",
        marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8, "color": colour},
        name=f"{name}: observed",
        legendgroup=name,
        text=[
            f"<b>{label}, {name}</b><br>observed {number_text(cell.value, 'count')}<br>"
            f"permuted {number_text(cell.mean, 'count', mean=True)}, from "
            f"{number_text(cell.low, 'count')} to {number_text(cell.high, 'count')}"
            for label, cell in zip(labels, found, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )
    return [band, observed]


def _edges(bands: ModelBands) -> list[str]:
    """Lower ends of the bins, without empty ones at either end."""
    counts: dict[str, float] = {}
    for cells in bands.runs.values():
        for place, cell in cells.items():
            if place.metric.startswith(PREFIX):
                most = max(cell.value or 0, cell.high or 0)
                edge = place.metric.removeprefix(PREFIX)
                counts[edge] = max(counts.get(edge, 0), most)
    edges = sorted(counts, key=float)
    used = [place for place, edge in enumerate(edges) if counts[edge]]
    return edges[used[0] : used[-1] + 1] if used else []


def _labels(edges: list[str]) -> list[str]:
    return [*(f"{low}–{high}" for low, high in pairwise(edges)), f"from {edges[-1]}"]
