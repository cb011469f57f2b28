"""How alike the features of the formats are: as published with its fillers, and beside paraphrases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.datasets.comparisons.formats import ORDER, WORDING
from saeflow.report.cells import (
    Cell,
    count_cell,
    filled,
    integer,
    number_cell,
    p_text,
    plain_cell,
    table,
    text_cell,
)
from saeflow.report.decimal_bug.model import DecimalModel
from saeflow.report.decimal_bug.numbers import NONE, PUBLISHED, Bank, Numbers, Row
from saeflow.report.figures import BAND, COLOURS, SYMBOLS, interval_band, plain_figure
from saeflow.report.tables import MISSING

LAST, EVERY = "last", "all tokens"
TOKENS = {LAST: "last token", EVERY: "all tokens"}
MEASURES = {"jaccard": "Jaccard", "weighted_jaccard": "weighted Jaccard", "cosine": "cosine"}
CHECKS = {
    "l0_mean": ("Active features", "{:.1f}".format),
    "explained_variance": ("Variance explained", "{:.3f}".format),
    "fvu": ("Variance unexplained", "{:.3f}".format),
}
"""What is checked of the SAEs: its title, and how it is written."""
GROUPS = {"shared": "both", "qa_only": "Q&A only", "simple_only": "Simple only"}
"""Lists that hold a feature, in words."""
CLASSES = ("low", "medium", "high")
Figure = dict[str, Any]
Table = dict[str, Any]


def checks_table(model: DecimalModel, bank: Bank) -> Table | None:
    """How well the SAEs work on these prompts, beside held-out texts and the untrained model."""
    places = {
        "all tokens": (EVERY, NONE),
        "last token": (LAST, NONE),
        "held-out texts": (EVERY, "held_out_texts"),
    }
    cells = []
    for layer in model.numbers.layers("checks", bank):
        line = [plain_cell(float(layer), integer)]
        for metric, (_, text) in CHECKS.items():
            line += [
                number_cell(
                    model.numbers.row("checks", group, metric, control, layer=layer, bank=bank),
                    text,
                )
                for group, control in places.values()
            ]
            other = model.untrained("checks", EVERY, metric, bank, layer)
            line.append(number_cell(other, text))
        cells.append(line)
    heads = [("Layer", True)]
    for title, _ in CHECKS.values():
        heads += [(f"{title}, {place}", True) for place in (*places, "untrained, all tokens")]
    return filled(table(heads, cells)) if cells else None


def published_figure(numbers: Numbers, bank: Bank, low: float, high: float) -> Figure | None:
    """Published overlap by layer, with the part that only fills the lists.

    Parameters
    ----------
    numbers : Numbers
        Of one model.
    bank : Bank
        SAEs.
    low, high : float
        Percent between which the study calls a layer medium.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no list was made.
    """
    rows = {
        layer: of_layer
        for layer in numbers.layers("overlap", bank)
        if (of_layer := _published(numbers, bank, layer))["overlap_percent"] is not None
    }
    if not rows:
        return None
    figure = go.Figure()
    for name, style in _PARTS.items():
        figure.add_trace(
            go.Bar(
                x=[str(layer) for layer in rows],
                # A bar without height would still show its outline.
                y=[_percents(row)[name] or None for row in rows.values()],
                name=name,
                marker=style,
                text=[_told(layer, row) for layer, row in rows.items()],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for level in (low, high):
        figure.add_hline(y=level, line={"dash": "dot", "width": 2, "color": "#808080"})
    figure.update_xaxes(type="category", title_text="layer", showgrid=False)
    figure.update_yaxes(title_text="overlap of the lists, %", range=[0, 105], zeroline=False)
    figure.update_layout(
        barmode="stack",
        height=380,
        margin={"l": 64, "r": 12, "t": 36, "b": 60},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "traceorder": "normal",
        },
    )
    return plain_figure(figure)


def likeness_figure(model: DecimalModel, bank: Bank) -> Figure | None:
    """Likeness of the formats' features by layer, beside paraphrases and the untrained model."""
    layers = model.numbers.layers("overlap", bank)
    lines = {
        "formats": {
            key: model.numbers.row("overlap", *key[1:], layer=key[0], bank=bank)
            for key in _keys(layers)
        },
        **{
            title: {
                key: model.numbers.row("overlap", *key[1:], control, layer=key[0], bank=bank)
                for key in _keys(layers)
            }
            for title, control in (("other wording", WORDING), ("other order", ORDER))
        },
        "formats, untrained": {
            key: model.untrained("overlap", *key[1:], bank, key[0]) for key in _keys(layers)
        },
    }
    if not any(lines["formats"].values()):
        return None
    figure = make_subplots(
        rows=len(TOKENS),
        cols=len(MEASURES),
        shared_xaxes=True,
        shared_yaxes="rows",
        horizontal_spacing=0.03,
        vertical_spacing=0.14,
        subplot_titles=[
            f"{each}, {token}" for token in TOKENS.values() for each in MEASURES.values()
        ],
    )
    for row, token in enumerate(TOKENS, start=1):
        for column, metric in enumerate(MEASURES, start=1):
            for number, (name, rows) in enumerate(lines.items()):
                some = {
                    layer: found
                    for layer in layers
                    if (found := rows[layer, token, metric]) is not None
                }
                for trace in _line(some, name, number, in_legend=row == column == 1):
                    figure.add_trace(trace, row=row, col=column)
    figure.update_xaxes(tickvals=layers, showgrid=False, zeroline=False)
    figure.update_xaxes(title_text="layer", row=len(TOKENS))
    figure.update_yaxes(zeroline=False)
    figure.update_yaxes(title_text="likeness", col=1)
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        height=600,
        margin={"l": 64, "r": 12, "t": 70, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)


def likeness_table(model: DecimalModel, bank: Bank) -> Table | None:
    """The same as a table, with how much less alike formats are than wordings, tested."""
    numbers = model.numbers
    cells = []
    for layer, token, metric in _keys(numbers.layers("overlap", bank)):
        where: dict[str, Any] = {"layer": layer, "bank": bank}
        own = numbers.row("overlap", token, metric, **where)
        if own is None:
            continue
        below = f"{metric}_below_wording"
        tested = numbers.row("overlap", token, below, **where)
        line: list[Cell] = [
            text_cell(token.partition(" ")[0]),
            plain_cell(float(layer), integer),
            text_cell(MEASURES[metric]),
            _likeness(own),
            *(
                _likeness(numbers.row("overlap", token, metric, control, **where))
                for control in (WORDING, ORDER)
            ),
            _likeness(model.untrained("overlap", token, metric, bank, layer)),
            _likeness(tested, signed=True),
            *(_tested(tested, key) for key in ("p_value", "q_value")),
            _likeness(model.untrained("overlap", token, below, bank, layer), signed=True),
        ]
        cells.append(line)
    heads = [("Tokens", False), ("Layer", True), ("Measure", False)]
    titles = ["Formats", "Other wording", "Other order", "Formats, untrained"]
    titles += ["Wordings minus formats", "p", "p, Holm", "Wordings minus formats, untrained"]
    heads += [(title, True) for title in titles]
    return filled(table(heads, cells, sortable=True)) if cells else None


def published_table(numbers: Numbers, bank: Bank) -> Table | None:
    """The published numbers, layer by layer and over all of them, with what is filler."""
    cells = []
    for layer in (*numbers.layers("overlap", bank), None):
        rows = _published(numbers, bank, layer)
        if rows["overlap_percent"] is not None:
            name = text_cell("all" if layer is None else str(layer), _after(layer))
            cells.append([name, *_published_cells(rows, numbers, bank, layer)])
    heads = [("Layer", False), ("Overlap, %", True), ("Class", False)]
    titles = ("Shared", "of which fillers", "Fillers, Q&A", "Fillers, Simple", "Amplification")
    return filled(table([*heads, *((title, True) for title in titles)], cells)) if cells else None


def features_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Every feature of the published lists, with its values, and whether it only fills one."""
    rows = [row for row in numbers.lists if (row["dictionary"], row["seed"]) == bank]
    cells = [
        [
            text_cell(f"L{row['layer']}_F{row['feature']}", row["layer"] * 1e7 + row["feature"]),
            plain_cell(float(row["layer"]), integer),
            text_cell(GROUPS.get(str(row["group"]), str(row["group"]))),
            plain_cell(row["qa_value"], "{:.3f}".format),
            plain_cell(row["simple_value"], "{:.3f}".format),
            text_cell("filler" if row["filler"] else ""),
        ]
        for row in rows
    ]
    heads = [("Feature", False), ("Layer", True), ("In the list of", False)]
    heads += [("Value in Q&A", True), ("Value in Simple", True), ("Only fills", False)]
    return table(heads, cells, sortable=True) if cells else None


_PARTS: Mapping[str, dict[str, Any]] = {
    "shared and active": {"color": COLOURS[0]},
    "shared fillers": {
        "color": COLOURS[1] + BAND,
        "line": {"width": 1, "color": COLOURS[1]},
        "pattern": {"shape": "/", "fgcolor": COLOURS[1], "size": 6},
    },
}


def _keys(layers: list[int]) -> list[tuple[int, str, str]]:
    return [(layer, token, metric) for token in TOKENS for layer in layers for metric in MEASURES]


def _published(numbers: Numbers, bank: Bank, layer: int | None) -> dict[str, Row | None]:
    names = ["overlap_percent", "shared", "shared_fillers", "wrong_fillers", "correct_fillers"]
    names += ["amplification", *(f"class_{each}" for each in CLASSES)]
    return {
        name: numbers.row("overlap", LAST, name, mode=PUBLISHED, layer=layer, bank=bank)
        for name in names
    }


def _percents(rows: Mapping[str, Row | None]) -> dict[str, float]:
    """Percent of the lists that both have: active in both prompts, and filler in one at least."""
    total, shared, fillers = (
        0.0 if (row := rows[name]) is None else float(row["value"])
        for name in ("overlap_percent", "shared", "shared_fillers")
    )
    filler = total * fillers / shared if shared else 0.0
    return {"shared and active": total - filler, "shared fillers": filler}


def _told(layer: int, rows: Mapping[str, Row | None]) -> str:
    parts = _percents(rows)
    lines = [f"<b>layer {layer}: {sum(parts.values()):.0f} %</b>"]
    lines += [f"{name} {value:.0f} %" for name, value in parts.items()]
    return "<br>".join(lines)


def _published_cells(
    rows: Mapping[str, Row | None], numbers: Numbers, bank: Bank, layer: int | None
) -> list[Cell]:
    if layer is None:
        counts = [
            f"{name}: {row['value']:.0f}" for name in CLASSES if (row := rows[f"class_{name}"])
        ]
        named = ", ".join(counts)
    else:
        found = [name for name in CLASSES if (row := rows[f"class_{name}"]) and row["value"] == 1]
        named = "".join(found) or MISSING
    counted = ("shared", "shared_fillers", "wrong_fillers", "correct_fillers")
    return [
        number_cell(rows["overlap_percent"], "{:.1f}".format),
        text_cell(named),
        *(count_cell(rows[name]) for name in counted),
        number_cell(rows["amplification"], "{:.3f}".format),
    ]


def _line(rows: Mapping[int, Row], name: str, number: int, *, in_legend: bool) -> list[go.Scatter]:
    """A line with the band of its intervals."""
    colour = COLOURS[number % len(COLOURS)]
    shared = {"name": name, "legendgroup": name}
    return [
        interval_band(rows, colour, **shared),
        go.Scatter(
            x=list(rows),
            y=[row["value"] for row in rows.values()],
            mode="lines+markers",
            line={"width": 1.5, "color": colour, "dash": "dot" if number else "solid"},
            marker={"size": 8, "symbol": SYMBOLS[number] + "-open" * bool(number), "color": colour},
            showlegend=in_legend,
            text=[
                f"{name}, layer {layer}: {row['value']:.3f}{_ends(row)} over {row['n']:,} pairs"
                for layer, row in rows.items()
            ],
            hovertemplate="%{text}<extra></extra>",
            **shared,
        ),
    ]


def _ends(row: Row) -> str:
    ends = (row["ci_low"], row["ci_high"])
    return "" if None in ends else " [{:.3f}, {:.3f}]".format(*ends)


def _likeness(row: Row | None, *, signed: bool = False) -> Cell:
    def text(value: float) -> str:
        return f"{value:+.3f}".replace("-", "−") if signed else f"{value:.3f}"

    return number_cell(row, text)


def _tested(row: Row | None, key: str) -> Cell:
    return plain_cell(None if row is None else row[key], p_text)


def _after(layer: int | None) -> float:
    """All layers stand behind each of them."""
    return 1e9 if layer is None else float(layer)
