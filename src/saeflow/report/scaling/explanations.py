"""How well explanations tell contexts apart, beside those of other features and none at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from saeflow.report.cells import (
    Cell,
    filled,
    number_cell,
    p_text,
    plain_cell,
    share_cell,
    table,
    text_cell,
)
from saeflow.report.scaling.dots import Dots, dots_figure
from saeflow.report.scaling.model import ScalingModel
from saeflow.report.scaling.numbers import NONE, Figure, Numbers, Row, Table, of_sae

METHODS = {"detection": "does it fire here", "fuzzing": "does it fire on what is marked"}
KINDS = {
    "all": "any",
    "random": "random contexts",
    "near_miss": "near misses",
    "moved": "other tokens marked",
}
"""What activating contexts are told from, in words."""
ACCURACY, AREA = "balanced_accuracy", "auroc"
EVERY = "all"
SWAPPED, EMPTY = "swapped", "empty"
Place = tuple[str, str, str, str]
"""Method, kind of negatives, metric and control."""


def summary_rows(numbers: Numbers | None) -> dict[Place, Row]:
    """Summary of the main SAE's explanations; empty where nothing was explained."""
    if numbers is None:
        return {}
    return {
        (row["method"], row["kind"], row["metric"], row["control"]): row
        for row in of_sae(numbers.tables["explanation_summary"], numbers.main)
        if row["value"] is not None
    }


def tellers(numbers: Numbers) -> tuple[str, str] | None:
    """Who explained and who scored; None where nothing was explained."""
    for row in of_sae(numbers.tables["explanation_summary"], numbers.main):
        return row["explainer"], row["scorer"]
    return None


def explanations_figure(model: ScalingModel) -> Figure | None:
    """Balanced accuracy by method and kind of negatives, beside controls and the untrained model."""
    own, beside = summary_rows(model.numbers), summary_rows(model.control)
    places = list(_places(own))
    kinds = {
        "its own explanation": (own, NONE),
        "that of another feature": (own, SWAPPED),
        "none": (own, EMPTY),
        "its own, untrained model": (beside, NONE),
    }
    dots = [
        Dots(
            title,
            {
                number: rows[method, kind, ACCURACY, control]
                for number, (method, kind) in enumerate(places)
                if (method, kind, ACCURACY, control) in rows
            },
            control == NONE and rows is own,
        )
        for title, (rows, control) in kinds.items()
    ]
    names = [f"{method}, {KINDS.get(kind, kind)}" for method, kind in places]
    title = "balanced accuracy, mean over features"
    return dots_figure(names, dots, format=".2f", title=title, chance=0.5)


def explanations_table(model: ScalingModel) -> Table | None:
    """Scores by method and kind of negatives, what an explanation adds, and with which p-value."""
    own, beside = summary_rows(model.numbers), summary_rows(model.control)
    cells = [_line(own, beside, *place) for place in _places(own)]
    if not cells:
        return None
    chance = [text_cell("Chance"), text_cell("any"), *(plain_cell(0.5, _ratio) for _ in range(4))]
    chance += [plain_cell(0.0, _signed), plain_cell(None, p_text)] * 2
    chance += [plain_cell(0.5, _ratio), plain_cell(0.5, _ratio), share_cell(None)]
    heads = [("Method", False), ("Told from", False), ("Own explanation", True)]
    heads += [("Another feature’s", True), ("None", True), ("Own, untrained model", True)]
    heads += [("Gain over another’s", True), ("Holm", True), ("Gain over none", True)]
    heads += [("Holm", True), ("Area, own", True), ("Area, another’s", True)]
    return filled(table([*heads, ("Replies not read", True)], [*cells, chance]))


def _line(
    own: Mapping[Place, Row], beside: Mapping[Place, Row], method: str, kind: str
) -> list[Cell]:
    def row(metric: str, control: str = NONE) -> Row | None:
        return own.get((method, kind, metric, control))

    line = [text_cell(method.capitalize()), text_cell(KINDS.get(kind, kind))]
    line += [number_cell(row(ACCURACY, each), _ratio) for each in (NONE, SWAPPED, EMPTY)]
    line += [number_cell(beside.get((method, kind, ACCURACY, NONE)), _ratio)]
    for gain in ("gain_over_swapped", "gain_over_empty"):
        found = row(gain)
        line += [number_cell(found, _signed)]
        line += [plain_cell(None if found is None else found["q_value"], p_text)]
    line += [number_cell(row(AREA), _ratio), number_cell(row(AREA, SWAPPED), _ratio)]
    return [*line, share_cell(row("unread_share"))]


def _places(rows: dict[Place, Row]) -> Iterator[tuple[str, str]]:
    """Methods and kinds that were scored, the known ones first."""
    found = dict.fromkeys((place[0], place[1]) for place in rows if place[2] == ACCURACY)

    def place(key: tuple[str, str]) -> tuple[int, int]:
        named = list(METHODS), list(KINDS)
        method, kind = (
            names.index(each) if each in names else len(names)
            for names, each in zip(named, key, strict=True)
        )
        return method, kind

    return iter(sorted(found, key=place))


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−") if value else "0"
