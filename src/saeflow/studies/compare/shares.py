"""Shares of features that follow or tell something: against permutations, and against a control.

Features of one bank answer to the same problems and are not independent, so no interval here counts
them (design, section 8). What chance gives are permutations of the problems, which keep how features
depend on each other; how far two shares would differ that are alike is told by their SAEs, one of each
site, as permutations only move what chance finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from saeflow.stats.differences import Interval, bounded_difference, mean_of_units

SHARES = ("share_specialists.", "share_level.")
"""What is held against permutations and controls."""
NO_LEVEL = "share_level.none"
BEYOND_PERMUTED = "beyond_permuted"
BOUND = "permutation_bound"
"""Interval of a difference: all that lies between the two permutation ranges."""
SPREAD = "spread of sites 95 %"
"""Interval of a mean over SAEs, from how far those of different sites differ."""
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
    its ends. The difference of two excesses has as its interval all that both leave possible. The
    same difference is taken of every two SAEs of one site; its mean over sites has an interval by
    how far they differ. A share is beyond the control where both intervals are above 0: the first at
    the nearest ends of both ranges. With one site there is no second.

    Parameters
    ----------
    own : iterable of mapping
        As for `permutation_rows`, with rows of single sites.
    beside : iterable of mapping
        Likewise, of the control; under the names of the banks that it is of.
    control, other : str
        What it controls for, and its name.

    Yields
    ------
    dict
        The row of the share, as ``{share}.minus_{control}`` with its interval, as
        ``{share}.minus_{control}.by_site`` of two sites or more, and as
        ``{share}.beyond_{control}``: 1 or 0. None where either was not permuted.
    """
    whole, sites = _with_permutations(own), _with_permutations(own, by_site=True)
    others, other_sites = _with_permutations(beside), _with_permutations(beside, by_site=True)
    for key in whole.keys() & others.keys():
        share, other_share = whole[key][0], others[key][0]
        row = {**share, "other": other, "n": min(share["n"], other_share["n"])}
        name = f"{share['metric']}.{minus(control)}"
        bound = bounded_difference(_excess(*whole[key]), _excess(*others[key]))
        yield {**row, "metric": name, **_ends(bound, BOUND)}
        apart = [
            _excess(*pair).value - _excess(*other_sites[place]).value
            for place, pair in sites.items()
            if place[: len(key)] == key and place in other_sites
        ]
        spread = mean_of_units(apart)
        if spread is not None:
            yield {**row, "metric": f"{name}.by_site", **_ends(spread, SPREAD), "n": len(apart)}
        holds = bound.low > LEAST and (spread is None or spread.low > LEAST)
        yield {**row, **_verdict(beyond(control), share, holds)}


def _with_permutations(
    rows: Iterable[Row], *, by_site: bool = False
) -> dict[tuple[Any, ...], tuple[Row, Row]]:
    """Shares of whole banks, or of single sites, with their permutations; sites end the keys."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    names = ("dataset", "dictionary", "seed", "mode", "metric", *(("layer", "step") * by_site))
    for row in rows:
        counted = row["metric"].startswith(SHARES) and row["metric"] != NO_LEVEL
        known = row["value"] is not None and row["group"] == "all"
        place = [row["layer"] is not None, row["step"] is not None]
        if counted and known and place == [by_site] * 2 and row["control"] in ("none", "permuted"):
            found.setdefault(tuple(row[name] for name in names), {})[row["control"]] = row
    return {key: (both["none"], both["permuted"]) for key, both in found.items() if len(both) == 2}


def _excess(share: Row, null: Row) -> Interval:
    value: float = share["value"]
    return Interval(value - null["value"], value - null["ci_high"], value - null["ci_low"])


def _ends(interval: Interval, kind: str) -> dict[str, Any]:
    value, low, high = interval
    return {"value": value, "ci_low": low, "ci_high": high, "interval": kind}


def _verdict(ending: str, share: Row, holds: bool) -> dict[str, Any]:
    nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
    return {"metric": f"{share['metric']}.{ending}", "value": float(holds), **nothing}
