"""Models at equal sparsity and at equal explained variance, and what may be said of their sizes.

The published answer compares two models at one k each, and neither sparsity nor reconstruction was
equal (methods/1, section 2.9). Here one model is subtracted from another on the same problems, at
the same relative depth, step and d_sae, where both have the same k, and again where both explain
the same variance. Excesses over chance are subtracted, too, for chance itself differs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import pyarrow as pa
from scipy.stats import kendalltau

from saeflow.artifacts.calibration import MATCHED
from saeflow.errors import SaeflowError

RATES = {
    ("published", "interpretable_rate"): "interpretable_excess",
    ("published", "monosemantic_rate"): "monosemantic_excess",
    ("calibrated", "discovered_rate"): "discovered_excess",
}
"""Mode and rate, and the excess of that rate over chance."""
UNEXPLAINED = ("calibrated", "fvu", "none")
SHARES = (0.25, 0.5, 0.75)
"""Where in the overlap of two sweeps' explained variances models are compared."""
FEWEST_MODELS = 4
LEVEL = 0.05


class Number(NamedTuple):
    """One number of a grid with its interval; None where it could not be measured."""

    value: float | None
    low: float | None
    high: float | None
    n: int


Cell = Mapping[tuple[str, str, str], Number]
"""Numbers of one SAE, by mode, metric and control."""
Sweeps = dict[tuple[str, float, int, int], dict[int, Cell]]
"""Cells by k, of each data set, depth, step and d_sae."""


class Verdict(NamedTuple):
    """What this run supports of a claim (design, section 9).

    Attributes
    ----------
    word : str
        supported, contradicted, not distinguishable from chance, or not testable in this run.
    rule : str
        The rule that gave it, in sentences.
    """

    word: str
    rule: str


def matched_table(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Subtract models from each other where their SAEs are equally sparse, or explain equally much.

    *Equal L0*: abstopk keeps exactly k latents, so models are compared at every k that both have;
    `level` is that k.

    *Equal explained variance*: 1 - fvu on held-out problems. The published measure is not used: it
    counts fixed offsets between dimensions as explained (see `saeflow.saes.quality.site_quality`),
    and models differ in those. Of each model, the k sweep at one d_sae is sorted by it, whether or
    not it grows with k, and numbers between two neighbours are interpolated linearly; of SAEs that
    explain the same, the one with the smallest k counts. Models are compared at a quarter, a half
    and three quarters of the range that both sweeps cover, at its one point where the two only
    touch, and not at all where they do not overlap: nothing is extrapolated.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        By model, columns of `saeflow.artifacts.calibration.CAPACITY`. Of each pair of models the
        later one is subtracted.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.calibration.MATCHED`. Rows of a rate: the difference with
        control ``none``, without an interval, and with control ``permuted`` the difference of the
        permuted means. Rows of an excess: the difference, control ``none``. The interval
        ``permutation_bound`` reaches from the one's lower end minus the other's upper end to the
        reverse, so it holds whatever the two have in common, and is wide. The value is null where
        either model's is, or that of a neighbour in between; n is the smallest n of all cells used.

    Raises
    ------
    SaeflowError
        If a table holds SAEs of several seeds.
    """
    sweeps = {model: _sweeps(model, table) for model, table in tables.items()}
    rows = []
    for (model, own), (other, others) in combinations(sweeps.items(), 2):
        for place in sorted(own.keys() & others.keys()):
            names = dict(zip(("dataset", "depth", "step", "d_sae"), place, strict=True))
            names |= {"model": model, "other": other}
            for matched_on, level, one, two in _matches(own[place], others[place]):
                at = {**names, "matched_on": matched_on, "level": level}
                rows += [{**at, **row} for row in _differences(one, two)]
    return pa.Table.from_pylist(rows, MATCHED.schema())


def capacity_verdict(n_models: int, trend: Sequence[tuple[float, float]] = ()) -> Verdict:
    """Judge the study's claim that monosemanticity does not fall with the size of the model.

    Parameters
    ----------
    n_models : int
        Trained models of different sizes; untrained controls do not count.
    trend : sequence of (float, float), optional
        Size (parameters) of each, and its monosemantic excess where all are equally sparse or
        explain equally much.

    Returns
    -------
    Verdict
        With fewer than four models *not testable in this run*, for even a perfect order of three
        comes about by chance once in six times. With four and more, the one-sided test of Kendall's
        rank correlation between size and excess, in either direction at 5 %: ``contradicted`` if
        the excess falls, ``supported`` if it grows, else *not distinguishable from chance*.
    """
    if n_models < FEWEST_MODELS:
        models = f"{n_models} model" + ("" if n_models == 1 else "s")
        return Verdict(
            "not testable in this run",
            f"A claim across model sizes needs {FEWEST_MODELS} trained models of different sizes; "
            f"this run compares {models}, whose order agrees with any hypothesis by chance once in "
            f"{math.factorial(max(n_models, 1))}.",
        )
    sizes = [size for size, _ in trend]
    if len(trend) != n_models or len(set(sizes)) != n_models:
        return Verdict(
            "not testable in this run",
            f"{n_models} models are compared, but {len(set(sizes))} different sizes with an excess "
            "are known; the order of sizes needs one for each.",
        )
    excesses = [excess for _, excess in trend]
    grows, falls = (
        float(kendalltau(sizes, excesses, alternative=side).pvalue) for side in ("greater", "less")
    )
    word = "not distinguishable from chance"
    if falls <= LEVEL:
        word = "contradicted"
    elif grows <= LEVEL:
        word = "supported"
    return Verdict(
        word,
        f"Kendall's rank correlation between size and monosemantic excess over {n_models} models: "
        f"one-sided p {falls:.3g} that it falls, {grows:.3g} that it grows; each is held against "
        f"{LEVEL}.",
    )


def _sweeps(model: str, table: pa.Table) -> Sweeps:
    sweeps: dict[tuple[str, float, int, int], dict[int, dict[tuple[str, str, str], Number]]] = {}
    seeds = sorted(set(table["seed"].to_pylist()))
    if len(seeds) > 1:
        raise SaeflowError(
            f"the capacity table of {model} holds SAEs of the seeds {', '.join(map(str, seeds))}; "
            "expected one seed."
        )
    for row in table.to_pylist():
        place = (row["dataset"], row["depth"], row["step"], row["d_sae"])
        cell = sweeps.setdefault(place, {}).setdefault(row["k"], {})
        number = Number(row["value"], row["ci_low"], row["ci_high"], row["n"] or 0)
        cell[row["mode"], row["metric"], row["control"]] = number
    return {place: dict(cells) for place, cells in sweeps.items()}


def _matches(
    own: Mapping[int, Cell], others: Mapping[int, Cell]
) -> Iterator[tuple[str, float, Cell, Cell]]:
    """Where two sweeps are compared, and the numbers of both there."""
    for k in sorted(own.keys() & others.keys()):
        yield "l0", float(k), own[k], others[k]
    one, two = _curve(own), _curve(others)
    for level in _levels([level for level, _ in one], [level for level, _ in two]):
        yield "explained_variance", level, _cell_at(one, level), _cell_at(two, level)


def _curve(sweep: Mapping[int, Cell]) -> list[tuple[float, Cell]]:
    """Cells by the variance that their SAEs explain, ascending."""
    found: dict[float, Cell] = {}
    for k in sorted(sweep, reverse=True):
        unexplained = sweep[k][UNEXPLAINED].value
        if unexplained is not None:
            found[1 - unexplained] = sweep[k]
    return sorted(found.items(), key=lambda point: point[0])


def _levels(own: Sequence[float], others: Sequence[float]) -> list[float]:
    """Up to three levels inside the overlap of two ranges, given ascending."""
    if not own or not others:
        return []
    low, high = max(own[0], others[0]), min(own[-1], others[-1])
    if low > high:
        return []
    return sorted({low + share * (high - low) for share in SHARES})


def _cell_at(curve: Sequence[tuple[float, Cell]], level: float) -> Cell:
    """Numbers at a level that lies on the curve, between its neighbours or at one."""
    place = bisect_left(curve, level, key=lambda point: point[0])
    above, right = curve[min(place, len(curve) - 1)]
    if above <= level:
        return right
    below, left = curve[place - 1]
    share = (level - below) / (above - below)
    return {name: _between(left[name], right[name], share) for name in left if name in right}


def _between(left: Number, right: Number, share: float) -> Number:
    value, low, high = (
        None if one is None or two is None else (1 - share) * one + share * two
        for one, two in zip(left[:3], right[:3], strict=True)
    )
    return Number(value, low, high, min(left.n, right.n))


def _differences(one: Cell, two: Cell) -> Iterator[dict[str, object]]:
    for (mode, rate), excess in RATES.items():
        for metric, control, banded in (
            (rate, "none", False),
            (rate, "permuted", True),
            (excess, "none", True),
        ):
            name = (mode, metric, control)
            difference = _minus(one[name], two[name])
            known = banded and difference.low is not None
            yield {
                "mode": mode,
                "metric": metric,
                "control": control,
                "value": difference.value,
                "ci_low": difference.low if known else None,
                "ci_high": difference.high if known else None,
                "interval": "permutation_bound" if known else "none",
                "n": difference.n,
            }


def _minus(one: Number, two: Number) -> Number:
    def less(left: float | None, right: float | None) -> float | None:
        return None if left is None or right is None else left - right

    ends = less(one.low, two.high), less(one.high, two.low)
    return Number(less(one.value, two.value), *ends, min(one.n, two.n))
