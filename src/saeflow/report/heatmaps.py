"""Numbers by layer and thought step, one row of panels per bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from saeflow.report.bands import ModelBands, run_names
from saeflow.report.figures import plain_figure

COUNT = "n_interpretable"
QUALITY = {
    "fvu": "variance unexplained",
    "dead_share": "dead share",
    "cosine": "cosine",
}
"""Metrics of a bank's quality with a panel each, and what it is called."""
WRITTEN = 8
"""With more steps than this the cells are too narrow for numbers; a bar tells the colours instead."""

Grid = dict[tuple[int, int], float | None]


class Panel(NamedTuple):
    """One heat map: its title, its numbers, how they are written, whether zero is the middle."""

    title: str
    cells: Grid
    written: str
    centred: bool = False


def counts_figure(bands: ModelBands) -> dict[str, Any] | None:
    """Labelled features of each site: observed, permuted mean, and the one minus the other.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no site is told.
    """
    rows = {}
    for name, cells in zip(run_names(list(bands.runs)), bands.runs.values(), strict=True):
        sites = {
            (place.layer, place.step): cell
            for place, cell in cells.items()
            if place.metric == COUNT and place.layer is not None and place.step is not None
        }
        observed = {site: cell.value for site, cell in sites.items()}
        permuted = {site: cell.mean for site, cell in sites.items()}
        more = {site: _minus(cell.value, cell.mean) for site, cell in sites.items()}
        rows[name] = [
            Panel("observed", observed, ".0f"),
            Panel("permuted, mean", permuted, ".0f"),
            Panel("observed − permuted", more, "+.0f", centred=True),
        ]
    return grid_figure(rows, shared_scale=2)


def quality_figure(banks: Sequence[pa.Table], split: str) -> dict[str, Any] | None:
    """How well the SAE of each site reconstructs, one row of panels per bank.

    Parameters
    ----------
    banks : sequence of pyarrow.Table
        Columns of `saeflow.artifacts.catalog.QUALITY`, one table per bank.
    split : str
        Problems it is measured on.

    Returns
    -------
    dict or None
        As `counts_figure`.
    """
    rows = {}
    for bank in banks:
        found: dict[str, Grid] = {}
        for row in bank.to_pylist():
            if row["split"] == split:
                found.setdefault(row["metric"], {})[row["layer"], row["step"]] = row["value"]
                name = f"{row['dictionary']}, seed {row['seed']}"
        if found:
            rows[name] = [
                Panel(title, found.get(metric, {}), ".2f") for metric, title in QUALITY.items()
            ]
    return grid_figure(rows, shared_scale=0)


def grid_figure(rows: Mapping[str, list[Panel]], shared_scale: int) -> dict[str, Any] | None:
    """Draw heat maps by layer and step.

    Parameters
    ----------
    rows : mapping of str to list of Panel
        Panels beside each other, by the name that tells their row apart; may be empty.
    shared_scale : int
        How many panels of a row, from the left, share their colours.

    Returns
    -------
    dict or None
        As `counts_figure`.
    """
    if not any(panel.cells for panels in rows.values() for panel in panels):
        return None
    columns = max(len(panels) for panels in rows.values())
    titles = [
        ", ".join(filter(None, (panel.title, name)))
        for name, panels in rows.items()
        for panel in panels
    ]
    figure = make_subplots(
        rows=len(rows),
        cols=columns,
        shared_xaxes=True,
        shared_yaxes=True,
        subplot_titles=titles,
        horizontal_spacing=0.03,
        vertical_spacing=0.28 / len(rows) if len(rows) > 1 else 0,
    )
    axes = [f"coloraxis{1 if column < shared_scale else column + 1}" for column in range(columns)]
    for row, panels in enumerate(rows.values(), start=1):
        for column, panel in enumerate(panels):
            axis = axes[column].removesuffix("1")
            figure.add_trace(_heatmap(panel, axis), row=row, col=column + 1)
            scale = {"colorscale": "RdBu", "cmid": 0} if panel.centred else {"colorscale": "Blues"}
            bar = {"showscale": not _written(panel), "colorbar": _bar(panel, column, columns)}
            figure.update_layout({axis: {**scale, **bar}})
    _label_axes(figure, rows)
    return plain_figure(figure)


def _heatmap(panel: Panel, axis: str) -> go.Heatmap:
    layers = sorted({layer for layer, _ in panel.cells})
    steps = sorted({step for _, step in panel.cells})
    numbers = [[panel.cells.get((layer, step)) for step in steps] for layer in layers]
    return go.Heatmap(
        x=[f"s{step}" for step in steps],
        y=[str(layer) for layer in layers],
        z=numbers,
        coloraxis=axis,
        texttemplate=f"%{{z:{panel.written}}}" if _written(panel) else None,
        hovertemplate=f"layer %{{y}}, step %{{x}}: %{{z:{panel.written}}}<extra></extra>",
        xgap=1,
        ygap=1,
    )


def _written(panel: Panel) -> bool:
    return len({step for _, step in panel.cells}) <= WRITTEN


def _bar(panel: Panel, column: int, columns: int) -> dict[str, Any]:
    """Place a colour bar below the panels of a column."""
    return {
        "orientation": "h",
        "x": (column + 0.5) / columns,
        "len": 0.8 / columns,
        "thickness": 10,
        "y": 0,
        "yref": "container",
        "yanchor": "bottom",
        "tickformat": panel.written,
        "outlinewidth": 0,
    }


def _label_axes(figure: Any, rows: Mapping[str, list[Panel]]) -> None:
    cells = [cell for panels in rows.values() for panel in panels for cell in panel.cells]
    # The rows share their axes: without an order, steps would stand as the first row shows them.
    steps = [f"s{step}" for step in sorted({step for _, step in cells})]
    levels = [str(layer) for layer in sorted({layer for layer, _ in cells})]
    barred = not all(_written(panel) for panels in rows.values() for panel in panels)
    layers = max(len({layer for layer, _ in panels[0].cells}) for panels in rows.values())
    ordered = {"type": "category", "categoryorder": "array", "showgrid": False, "zeroline": False}
    figure.update_xaxes(**ordered, categoryarray=steps)
    figure.update_xaxes(title_text="thought step", row=len(rows))
    figure.update_yaxes(**ordered, categoryarray=levels)
    figure.update_yaxes(title_text="layer", col=1)
    figure.update_layout(
        height=110 + len(rows) * (90 + 26 * layers) + 50 * barred,
        margin={"l": 64, "r": 12, "t": 40, "b": 60 + 50 * barred},
    )
    figure.update_annotations(font={"size": 13})


def _minus(value: float | None, mean: float | None) -> float | None:
    return None if value is None or mean is None else value - mean
