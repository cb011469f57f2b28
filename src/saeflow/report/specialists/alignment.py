"""What the features of two models share on the same texts, beside exchanged texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from saeflow.report.cells import number_cell, p_text, plain_cell, table, text_cell, whole_cell
from saeflow.report.figures import literal, plain_figure
from saeflow.report.specialists.choices import offer
from saeflow.report.specialists.numbers import Figure, Row, Table, plain_rows, pooling_title

METRICS = {
    "correlation_nearest": "correlation of nearest features",
    "correlation_mutual": "correlation of mutual nearest features",
    "correlation_one_to_one": "correlation, one to one (Hungarian)",
    "mutual_again": "mutual nearest neighbours again on half B",
    "svcca": "SVCCA",
    "cka": "CKA",
    "l0_spearman": "active features by class, rank correlation",
    "l0_spearman_beyond_length": "active features by class, lengths held fixed",
}
EXCHANGED = "exchanged"
SPARSITY = 0.87
"""The study's rank correlation of active features by class, GPT-2 small and Gemma-2-9B (methods/3, 4.6)."""
_KEYS = ("model", "other_model", "mode", "layer", "other_layer", "pooling", "group", "metric")


def alignment_rows(alignment: pa.Table, names: Sequence[str]) -> list[tuple[Row, Row | None]]:
    """Measurements of models that have a page, each with that of exchanged texts, in the pages' order."""
    rows = list(plain_rows(alignment))
    beside = {_key(row): row for row in rows if row["control"] == EXCHANGED}
    found = [
        (row, beside.get(_key(row)))
        for row in rows
        if row["control"] == "none"
        and row["value"] is not None
        and {row["model"], row["other_model"]} <= set(names)
    ]
    sides = ("model", "other_model")
    return sorted(found, key=lambda each: sorted(names.index(each[0][side]) for side in sides))


def alignment_table(found: Sequence[tuple[Row, Row | None]]) -> Table | None:
    """Everything that is measured of two blocks; of CKA only blocks that are matched by the others."""
    matched = {_blocks(row) for row, _ in found if row["metric"] != "cka"}
    cells = []
    for row, other in found:
        if row["metric"] == "cka" and matched and _blocks(row) not in matched:
            continue
        cells.append(
            [
                text_cell(f"{row['model']} and {row['other_model']}"),
                text_cell(METRICS.get(row["metric"], row["metric"].replace("_", " "))),
                whole_cell(row["layer"]),
                whole_cell(row["other_layer"]),
                text_cell(f"{pooling_title(row['pooling'])} ({row['mode']})"),
                number_cell(row, _ratio),
                text_cell(row["group"]),
                number_cell(other, _ratio),
                plain_cell(row["p_value"], p_text),
                plain_cell(row["q_value"], p_text),
                whole_cell(row["n"]),
            ]
        )
    heads = [("Models", False), ("What is shared", False), ("Layer", True), ("Other layer", True)]
    heads += [
        ("Pooling", False),
        ("Value", True),
        ("Exchanged for", False),
        ("Exchanged texts", True),
    ]
    return (
        table([*heads, ("p", True), ("q", True), ("n", True)], cells, sortable=True)
        if cells
        else None
    )


def cka_figure(found: Sequence[tuple[Row, Row | None]]) -> Figure | None:
    """Linear CKA of every two blocks of two models, and the same of exchanged texts, to choose from.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no two models were compared.
    """
    grids: dict[str, dict[tuple[int, int], Row]] = {}
    for row, other in found:
        if row["metric"] != "cka":
            continue
        named = f"{row['model']} and {row['other_model']}, {pooling_title(row['pooling'])}"
        blocks = (row["layer"], row["other_layer"])
        grids.setdefault(named, {})[blocks] = row
        if other is not None and other["value"] is not None:
            grids.setdefault(f"{named}: {row['group']} exchanged", {})[blocks] = other
    if not grids:
        return None
    figure = go.Figure([_heatmap(name, cells) for name, cells in grids.items()])
    axis = {"type": "category", "showgrid": False, "zeroline": False}
    figure.update_xaxes(**axis, title_text="layer of the second model")
    figure.update_yaxes(**axis, title_text="layer of the first model", autorange="reversed")
    layers = max(len({first for first, _ in cells}) for cells in grids.values())
    figure.update_layout(
        coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "showscale": False},
        height=150 + 44 * layers,
        margin={"l": 64, "r": 12, "t": 12, "b": 60},
    )
    return offer(plain_figure(figure), {"Models": {name: [n] for n, name in enumerate(grids)}})


def _heatmap(name: str, cells: dict[tuple[int, int], Row]) -> go.Heatmap:
    rows = sorted({first for first, _ in cells})
    columns = sorted({second for _, second in cells})
    found: list[list[Any]] = [
        [None if (cell := cells.get((one, two))) is None else cell["value"] for two in columns]
        for one in rows
    ]
    return go.Heatmap(
        x=[str(each) for each in columns],
        y=[str(each) for each in rows],
        z=found,
        texttemplate="%{z:.2f}",
        coloraxis="coloraxis",
        name=literal(name),
        hovertemplate="layers %{y} and %{x}: %{z:.3f}<extra></extra>",
        xgap=1,
        ygap=1,
    )


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEYS)


def _blocks(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "other_model", "layer", "other_layer"))


def _ratio(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
