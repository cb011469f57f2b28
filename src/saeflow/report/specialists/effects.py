"""What changes without a specialist: the ablation matrix beside its controls, and numbers over all of it."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.cells import (
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
from saeflow.report.figures import literal, plain_figure
from saeflow.report.specialists.choices import offer
from saeflow.report.specialists.lines import DASHED, SOLID, Line, Panel, lines_figure
from saeflow.report.specialists.numbers import (
    CALIBRATED,
    NONE,
    PUBLISHED,
    Bank,
    Figure,
    Numbers,
    Row,
    Table,
    of_bank,
)
from saeflow.report.tables import percent

ZERO, EFFECT = "zero", "log_probability"
CONTROLS = {
    "random_feature": "a random feature",
    "cross_domain": "a specialist of another topic",
    "random_direction": "a random direction",
}
"""What as much is taken away by, in words."""
LEVEL = 0.05
RATIOS = {
    "resilience_ratio": ("Resilience: mean |log-probability| over mean |effect|", "140.6 and 2.6"),
    "resilience_ratio_margin": ("Resilience: mean |margin| over mean |effect|", "140.6 and 2.6"),
    "effect_to_random_sd": ("|Mean effect| over the spread of random features’", "140.6 and 2.6"),
    "effect_to_random_mean": (
        "|Mean effect| over the mean size of random features’",
        "140.6 and 2.6",
    ),
    "cascade": ("Cascade: size at the first layer over that at the last", "40.7 (Gemma)"),
    "selectivity_causality": ("Selectivity and effect, rank correlation", "−.546 (GPT-2)"),
}
"""Numbers over all specialists: what they are, and what the study published (Gemma-2-9B, then GPT-2)."""
KINDS = {"texts": "texts", "tasks": "tasks"}


Specialist = tuple[int, str, int]
"""Block, class and feature."""


class Cells(NamedTuple):
    """Cells of the calibrated matrix, specialist (block, class, feature) by group of prompts."""

    rows: dict[Specialist, str]
    groups: list[str]
    found: dict[tuple[Specialist, str, str, str], Row]

    def row(self, place: Specialist, group: str, control: str, metric: str = EFFECT) -> Row | None:
        """Row of a cell that has a value; None where there is none."""
        found = self.found.get((place, group, control, metric))
        return None if found is None or found["value"] is None else found


def cells_of(numbers: Numbers, bank: Bank) -> Cells:
    """Read the calibrated effects of setting specialists to 0."""
    rows: dict[Specialist, str] = {}
    groups: dict[str, None] = {}
    found: dict[tuple[Specialist, str, str, str], Row] = {}
    for row in of_bank(numbers.tables.effects, bank):
        if (row["mode"], row["condition"]) == (CALIBRATED, ZERO):
            place = (row["layer"], row["class"], row["feature"])
            rows[place] = f"{row['class']}, layer {row['layer']}"
            groups[row["group"]] = None
            found[place, row["group"], row["control"], row["metric"]] = row
    return Cells(rows, list(groups), found)


def matrix_figure(numbers: Numbers, bank: Bank) -> Figure | None:
    """Effects of specialists on topics and tasks, and the same minus a control of the reader's choice.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was ablated.
    """
    cells = cells_of(numbers, bank)
    shown = [each for each in CONTROLS if any(key[2] == each for key in cells.found)]
    if not cells.rows:
        return None
    titles = ["effect", "effect minus that of the control"]
    figure = make_subplots(
        rows=1,
        cols=1 + bool(shown),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        subplot_titles=titles[: 1 + bool(shown)],
    )
    figure.add_trace(_heatmap(cells, NONE, "effect"), row=1, col=1)
    choices: dict[str, list[int]] = {}
    for control in shown:
        choices[CONTROLS[control]] = [len(figure.data)]
        figure.add_trace(_heatmap(cells, control, f"minus {CONTROLS[control]}"), row=1, col=2)
    values = [
        abs(row["value"]) for key, row in cells.found.items() if key[3] == EFFECT and row["value"]
    ]
    # One cell of a thousandfold effect would leave all others white.
    limit = sorted(values)[int(0.98 * (len(values) - 1))] if values else 1.0
    named = {"type": "category", "showgrid": False, "zeroline": False, "automargin": True}
    figure.update_xaxes(**named, tickangle=-45)
    figure.update_yaxes(**named, autorange="reversed", tickfont={"size": 10})
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        coloraxis={
            "colorscale": "RdBu",
            "cmin": -limit,
            "cmid": 0,
            "cmax": limit,
            "colorbar": {**_BAR, "title": {"text": "nats", "side": "top"}},
        },
        height=230 + 18 * len(cells.rows),
        margin={"l": 20, "r": 12, "t": 34, "b": 90},
    )
    return offer(plain_figure(figure), {"Control (right)": choices} if choices else {})


def matrix_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Every cell on which its specialist is active, beside each control, corrected."""
    cells = cells_of(numbers, bank)
    lines = []
    for place in cells.rows:
        layer, name, feature = place
        for group in cells.groups:
            own = cells.row(place, group, NONE)
            if own is None or not own["n_active"]:
                continue
            line = [
                text_cell(name),
                whole_cell(layer),
                whole_cell(feature),
                text_cell(group + (", its own" if is_own(name, group) else "")),
                whole_cell(own["n_active"]),
                nats_cell(own),
            ]
            for control in CONTROLS:
                row = cells.row(place, group, control)
                line += [nats_cell(row), plain_cell(None if row is None else row["holm"], p_text)]
            line += [number_cell(cells.row(place, group, NONE, "kl"), "{:.4f}".format)]
            line += [share_cell(cells.row(place, group, NONE, "flip"))]
            lines.append([*line, number_cell(cells.row(place, group, NONE, "rank"), _ranks)])
    heads = [("Specialist of", False), ("Layer", True), ("Feature", True), ("Read", False)]
    heads += [("Active on", True), ("Effect, nats", True)]
    for title in CONTROLS.values():
        heads += [(f"Minus {title}", True), ("Holm", True)]
    heads += [("Divergence, nats", True), ("Flips", True), ("Ranks lost", True)]
    return {**filled(table(heads, lines)), "sortable": True} if lines else None


def ratios_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Both candidates of the study's signal-to-noise, cascade, and selectivity against causality."""
    cells = []
    for metric, (title, published) in RATIOS.items():
        for mode, name in ((PUBLISHED, "as published"), (CALIBRATED, "calibrated")):
            rows = [numbers.row("ablation", kind, metric, bank=bank, mode=mode) for kind in KINDS]
            if any(rows):
                line = [text_cell(title), text_cell(name), text_cell(published)]
                for row in rows:
                    line += [
                        number_cell(row, _ratio),
                        plain_cell(None if row is None else row["p_value"], p_text),
                    ]
                cells.append(line)
    heads = [("Over all specialists", False), ("Counted", False), ("Published", False)]
    for title in KINDS.values():
        heads += [(f"On {title}", True), (f"p, on {title}", True)]
    return filled(table(heads, cells)) if cells else None


def published_table(numbers: Numbers, bank: Bank) -> Table | None:
    """The matrix as the study counts it: how many cells a test of prompts calls significant, by layer."""
    found: dict[tuple[int, str], dict[str, list[Row]]] = {}
    for row in of_bank(numbers.tables.effects, bank):
        own = (row["mode"], row["condition"]) == (PUBLISHED, ZERO)
        if own and row["value"] is not None:
            kind = (row["layer"], row["group"])
            found.setdefault(kind, {}).setdefault(row["metric"], []).append(row)
    cells = []
    for (layer, group), rows in sorted(found.items()):
        tested = rows.get(EFFECT, [])
        small = sum(row["p_value"] is not None and row["p_value"] <= LEVEL for row in tested)
        flips = [row["value"] for row in rows.get("flip", [])]
        cells.append(
            [
                text_cell(group),
                whole_cell(layer),
                whole_cell(small) | {"value": f"{small} of {len(tested)}"},
                number_cell(
                    {"value": max(flips, default=None), "ci_low": None, "ci_high": None},
                    percent,
                    " %",
                ),
            ]
        )
    heads = [("Read", False), ("Layer", True), (f"Cells with p ≤ {LEVEL:g}, uncorrected", True)]
    return (
        table([*heads, ("Largest share of flips", True)], cells, sortable=True) if cells else None
    )


def cascade_figure(numbers: Numbers, bank: Bank) -> Figure | None:
    """How far what an ablation takes away travels: change of the residual stream, block by block."""
    found: dict[int, dict[tuple[str, str], dict[int, Row]]] = {}
    for key, row in numbers.of_part("cascade", bank).items():
        block = key.metric.rpartition("_")[2]
        if key.layer is not None and block.isdigit():
            lines = found.setdefault(key.layer, {})
            lines.setdefault((key.group, key.control), {})[int(block)] = row
    panels = [
        Panel(
            f"ablated in layer {layer}",
            [
                Line(_line(name, control), rows, SOLID if control == NONE else DASHED)
                for (name, control), rows in lines.items()
            ],
        )
        for layer, lines in sorted(found.items())
    ]
    return lines_figure(
        {"change, relative to length": panels}, format=".4f", full=True, bands=False
    )


def _line(name: str, control: str) -> str:
    """Specialists by their topics, one name for all that is done in their place."""
    if control == NONE:
        return name.partition(": ")[0]
    return CONTROLS.get(control, control.replace("_", " "))


def _ranks(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _ratio(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def is_own(name: str, group: str) -> bool:
    """Whether a group of texts is of the topic that a specialist was chosen for."""
    return name.partition(": ")[0] == group


def _heatmap(cells: Cells, control: str, title: str) -> go.Heatmap:
    found = [[cells.row(place, group, control) for group in cells.groups] for place in cells.rows]
    return go.Heatmap(
        x=list(map(literal, cells.groups)),
        y=list(map(literal, cells.rows.values())),
        z=[
            [None if row is None else float(f"{row['value']:.3g}") for row in line]
            for line in found
        ],
        text=[[_mark(row) for row in line] for line in found],
        texttemplate="%{text}",
        coloraxis="coloraxis",
        name=title,
        hovertemplate=f"<b>%{{y}}</b><br>%{{x}}<br>{title}: %{{z:+.4f}} nats %{{text}}<extra></extra>",
        xgap=1,
        ygap=1,
    )


def _mark(row: Row | None) -> str:
    """A star where the corrected test is passed: colours tell sizes, not what is certain."""
    return "*" if row is not None and row["holm"] is not None and row["holm"] <= LEVEL else ""


_BAR = {
    "orientation": "h",
    "x": 0.5,
    "len": 0.5,
    "thickness": 10,
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "outlinewidth": 0,
}
