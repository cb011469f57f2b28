"""Sentences on what specialists do: whether they go with answers, and what changes without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from saeflow.report.finding import Finding, joined
from saeflow.report.specialists.effects import CONTROLS, LEVEL, Specialist, cells_of, is_own
from saeflow.report.specialists.model import SpecialistModel
from saeflow.report.specialists.numbers import CALIBRATED, NONE, Bank, Numbers, Row, of_bank
from saeflow.report.specialists.verdicts import UNTOLD, if_most, too_few

MATHS = ("Math_Simple", "Math_Complex")
"""Topics whose specialists should go with arithmetic."""
_ARITHMETIC = "arithmetic"
_Cell = tuple[Specialist, str]


class _Correlated(NamedTuple):
    """Correlations with margins, those that pass Holm, and those of them that few features reach."""

    rows: list[Row]

    @property
    def small(self) -> list[Row]:
        return [row for row in self.rows if row["holm"] is not None and row["holm"] <= LEVEL]

    @property
    def rare(self) -> list[Row]:
        return [
            row
            for row in self.small
            if row["other_features"] is not None and row["other_features"] <= LEVEL
        ]


class _Ablated(NamedTuple):
    """Cells of one kind: how many, those beyond each control, and those that no data could pass."""

    cells: list[_Cell]
    passed: dict[str, set[_Cell]]
    short: set[_Cell]

    @property
    def every(self) -> int:
        """Cells beyond all controls."""
        return len(set.intersection(*self.passed.values()))

    def within(self, cells: Sequence[_Cell]) -> _Ablated:
        """Some of the cells."""
        some = set(cells)
        passed = {control: each & some for control, each in self.passed.items()}
        return _Ablated(list(cells), passed, self.short & some)


def behaviour_finding(model: SpecialistModel, bank: Bank, name: str) -> Iterator[Finding]:
    """Say whether specialists of maths go with arithmetic that the model can do.

    Parameters
    ----------
    model : SpecialistModel
        Of trained weights.
    bank : Bank
        SAEs.
    name : str
        Of the model in the sentence.
    """
    rows = _margins(model.numbers, bank)
    arithmetic = list(
        dict.fromkeys(row["group"] for row in rows if row["group"].endswith(_ARITHMETIC))
    )
    done = [group for group in arithmetic if _better_than_chance(model.numbers, group)]
    if not rows:
        return
    if not done:
        text = (
            f"Behaviour: {name} does no kind of arithmetic better than chance, so no margin tells"
        )
        yield Finding(UNTOLD, f"{text} whether specialists go with right answers.")
        return
    own, others = _split(rows, done)
    if not own.rows:
        yield Finding(UNTOLD, f"Behaviour: no specialist of maths was read in {name}.")
        return
    text = (
        f"Behaviour: of {len(own.rows)} correlations of a maths specialist’s activation with the margin of "
        f"arithmetic that {name} does better than chance ({joined(done)}), {len(own.small)} have "
        f"p ≤ {LEVEL:g} after Holm{_signs(own.small)}, and in {len(own.rare)} of these at most "
        f"{100 * LEVEL:g} % of the features of the SAE go with it as closely{_signs(own.rare)}. Of all "
        f"{len(own.rows)}, {_positive(own.rows)} are positive and {_negative(own.rows)} negative. Control: "
        f"of specialists of other topics {len(others.rare)} of {len(others.rows)} on the same tasks"
    )
    other = model.beside(bank)
    if model.control is not None and other is not None:
        fresh, _ = _split(_margins(model.control, other), done)
        text += (
            f"; of the untrained model’s maths specialists {len(fresh.rare)} of {len(fresh.rows)}"
        )
    else:
        text += "; no untrained model stands beside"
    yield Finding(if_most(len(own.rare), len(own.rows)), f"{text}.")


def ablation_finding(model: SpecialistModel, bank: Bank, name: str) -> Iterator[Finding]:
    """Say whether texts of its own topic need a specialist more than any of its controls.

    Parameters
    ----------
    model, bank, name
        As of `behaviour_finding`.
    """
    own, others, tasks = _ablated(model.numbers, bank)
    if not own.cells:
        return
    cells = cells_of(model.numbers, bank)
    effects = [row for cell in own.cells if (row := cells.row(*cell, NONE)) is not None]
    each = joined(
        [f"{len(own.passed[control])} than {title}" for control, title in CONTROLS.items()]
    )
    text = (
        f"Ablation: in {len(own.cells)} cells of {name}, a specialist and texts of its own topic each, "
        f"setting it to 0 lowers the log-probability of the right or likeliest tokens in "
        f"{_negative(effects)} and raises it in {_positive(effects)}; it lowers it more, at p ≤ {LEVEL:g} "
        f"after Holm, in {each}; in {own.every} more than all three"
    )
    if own.short:
        text += f". In {len(own.short)} there are too few contents to tell, since no test of so few passes Holm"
    text += (
        f". Control: on texts of other topics {others.every} of {len(others.cells)}"
        f"{_short(others)}; on tasks {tasks.every} of {len(tasks.cells)}{_short(tasks)}"
    )
    other = model.beside(bank)
    if model.control is not None and other is not None:
        fresh = _ablated(model.control, other)
        counts = [f"{some.every} of {len(some.cells)}" for some in fresh]
        text += f" (untrained model: {joined(counts)})"
    else:
        text += "; no untrained model stands beside"
    yield Finding(if_most(own.every, len(own.cells), len(own.short)), f"{text}.")


def _margins(numbers: Numbers, bank: Bank) -> list[Row]:
    wanted = (CALIBRATED, "spearman", "margin")
    return [
        row
        for row in of_bank(numbers.tables.behaviour, bank)
        if (row["mode"], row["metric"], row["outcome"]) == wanted and row["value"] is not None
    ]


def _split(rows: Sequence[Row], groups: Sequence[str]) -> tuple[_Correlated, _Correlated]:
    """Specialists of maths on some kinds of tasks, and all others on the same."""
    asked = [row for row in rows if row["group"] in groups]
    own, others = (
        [row for row in asked if (row["class"].partition(": ")[0] in MATHS) is wanted]
        for wanted in (True, False)
    )
    return _Correlated(own), _Correlated(others)


def _better_than_chance(numbers: Numbers, group: str) -> bool:
    right, chance = (numbers.row("tasks", group, "right", control) for control in (NONE, "chance"))
    if right is None or chance is None or right["ci_low"] is None:
        return False
    return bool(right["ci_low"] > chance["value"])


def _ablated(numbers: Numbers, bank: Bank) -> tuple[_Ablated, _Ablated, _Ablated]:
    """Specialists on texts of their own topic, on those of other topics, and on tasks."""
    cells = cells_of(numbers, bank)
    tasks = {key.group for key in numbers.of_part("tasks")}
    active = [
        (place, group)
        for place in cells.rows
        for group in cells.groups
        if (effect := cells.row(place, group, NONE)) is not None and effect["n_active"]
    ]
    passed: dict[str, set[_Cell]] = {control: set() for control in CONTROLS}
    short: set[_Cell] = set()
    for control, found in passed.items():
        # Holm's tests are those of all texts, or of all tasks, that are held against one control.
        for of_tasks in (False, True):
            tested = {
                cell: row
                for cell in active
                if (cell[1] in tasks) is of_tasks
                and (row := cells.row(*cell, control)) is not None
                and row["holm"] is not None
            }
            few = too_few([row["n"] for row in tested.values()])
            short |= {cell for cell, out_of_reach in zip(tested, few, strict=True) if out_of_reach}
            found |= {
                cell for cell, row in tested.items() if row["holm"] <= LEVEL and row["value"] < 0
            }
    every = _Ablated(active, passed, short)
    # A specialist that is silent on its own topic does not pass.
    own = [
        (place, group)
        for place in cells.rows
        for group in cells.groups
        if is_own(place[1], group) and cells.row(place, group, NONE) is not None
    ]
    others = [cell for cell in active if cell[1] not in tasks and not is_own(cell[0][1], cell[1])]
    return (
        every.within(own),
        every.within(others),
        every.within([cell for cell in active if cell[1] in tasks]),
    )


def _short(some: _Ablated) -> str:
    return f" (too few contents to tell in {len(some.short)})" if some.short else ""


def _signs(rows: Sequence[Row]) -> str:
    return f" ({_positive(rows)} positive, {_negative(rows)} negative)" if rows else ""


def _positive(rows: Sequence[Row]) -> int:
    return sum(row["value"] > 0 for row in rows)


def _negative(rows: Sequence[Row]) -> int:
    return sum(row["value"] < 0 for row in rows)
