"""What may be said against chance and against controls: verdicts of the comparison, looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from saeflow.report.controls import without_nan
from saeflow.report.hierarchy.numbers import ALL, CALIBRATED, NONE, PERMUTED, Row
from saeflow.studies.compare.hierarchy import ADJUSTED, BEYOND, DIFFERENCE, HOLDS, UNTRAINED
from saeflow.studies.compare.shares import BEYOND_PERMUTED, beyond, minus

BankKey = tuple[str, str, str, int]
"""Model, data set, dictionary and seed."""


class SetVerdict(NamedTuple):
    """What may be said of a chosen site's set beside the others.

    Attributes
    ----------
    adjusted : float
        p-value after Holm over all banks of the family.
    family : int
        How many these are.
    holds : bool
        Whether the effect holds against matched random features.
    difference : mapping or None
        Row of the effect minus that of the untrained control; None where that has none.
    beyond : bool or None
        Whether the effect is beyond that of the control, likewise.
    """

    adjusted: float
    family: int
    holds: bool
    difference: Row | None = None
    beyond: bool | None = None


class Held(NamedTuple):
    """A share of features held against a control.

    Attributes
    ----------
    control : str
        What it controls for.
    difference : mapping
        Row of the difference of what both shares are beyond permutations; ``by_site``: its mean over
        sites, with an interval by how far they differ. None where there is one site.
    beyond : bool
        Whether the share is beyond that of the control.
    counted : mapping
        Row of the control's count.
    """

    control: str
    difference: Row
    beyond: bool
    counted: Row
    by_site: Row | None = None


class CountVerdict(NamedTuple):
    """A count of features against permuted problems, and its share against every control.

    Attributes
    ----------
    permuted : bool
        Whether it is beyond every permutation.
    held : sequence of Held
        Controls, the untrained model first.
    """

    permuted: bool
    held: Sequence[Held] = ()

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """Controls that show as much."""
        return tuple(each.control for each in self.held if not each.beyond)

    @property
    def holds(self) -> bool:
        """Whether it is beyond all that there is to be beyond of."""
        return self.permuted and not self.unbeaten


def set_verdicts(comparison: pa.Table) -> dict[BankKey, SetVerdict]:
    """Verdicts of the comparison by model and bank; those of a control by the control's name.

    Parameters
    ----------
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY_COMPARISON`.
    """
    found: dict[BankKey, dict[str, Row]] = {}
    for row in map(without_nan, comparison.to_pylist()):
        if row["metric"] in (ADJUSTED, HOLDS, DIFFERENCE, BEYOND):
            model = row["other"] if row["control"] == UNTRAINED else row["model"]
            found.setdefault((model, *_bank(row)), {})[row["metric"]] = row
    return {
        key: SetVerdict(
            rows[ADJUSTED]["value"],
            rows[ADJUSTED]["n"],
            bool(rows[HOLDS]["value"]),
            rows.get(DIFFERENCE),
            bool(rows[BEYOND]["value"]) if BEYOND in rows else None,
        )
        for key, rows in found.items()
        if ADJUSTED in rows
    }


def controls_of(comparison: pa.Table) -> dict[BankKey, str]:
    """Name of the untrained control of each trained bank that has one."""
    return {
        (row["model"], *_bank(row)): row["other"]
        for row in comparison.to_pylist()
        if row["control"] == UNTRAINED
    }


def dictionaries_of(comparison: pa.Table) -> dict[BankKey, dict[str, str]]:
    """Control dictionaries of each trained bank, by what they control for."""
    found: dict[BankKey, dict[str, str]] = {}
    for row in comparison.to_pylist():
        if row["other"] and row["control"] not in (NONE, UNTRAINED):
            found.setdefault((row["model"], *_bank(row)), {})[row["control"]] = row["other"]
    return found


def count_verdicts(comparison: pa.Table) -> dict[BankKey, dict[str, CountVerdict]]:
    """Verdicts on counts of features by model and bank, then by the metric of the count.

    Parameters
    ----------
    comparison : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY_COMPARISON`.
    """
    rows: dict[BankKey, dict[tuple[str, str], Row]] = {}
    for row in map(without_nan, comparison.to_pylist()):
        if row["group"] == ALL and row["mode"] == CALIBRATED:
            key = (row["model"], *_bank(row))
            rows.setdefault(key, {})[row["metric"], row["control"]] = row
    return {key: dict(_verdicts(found)) for key, found in rows.items()}


def _verdicts(rows: Mapping[tuple[str, str], Row]) -> Iterator[tuple[str, CountVerdict]]:
    """Verdicts on the counts of one bank."""
    named = {metric: row for (metric, control), row in rows.items() if control == NONE}
    for metric, permuted in named.items():
        share, _, ending = metric.rpartition(".")
        if ending != BEYOND_PERMUTED:
            continue
        count = share.replace("share_", "n_", 1)
        start = f"{share}.{beyond('')}"
        controls = [name.removeprefix(start) for name in named if name.startswith(start)]
        held = [
            Held(
                control,
                named[f"{share}.{minus(control)}"],
                bool(named[f"{share}.{beyond(control)}"]["value"]),
                rows[count, control],
                named.get(f"{share}.{minus(control)}.by_site"),
            )
            for control in sorted(controls, key=lambda name: (name != UNTRAINED, name))
            if control != PERMUTED
        ]
        yield count, CountVerdict(bool(permuted["value"]), held)


def _bank(row: Row) -> tuple[str, str, int]:
    return row["dataset"], row["dictionary"], row["seed"]
