"""Whether a specialist's activation goes with what a model answers: scatter, correlations, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from saeflow.report.cells import (
    Cell,
    filled,
    nats_cell,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.figures import COLOURS, SYMBOLS, literal, plain_figure
from saeflow.report.specialists.choices import offer
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.specialists.numbers import (
    CALIBRATED,
    PUBLISHED,
    Bank,
    Figure,
    Numbers,
    Table,
    of_bank,
    plain_rows,
    pooling_title,
)
from saeflow.report.tables import MISSING, percent

MOST = 240
"""Tasks that the scatter shows at most, evenly spaced among all, so that a page stays small."""
OUTCOMES = {
    "margin": "margin",
    "correct": "right or wrong",
    "log_probability": "log-probability",
    "contained": "contains the right answer",
    "judged": "judged right",
}
"""What activations are held against, in words."""
Specialist = tuple[int, str, int]
"""Block, class and feature."""


def scatter_figure(numbers: Numbers, bank: Bank) -> Figure | None:
    """Margin of tasks against a specialist's activation on their prompts, one specialist at a time.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them, ``layout.meta`` the specialists to choose from;
        None where no task was read.
    """
    tasks = {row["task"]: row for row in plain_rows(numbers.tables.tasks)}
    values: dict[Specialist, dict[int, float]] = {}
    for row in of_bank(numbers.tables.activations, bank):
        if row["task"] in tasks and tasks[row["task"]]["margin"] is not None:
            place = (row["layer"], row["class"], row["feature"])
            values.setdefault(place, {})[row["task"]] = row["value"]
    if not values:
        return None
    kinds = list(dict.fromkeys(_kind(row) for row in tasks.values()))
    kept = _spaced(sorted({task for some in values.values() for task in some}))
    figure = go.Figure()
    options: dict[str, list[int]] = {}
    for place, some in values.items():
        for number, kind in enumerate(kinds):
            own = [task for task in kept if task in some and _kind(tasks[task]) == kind]
            if own:
                options.setdefault(specialist_title(place), []).append(len(figure.data))
                points = [(some[task], tasks[task]["margin"]) for task in own]
                figure.add_trace(_points(kind, number, points))
    line = {"width": 1.5, "color": "#808080", "dash": "dot"}
    figure.add_hline(y=0, line=line)
    figure.update_xaxes(title_text="activation of the specialist on the prompt", zeroline=False)
    figure.update_yaxes(title_text="margin of the right ending, nats per token", zeroline=False)
    figure.update_layout(
        height=440,
        margin={"l": 64, "r": 12, "t": 40, "b": 56},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return offer(plain_figure(figure), {"Specialist": options})


def correlations_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Rank correlation of every specialist with every outcome, corrected, and beside other features."""
    cells = []
    for row in of_bank(numbers.tables.behaviour, bank):
        if (row["mode"], row["metric"]) != (CALIBRATED, "spearman"):
            continue
        cells.append(
            [
                text_cell(row["class"]),
                whole_cell(row["layer"]),
                whole_cell(row["feature"]),
                text_cell(row["group"]),
                text_cell(OUTCOMES.get(row["outcome"], row["outcome"])),
                number_cell(row, _signed),
                whole_cell(row["n"]),
                *(plain_cell(row[each], p_text) for each in ("p_value", "holm", "q_value")),
                number_cell(_share(row["other_features"]), percent, " %"),
            ]
        )
    heads = [("Specialist of", False), ("Layer", True), ("Feature", True), ("Tasks", False)]
    heads += [("With", False), ("Rank correlation", True), ("n", True), ("p", True), ("Holm", True)]
    heads += [("q", True), ("Other features that go as closely", True)]
    return table(heads, cells, sortable=True) if cells else None


def published_table(numbers: Numbers, bank: Bank) -> Table | None:
    """The study's own tests: activations against right answers to texts and tasks, nothing held fixed."""
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in of_bank(numbers.tables.behaviour, bank):
        if row["mode"] == PUBLISHED:
            place = (row["class"], row["layer"], row["feature"], row["group"], row["outcome"])
            found.setdefault(place, {})[row["metric"]] = row
    cells = []
    for (name, layer, feature, group, outcome), rows in found.items():
        line = [
            text_cell(name),
            whole_cell(layer),
            whole_cell(feature),
            text_cell("its texts" if group == name else group),
            text_cell(OUTCOMES.get(outcome, outcome)),
            share_cell(rows.get("right")),
        ]
        for metric, write in _TESTS.items():
            test = rows.get(metric)
            p_value = None if test is None else test["p_value"]
            line += [number_cell(test, write), plain_cell(p_value, p_text)]
        line.append(whole_cell(next(iter(rows.values()))["n"]))
        cells.append(line)
    heads = [("Specialist of", False), ("Layer", True), ("Feature", True), ("On", False)]
    heads += [("With", False), ("Right", True), ("Point-biserial r", True), ("its p", True)]
    heads += [("t", True), ("p of t", True), ("Rank correlation", True), ("p of it", True)]
    made = table([*heads, ("n", True)], cells)
    return {**filled(made), "sortable": True} if cells else None


def tasks_table(model: SpecialistModel) -> Table | None:
    """Tasks done right by kind and level, beside chance and the untrained model."""
    numbers = model.numbers
    groups = dict.fromkeys(
        key.group for key in numbers.of_part("tasks") if key.metric in ("right", "margin")
    )
    cells = []
    for group in groups:
        kind, _, level = group.partition(", ")
        right = numbers.row("tasks", group, "right")
        other = None if model.control is None else model.control.row("tasks", group, "right")
        cells.append(
            [
                text_cell(kind),
                text_cell(level or "all"),
                share_cell(right),
                share_cell(numbers.row("tasks", group, "right", "chance")),
                share_cell(other),
                nats_cell(numbers.row("tasks", group, "margin")),
                whole_cell(None if right is None else right["n"]),
            ]
        )
    heads = [("Tasks", False), ("Level", False), ("Right", True), ("Chance", True)]
    heads += [("Right, untrained model", True), ("Margin, nats per token", True), ("n", True)]
    return filled(table(heads, cells)) if cells else None


def answers_table(model: SpecialistModel) -> Table | None:
    """The study's own prompts: answers that contain the right one, and those judged right."""
    numbers = model.numbers
    groups = dict.fromkeys(
        key.group for key in numbers.of_part("tasks") if key.metric in ("contained", "judged")
    )
    cells = []
    for group in groups:
        contained = numbers.row("tasks", group, "contained", mode=PUBLISHED)
        other = None
        if model.control is not None:
            other = model.control.row("tasks", group, "contained", mode=PUBLISHED)
        cells.append(
            [
                text_cell(group),
                share_cell(contained),
                share_cell(numbers.row("tasks", group, "judged")),
                share_cell(other),
                whole_cell(None if contained is None else contained["n"]),
            ]
        )
    heads = [("Texts", False), ("Contains the right answer", True), ("Judged right", True)]
    heads += [("Contains it, untrained model", True), ("n", True)]
    return filled(table(heads, cells)) if cells else None


def judges(numbers: Numbers) -> list[str]:
    """Who judged the answers."""
    return sorted(set(numbers.tables.answers["judge"].to_pylist()))


def tokens_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Share of each specialist's activation on syntactic tokens, beside all features and tokens."""
    rows = numbers.of_part("tokens", bank)
    places = dict.fromkeys((key.mode, key.group, key.layer, key.pooling) for key in rows)
    cells = []
    for mode, group, layer, pooling in places:
        key: dict[str, Any] = {"bank": bank, "mode": mode, "layer": layer, "pooling": pooling}
        shares = [
            share_cell(numbers.row("tokens", group, "syntactic_share", control, **key))
            for control in ("none", "all_features", "tokens")
        ]
        named = [text_cell(group), whole_cell(layer), text_cell(mode)]
        cells.append([*named, text_cell(pooling_title(pooling) or MISSING), *shares])
    heads = [("Specialist of", False), ("Layer", True), ("Chosen", False), ("Pooling", False)]
    heads += [("On syntactic tokens", True), ("All features of the SAE", True)]
    return (
        table([*heads, ("Tokens that are syntactic", True)], cells, sortable=True)
        if cells
        else None
    )


def specialist_title(place: Specialist) -> str:
    """Name of a specialist, in words."""
    layer, name, feature = place
    return f"{name}, layer {layer}, feature {feature}"


def _points(kind: str, number: int, points: Iterable[tuple[float, float]]) -> go.Scatter:
    both = list(points)
    return go.Scatter(
        x=[_significant(x) for x, _ in both],
        y=[_significant(y) for _, y in both],
        mode="markers",
        marker={
            "symbol": SYMBOLS[number % len(SYMBOLS)],
            "size": 6,
            "opacity": 0.7,
            "color": COLOURS[number % len(COLOURS)],
        },
        name=literal(kind),
        legendgroup=kind,
        hovertemplate=f"{literal(kind)}<br>activation %{{x:.3g}}<br>margin %{{y:.3f}}<extra></extra>",
    )


def _kind(task: Mapping[str, Any]) -> str:
    return f"{task['part']} {task['group']}"


def _spaced(tasks: Sequence[int]) -> list[int]:
    """At most `MOST` of them, evenly spaced."""
    if len(tasks) <= MOST:
        return list(tasks)
    return [tasks[place * len(tasks) // MOST] for place in range(MOST)]


def _significant(value: float) -> float:
    return float(f"{value:.3g}")


def _share(value: float | None) -> Mapping[str, Cell | float | None]:
    return {"value": value, "ci_low": None, "ci_high": None}


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


_TESTS: dict[str, Callable[[float], str]] = {
    "point_biserial": _signed,
    "t": lambda value: f"{value:.2f}".replace("-", "−"),
    "spearman": _signed,
}
"""The study's tests, and how their values are written."""
