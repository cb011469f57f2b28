"""How many classes have a specialist: as published, for classes drawn anew, and on other texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from saeflow.report.cells import (
    Cell,
    count,
    count_cell,
    filled,
    number_cell,
    p_text,
    plain_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.finding import NO_BREAK
from saeflow.report.specialists.lines import DASHED, DOTTED, Line, Panel, lines_figure
from saeflow.report.specialists.model import SpecialistModel, bank_titles
from saeflow.report.specialists.numbers import (
    CALIBRATED,
    PUBLISHED,
    SETS,
    Bank,
    Figure,
    Numbers,
    Place,
    Row,
    Table,
    of_bank,
    pooling_title,
)
from saeflow.report.tables import MISSING

FOUND, AREA = "n_specialists", "mean_auroc"
RELABELED = "relabeled"
CATEGORIES = "categories"
DEPTH = {
    "average_then_encode": {6: 5, 8: 6, 10: 7, 11: 7},
    "encode_then_average": dict.fromkeys((6, 8, 10, 11), 7),
}
"""Categories of 7 with a specialist in GPT-2 small, by pooling and block (methods/3, section 4.5): the
study's depth claim rests on the former, its own later pooling has no depth in it."""
STUDIED = "GPT-2 small, as published"


def sets_of(numbers: Numbers, bank: Bank) -> list[str]:
    """Sets of classes that were searched, in the order of `SETS`."""
    found = {key.group for key in numbers.of_part("discovery", bank) if key.metric == FOUND}
    return [name for name in SETS if name in found]


def counts_figure(model: SpecialistModel, bank: Bank) -> Figure | None:
    """Classes with a specialist by block: a row per set of classes, a panel per way to pool.

    Returns
    -------
    dict or None
        ``data`` and ``layout`` as plotly.js reads them; None where nothing was searched.
    """
    numbers = model.numbers
    rows = {
        f"{SETS[name]}: classes": [
            Panel(pooling_title(pooling), list(_lines(model, bank, pooling, name)))
            for pooling in _poolings(numbers, bank)
        ]
        for name in sets_of(numbers, bank)
    }
    return lines_figure(rows, format=".1f", full=True)


def areas_figure(model: SpecialistModel, bank: Bank) -> Figure | None:
    """Mean area under the curve on half B by block, beside chance and the untrained model."""
    numbers = model.numbers
    rows = {}
    for name in sets_of(numbers, bank):
        panels = []
        for pooling in numbers.poolings(bank):
            place = Place(bank, CALIBRATED, pooling)
            lines = [
                Line("best feature of half A", numbers.by_layer(place, "discovery", name, AREA)),
                Line("chance", numbers.by_layer(place, "discovery", name, AREA, "chance"), DOTTED),
            ]
            if (other := model.untrained(place)) is not None:
                found = other[0].by_layer(other[1], "discovery", name, AREA)
                lines.append(Line("the same, untrained model", found, DASHED))
            panels.append(Panel(pooling_title(pooling), lines))
        rows[f"{SETS[name]}: area"] = panels
    return lines_figure(rows)


def depth_table(model: SpecialistModel, bank: Bank) -> Table | None:
    """The depth claim: categories with a specialist by pooling and block, beside its replication."""
    numbers = model.numbers
    cells = []
    for pooling in _poolings(numbers, bank):
        for name in sets_of(numbers, bank):
            for layer in numbers.layers(bank):
                line = _depth_cells(model, Place(bank, PUBLISHED, pooling), name, layer)
                if any(cell["value"] != MISSING for cell in line):
                    named = [text_cell(pooling_title(pooling)), text_cell(SETS[name])]
                    cells.append([*named, whole_cell(layer), *line])
    heads = [("Pooling", False), ("Classes", False), ("Layer", True)]
    heads += [
        (title, True)
        for title in (
            "Study’s rule, all texts",
            "Classes drawn anew",
            "Untrained model",
            "Rule on half A",
            "The same choice on half B",
            "Percentile for threshold, half B",
            "Calibrated",
            "Expected by chance",
            "Mean area on half B",
            "Untrained model’s",
        )
    ]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def depth_beside_table(models: Sequence[SpecialistModel]) -> Table:
    """The depth claim as published, and categories with a specialist by block in every model here."""
    cells = [
        [
            text_cell(STUDIED),
            text_cell(pooling_title(pooling).replace(" ", NO_BREAK)),
            _list(map(str, found)),
            _list(map(str, found.values())),
            *(_list(()) for _ in range(4)),
        ]
        for pooling, found in DEPTH.items()
    ]
    for model in models:
        numbers, banks = model.numbers, model.numbers.banks()
        for bank, title in zip(banks, bank_titles(banks), strict=True):
            name = text_cell(", ".join(filter(None, (model.name, title)))) | {"href": model.href}
            for pooling in _poolings(numbers, bank):
                published, calibrated = (
                    Place(bank, mode, pooling) for mode in (PUBLISHED, CALIBRATED)
                )
                rows = [
                    numbers.by_layer(place, "discovery", CATEGORIES, metric, control)
                    for place, metric, control in (
                        (published, FOUND, "none"),
                        (published, FOUND, RELABELED),
                        (published, "rule_half_b", "none"),
                        (calibrated, FOUND, "none"),
                        (calibrated, FOUND, RELABELED),
                    )
                ]
                if any(rows):
                    layers = _list(map(str, numbers.layers(bank)))
                    counts = [
                        _list(f"{row['value']:.2g}" for row in some.values()) for some in rows
                    ]
                    cells.append(
                        [
                            name,
                            text_cell(pooling_title(pooling).replace(" ", NO_BREAK)),
                            layers,
                            *counts,
                        ]
                    )
    titles = ["Layers", "Study’s rule", "Of classes drawn anew", "Chosen on half A, on half B"]
    titles += ["Calibrated", "Expected by chance"]
    heads = [("Model", False), ("Pooling", False), *((title, True) for title in titles)]
    return filled(table(heads, cells))


def rule_table(numbers: Numbers, bank: Bank) -> Table | None:
    """Every feature that the study's criteria name, class by class."""
    cells = []
    for row in of_bank(numbers.tables.features, bank):
        if row["mode"] != PUBLISHED:
            continue
        cells.append(
            [
                text_cell(row["class"]),
                text_cell(SETS.get(row["set"], row["set"])),
                whole_cell(row["layer"]),
                text_cell(pooling_title(row["pooling"])),
                text_cell(row["criterion"]),
                text_cell(_feature(row)),
                plain_cell(row["score"], _short),
                _of(row, "inside"),
                _of(row, "outside"),
                text_cell("yes" if row["found"] else "no"),
            ]
        )
    heads = [("Class", False), ("Told by", False), ("Layer", True), ("Pooling", False)]
    heads += [("Criterion", False), ("Feature", False), ("Score", True)]
    heads += [("Inside above the threshold", True), ("Outside", True), ("Found", False)]
    return table(heads, cells, sortable=True) if cells else None


def best_table(numbers: Numbers, bank: Bank, pooling: str) -> Table | None:
    """Best feature of each class by one pooling, tested as the best of all and scored on half B."""
    cells = []
    for row in of_bank(numbers.tables.features, bank):
        if (row["mode"], row["pooling"], row["split"]) != (CALIBRATED, pooling, 0):
            continue
        key: dict[str, Any] = {"bank": bank, "layer": row["layer"], "pooling": pooling}
        group = f"{row['set']}, {row['class']}"
        area, d_prime = (
            numbers.row("discovery", group, each, **key) for each in ("auroc", "d_prime")
        )
        cells.append(
            [
                text_cell(row["class"]),
                text_cell(SETS.get(row["set"], row["set"])),
                whole_cell(row["layer"]),
                text_cell(_feature(row)),
                number_cell(area, _ratio),
                number_cell(d_prime, _ratio),
                plain_cell(row["score"], _ratio),
                plain_cell(row["chance_score"], _ratio),
                plain_cell(row["p_value"], p_text),
                plain_cell(row["q_value"], p_text),
                text_cell("yes" if row["found"] else "no"),
            ]
        )
    heads = [("Class", False), ("Told by", False), ("Layer", True), ("Feature", False)]
    heads += [("Area on half B", True), ("d′ on half B", True), ("Score on all texts", True)]
    heads += [("Best of classes drawn anew", True), ("p", True), ("q", True), ("Specialist", False)]
    return table(heads, cells, sortable=True) if cells else None


def needed_figure(numbers: Numbers, bank: Bank, pooling: str) -> Figure | None:
    """Mean area on other texts by how many pairs of each topic a feature is chosen on."""
    place = Place(bank, CALIBRATED, pooling)
    sizes: dict[str, list[int]] = {}
    for key in numbers.of_part("discovery", bank):
        if key.metric == "auroc_by_size" and key.pooling == pooling:
            name, _, size = key.group.removesuffix(" of each").rpartition(", ")
            if size.isdigit() and int(size) not in sizes.setdefault(name, []):
                sizes[name].append(int(size))
    panels = [
        Panel(
            SETS.get(name, name),
            [
                *(
                    Line(
                        f"chosen on {size} of each",
                        numbers.by_layer(
                            place, "discovery", f"{name}, {size} of each", "auroc_by_size"
                        ),
                    )
                    for size in sorted(some)
                ),
                Line(
                    "chance",
                    numbers.by_layer(
                        place, "discovery", f"{name}, {some[0]} of each", "auroc_by_size", "chance"
                    ),
                    DOTTED,
                ),
            ],
        )
        for name, some in sizes.items()
    ]
    return lines_figure({"area on other texts": panels})


def _list(texts: Iterable[str]) -> Cell:
    """Numbers by block, in one cell."""
    return text_cell(", ".join(texts) or MISSING) | {"numeric": True}


def _poolings(numbers: Numbers, bank: Bank) -> list[str]:
    calibrated = numbers.poolings(bank)
    return [*calibrated, *(x for x in numbers.poolings(bank, PUBLISHED) if x not in calibrated)]


def _lines(model: SpecialistModel, bank: Bank, pooling: str, name: str) -> Iterator[Line]:
    numbers = model.numbers
    published, calibrated = (Place(bank, mode, pooling) for mode in (PUBLISHED, CALIBRATED))
    yield Line("study’s rule", numbers.by_layer(published, "discovery", name, FOUND))
    drawn = numbers.by_layer(published, "discovery", name, FOUND, RELABELED)
    yield Line("study’s rule, classes drawn anew", drawn, DOTTED)
    half = numbers.by_layer(published, "discovery", name, "rule_half_b")
    yield Line("study’s rule, chosen on half A, on half B", half)
    yield Line("calibrated", numbers.by_layer(calibrated, "discovery", name, FOUND))
    expected = numbers.by_layer(calibrated, "discovery", name, FOUND, RELABELED)
    yield Line("calibrated, expected by chance", expected, DOTTED)
    if (other := model.untrained(calibrated)) is not None:
        found = other[0].by_layer(other[1], "discovery", name, FOUND)
        yield Line("calibrated, untrained model", found, DASHED)


def _depth_cells(model: SpecialistModel, place: Place, name: str, layer: int) -> list[Cell]:
    numbers = model.numbers
    other = model.untrained(place)

    def cell(metric: str, mode: str, control: str = "none", *, beside: bool = False) -> Cell:
        if beside and other is None:
            return text_cell(MISSING) | {"numeric": True}
        where, found = (other[1], other[0]) if beside and other is not None else (place, numbers)
        key: dict[str, Any] = {"bank": where.bank, "mode": mode, "pooling": place.pooling}
        row = found.row("discovery", name, metric, control, layer=layer, **key)
        if metric == AREA:
            return number_cell(row, _ratio)
        return _counted(row) if metric == FOUND and control == "none" else count_cell(row)

    return [
        cell(FOUND, PUBLISHED),
        cell(FOUND, PUBLISHED, RELABELED),
        cell(FOUND, PUBLISHED, beside=True),
        cell("rule_half_a", PUBLISHED),
        cell("rule_half_b", PUBLISHED),
        cell("percentile_half_b", CALIBRATED),
        cell(FOUND, CALIBRATED),
        cell(FOUND, CALIBRATED, RELABELED),
        cell(AREA, CALIBRATED),
        cell(AREA, CALIBRATED, beside=True),
    ]


def _counted(row: Row | None) -> Cell:
    """A number of classes, and of how many."""
    if row is None:
        return text_cell(MISSING) | {"numeric": True}
    told = f"{count(row['value'])} of {row['n']}"
    return plain_cell(row["value"], count) | {"value": told}


def _of(row: Mapping[str, Any], name: str) -> Cell:
    if row[name] is None:
        return text_cell(MISSING) | {"numeric": True}
    return whole_cell(row[name]) | {"value": f"{row[name]} of {row[f'n_{name}']}"}


def _feature(row: Row) -> str:
    if row["feature"] < 0:
        return MISSING
    return f"{row['feature']}, below 0" if row["sign"] < 0 else str(row["feature"])


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _short(value: float) -> str:
    return f"{value:.4g}"
