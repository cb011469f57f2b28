"""The page about SAEs of several sizes: the same sizes for all models, each rate beside chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from saeflow.report.figures import COLOURS, SYMBOLS, plain_figure
from saeflow.report.site import Link, Site
from saeflow.report.tables import cell_text, number_text, percent, points
from saeflow.studies.compare.capacity import capacity_verdict

SIZES = Link("Sizes of SAEs", "sizes.html")
RATES = (
    ("published", "interpretable_rate", "interpretable_excess", "Interpretable"),
    ("published", "monosemantic_rate", "monosemantic_excess", "Monosemantic"),
    ("calibrated", "discovered_rate", "discovered_excess", "Discovered"),
)
"""Mode, rate, excess, and what the rate is called."""
_PANELS = (
    ("calibrated", "fvu", "1 − FVU"),
    ("calibrated", "dead_share", "dead"),
    *((mode, rate, title.lower()) for mode, rate, _, title in RATES),
)
_MATCHED_ON = {"l0": "Equal L0", "explained_variance": "Equal explained variance"}

Row = Mapping[str, Any]


class Grid(NamedTuple):
    """SAEs of one site of a model.

    Attributes
    ----------
    model, dataset : str
        Names in the configuration.
    depth : float
        Relative depth.
    layer, step : int
        The site.
    cells : dict
        Rows by d_sae and k, and in there by mode, metric and control.
    """

    model: str
    dataset: str
    depth: float
    layer: int
    step: int
    cells: dict[tuple[int, int], dict[tuple[str, str, str], Row]]


def write_sizes_page(
    site: Site,
    tables: Mapping[str, pa.Table],
    matched: pa.Table,
    trained: Sequence[str],
    published: Mapping[str, Any],
) -> None:
    """Write the page.

    Parameters
    ----------
    site : Site
        Where to.
    tables : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.calibration.CAPACITY`, by model.
    matched : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.MATCHED`.
    trained : sequence of str
        Models of the tables that learned something; the verdict counts these.
    published : mapping
        The published answer, as `saeflow.report.comparison.answers` lays it out.
    """
    grids = [grid for model, table in tables.items() for grid in _grids(model, table)]
    places = list(dict.fromkeys((each.dataset, each.depth, each.step) for each in grids))
    shown, figures = [], {}
    for number, place in enumerate(places, start=1):
        own = [each for each in grids if (each.dataset, each.depth, each.step) == place]
        figures[f"sizes-{number}"] = sizes_figure(own)
        tables_of = [{**each._asdict(), "cells": None, "rows": _grid_rows(each)} for each in own]
        dataset, depth, step = place
        named = {"dataset": dataset, "depth": f"{depth:g}", "step": step}
        shown.append({"id": f"sizes-{number}", **named, "grids": tables_of})
    context = {
        "places": shown,
        **matched_groups(matched, list(tables), trained),
        "verdict": capacity_verdict(len(trained))._asdict(),
        "trained": list(trained),
        "published": published,
        "rates": [title for *_, title in RATES],
    }
    site.write_page(SIZES.href, "sizes.html.jinja", context, figures)


def sizes_figure(grids: Sequence[Grid]) -> dict[str, Any]:
    """Quality and rates over k, one line per d_sae, one column of panels per model.

    Parameters
    ----------
    grids : sequence of Grid
        Of one data set, depth and step.

    Returns
    -------
    dict
        ``data`` and ``layout`` as plotly.js reads them.
    """
    figure = make_subplots(
        rows=len(_PANELS),
        cols=len(grids),
        shared_xaxes=True,
        shared_yaxes="rows",
        column_titles=[each.model for each in grids],
        horizontal_spacing=0.03,
        vertical_spacing=0.025,
    )
    sizes = sorted({d_sae for grid in grids for d_sae, _ in grid.cells})
    for column, grid in enumerate(grids, start=1):
        for row, (mode, metric, _) in enumerate(_PANELS, start=1):
            for number, d_sae in enumerate(sizes):
                for control in ("permuted", "none"):
                    line = _line(grid, d_sae, (mode, metric, control))
                    if line["x"]:
                        first = row == (3 if control == "permuted" else 1) and column == 1
                        style = _style(number, d_sae, control, first)
                        figure.add_trace(go.Scatter(**line, **style), row=row, col=column)
    for row, (_, metric, title) in enumerate(_PANELS, start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
        if metric != "fvu":
            figure.update_yaxes(tickformat=".2~%", rangemode="tozero", row=row)
    ticks = sorted({k for grid in grids for _, k in grid.cells})
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[str(k) for k in ticks], showgrid=False, zeroline=False
    )
    figure.update_xaxes(title_text="k", row=len(_PANELS))
    figure.update_yaxes(zeroline=False)
    figure.update_layout(
        height=120 + 150 * len(_PANELS),
        margin={"l": 64, "r": 12, "t": 70, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"},
        hovermode="closest",
    )
    return plain_figure(figure)


def matched_groups(
    matched: pa.Table, models: Sequence[str], trained: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Differences of rates and of excesses, one row per comparison of two models at one level.

    Parameters
    ----------
    matched : pyarrow.Table
        Columns of `saeflow.artifacts.calibration.MATCHED`.
    models : sequence of str
        Names in the order of the pages.
    trained : sequence of str
        Of these, the models that learned something.

    Returns
    -------
    dict
        ``matched``: groups of pairs of trained models, or of all pairs where there is none of these;
        ``others``: groups of the other pairs. A group has a ``title`` and ``rows``.
    """
    rows = _matched_rows(matched, models)
    shown = [row for row in rows if {row["model"], row["other"]} <= set(trained)] or rows
    others = [row for row in rows if not any(row is each for each in shown)]
    return {"matched": _by_level(shown), "others": _by_level(others)}


def _by_level(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = [
        {"title": title, "rows": [row for row in rows if row["matched_on"] == title]}
        for title in _MATCHED_ON.values()
    ]
    return [group for group in groups if group["rows"]]


def _matched_rows(matched: pa.Table, models: Sequence[str]) -> list[dict[str, Any]]:
    keys = ("model", "other", "dataset", "depth", "step", "d_sae", "matched_on", "level")
    cells: dict[tuple[Any, ...], dict[tuple[str, str, str], Row]] = {}
    for row in matched.to_pylist():
        key = tuple(row[name] for name in keys)
        cells.setdefault(key, {})[row["mode"], row["metric"], row["control"]] = row
    place = {name: number for number, name in enumerate(models)}
    rows = []
    for key in sorted(cells, key=lambda key: (place[key[0]], place[key[1]], *key[2:])):
        named = dict(zip(keys, key, strict=True))
        on_variance = named["matched_on"] == "explained_variance"
        level = number_text(named["level"], "fraction" if on_variance else "count")
        texts = [
            cell_text(cells[key].get((mode, metric, control)), points)
            for mode, rate, excess, _ in RATES
            for metric, control in ((rate, "none"), (rate, "permuted"), (excess, "none"))
        ]
        named |= {"level": level, "matched_on": _MATCHED_ON[named["matched_on"]]}
        rows.append({**named, "depth": f"{named['depth']:g}", "cells": texts})
    return rows


def _grids(model: str, table: pa.Table) -> Iterator[Grid]:
    found: dict[tuple[Any, ...], Grid] = {}
    for row in table.to_pylist():
        place = (row["dataset"], row["depth"], row["layer"], row["step"])
        grid = found.setdefault(place, Grid(model, *place, {}))
        cell = grid.cells.setdefault((row["d_sae"], row["k"]), {})
        cell[row["mode"], row["metric"], row["control"]] = row
    yield from found.values()


def _grid_rows(grid: Grid) -> list[dict[str, Any]]:
    rows = []
    for (d_sae, k), cell in sorted(grid.cells.items()):
        quality = [cell.get(("calibrated", name, "none")) for name in ("fvu", "dead_share")]
        texts = [cell_text(quality[0], "{:.3f}".format), cell_text(quality[1], percent, " %")]
        for mode, rate, excess, _ in RATES:
            texts.append(cell_text(cell.get((mode, rate, "none")), percent, " %"))
            texts.append(cell_text(cell.get((mode, rate, "permuted")), percent, " %"))
            texts.append(cell_text(cell.get((mode, excess, "none")), points))
        rows.append({"d_sae": d_sae, "k": k, "cells": texts})
    return rows


def _line(grid: Grid, d_sae: int, key: tuple[str, str, str]) -> dict[str, Any]:
    rows = {
        k: cell[key]
        for (size, k), cell in sorted(grid.cells.items())
        if size == d_sae and key in cell and cell[key]["value"] is not None
    }
    explained = key[1] == "fvu"
    values = [1 - row["value"] if explained else row["value"] for row in rows.values()]
    texts = [
        f"d_sae {d_sae}, k {k}: {value:.3f}" if explained else f"d_sae {d_sae}, k {k}: {value:.1%}"
        for k, value in zip(rows, values, strict=True)
    ]
    line: dict[str, Any] = {"x": list(rows), "y": values, "text": texts}
    line["hovertemplate"] = "%{text}<extra></extra>"
    if key[2] == "permuted":
        ends = [(row["ci_low"], row["ci_high"]) for row in rows.values()]
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [_beyond(high, y) for (_, high), y in zip(ends, values, strict=True)],
            "arrayminus": [-_beyond(low, y) for (low, _), y in zip(ends, values, strict=True)],
            "thickness": 1,
        }
    return line


def _beyond(end: float | None, value: float) -> float:
    return 0.0 if end is None else end - value


def _style(number: int, d_sae: int, control: str, in_legend: bool) -> dict[str, Any]:
    permuted = control == "permuted"
    name = f"d_sae {d_sae}" + (", permuted" if permuted else "")
    symbol = SYMBOLS[number % len(SYMBOLS)] + ("-open" if permuted else "")
    return {
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "showlegend": in_legend,
        "line": {
            "color": COLOURS[number % len(COLOURS)],
            "width": 1.5,
            "dash": "dot" if permuted else "solid",
        },
        "marker": {"symbol": symbol, "size": 7},
    }
