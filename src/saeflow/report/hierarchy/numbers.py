"""Tables of the hierarchy study, looked up number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.controls import without_nan

ALL, TOP, SET = "all", "top", "set"
NONE, PERMUTED, RANDOM_PROBLEMS = "none", "permuted", "random_problems"
RANDOM_FEATURE, RANDOM_DIRECTION, OTHER_STEP = "random_feature", "random_direction", "other_step"
PUBLISHED, CALIBRATED = "published", "calibrated"
CHOSEN, REPORTED = "chosen", "reported"
TABLES = ("modules", "screen", "effects", "maximal")
"""Tables that the pages show besides the summary; those of a mode that did not run are missing."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ModelTables:
    """Tables of one model, of the modes that ran.

    Attributes
    ----------
    summary : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`.
    modules, screen, effects, maximal : pyarrow.Table or None
        Columns of the artifact of that name.
    """

    summary: pa.Table
    modules: pa.Table | None = None
    screen: pa.Table | None = None
    effects: pa.Table | None = None
    maximal: pa.Table | None = None


class Condition(NamedTuple):
    """An intervention: where, on what, which, how strong, and of which half and data set."""

    dataset: str
    layer: int
    step: int
    unit: str
    edit: str
    dose: float | None
    half: str = REPORTED


@dataclass
class HierarchyRun:
    """Everything about one bank.

    Attributes
    ----------
    dataset, dictionary : str
        Names in the configuration.
    seed : int
        Of the SAEs.
    numbers : dict
        Rows of the summary by mode, group, metric, control, layer and step.
    sweep : dict
        Rows of the sweep over k by k, metric and control.
    effects : dict
        Rows of all problems by condition, metric and control; ``labelled`` those beside a label.
    modules, screen, maximal : list
        Rows of these tables.
    """

    dataset: str
    dictionary: str
    seed: int
    numbers: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    sweep: dict[tuple[Any, ...], Row] = field(default_factory=dict)
    effects: dict[tuple[Condition, str, str], Row] = field(default_factory=dict)
    labelled: dict[tuple[Condition, str, str, str], Row] = field(default_factory=dict)
    modules: list[Row] = field(default_factory=list)
    screen: list[Row] = field(default_factory=list)
    maximal: list[Row] = field(default_factory=list)

    def number(
        self,
        metric: str,
        control: str = NONE,
        *,
        group: str = ALL,
        mode: str = CALIBRATED,
        layer: int | None = None,
        step: int | None = None,
    ) -> Row | None:
        """Row of a number of the summary; None where there is none."""
        return _defined(self.numbers.get((mode, group, metric, control, layer, step)))

    def effect(self, where: Condition, metric: str, control: str = NONE) -> Row | None:
        """Row of an intervention's effect over all problems; None where there is none."""
        return _defined(self.effects.get((where, metric, control)))

    def chosen_set(self) -> Condition | None:
        """Where the set was ablated that is reported: the site chosen on other problems."""
        places = [key[4:] for key in self.numbers if key[1:3] == (SET, "largest_set_effect")]
        if not places:
            return None
        ((layer, step),) = places
        return Condition(self.dataset, layer, step, SET, "zero", 0.0)

    def of_chosen_set(self, metric: str) -> Row | None:
        """Row of a number of that site's set; None where there is none."""
        where = self.chosen_set()
        if where is None:
            return None
        return self.number(metric, group=SET, layer=where.layer, step=where.step)

    def conditions(self, edit: str) -> list[Condition]:
        """Reported interventions of a kind, in the order of the table."""
        found = [where for where, _, control in self.effects if control == NONE]
        return list(dict.fromkeys(w for w in found if w.edit == edit and w.half == REPORTED))


def read_runs(tables: ModelTables) -> list[HierarchyRun]:
    """Group the tables of one model by bank.

    Parameters
    ----------
    tables : ModelTables
        Those of one model.

    Returns
    -------
    list of HierarchyRun
        In the order of the table. The sweep, which trains SAEs of its own, is told with each bank of
        its data set and dictionary; interventions on balanced problems with each of their
        dictionary and seed.
    """
    runs: dict[tuple[str, str, int], HierarchyRun] = {}
    sweeps: list[Row] = []
    for row in _rows(tables.summary):
        if row["group"].startswith("k="):
            sweeps.append(row)
            continue
        name = _bank(row)
        run = runs.setdefault(name, HierarchyRun(*name))
        keys = ("mode", "group", "metric", "control", "layer", "step")
        run.numbers[tuple(row[key] for key in keys)] = row
    for row in sweeps:
        k, _, binned = row["group"].removeprefix("k=").partition(" ")
        for run in runs.values():
            if not binned and (row["dataset"], row["dictionary"]) == (run.dataset, run.dictionary):
                run.sweep[int(k), row["metric"], row["control"]] = row
    for run in runs.values():
        run.modules, run.screen, run.maximal = (
            [row for row in _rows(table) if _bank(row) == _bank(vars(run))]
            for table in (tables.modules, tables.screen, tables.maximal)
        )
    for effect in _rows(tables.effects):
        for run in runs.values():
            if (effect["dictionary"], effect["seed"]) == (run.dictionary, run.seed):
                _add_effect(run, effect)
    return list(runs.values())


def run_titles(runs: Sequence[HierarchyRun]) -> list[str]:
    """What tells runs of one model apart; empty where there is one."""
    if len(runs) < 2:
        return [""] * len(runs)
    return [f"{run.dictionary} on {run.dataset}, seed {run.seed}" for run in runs]


def _bank(row: Row) -> tuple[str, str, int]:
    return row["dataset"], row["dictionary"], row["seed"]


def _add_effect(run: HierarchyRun, row: Row) -> None:
    where = Condition(*(row[name] for name in Condition._fields))
    if row["label"]:
        run.labelled[where, row["group"], row["metric"], row["control"]] = row
    else:
        run.effects[where, row["metric"], row["control"]] = row


def _rows(table: pa.Table | None) -> list[Row]:
    return [] if table is None else [without_nan(row) for row in table.to_pylist()]


def _defined(row: Row | None) -> Row | None:
    return None if row is None or row["value"] is None else row
