"""The hierarchy study's numbers of trained models, beside those of their untrained controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.artifacts.hierarchy import HIERARCHY_COMPARISON
from saeflow.config.hierarchy import BIN_LABELS
from saeflow.stats.exact import holm

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


class Compared(NamedTuple):
    """A trained model and its controls.

    Attributes
    ----------
    model : str
        Name in the configuration.
    untrained : sequence of str
        Names of the untrained models of its shape, of which the first that has the bank is told.
    """

    model: str
    untrained: Sequence[str]


def compare_hierarchy(summaries: Mapping[str, pa.Table], trained: Sequence[Compared]) -> pa.Table:
    """Put each trained model's numbers over its whole bank beside those of its untrained control.

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
        and its name as ``other``.
        ``largest_set_effect.p_holm`` is adjusted over the banks of all trained models, or of all
        untrained ones, as many as its n; ``largest_set_effect.holds`` is 1 where that is below
        `LEVEL` and the whole interval of the effect is below 0, else 0: this is against matched
        random features.
        ``largest_set_effect.difference``, of banks that both have: the trained model's effect minus
        that of ``other``, each at its own chosen site; the row names the trained one's. Its interval
        is put together from the two by recovering their variances (MOVER; Zou and Donner 2008), as
        if the problems of the two were drawn independently. ``largest_set_effect.beyond_untrained``
        is 1 where that whole interval is below 0, else 0, also where there is none.
    """
    rows: list[Row] = []
    for each in trained:
        own = list(_shown(summaries[each.model]))
        rows += [{**row, "model": each.model, "other": ""} for row in own]
        banks = {_bank(row) for row in own}
        for name in each.untrained:
            control = [
                {**row, "model": each.model, "other": name, "control": UNTRAINED}
                for row in _shown(summaries[name])
                if row["control"] == "none" and _bank(row) in banks
            ]
            rows += control
            banks -= {_bank(row) for row in control}
    families = [[row for row in rows if row["control"] == kind] for kind in ("none", UNTRAINED)]
    rows += [row for family in families for row in _verdicts(family)]
    rows += [row for pair in _pairs(*families) for row in _beside_untrained(*pair)]
    table = pa.Table.from_pylist(rows, HIERARCHY_COMPARISON.schema())
    return table.sort_by([(name, "ascending") for name in HIERARCHY_COMPARISON.keys])


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
    difference = trained["value"] - untrained["value"]
    row = {**trained, "other": untrained["other"], "n": min(trained["n"], untrained["n"])}
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    interval: Row = nothing
    ends = [each[end] for each in (trained, untrained) for end in ("ci_low", "ci_high")]
    if None not in ends:
        below = math.hypot(_reach(trained, "ci_low"), _reach(untrained, "ci_high"))
        above = math.hypot(_reach(trained, "ci_high"), _reach(untrained, "ci_low"))
        low, high = difference - below, difference + above
        interval = {"ci_low": low, "ci_high": high, "interval": COMBINED}
    beyond = interval["ci_high"] is not None and interval["ci_high"] < 0
    yield {**row, "metric": DIFFERENCE, "value": difference, **interval}
    yield {**row, "metric": BEYOND, "value": float(beyond), **nothing}


def _reach(row: Row, end: str) -> float:
    return float(row[end] - row["value"])


def _subject(row: Row) -> tuple[str, str, str, int]:
    return row["model"], *_bank(row)


def _shown(summary: pa.Table) -> Iterator[Row]:
    for row in summary.to_pylist():
        everywhere = row["layer"] is None and row["step"] is None
        if row["group"] in LEFT_OUT or row["group"].startswith("k="):
            continue
        if everywhere or row["group"] == "set":
            yield row


def _bank(row: Row) -> tuple[str, str, int]:
    return row["dataset"], row["dictionary"], row["seed"]
