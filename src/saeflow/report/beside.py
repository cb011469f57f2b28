"""Every rate beside its controls, as tables and as dots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from saeflow.report.controls import (
    CHANCE,
    FREQUENCY,
    OBSERVED,
    PERMUTED,
    Beside,
    Measure,
    Row,
    control_title,
)
from saeflow.report.dotplot import name_rows
from saeflow.report.figures import BAND, COLOURS, SYMBOLS, plain_figure
from saeflow.report.tables import cell_text, number_text, percent, points

_NULL_TITLES = {
    PERMUTED: "Permuted",
    CHANCE: "Chance of being confirmed",
    FREQUENCY: "Frequency-matched",
}
_SYMBOLS = (*SYMBOLS, "cross", "x", "pentagon", "hourglass", "bowtie", "star-triangle-up")
"""One for each control, so that colour is never alone."""


def control_table(beside: Beside, measures: Sequence[Measure]) -> dict[str, Any]:
    """Lay out one dictionary: a column per rate, a row per control.

    Parameters
    ----------
    beside : Beside
        The dictionary and its controls.
    measures : sequence of Measure
        Rates of the columns; those without any number are left out.

    Returns
    -------
    dict
        ``model``, ``dataset``, ``dictionary``; ``measures``; ``groups``: one for all layers and one
        for each layer that has controls of its own, with ``layer`` and ``rows``. A row has ``title``
        and ``cells``; a cell ``value``, ``interval``, ``over`` (its difference to the observed rate,
        with its interval) and ``beaten`` (None where nothing is compared).
    """
    measures = [each for each in measures if beside.row(each, OBSERVED)]
    controls = [PERMUTED, CHANCE, FREQUENCY, *beside.everywhere()]
    groups: list[dict[str, Any]] = [
        {"layer": None, "rows": list(_rows(beside, measures, controls, None))}
    ]
    for layer, names in beside.local().items():
        here = [each for each in measures if beside.row(each, OBSERVED, layer)]
        rows = _rows(beside, measures, [PERMUTED, FREQUENCY, *names], layer)
        if here:
            groups.append({"layer": layer, "rows": list(rows)})
    return {
        **{name: getattr(beside, name) for name in ("model", "dataset", "dictionary")},
        "measures": [each._asdict() for each in measures],
        "groups": groups,
    }


def _rows(
    beside: Beside, measures: Sequence[Measure], controls: Sequence[str], layer: int | None
) -> Iterator[dict[str, Any]]:
    own = [_cell(beside.row(each, OBSERVED, layer)) for each in measures]
    yield {"title": control_title(OBSERVED), "observed": True, "cells": own}
    for control in controls:
        cells = [_against(beside, each, control, layer) for each in measures]
        if any(cell["value"] != number_text(None, "rate") for cell in cells):
            title = _NULL_TITLES.get(control, control_title(control))
            yield {"title": title, "observed": False, "cells": cells}


def _against(beside: Beside, measure: Measure, control: str, layer: int | None) -> dict[str, Any]:
    found = beside.compared(measure, control, layer)
    # A control of some layers has a number over all of its own, which no number here matches.
    cell = _cell(None if found is None else found.value)
    if found is not None and found.difference is not None:
        over = cell_text(found.difference, points)
        cell |= {"over": f"{over['value']} {over['interval']}".strip(), "beaten": found.beaten}
    return cell


def _cell(row: Row | None) -> dict[str, Any]:
    return {**cell_text(row, percent, " %"), "over": "", "beaten": None}


def control_figure(beside: Beside, measures: Sequence[Measure]) -> dict[str, Any] | None:
    """Draw each rate of one dictionary with its band and its controls.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where no rate is defined.
    """
    lines: list[tuple[Measure, int | None, Sequence[str]]] = [
        (each, None, beside.everywhere()) for each in measures if beside.row(each, OBSERVED)
    ]
    for layer, names in beside.local().items():
        lines += [
            (each, layer, names)
            for each in measures
            if any(beside.compared(each, name, layer) for name in names)
        ]
    if not lines:
        return None
    figure = go.Figure(list(_traces(beside, lines)))
    names = [each.title + ("" if layer is None else f", layer {layer}") for each, layer, _ in lines]
    name_rows(figure, names)
    figure.update_xaxes(tickformat=".0%", zeroline=False, rangemode="tozero")
    figure.update_layout(
        barmode="overlay",
        height=190 + 34 * len(names),
        margin={"l": 20, "r": 24, "t": 34, "b": 40},
        legend={"orientation": "h", "x": 0, "y": -0.08, "yanchor": "top"},
        title={"text": beside.model, "x": 0, "xref": "paper", "font": {"size": 15}},
        hovermode="closest",
    )
    return plain_figure(figure)


def _traces(
    beside: Beside, lines: Sequence[tuple[Measure, int | None, Sequence[str]]]
) -> Iterator[Any]:
    bands = _present([beside.row(each, PERMUTED, layer) for each, layer, _ in lines])
    yield go.Bar(
        orientation="h",
        y=list(bands),
        base=[row["ci_low"] for row in bands.values()],
        x=[row["ci_high"] - row["ci_low"] for row in bands.values()],
        width=0.5,
        marker={"color": COLOURS[0] + BAND, "line": {"width": 1, "color": COLOURS[0]}},
        name="permuted",
        hoverinfo="skip",
    )
    controls = [CHANCE, FREQUENCY, *beside.everywhere()]
    controls += [name for names in beside.local().values() for name in names]
    for number, control in enumerate(dict.fromkeys(controls), start=1):
        nulls = control in (CHANCE, FREQUENCY)
        rows = _present(
            [
                beside.row(each, control, layer) if nulls or control in names else None
                for each, layer, names in lines
            ]
        )
        if rows:
            yield _dots(rows, control_title(control), number)
    observed = _present([beside.row(each, OBSERVED, layer) for each, layer, _ in lines])
    yield _dots(observed, "observed", 0)


def _present(rows: Sequence[Row | None]) -> dict[int, Row]:
    return {place: row for place, row in enumerate(rows) if row is not None}


def _dots(rows: dict[int, Row], name: str, number: int) -> Any:
    colour = COLOURS[number % len(COLOURS)]
    symbol = _SYMBOLS[number % len(_SYMBOLS)] + "-open" * (number > 0)
    return go.Scatter(
        x=[row["value"] for row in rows.values()],
        y=list(rows),
        mode="markers",
        marker={"size": 10, "color": colour, "symbol": symbol, "line": {"width": 2}},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_end(row, "ci_high") - row["value"] for row in rows.values()],
            "arrayminus": [row["value"] - _end(row, "ci_low") for row in rows.values()],
            "thickness": 1.5,
        },
        name=name.lower() if name in ("Chance", "Frequency-matched") else name,
        text=[f"{name}: {number_text(row['value'], 'rate')}" for row in rows.values()],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _end(row: Row, key: str) -> float:
    return float(row["value"] if row[key] is None else row[key])
