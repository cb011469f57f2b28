"""What the models can do, laid out for the page on reference models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from saeflow.report.figures import COLOURS, plain_figure
from saeflow.report.tables import MISSING

CONDITIONS = {
    "thoughts": "Latent thoughts",
    "written steps": "Written steps",
    "neither": "Neither",
    "commonest answer": "Commonest answer",
}
ABILITIES = (
    ("categories", "loss", "token frequencies"),
    ("pairs", "loss", "token frequencies"),
    ("documents", "loss", "token frequencies"),
    ("cloze", "chosen", "chance"),
    ("choices", "chosen", "chance"),
)

Cells = dict[tuple[str, str, str, str], dict[str, Any]]


def cells_of(measures: pa.Table) -> Cells:
    """Rows of an evaluation by part, condition, group and metric."""
    return {
        (row["part"], row["condition"], row["group"], row["metric"]): row
        for row in measures.to_pylist()
    }


def problem_rows(cells: Cells) -> list[dict[str, Any]]:
    """Exact answers by group, one cell per way of answering, and what thoughts add."""
    groups = dict.fromkeys(group for part, _, group, _ in cells if part == "problems")
    rows = []
    for group in _in_order(groups):
        found = [cells.get(("problems", name, group, "exact")) for name in CONDITIONS]
        more = cells.get(("problems", "thoughts", group, "exact_minus_neither"))
        count = found[0]["n"] if found[0] else 0
        rows.append(
            {"group": group, "n": count, "cells": [*map(rate_cell, found), rate_cell(more, True)]}
        )
    return rows


def decimal_rows(cells: Cells, formats: Sequence[str]) -> list[dict[str, Any]]:
    """Right and wrong answers by format: on prone pairs, and right ones on the other kinds."""
    rows = []
    groups = sorted({g for part, _, g, _ in cells if part == "decimals"} - {"all", "prone"})
    keys = [("prone", "right"), ("prone", "wrong"), *((group, "right") for group in groups)]
    for name in formats:
        found = [cells.get(("decimals", name, group, metric)) for group, metric in keys]
        rows.append({"format": name, "cells": [rate_cell(cell) for cell in found]})
    return rows


def decimal_groups(cells: Cells) -> list[str]:
    """Kinds of pairs beside the prone ones, as the columns of `decimal_rows` go."""
    groups = sorted({g for part, _, g, _ in cells if part == "decimals"} - {"all", "prone"})
    return [group.replace("_", " ") for group in groups]


def text_rows(cells: Cells) -> list[dict[str, Any]]:
    """Loss or choice by part and group, beside the trivial baseline."""
    rows = []
    for part, metric, trivial in ABILITIES:
        groups = [g for p, c, g, m in cells if (p, c, m) == (part, "model", metric)]
        for group in sorted(groups, key=lambda name: (name != "all", name)):
            both = [cells.get((part, name, group, metric)) for name in ("model", trivial)]
            write = loss_cell if metric == "loss" else rate_cell
            n = both[0]["n"] if both[0] else 0
            found = [write(cell) for cell in both]
            rows.append({"part": part, "group": group, "metric": metric, "n": n, "cells": found})
    return rows


def rate_cell(row: Mapping[str, Any] | None, signed: bool = False) -> dict[str, str]:
    """Write a share in per cent, with its interval."""
    if row is None or row["value"] is None:
        return {"value": MISSING, "interval": ""}
    style = "{:+.1f}" if signed else "{:.1f}"
    interval = ""
    if row["ci_low"] is not None:
        interval = f"[{style}, {style}]".format(100 * row["ci_low"], 100 * row["ci_high"])
    return {"value": style.format(100 * row["value"]) + " %", "interval": interval}


def loss_cell(row: Mapping[str, Any] | None) -> dict[str, str]:
    """Write a loss with its interval."""
    if row is None or row["value"] is None:
        return {"value": MISSING, "interval": ""}
    interval = "" if row["ci_low"] is None else f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
    return {"value": f"{row['value']:.2f}", "interval": interval}


def lens_figure(cells: Cells) -> dict[str, Any]:
    """Share of thoughts whose first token is a result, by step, beside another problem's result."""
    groups = sorted({group for part, _, group, _ in cells if part == "logit_lens"})
    counts = sorted({group.rsplit(" ", 1)[1] for group in groups})
    titles = [f"{count} step{'s' * (count != '1')}" for count in counts]
    figure = make_subplots(
        rows=1, cols=max(1, len(counts)), shared_yaxes=True, subplot_titles=titles
    )
    for column, count in enumerate(counts, start=1):
        for group in (group for group in groups if group.endswith(f"of {count}")):
            which = int(group.split()[1])
            for metric, dash in (
                ("first_token", "solid"),
                ("first_token_of_another_problem", "dot"),
            ):
                figure.add_trace(
                    _lens_trace(cells, group, metric, which, dash, first=column == len(counts)),
                    row=1,
                    col=column,
                )
    figure.update_xaxes(title_text="thought step", dtick=1)
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    figure.update_layout(height=420, margin={"l": 64, "r": 12, "t": 40, "b": 60})
    return plain_figure(figure)


def curves_figure(curves: pa.Table) -> dict[str, Any]:
    """Losses and accuracies over the training of one model."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    for row in curves.to_pylist():
        steps, values = series.setdefault(row["metric"], ([], []))
        steps.append(row["step"])
        values.append(row["value"])
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=["loss, nats per token", "accuracy, held-out problems"]
    )
    for number, (name, (steps, values)) in enumerate(sorted(series.items())):
        kind, label = name.split(" ", 1)
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=values,
                name=label,
                mode="lines",
                line={"color": COLOURS[number % len(COLOURS)], "width": 1.6},
                legendgroup=kind,
                legendgrouptitle={"text": kind},
            ),
            row=1,
            col=1 if kind == "loss" else 2,
        )
    figure.update_xaxes(title_text="optimizer step", rangemode="tozero")
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", row=1, col=2)
    figure.update_layout(height=420, margin={"l": 64, "r": 12, "t": 40, "b": 60})
    return plain_figure(figure)


def _lens_trace(
    cells: Cells, group: str, metric: str, which: int, dash: str, *, first: bool
) -> Any:
    points = sorted(
        (
            (int(condition[1:]), row)
            for (part, condition, name, measured), row in cells.items()
            if (part, name, measured) == ("logit_lens", group, metric)
        ),
        key=lambda point: point[0],
    )
    own = metric == "first_token"
    name = f"result {which}" + ("" if own else ", of another problem")
    return go.Scatter(
        x=[step for step, _ in points],
        y=[row["value"] for _, row in points],
        name=name,
        mode="lines+markers",
        line={"color": COLOURS[(which - 1) % len(COLOURS)], "dash": dash},
        legendgroup=name,
        showlegend=first,
    )


def _in_order(groups: Mapping[str, Any]) -> list[str]:
    order = ["all", "one or two steps", *(f"{n} step{'s' * (n > 1)}" for n in (1, 2, 3, 4))]
    return sorted(groups, key=lambda g: (order.index(g) if g in order else len(order), g))
