"""Which units suffice together, and which features they change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from saeflow.report.cells import (
    Cell,
    count_cell,
    filled,
    integer,
    nats_cell,
    p_text,
    plain_cell,
    points_cell,
    share_cell,
    table,
    text_cell,
)
from saeflow.report.decimal_bug.numbers import (
    CALIBRATED,
    NONE,
    PARTS,
    PUBLISHED,
    Bank,
    Numbers,
    Row,
)
from saeflow.report.decimal_bug.patching import DIRECTIONS, PHASES, kind_order, patches_of
from saeflow.report.figures import COLOURS, SYMBOLS, error_bars, interval_band, plain_figure
from saeflow.report.tables import percent, points
from saeflow.stats.subsets import PUBLISHED_UNITS, study_sets

VALUES = {"shapley": "Shapley’s value", "banzhaf": "Banzhaf’s value"}
PARITY = "even minus odd units"
FORMS = {PUBLISHED: "as published", CALIBRATED: "aligned tokens"}
_SIZE = re.compile(r"(?P<kind>\w+), (?P<size>\d+) of (?P<units>\d+) units")
_UNIT = re.compile(r"(?P<kind>\w+), unit (?P<unit>\d+)")
Figure = dict[str, Any]
Table = dict[str, Any]


def sizes_figure(numbers: Numbers) -> Figure | None:
    """Share of right answers by how many units are patched, with Wilson's band, per kind.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no subset was tried.
    """
    curves: dict[str, dict[int, Row]] = {}
    tried: dict[tuple[str, int], Row] = {}
    units: dict[str, int] = {}
    for key, row in numbers.of_part("subsets").items():
        found = _SIZE.fullmatch(key.group)
        if found is not None:
            kind, size = found["kind"], int(found["size"])
            units[kind] = int(found["units"])
            if key.metric == "right":
                curves.setdefault(kind, {})[size] = row
            else:
                tried[kind, size] = row
    kinds = [kind for kind in dict.fromkeys((*PARTS, *curves)) if kind in curves]
    if not kinds:
        return None
    figure = make_subplots(
        rows=1,
        cols=len(kinds),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"{units[kind]} {PARTS.get(kind, kind)}s" for kind in kinds],
    )
    for column, kind in enumerate(kinds, start=1):
        rows = dict(sorted(curves[kind].items()))
        text = [_told(kind, size, row, tried.get((kind, size))) for size, row in rows.items()]
        for trace in _banded(rows, text):
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title_text="units patched", dtick=_step(units.values()), zeroline=False)
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03], zeroline=False)
    figure.update_yaxes(title_text="right answers", col=1)
    return _finished(figure, 40)


def values_figure(numbers: Numbers) -> Figure | None:
    """Shapley's and Banzhaf's value of each unit, with intervals, a panel per kind."""
    found: dict[str, dict[str, dict[int, Row]]] = {}
    for key, row in numbers.of_part("subsets").items():
        unit = _UNIT.fullmatch(key.group)
        if unit is not None and key.metric in VALUES:
            of_kind = found.setdefault(unit["kind"], {})
            of_kind.setdefault(key.metric, {})[int(unit["unit"])] = row
    kinds = [kind for kind in dict.fromkeys((*PARTS, *found)) if kind in found]
    if not kinds:
        return None
    figure = make_subplots(
        rows=1,
        cols=len(kinds),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[f"{PARTS.get(kind, kind)}s" for kind in kinds],
    )
    for column, kind in enumerate(kinds, start=1):
        for number, (metric, title) in enumerate(VALUES.items()):
            rows = dict(sorted(found[kind].get(metric, {}).items()))
            offset = 0.1 * (2 * number - 1)
            figure.add_trace(
                _dots(rows, title, number, offset, first=column == 1), row=1, col=column
            )
        figure.update_xaxes(dtick=_step([len(rows)]), row=1, col=column)
    figure.update_xaxes(title_text="unit", zeroline=False, showgrid=False)
    figure.update_yaxes(tickformat=".0%")
    figure.update_yaxes(title_text="value, of all answers", col=1)
    return _finished(figure)


def parity_table(numbers: Numbers) -> Table | None:
    """Whether even units add more than odd ones, beside permuted labels."""
    found: dict[tuple[str, int], dict[str, Row]] = {}
    for key, row in numbers.of_part("subsets").items():
        kind, _, group = key.group.partition(", ")
        if group == PARITY:
            found.setdefault((kind, key.layer or 0), {})[key.metric] = row
    cells = []
    for (kind, layer), of_kind in sorted(found.items(), key=lambda each: kind_order(each[0][0])):
        line = [text_cell(f"{PARTS.get(kind, kind)}s"), plain_cell(float(layer), integer)]
        for metric in VALUES:
            shown = of_kind.get(metric)
            p_value = None if shown is None else shown["p_value"]
            line += [points_cell(shown), plain_cell(p_value, p_text)]
        cells.append(line)
    heads = [("Units", False), ("Layer", True)]
    for title in VALUES.values():
        heads += [(f"Even minus odd, {title}, points", True), ("p, permuted labels", True)]
    return filled(table(heads, cells)) if cells else None


def sets_table(numbers: Numbers) -> Table | None:
    """Sets of units that the study tried, in its own form and with aligned tokens."""
    cells = []
    for mode, form in FORMS.items():
        found = patches_of(numbers, "published", mode)
        for (patch, layer, metric, control), row in found.items():
            if (metric, control) == ("right", NONE):
                change = found.get((patch, layer, "logit_change", control))
                cells.append(
                    [
                        text_cell(patch.set.replace("_", " ")),
                        text_cell(f"{patch.where.title}", wrap=True),
                        plain_cell(float(layer), integer),
                        text_cell(form),
                        share_cell(row),
                        nats_cell(change),
                    ]
                )
    heads = [("Set", False), ("Units", False), ("Layer", True), ("Form", False), ("Right", True)]
    heads.append(("Change of the logit difference, nats", True))
    return table(heads, cells, sortable=True) if cells else None


def published_sets_table() -> Table:
    """The study's own sets of its 32 blocks, and whether its one prompt was answered rightly."""
    cells = [
        [
            text_cell(each.name.replace("_", " ")),
            text_cell(", ".join(map(str, each.units)), wrap=True),
            text_cell("right" if each.published else "not right"),
        ]
        for each in study_sets(PUBLISHED_UNITS)
    ]
    return table([("Set", False), ("Blocks", False), ("Published answer", False)], cells)


def own_pair_table(numbers: Numbers) -> Table | None:
    """What the study did to its own pair: one prompt per patch, so an answer and no interval."""
    found = patches_of(numbers, "own", PUBLISHED)
    cells = []
    for (patch, layer, metric, control), row in found.items():
        if metric == "right":
            units = patch.where.title + f" ({patch.set.replace('_', ' ')})" * bool(patch.set)
            change = found.get((patch, layer, "logit_change", control))
            cells.append(
                [
                    text_cell(units, wrap=True),
                    plain_cell(float(layer), integer),
                    text_cell(DIRECTIONS.get(patch.direction, patch.direction)),
                    text_cell(PHASES[patch.phase]),
                    plain_cell(patch.weight, "{:g}".format),
                    text_cell("right" if row["value"] == 1 else "not right"),
                    nats_cell(change),
                ]
            )
    heads = [("Patched", False), ("Layer", True), ("Direction", False), ("Tokens", False)]
    heads += [("Weight", True), ("Answer", False), ("Change of the logit difference, nats", True)]
    return table(heads, cells, sortable=True) if cells else None


def attribution_table(numbers: Numbers, bank: Bank) -> Table | None:
    """How many features units change, and whether even and odd units change the same ones."""
    cells = []
    for kind, title in PARTS.items():
        rows = {
            (metric, control): numbers.row("attribution", kind, metric, control, bank=bank)
            for metric, control in (
                ("n_pairs", NONE),
                ("n_affected", NONE),
                ("mixed_share", NONE),
                ("mixed_share", "drawn_units"),
            )
        }
        counted = [rows["n_pairs", NONE], rows["n_affected", NONE]]
        if any(counted):
            line = [text_cell(f"{title}s"), *map(_of_cell, counted)]
            cells.append([*line, *(share_cell(row) for row in list(rows.values())[2:])])
    heads = [("Units", False), ("Pairs of unit and feature that stand out", True)]
    heads += [("Features that a unit changes", True)]
    heads += [
        ("Of these, changed by even and odd units", True),
        ("Expected of units drawn at random", True),
    ]
    return filled(table(heads, cells)) if cells else None


def own_head_table(numbers: Numbers, bank: Bank) -> Table | None:
    """How much of a published block comes from the head of its number, layer by layer."""
    cells = []
    for layer in (*numbers.layers("attribution", bank), None):
        where: dict[str, Any] = {"layer": layer, "bank": bank}
        own, equal = (
            numbers.row("attribution", "block", "share_of_own_head", control, **where)
            for control in (NONE, "equal_shares")
        )
        if own is not None:
            name = text_cell("all" if layer is None else str(layer))
            cells.append([name, share_cell(own), share_cell(equal)])
    heads = [("Layer", False), ("From its own head", True), ("Equal shares of all heads", True)]
    return table(heads, cells) if cells else None


def _of_cell(row: Row | None) -> Cell:
    cell = count_cell(row)
    return cell if row is None else {**cell, "value": f"{cell['value']} of {row['n']:,}"}


def _told(kind: str, size: int, row: Row, tried: Row | None) -> str:
    lines = [f"<b>{size} {PARTS.get(kind, kind)}{'' if size == 1 else 's'}</b>"]
    lines.append(f"right {percent(row['value'])} % of {row['n']:,} pairs")
    if None not in (row["ci_low"], row["ci_high"]):
        lines.append(f"from {percent(row['ci_low'])} to {percent(row['ci_high'])} %")
    if tried is not None:
        lines.append(f"{tried['value']:,.0f} subsets")
    return "<br>".join(lines)


def _banded(rows: Mapping[int, Row], text: list[str]) -> list[go.Scatter]:
    return [
        interval_band(rows, COLOURS[0]),
        go.Scatter(
            x=list(rows),
            y=[row["value"] for row in rows.values()],
            mode="lines+markers",
            line={"width": 1.5, "color": COLOURS[0]},
            marker={"size": 8, "color": COLOURS[0]},
            showlegend=False,
            text=text,
            hovertemplate="%{text}<extra></extra>",
        ),
    ]


def _dots(
    rows: Mapping[int, Row], title: str, number: int, offset: float, *, first: bool
) -> go.Scatter:
    colour = COLOURS[number]
    return go.Scatter(
        x=[unit + offset for unit in rows],
        y=[row["value"] for row in rows.values()],
        mode="markers",
        marker={"size": 9, "symbol": SYMBOLS[number], "color": colour},
        error_y=error_bars(list(rows.values()), width=4),
        name=title,
        legendgroup=title,
        showlegend=first,
        text=[
            f"<b>unit {unit}</b><br>{title} {points(row['value'])} points"
            for unit, row in rows.items()
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _step(counts: Any) -> int:
    """Whole units between ticks: a name for each of few, every fourth of many."""
    return 1 if max(counts, default=1) <= 12 else 4


def _finished(figure: go.Figure, top: int = 70) -> Figure:
    figure.update_annotations(font={"size": 13})
    figure.update_layout(
        height=380,
        margin={"l": 64, "r": 12, "t": top, "b": 60},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    return plain_figure(figure)
