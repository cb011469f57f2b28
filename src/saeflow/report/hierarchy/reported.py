"""What the study reported, beside this run's numbers by the same rule, by chance and calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from saeflow.report.cells import Cell, count, filled, nats, table, text_cell
from saeflow.report.finding import NO_BREAK
from saeflow.report.hierarchy.causal import METRIC
from saeflow.report.hierarchy.finding import Subject
from saeflow.report.hierarchy.numbers import (
    NONE,
    PERMUTED,
    PUBLISHED,
    RANDOM_PROBLEMS,
    HierarchyRun,
    Row,
)
from saeflow.report.hierarchy.tables import CLOSED_FORM
from saeflow.report.tables import MISSING, percent
from saeflow.studies.compare.published_hierarchy import PUBLISHED_COUNTS, PublishedCount

FOLLOW = "n_specialists.operators"
SWEPT = "k="


class Here(NamedTuple):
    """Answers of one run to a published number, as text; what there is none of is a dash."""

    rule: str
    chance: str
    calibrated: str


def reported_table(subjects: Sequence[Subject]) -> dict[str, Any]:
    """A row per published number and run that has it.

    Parameters
    ----------
    subjects : sequence of Subject
        Runs, in the order of the rows.
    """
    rows = [row for published in PUBLISHED_COUNTS for row in _rows(published, subjects)]
    titles = ("Asked of", "The study reported", "Here", "By its rule", "By chance", "Calibrated")
    heads = [("Found", False), *((title, False) for title in titles)]
    return filled(table(heads, rows))


def _rows(published: PublishedCount, subjects: Sequence[Subject]) -> list[list[Cell]]:
    told = f"{published.count:,} of {published.of:,} ({percent(published.share)}{NO_BREAK}%)"
    if published.rare:
        told += f", {published.rare:,} of which on at most 4 problems"
    first = [text_cell(text) for text in (published.name, published.features, told)]
    found = {each.name: _here(published, each.run) for each in subjects}
    measured = {name: here for name, here in found.items() if here.rule != MISSING}
    # Told once, beside the first of several runs.
    again = [text_cell("") for _ in first]
    rows = [
        [*(again if place else first), text_cell(name), *(text_cell(text) for text in here)]
        for place, (name, here) in enumerate(measured.items())
    ]
    return rows or [[*first, *(text_cell(MISSING) for _ in range(4))]]


def _here(published: PublishedCount, run: HierarchyRun) -> Here:
    metric, group = published.metric, published.group
    if group.startswith(SWEPT):
        k = int(group.removeprefix(SWEPT))
        own, chance, follow, permuted = (
            run.sweep.get((k, *key))
            for key in (
                (metric, NONE),
                (metric, RANDOM_PROBLEMS),
                (FOLLOW, NONE),
                (FOLLOW, PERMUTED),
            )
        )
        return Here(_of(own), _chance(chance), _following(follow, permuted))
    where: dict[str, Any] = {"group": group, "mode": PUBLISHED}
    own = run.number(metric, **where)
    if metric == "n_specialised":
        chance = run.number(metric, RANDOM_PROBLEMS, **where)
        calibrated = _following(run.number(FOLLOW), run.number(FOLLOW, PERMUTED), ", all ranks")
        return Here(_of(own), _chance(chance), calibrated)
    chance = run.number(metric, CLOSED_FORM, **where)
    by_size = MISSING if chance is None else f"{_chance(chance)} by mean activation alone"
    return Here(_of(own), by_size, _ablated(run))


def _of(row: Row | None) -> str:
    if row is None:
        return MISSING
    share = f" ({percent(row['value'] / row['n'])}{NO_BREAK}%)" if row["n"] else ""
    return f"{count(row['value'])} of {row['n'] or 0:,}{share}"


def _chance(row: Row | None) -> str:
    return MISSING if row is None else count(row["value"]) + _ends(row)


def _following(row: Row | None, permuted: Row | None, ranks: str = "") -> str:
    if row is None or permuted is None:
        return MISSING
    return f"{count(row['value'])} follow an operator{ranks}; permuted {_chance(permuted)}"


def _ablated(run: HierarchyRun) -> str:
    effect = run.of_chosen_set(METRIC)
    if effect is None:
        return MISSING
    ends = (effect["ci_low"], effect["ci_high"])
    interval = "" if None in ends else " [{}, {}]".format(*map(nats, ends))
    return f"set ablated: {nats(effect['value'])}{interval} nats"


def _ends(row: Row) -> str:
    ends = (row["ci_low"], row["ci_high"])
    return "" if None in ends else " [{}, {}]".format(*map(count, ends))
