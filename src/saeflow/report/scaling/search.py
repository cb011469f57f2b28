"""Which feature fires on the prompts of a topic, beside words, lengths and other SAEs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saeflow.report.cells import (
    filled,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
    whole_cell,
)
from saeflow.report.controls import TITLES
from saeflow.report.scaling.dots import Dots, dots_figure
from saeflow.report.scaling.numbers import (
    CALIBRATED,
    NONE,
    PUBLISHED,
    Figure,
    Numbers,
    Row,
    Table,
    of_sae,
)
from saeflow.report.tables import MISSING
from saeflow.studies.scaling.levels import chosen_level

BASELINES = {
    "words": "words, counted",
    "length": "length",
    "difference_of_means": "difference of means, without an SAE",
    "untrained": "best feature, untrained model",
    "frozen_decoder": "best feature, frozen decoder",
}
"""What stands beside features, in words; what is not named here goes by its title."""
TITLES_OF_LEVELS = {
    "document_max": "prompts, by maximum",
    "document_mean": "prompts, by mean",
    "token": "tokens",
}
"""What is ranked, in words."""


@dataclass(frozen=True)
class Found:
    """What a search by one set of prompts gave at one level.

    Attributes
    ----------
    prompts : str
        Name of the set.
    level : str
        What was ranked.
    features : list of mapping
        Features of the SAE by their place.
    controls : dict of str to mapping
        What stands beside, by name.
    """

    prompts: str
    level: str
    features: list[Row]
    controls: dict[str, Row]

    @property
    def best(self) -> Row | None:
        """The feature that was best on half A."""
        return self.features[0] if self.features else None

    def row(self, control: str) -> Row | None:
        """The best feature with the control none, else what the control gives."""
        return self.best if control == NONE else self.controls.get(control)


def searches(numbers: Numbers, level: str | None = None) -> list[Found]:
    """Calibrated searches of the main SAE, in the order of the table; of one level, or of all."""
    found: dict[tuple[str, str], Found] = {}
    for row in of_sae(numbers.tables["search"], numbers.main):
        if row["mode"] != CALIBRATED or level not in (None, row["level"]):
            continue
        key = (row["prompts"], row["level"])
        each = found.setdefault(key, Found(*key, [], {}))
        if row["control"] == NONE:
            each.features.append(row)
        elif row["place"] == 1:
            each.controls[row["control"]] = row
    for each in found.values():
        each.features.sort(key=lambda row: row["place"])
    return list(found.values())


def first_level(numbers: Numbers) -> str | None:
    """The level whose numbers are told first, and whose features are steered along; half A chose it."""
    return chosen_level(of_sae(numbers.tables["search"], numbers.main))


def topic_of(prompts: str) -> str:
    """Group of texts that a set of prompts is of; the set's name where it is of none."""
    return prompts.partition("/")[2] or prompts


def search_figure(numbers: Numbers) -> Figure | None:
    """Area on half B of each topic's best feature, beside what tells the prompts apart without it."""
    level = first_level(numbers)
    found = searches(numbers, level)
    kinds = [
        Dots(
            "best feature of half A" if control == NONE else control_title(control),
            {
                place: {**row, "ci_low": None, "ci_high": None}
                for place, each in enumerate(found)
                if (row := each.row(control)) is not None and row["value"] is not None
            },
            control == NONE,
        )
        for control in (NONE, *_controls(found))
    ]
    names = [topic_of(each.prompts) for each in found]
    title = f"area under the curve on half B ({TITLES_OF_LEVELS.get(level or '', level)})"
    return dots_figure(names, kinds, format=".2f", title=title, chance=0.5)


def search_table(numbers: Numbers) -> Table | None:
    """Best feature of every topic at every level, and everything that stands beside it."""
    found = searches(numbers)
    controls = _controls(found)
    cells = []
    for each in found:
        best = each.best
        if best is None:
            continue
        line = [
            text_cell(topic_of(each.prompts)),
            text_cell(TITLES_OF_LEVELS.get(each.level, each.level)),
        ]
        line += [whole_cell(best["feature"]), _area(best)]
        line += [plain_cell(best[name], p_text) for name in ("p_value", "p_holm")]
        line += [plain_cell(best["value_chosen"], _ratio), plain_cell(best["threshold"], _ratio)]
        line += [plain_cell(best["best_p_value"], p_text), share_cell(_plain(best["stability"]))]
        line += [_area(each.row(control)) for control in controls]
        shown = text_cell(" ".join(_tokens(best)) or MISSING, wrap=True)
        cells.append([*line, whole_cell(best["n_positive"]), whole_cell(best["n_negative"]), shown])
    heads = [("Topic", False), ("Ranked", False), ("Feature", True), ("Area on half B", True)]
    heads += [("p", True), ("Holm", True), ("Area on half A, which chose it", True)]
    heads += [("Threshold: best of all by chance", True), ("p as best of all", True)]
    heads += [("Chosen again", True)]
    heads += [(f"Area: {control_title(each)}", True) for each in controls]
    heads += [("Prompts with it", True), ("Without", True), ("Tokens where it is largest", False)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def listed_table(numbers: Numbers) -> Table | None:
    """Every feature that is listed for a topic at the first level."""
    cells = [
        [
            text_cell(topic_of(each.prompts)),
            whole_cell(row["place"]),
            whole_cell(row["feature"]),
            _area(row),
            plain_cell(row["p_holm"], p_text),
            plain_cell(row["value_chosen"], _ratio),
            share_cell(_plain(row["stability"])),
            text_cell(" ".join(_tokens(row)) or MISSING, wrap=True),
        ]
        for each in searches(numbers, first_level(numbers))
        for row in each.features
    ]
    heads = [("Topic", False), ("Place on half A", True), ("Feature", True)]
    heads += [("Area on half B", True), ("Holm", True), ("Area on half A", True)]
    heads += [("Chosen again", True), ("Tokens where it is largest", False)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def published_table(numbers: Numbers) -> Table | None:
    """First feature by each of the study's scores, and what it is worth on prompts that chose nothing."""
    listed = {
        (each.prompts, row["feature"]): row
        for each in searches(numbers, first_level(numbers))
        for row in each.features
    }
    cells = []
    for row in of_sae(numbers.tables["search"], numbers.main):
        if row["mode"] != PUBLISHED or row["place"] != 1:
            continue
        calibrated = listed.get((row["prompts"], row["feature"]))
        cells.append(
            [
                text_cell(topic_of(row["prompts"])),
                text_cell(row["score"].replace("_", " ")),
                text_cell("as published" if row["inputs"] == "published" else row["inputs"]),
                whole_cell(row["feature"]),
                plain_cell(row["value_chosen"], _ratio),
                whole_cell(None if calibrated is None else calibrated["place"]),
                _area(calibrated),
                text_cell(" ".join(_tokens(row)) or MISSING, wrap=True),
            ]
        )
    heads = [("Topic", False), ("Score", False), ("Inputs", False), ("First feature", True)]
    heads += [("Its score, on the prompts that chose it", True), ("Calibrated place", True)]
    heads += [("Area on half B", True), ("Tokens where it is largest", False)]
    return {**filled(table(heads, cells)), "sortable": True} if cells else None


def targets_table(numbers: Numbers) -> Table | None:
    """Where features that were named before the search come under every score."""
    cells = [
        [
            text_cell(topic_of(row["prompts"])),
            whole_cell(row["feature"]),
            text_cell(row["mode"]),
            text_cell(row["score"].replace("_", " ")),
            text_cell(TITLES_OF_LEVELS.get(row["level"], row["level"])),
            text_cell(row["inputs"]),
            plain_cell(row["value"], _ratio),
            whole_cell(row["position"]),
            whole_cell(row["n_features"]),
        ]
        for row in of_sae(numbers.tables["search_targets"], numbers.main)
    ]
    heads = [("Topic", False), ("Feature", True), ("Counted", False), ("Score", False)]
    heads += [("Ranked", False), ("Inputs", False), ("Value", True), ("Place", True)]
    return {**table([*heads, ("Of", True)], cells), "sortable": True} if cells else None


def control_title(control: str) -> str:
    """What stands beside features, in words."""
    return BASELINES.get(control, TITLES.get(control, control.replace("_", " ")))


def _controls(found: Sequence[Found]) -> list[str]:
    there = dict.fromkeys(name for each in found for name in each.controls)
    return [
        *(name for name in BASELINES if name in there),
        *(x for x in there if x not in BASELINES),
    ]


def _area(row: Row | None) -> dict[str, Any]:
    return number_cell(None if row is None else _plain(row["value"]), _ratio)


def _plain(value: float | None) -> Row:
    return {"value": value, "ci_low": None, "ci_high": None}


def _tokens(row: Row) -> list[str]:
    return [each.strip() or repr(each) for each in row["tokens"] or ()]


def _ratio(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
