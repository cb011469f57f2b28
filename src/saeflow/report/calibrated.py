"""What the calibrated mode found in one model, for the model's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.report.bands import ModelBands, read_bands
from saeflow.report.beside import control_table
from saeflow.report.controls import DISCOVERED, Beside, Measure, Row, control_title
from saeflow.report.figures import Marks, rates_figure
from saeflow.report.tables import cell_text, percent, points

TARGETS = {
    "token": "a token anywhere in the calculation",
    "operator": "operator of the step",
    "operand": "operand of the step",
    "magnitude": "size of the result",
    "n_steps": "number of steps",
    "correct": "whether the model answers right",
    "decoded": "token that the model itself decodes at the thought",
}
"""What features are tested against, in words."""
_RATE = {DISCOVERED.metric: "discovered"}
_STABILITY = (
    ("recurring_share", "Recur by direction and activation", "of features active on held-out problems"),
    ("recurring_share.direction", "by direction alone", "the same, matched anew"),
    ("recurring_share.activation", "by activation alone", "the same, matched anew"),
    ("label_agreement", "Same best token", "of recurring features with a discovered token each"),
    ("label_agreement.direction", "by direction alone", "of those that recur by direction"),
    ("label_agreement.activation", "by activation alone", "of those that recur by activation"),
)  # fmt: skip
_BROKEN = ("none", "permuted", "random_directions")


@dataclass(frozen=True)
class CalibratedTables:
    """What the calibrated mode made, by model where not told otherwise.

    Attributes
    ----------
    settings : mapping
        The mode's settings.
    dictionaries : mapping of str to sequence of str
        Names of each calibrated model's own dictionaries; no controls.
    beside : sequence of Beside
        Trained models beside their controls.
    stability : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.calibration.STABILITY`, of models with several SAE seeds.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    dictionaries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Sequence[Beside] = ()
    stability: Mapping[str, pa.Table] = field(default_factory=dict)


def calibrated_section(
    model: str, summary: pa.Table, tables: CalibratedTables
) -> dict[str, Any] | None:
    """Lay out the calibrated rates of one model.

    Parameters
    ----------
    model : str
        Name of the model.
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`.
    tables : CalibratedTables
        Everything else.

    Returns
    -------
    dict or None
        ``settings``; ``targets``: a row per target and bank; ``controls``: one table per dictionary
        that stands beside controls; ``stability``: rows per pair of seeds. None where the model is
        not calibrated.
    """
    dictionaries = tables.dictionaries.get(model)
    if dictionaries is None:
        return None
    measures = [
        Measure("calibrated", name, DISCOVERED.metric, name, about)
        for name, about in TARGETS.items()
        if name in tables.settings["targets"]
    ]
    return {
        "settings": tables.settings,
        "targets": list(_target_rows(summary, dictionaries, measures)),
        "controls": [
            control_table(each, measures) for each in tables.beside if each.model == model
        ],
        "stability": list(_stability_rows(tables.stability.get(model))),
    }


def discovered_figure(
    model: str, summary: pa.Table, tables: CalibratedTables
) -> dict[str, Any] | None:
    """Features that follow a token by layer and by step, each bank with its band, and controls.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where the model is not calibrated.
    """
    dictionaries = tables.dictionaries.get(model)
    if dictionaries is None:
        return None
    bands: ModelBands = read_bands(model, summary, dictionaries, mode="calibrated")
    if not bands.runs:
        return None
    own = [each for each in tables.beside if each.model == model]
    marks = [found for each in own for found in _marks(each, len(own) > 1)]
    return rates_figure(bands, _RATE, marks)


def _marks(beside: Beside, several: bool) -> Iterator[Marks]:
    names = [*beside.everywhere(), *(name for some in beside.local().values() for name in some)]
    for name in dict.fromkeys(names):
        title = control_title(name) + (f", {beside.dictionary}" if several else "")
        by_layer, by_step = {}, {}
        for (*key, layer, step, control), row in beside.rows.items():
            if tuple(key) == DISCOVERED[:3] and control == name:
                if step is None and layer is not None:
                    by_layer[layer] = row["value"]
                # Over steps, a control of one layer has nothing beside it.
                elif layer is None and step is not None and name in beside.everywhere():
                    by_step[step] = row["value"]
        for axis, values in (("layer", by_layer), ("step", by_step)):
            if values:
                yield Marks(title, axis, DISCOVERED.metric, dict(sorted(values.items())))


def _target_rows(
    summary: pa.Table, dictionaries: Sequence[str], measures: Sequence[Measure]
) -> Iterator[dict[str, Any]]:
    chosen = pc.and_(pc.is_null(summary["layer"]), pc.is_null(summary["step"]))
    chosen = pc.and_(chosen, pc.equal(summary["mode"], "calibrated"))
    chosen = pc.and_(chosen, pc.is_in(summary["dictionary"], pa.array(dictionaries, pa.string())))
    cells: dict[tuple[Any, ...], dict[tuple[str, str], Row]] = {}
    for row in summary.filter(chosen).to_pylist():
        key = (row["target"], row["dataset"], row["dictionary"], row["seed"])
        cells.setdefault(key, {})[row["metric"], row["control"]] = row
    order = [each.target for each in measures]
    for key in sorted(cells, key=lambda key: (order.index(key[0]), *key[1:])):
        found = cells[key]
        target, dataset, dictionary, seed = key
        texts = [
            _of_n(found.get((DISCOVERED.metric, "none")), "features"),
            cell_text(found.get((DISCOVERED.metric, "permuted")), percent, " %"),
            cell_text(found.get(("discovered_excess", "none")), points),
            cell_text(found.get(("family_wise_rate", "none")), percent, " %"),
            cell_text(found.get(("confirmed_rate", "none")), percent, " %"),
            cell_text(found.get(("confirmed_rate", "chance")), percent, " %"),
        ]
        about = next(each.about for each in measures if each.target == target)
        named = {"target": target, "about": about, "seed": seed, "cells": texts}
        yield {**named, "dataset": dataset, "dictionary": dictionary}


def _stability_rows(stability: pa.Table | None) -> Iterator[dict[str, Any]]:
    if stability is None:
        return
    overall = pc.and_(pc.is_null(stability["layer"]), pc.is_null(stability["step"]))
    cells: dict[tuple[Any, ...], dict[tuple[str, str], Row]] = {}
    for row in stability.filter(overall).to_pylist():
        key = (row["dataset"], row["dictionary"], row["seed"], row["other_seed"])
        cells.setdefault(key, {})[row["metric"], row["control"]] = row
    for key, found in cells.items():
        named = dict(zip(("dataset", "dictionary", "seed", "other_seed"), key, strict=True))
        for metric, title, about in _STABILITY:
            observed, *controls = (found.get((metric, control)) for control in _BROKEN)
            texts = [_of_n(observed, ""), *(cell_text(row, percent, " %") for row in controls)]
            alone = "." in metric
            yield {**named, "title": title, "about": about, "alone": alone, "cells": texts}


def _of_n(row: Row | None, unit: str) -> dict[str, str]:
    """Write a rate with the number that it is a share of in place of an interval."""
    cell = cell_text(row, percent, " %")
    if row is not None and row["value"] is not None and row["n"] is not None:
        cell["interval"] = f"of {row['n']:,} {unit}".strip()
    return cell
