"""What the models can do, laid out for the page on reference models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
from plotly.subplots import make_subplots

from saeflow.report.figures import COLOURS, plain_figure
from saeflow.report.tables import cell_text, percent, points

CONDITIONS = {
    "thoughts": "Latent thoughts",
    "written steps": "Written steps",
    "neither": "Neither",
}
ABILITIES = (
    ("categories", "loss", "token_frequencies"),
    ("pairs", "loss", "token_frequencies"),
    ("documents", "loss", "token_frequencies"),
    ("cloze", "loss", "token_frequencies"),
    ("cloze", "chosen", "chance"),
    ("choices", "loss", "token_frequencies"),
    ("choices", "chosen", "chance"),
)
"""Part, what is measured of it, and the trivial answer beside it."""
MODEL = "none"
PRONE = "prone"

Cells = dict[tuple[str, str, str, str, str], dict[str, Any]]


def cells_of(measures: pa.Table) -> Cells:
    """Rows of an evaluation by part, condition, group, metric and control."""
    keys = ("part", "condition", "group", "metric", "control")
    return {tuple(row[key] for key in keys): row for row in measures.to_pylist()}


def problem_rows(cells: Cells) -> list[dict[str, Any]]:
    """Exact answers by group: each way of answering, a constant answer, what thoughts add."""
    rows = []
    for group in _in_order({key[2]: None for key in cells if key[0] == "problems"}):
        found = [cells.get(("problems", name, group, "exact", MODEL)) for name in CONDITIONS]
        found.append(cells.get(("problems", "thoughts", group, "exact", "commonest_answer")))
        more = cells.get(("problems", "thoughts", group, "exact_minus_neither", MODEL))
        count = found[0]["n"] if found[0] else 0
        written = [*map(rate_cell, found), cell_text(more, points)]
        rows.append({"group": group, "n": count, "cells": written})
    return rows


def decimal_groups(cells: Cells) -> list[str]:
    """Kinds of pairs: the columns of `decimal_rows` beside right and wrong on prone ones."""
    groups = {key[2] for key in cells if key[0] == "decimals"} - {"all", PRONE}
    return sorted(groups, key=lambda group: (not group.startswith(PRONE), group))


def decimal_rows(cells: Cells, formats: Sequence[str]) -> list[dict[str, Any]]:
    """Right and wrong answers by format on all prone pairs, and right ones on each kind."""
    keys = [(PRONE, "right"), (PRONE, "wrong")]
    keys += [(group, "right") for group in decimal_groups(cells)]
    return [
        {
            "format": name,
            "cells": [
                rate_cell(cells.get(("decimals", name, group, metric, MODEL)))
                for group, metric in keys
            ],
        }
        for name in formats
    ]


def text_rows(cells: Cells) -> list[dict[str, Any]]:
    """Loss or choice by part and group, beside the trivial answer."""
    rows = []
    for part, metric, trivial in ABILITIES:
        groups = {key[2] for key in cells if (key[0], key[3]) == (part, metric)}
        for group in sorted(groups, key=lambda name: (name != "all", name)):
            both = [cells.get((part, "", group, metric, each)) for each in (MODEL, trivial)]
            n = both[0]["n"] if both[0] else 0
            row = {"part": part, "group": group, "metric": metric, "n": n}
            rows.append(
                {**row, "trivial": trivial, "cells": [_loss_or_rate(cell, metric) for cell in both]}
            )
    return rows


def rate_cell(row: Mapping[str, Any] | None) -> dict[str, str]:
    """Write a share in per cent, with its interval."""
    return cell_text(row, percent, " %")


def _loss_or_rate(row: Mapping[str, Any] | None, metric: str) -> dict[str, str]:
    return cell_text(row, "{:.2f}".format) if metric == "loss" else rate_cell(row)


def lens_figure(cells: Cells) -> dict[str, Any]:
    """Share of thoughts whose first token is a result, by step, beside another problem's result."""
    groups = sorted({key[2] for key in cells if key[0] == "logit_lens"})
    counts = sorted({group.rsplit(" ", 1)[1] for group in groups})
    titles = [f"{count} step{'s' * (count != '1')}" for count in counts]
    figure = make_subplots(
        rows=1, cols=max(1, len(counts)), shared_yaxes=True, subplot_titles=titles
    )
    for column, count in enumerate(counts, start=1):
        for group in (group for group in groups if group.endswith(f"of {count}")):
            which = int(group.split()[1])
            for control in (MODEL, "another_problem"):
                figure.add_trace(
                    _lens_trace(cells, group, control, which, in_legend=column == len(counts)),
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
    drawn = {"loss": 0, "accuracy": 0}
    for name, (steps, values) in sorted(series.items()):
        kind, label = name.split(" ", 1)
        number = drawn[kind]
        drawn[kind] += 1
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=values,
                name="1 step" if label == "1 steps" else label,
                mode="lines",
                line={
                    "color": COLOURS[number % len(COLOURS)],
                    "dash": "solid" if number < len(COLOURS) else "dash",
                    "width": 1.6,
                },
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


def _lens_trace(cells: Cells, group: str, control: str, which: int, *, in_legend: bool) -> Any:
    points = sorted(
        ((int(key[1][1:]), row["value"]) for key, row in cells.items() if _is(key, group, control)),
    )
    own = control == MODEL
    name = f"result {which}" + ("" if own else ", of another problem")
    return go.Scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=name,
        mode="lines+markers",
        line={"color": COLOURS[(which - 1) % len(COLOURS)], "dash": "solid" if own else "dot"},
        legendgroup=name,
        showlegend=in_legend,
    )


def _is(key: tuple[str, ...], group: str, control: str) -> bool:
    return (key[0], key[2], key[3], key[4]) == ("logit_lens", group, "first_token", control)


def _in_order(groups: Mapping[str, Any]) -> list[str]:
    order = ["all", "one or two steps", *(f"{n} step{'s' * (n > 1)}" for n in (1, 2, 3, 4))]
    return sorted(groups, key=lambda g: (order.index(g) if g in order else len(order), g))
