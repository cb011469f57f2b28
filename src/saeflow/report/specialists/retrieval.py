"""Form or meaning of single texts: pairs found in other forms, shares of variance, shared features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saeflow.report.cells import (
    Cell,
    filled,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.specialists.geometry import COSINES
from saeflow.report.specialists.lines import DASHED, DOTTED, Line, Panel, constant, lines_figure
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.specialists.numbers import (
    BASELINES,
    CALIBRATED,
    NO_BANK,
    PUBLISHED,
    Bank,
    Figure,
    Numbers,
    Place,
    Row,
    Table,
    pooling_title,
)
from saeflow.report.tables import MISSING

ALL, CHANCE, CEILING = "all", "chance", "split_half_ceiling"
RETRIEVED = {
    "top_1": "found first",
    "mrr": "mean reciprocal rank",
    "found_against_words": "nearer against words",
}
"""What is measured of pairs across forms, in words."""
TERMS = ("topic", "form", "pair", "residual")
OVERLAPS = {"jaccard_top_means": "largest means", "jaccard_top_scores": "largest scores"}


def retrieval_figure(model: SpecialistModel, bank: Bank) -> Figure | None:
    """Pairs found in other forms by block, a panel per way to pool, beside chance and words.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was looked up.
    """
    numbers = model.numbers
    layers = numbers.layers(bank)
    rows = {}
    for metric, title in RETRIEVED.items():
        panels = []
        for pooling in numbers.poolings(bank):
            place = Place(bank, CALIBRATED, pooling)
            chance = numbers.by_layer(place, "retrieval", ALL, metric, CHANCE)
            lines = [
                Line("features", numbers.by_layer(place, "retrieval", ALL, metric)),
                Line("chance", chance, DOTTED),
                *(
                    Line(
                        f"{BASELINES[name]} alone",
                        constant(layers, _words(numbers, metric, name)),
                        DASHED,
                    )
                    for name in COSINES
                ),
            ]
            if (other := model.untrained(place)) is not None:
                found = other[0].by_layer(other[1], "retrieval", ALL, metric)
                lines.append(Line("features, untrained model", found, DASHED))
            panels.append(Panel(pooling_title(pooling), lines))
        rows[title] = panels
    return lines_figure(rows, full=True)


def retrieval_table(numbers: Numbers, bank: Bank, pooling: str) -> Table | None:
    """The same by topic for one pooling, and for words."""
    groups = list(dict.fromkeys(key.group for key in numbers.of_part("retrieval", bank)))
    cells = []
    for group in groups:
        for layer in numbers.layers(bank):
            key: dict[str, Any] = {"bank": bank, "layer": layer, "pooling": pooling}
            line = [text_cell(_topic(group)), whole_cell(layer)]
            for metric in RETRIEVED:
                row = numbers.row("retrieval", group, metric, **key)
                chance = numbers.row("retrieval", group, metric, CHANCE, **key)
                words = [numbers.row("retrieval", group, metric, name) for name in COSINES[:2]]
                write = _reciprocal if metric == "mrr" else share_cell
                line += [write(each) for each in (row, chance, *words)]
                if metric != "top_1":
                    line.append(plain_cell(None if row is None else row["q_value"], p_text))
            cells.append(line)
    heads = [("Topic", False), ("Layer", True)]
    for metric, title in RETRIEVED.items():
        named = title.capitalize()
        heads += [
            (each, True)
            for each in (named, f"{named}: chance", f"{named}: words", f"{named}: trigrams")
        ]
        heads += [] if metric == "top_1" else [(f"{named}: q", True)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def variance_figure(model: SpecialistModel, bank: Bank) -> Figure | None:
    """Shares of topic, form and pair of the variance of texts by block, beside chance and words."""
    numbers = model.numbers
    layers = numbers.layers(bank)
    rows = {}
    for term in TERMS[:-1]:
        panels = []
        for pooling in numbers.poolings(bank):
            place = Place(bank, CALIBRATED, pooling)
            words = numbers.row("variance", term, "share", "words")
            lines = [
                Line("features", numbers.by_layer(place, "variance", term, "share")),
                Line("chance", numbers.by_layer(place, "variance", term, "share", CHANCE), DOTTED),
                Line("words alone", constant(layers, words), DASHED),
            ]
            if (other := model.untrained(place)) is not None:
                found = other[0].by_layer(other[1], "variance", term, "share")
                lines.append(Line("features, untrained model", found, DASHED))
            panels.append(Panel(pooling_title(pooling), lines))
        rows[f"share of {term}"] = panels
    return lines_figure(rows, full=True)


def variance_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Shares with their p-values, features by pooling and block, then words."""
    places: list[tuple[list[Cell], dict[str, Any], str]] = [
        (
            [text_cell(pooling_title(pooling)), whole_cell(layer)],
            {"bank": bank, "layer": layer, "pooling": pooling},
            "none",
        )
        for pooling in numbers.poolings(bank)
        for layer in numbers.layers(bank)
    ]
    blank = text_cell(MISSING) | {"numeric": True}
    places += [([text_cell(f"{BASELINES[name]} alone"), blank], {}, name) for name in COSINES]
    cells = []
    for named, key, control in places:
        line = list(named)
        for term in TERMS:
            row = numbers.row("variance", term, "share", control, **key)
            line.append(share_cell(row))
            if term != TERMS[-1]:
                chance = (
                    None if key == {} else numbers.row("variance", term, "share", CHANCE, **key)
                )
                line += [
                    share_cell(chance),
                    plain_cell(None if row is None else row["p_value"], p_text),
                ]
        cells.append(line)
    heads = [("Features or words", False), ("Layer", True)]
    for term in TERMS:
        heads.append((term.capitalize(), True))
        heads += [] if term == TERMS[-1] else [(f"{term}: chance", True), (f"{term}: p", True)]
    some = any(cell["value"] != MISSING for line in cells for cell in line[2:])
    return filled(table(heads, cells)) if some else None


def overlap_figure(model: SpecialistModel, bank: Bank) -> Figure | None:
    """Features that two forms of a topic share by block, beside ceiling, random sets and the untrained."""
    numbers = model.numbers
    panels = []
    for pooling in numbers.poolings(bank):
        place = Place(bank, CALIBRATED, pooling)
        metric = "jaccard_halves"
        lines = [
            Line("two forms, other halves", numbers.by_layer(place, "overlap", ALL, metric)),
            Line(
                "one form, both halves: the ceiling",
                numbers.by_layer(place, "overlap", ALL, metric, CEILING),
                DASHED,
            ),
            Line("random sets", numbers.by_layer(place, "overlap", ALL, metric, CHANCE), DOTTED),
            *(
                Line(
                    f"published: {title}",
                    numbers.by_layer(place._replace(mode=PUBLISHED), "overlap", ALL, name),
                )
                for name, title in OVERLAPS.items()
            ),
        ]
        if (other := model.untrained(place)) is not None:
            found = other[0].by_layer(other[1], "overlap", ALL, metric)
            lines.append(Line("two forms, untrained model", found, DASHED))
        panels.append(Panel(pooling_title(pooling), lines))
    return lines_figure({"Jaccard index": panels}, full=True)


def overlap_table(numbers: Numbers, bank: Bank, pooling: str) -> Table | None:
    """The same by topic for one pooling: what two forms share, as published and by halves."""
    topics = list(
        dict.fromkeys(
            key.group for key in numbers.of_part("overlap", bank) if " ~ " not in key.group
        )
    )
    columns: Mapping[str, tuple[str, str, str]] = {
        "Published: largest means": ("jaccard_top_means", "none", PUBLISHED),
        "Published: largest scores": ("jaccard_top_scores", "none", PUBLISHED),
        "Other halves": ("jaccard_halves", "none", CALIBRATED),
        "Ceiling: one form": ("jaccard_halves", CEILING, CALIBRATED),
        "Random sets": ("jaccard_halves", CHANCE, CALIBRATED),
        "Share of the ceiling": ("jaccard_relative", "none", CALIBRATED),
    }
    cells = []
    for topic in topics:
        for layer in numbers.layers(bank):
            line = [text_cell(_topic(topic)), whole_cell(layer)]
            for metric, control, mode in columns.values():
                key: dict[str, Any] = {
                    "bank": bank,
                    "mode": mode,
                    "layer": layer,
                    "pooling": pooling,
                }
                line.append(
                    number_cell(numbers.row("overlap", topic, metric, control, **key), _ratio)
                )
            cells.append(line)
    heads = [("Topic", False), ("Layer", True), *((each, True) for each in columns)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def _words(numbers: Numbers, metric: str, name: str) -> Row | None:
    return numbers.row("retrieval", ALL, metric, name, bank=NO_BANK)


def _reciprocal(row: Row | None) -> Cell:
    return number_cell(row, _ratio)


def _topic(group: str) -> str:
    return "all topics" if group == ALL else group


def _ratio(value: float) -> str:
    return f"{value:.3f}"
