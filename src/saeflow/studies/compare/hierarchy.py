"""The hierarchy study's numbers of trained models, beside those of their controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.artifacts.hierarchy import HIERARCHY_COMPARISON
from saeflow.config.hierarchy import BIN_LABELS
from saeflow.stats.differences import Interval, independent_difference
from saeflow.stats.exact import holm
from saeflow.studies.compare.shares import control_rows, permutation_rows

UNTRAINED = "untrained"
LEVEL = 0.05
"""Of the chance that any verdict over a family of models is wrong."""
EFFECT = "largest_set_effect"
P_VALUE, ADJUSTED, HOLDS = f"{EFFECT}.p_value", f"{EFFECT}.p_holm", f"{EFFECT}.holds"
DIFFERENCE, BEYOND = f"{EFFECT}.difference", f"{EFFECT}.beyond_untrained"
COMBINED = "combined bootstraps 95 %"
"""Interval of a difference, from those of the two numbers."""
LEFT_OUT = {"top", *BIN_LABELS}
"""Groups that are not compared, nor are those of the sweep over k."""

Row = dict[str, Any]
Bank = tuple[str, str, int]
"""Data set, dictionary and seed."""


class Compared(NamedTuple):
    """A trained model and its controls.

    Attributes
    ----------
    model : str
        Name in the configuration.
    untrained : sequence of str
        Names of the untrained models of its shape, of which the first that has the bank is told.
    controls : mapping of str to mapping of str to str
        By studied dictionary, its control dictionaries by what they control for.
    """

    model: str
    untrained: Sequence[str]
    controls: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    def studies(self, dictionary: str) -> bool:
        """Whether a dictionary is studied, and not read as a control of another only."""
        names = {name for controls in self.controls.values() for name in controls.values()}
        return dictionary in self.controls or dictionary not in names


def compare_hierarchy(summaries: Mapping[str, pa.Table], trained: Sequence[Compared]) -> pa.Table:
    """Put each trained model's numbers over its whole bank beside those of its controls.

    Parameters
    ----------
    summaries : mapping of str to pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`, by model.
    trained : sequence of Compared
        Which models.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY_COMPARISON`: rows of all layers and steps, and
        of the set of the chosen site; those of the untrained model have the control ``untrained``
        and its name as ``other``. Those of a control dictionary stand beside the bank of the dictionary
        that it is of, with the same seed: their control is what it controls for, and ``other``
        its name.
        ``largest_set_effect.p_holm`` is adjusted over the banks of all trained models, or of all
        untrained ones, as many as its n; ``largest_set_effect.holds`` is 1 where that is below
        `LEVEL` and the whole interval of the effect is below 0, else 0: this is against matched
        random features.
        ``largest_set_effect.difference``, of banks that both have: the trained model's effect minus
        that of ``other``, each at its own chosen site; the row names the trained one's. Its interval
        is put together from the two by recovering their variances (MOVER; Zou and Donner 2008), as
        if the problems of the two were drawn independently. ``largest_set_effect.beyond_untrained``
        is 1 where that whole interval is below 0, else 0, also where there is none.
        Of shares of features that follow or tell something, rows of
        `saeflow.studies.compare.shares`: their difference from each control's and, of every model, an
        untrained one by its own name, whether they are above every permutation.
    """
    rows: list[Row] = []
    for each in trained:
        measured = [
            row for row in _measured(summaries[each.model]) if each.studies(row["dictionary"])
        ]
        measured = [{**row, "model": each.model, "other": ""} for row in measured]
        own = [row for row in measured if _told(row)]
        rows += own
        for kind, name, beside in _controls(each, summaries, {_bank(row) for row in own}):
            named = {"model": each.model, "other": name, "control": kind}
            told = [row for row in beside if row["control"] == "none" and _told(row)]
            rows += [{**row, **named} for row in told]
            rows += control_rows(measured, beside, kind, name)
    families = [[row for row in rows if row["control"] == kind] for kind in ("none", UNTRAINED)]
    rows += [row for family in families for row in _verdicts(family)]
    rows += [row for pair in _pairs(*families) for row in _beside_untrained(*pair)]
    studied = {each.model: each.studies for each in trained}
    for name, summary in summaries.items():
        for row in permutation_rows(_measured(summary)):
            if name not in studied or studied[name](row["dictionary"]):
                rows.append({**row, "model": name, "other": ""})
    table = pa.Table.from_pylist(rows, HIERARCHY_COMPARISON.schema())
    return table.sort_by([(name, "ascending") for name in HIERARCHY_COMPARISON.keys])


def _controls(
    compared: Compared, summaries: Mapping[str, pa.Table], banks: set[Bank]
) -> Iterator[tuple[str, str, list[Row]]]:
    """What is counted of each control, under the name of the bank that it is of.

    Yields
    ------
    kind, name : str
        What it controls for, and its own name: of a model or a dictionary.
    rows : list of dict
        Columns of `saeflow.artifacts.hierarchy.HIERARCHY`, permutations and single sites with them.
    """
    left = set(banks)
    for name in compared.untrained:
        rows = [row for row in _measured(summaries[name]) if _bank(row) in left]
        left -= {_bank(row) for row in rows}
        yield UNTRAINED, name, rows
    for dictionary, controls in compared.controls.items():
        for kind, name in controls.items():
            # A control that is studied by itself is ranked, too, and intervened on.
            counted = [
                {**row, "dictionary": dictionary}
                for row in _measured(summaries[compared.model])
                if (row["dictionary"], row["mode"], row["group"]) == (name, "calibrated", "all")
            ]
            yield kind, name, [row for row in counted if _bank(row) in banks]


def _verdicts(family: Sequence[Row]) -> list[Row]:
    """Adjusted p-values of a family's chosen sites, and whether their effects hold."""
    tested = [row for row in family if row["metric"] == P_VALUE]
    ends = {_subject(row): row["ci_high"] for row in family if row["metric"] == EFFECT}
    adjusted = holm(np.array([row["value"] for row in tested], np.float64)).tolist()
    found: list[Row] = []
    for row, value in zip(tested, adjusted, strict=True):
        end = ends.get(_subject(row))
        holds = value < LEVEL and end is not None and end < 0
        named = {**row, "n": len(tested)}
        found.append({**named, "metric": ADJUSTED, "value": value})
        found.append({**named, "metric": HOLDS, "value": float(holds)})
    return found


def _pairs(trained: Sequence[Row], untrained: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Effects at the chosen sites of a trained model and of its control, by bank."""
    effects = {_subject(row): row for row in untrained if row["metric"] == EFFECT}
    for row in trained:
        if row["metric"] == EFFECT and _subject(row) in effects:
            yield row, effects[_subject(row)]


def _beside_untrained(trained: Row, untrained: Row) -> Iterator[Row]:
    """How far a trained model's effect is from its control's, and whether it is beyond it."""
    both = [_interval(each) for each in (trained, untrained)]
    row = {**trained, "other": untrained["other"], "n": min(trained["n"], untrained["n"])}
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    told: Row = {"value": trained["value"] - untrained["value"], **nothing}
    beyond = False
    if both[0] is not None and both[1] is not None:
        value, low, high = independent_difference(both[0], both[1])
        told = {"value": value, "ci_low": low, "ci_high": high, "interval": COMBINED}
        beyond = high < 0
    yield {**row, "metric": DIFFERENCE, **told}
    yield {**row, "metric": BEYOND, "value": float(beyond), **nothing}


def _interval(row: Row) -> Interval | None:
    if None in (row["ci_low"], row["ci_high"]):
        return None
    return Interval(row["value"], row["ci_low"], row["ci_high"])


def _subject(row: Row) -> tuple[str, str, str, int]:
    return row["model"], *_bank(row)


def _measured(summary: pa.Table) -> Iterator[Row]:
    for row in summary.to_pylist():
        if row["group"] not in LEFT_OUT and not row["group"].startswith("k="):
            yield row


def _told(row: Row) -> bool:
    """Whether a row is of all layers and steps, or of the set of the chosen site."""
    return (row["layer"] is None and row["step"] is None) or row["group"] == "set"


def _bank(row: Row) -> Bank:
    return row["dataset"], row["dictionary"], row["seed"]
