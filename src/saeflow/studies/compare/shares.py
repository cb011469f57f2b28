"""Shares of features that follow or tell something: against permutations, and against a control.

Features of one bank answer to the same problems and are not independent, so no interval here counts
them (design, section 8): what chance gives are permutations of the problems, which keep how features
depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from saeflow.stats.differences import Interval, bounded_difference

SHARES = ("share_specialists.", "share_level.")
"""What is held against permutations and controls."""
NO_LEVEL = "share_level.none"
BEYOND_PERMUTED = "beyond_permuted"
BOUND = "permutation_bound"
"""Interval of a difference: all that lies between the two permutation ranges."""
LEAST = 1e-9
"""A difference of fewer features than one in so many is one of rounding."""

Row = Mapping[str, Any]


def minus(control: str) -> str:
    """Ending of the metric of a difference from a control."""
    return f"minus_{control}"


def beyond(control: str) -> str:
    """Ending of the metric that says whether a share is beyond that of a control."""
    return f"beyond_{control}"


def permutation_rows(own: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Say of each share whether it is above that of every permutation.

    Without anything to find it is so once in one more than there are permutations, its n.

    Parameters
    ----------
    own : iterable of mapping
        Rows of one model, columns of `saeflow.artifacts.hierarchy.HIERARCHY` at least, with those of
        the control ``permuted``.

    Yields
    ------
    dict
        The row of the share, as ``{share}.beyond_permuted``: 1 or 0.
    """
    for share, null in _with_permutations(own).values():
        above = share["value"] > null["ci_high"]
        yield {**share, **_verdict(BEYOND_PERMUTED, share, above), "n": null["n"]}


def control_rows(
    own: Iterable[Row], beside: Iterable[Row], control: str, other: str
) -> Iterator[dict[str, Any]]:
    """Hold what each share is beyond permutations against the same of a control.

    A share minus the mean of its permutations is its excess; the range of the permutations gives that
    its ends. The difference of two excesses has as its interval all that both leave possible; the
    share is beyond the control where that is above 0, so at the nearest ends of both ranges.

    Parameters
    ----------
    own : iterable of mapping
        As for `permutation_rows`.
    beside : iterable of mapping
        Likewise, of the control; under the names of the banks that it is of.
    control, other : str
        What it controls for, and its name.

    Yields
    ------
    dict
        The row of the share, as ``{share}.minus_{control}`` with its interval, and as
        ``{share}.beyond_{control}``: 1 or 0. None where either was not permuted.
    """
    found = _with_permutations(beside)
    for key, (share, null) in _with_permutations(own).items():
        if key not in found:
            continue
        other_share, other_null = found[key]
        value, low, high = bounded_difference(
            _excess(share, null), _excess(other_share, other_null)
        )
        row = {**share, "other": other, "n": min(share["n"], other_share["n"])}
        name = f"{share['metric']}.{minus(control)}"
        ends = {"value": value, "ci_low": low, "ci_high": high, "interval": BOUND}
        yield {**row, "metric": name, **ends}
        yield {**row, **_verdict(beyond(control), share, low > LEAST)}


def _with_permutations(rows: Iterable[Row]) -> dict[tuple[Any, ...], tuple[Row, Row]]:
    """Shares of whole banks with their permutations, by bank, mode and metric."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        counted = row["metric"].startswith(SHARES) and row["metric"] != NO_LEVEL
        known = row["value"] is not None and row["group"] == "all"
        if counted and known and row["control"] in ("none", "permuted"):
            names = ("dataset", "dictionary", "seed", "mode", "metric")
            key = tuple(row[name] for name in names)
            found.setdefault(key, {})[row["control"]] = row
    return {key: (both["none"], both["permuted"]) for key, both in found.items() if len(both) == 2}


def _excess(share: Row, null: Row) -> Interval:
    value: float = share["value"]
    return Interval(value - null["value"], value - null["ci_high"], value - null["ci_low"])


def _verdict(ending: str, share: Row, holds: bool) -> dict[str, Any]:
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"metric": f"{share['metric']}.{ending}", "value": float(holds), **nothing}
