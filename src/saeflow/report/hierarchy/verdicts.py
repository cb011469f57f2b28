"""What may be said against chance and against an untrained model."""

from __future__ import annotations

import math
from typing import NamedTuple

import pyarrow as pa
from scipy.stats import binomtest

from saeflow.report.controls import without_nan
from saeflow.report.hierarchy.numbers import PERMUTED, HierarchyRun, Row
from saeflow.studies.compare.hierarchy import ADJUSTED, BEYOND, DIFFERENCE, HOLDS, UNTRAINED

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


class Difference(NamedTuple):
    """A difference of two shares, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Against(NamedTuple):
    """A count of features against permuted problems, and its share against the untrained control.

    Attributes
    ----------
    permuted : bool
        Whether it is beyond what permutations give.
    control : bool or None
        Whether its share is beyond that of the control; None where there is no control.
    difference : Difference or None
        Of the two shares, likewise.
    """

    permuted: bool
    control: bool | None = None
    difference: Difference | None = None

    @property
    def holds(self) -> bool:
        """Whether it is beyond all that there is to be beyond of."""
        return self.permuted and self.control is not False


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


def against(run: HierarchyRun, control: HierarchyRun | None, metric: str) -> Against | None:
    """Hold a count of features against permuted problems and the untrained control.

    Features of one bank answer to the same problems and are not independent, so two things are
    required of each difference. It is larger than what permutations, which keep that dependence, give
    by their scatter: beyond the largest of them, and, of two excesses, at the nearest ends of both
    ranges. And the interval of the difference of shares is above 0, so that a count of one or two
    beside none is no evidence.

    Parameters
    ----------
    run : HierarchyRun
        Of the model.
    control : HierarchyRun or None
        Of its untrained control.
    metric : str
        A count, with permutations, of its n features.

    Returns
    -------
    Against or None
        None where there is no count, or nothing to hold it against.
    """
    found, null = run.number(metric), run.number(metric, PERMUTED)
    if found is None or null is None:
        return None
    chance = share_difference(found, {**null, "n": found["n"]})
    permuted = found["value"] > _end(null, "ci_high") and chance.low > 0
    other = None if control is None else control.number(metric)
    if control is None or other is None:
        return Against(permuted)
    difference = share_difference(found, other)
    least = (found["value"] - _end(null, "ci_high")) / max(found["n"], 1)
    most = other["value"] / max(other["n"], 1)
    other_null = control.number(metric, PERMUTED)
    if other_null is not None:
        most -= _end(other_null, "ci_low") / max(other["n"], 1)
    return Against(permuted, difference.low > 0 and least > most, difference)


def share_difference(first: Row, second: Row) -> Difference:
    """Share of the first minus that of the second, with Newcombe's interval from Wilson's two.

    Parameters
    ----------
    first, second : mapping
        ``value``: how many, a mean being rounded up; ``n``: of how many.
    """
    (one, low, high), (two, other_low, other_high) = _wilson(first), _wilson(second)
    value = one - two
    below, above = math.hypot(one - low, other_high - two), math.hypot(high - one, two - other_low)
    return Difference(value, value - below, value + above)


def _wilson(row: Row) -> tuple[float, float, float]:
    if not row["n"]:
        return 0.0, 0.0, 1.0
    test = binomtest(min(math.ceil(row["value"]), row["n"]), row["n"])
    ends = test.proportion_ci(method="wilson")
    return float(test.statistic), float(ends.low), float(ends.high)


def _end(row: Row, key: str) -> float:
    return float(row["value"] if row[key] is None else row[key])


def _bank(row: Row) -> tuple[str, str, int]:
    return row["dataset"], row["dictionary"], row["seed"]
