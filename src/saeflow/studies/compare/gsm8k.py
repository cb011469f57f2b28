"""The four questions of the GSM8K study, each beside its chance level (methods/1, section 2.7).

Three ask for a rate of one model, the fourth ("capacity") for the difference between two; it was
answered by comparing two bare rates. Here every rate and every difference stands beside its spread
over SAE seeds and beside what permuted tokens give. Nothing is bootstrapped (design, section 8).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, combinations_with_replacement
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from saeflow.artifacts.catalog import COMPARISON

QUESTIONS = {
    "interpretable": "interpretable_rate",
    "monosemantic": "monosemantic_rate",
    "number": "number_rate",
    "capacity": "monosemantic_rate",
}
"""Question, and the metric of the summary that it asks about."""
BETWEEN_MODELS = ("capacity",)
"""Questions that only a difference answers."""
SEEDS, PERMUTATIONS, NONE = "seed_range", "permutation_range", "none"


class Run(NamedTuple):
    """What was analysed of a model, whatever the seed."""

    dataset: str
    dictionary: str
    mode: str


class Row(NamedTuple):
    """One number, without what names it."""

    metric: str
    control: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str
    n: int


@dataclass
class Rate:
    """One rate of one run; what could not be measured is absent.

    Attributes
    ----------
    observed : dict of int to float
        By SAE seed.
    permuted : dict of int to dict of int to float
        By permutation, then by SAE seed.
    """

    observed: dict[int, float] = field(default_factory=dict)
    permuted: dict[int, dict[int, float]] = field(default_factory=dict)

    def seed_means(self) -> dict[int, float]:
        """Mean over seeds, by permutation."""
        return {number: _mean(by_seed.values()) for number, by_seed in self.permuted.items()}

    def excesses(self) -> list[float]:
        """Observed rate minus the mean over permutations, for each seed that has both."""
        found = []
        for seed, value in self.observed.items():
            chance = [by_seed[seed] for by_seed in self.permuted.values() if seed in by_seed]
            if chance:
                found.append(value - _mean(chance))
        return found


Rates = dict[Run, dict[str, Rate]]
"""By run, then by metric."""


def comparison_table(
    summaries: Mapping[str, pa.Table],
    permutations: Iterable[tuple[str, pa.Table]],
    dictionaries: Sequence[str] | None = None,
) -> pa.Table:
    """Answer the questions for every model, every pair of models and every pair of one's banks.

    Two models that share a data set and dictionary are compared on what they share; others on every
    combination.

    A seed or permutation without a value (a rate over nothing) is left out of means and ranges.
    The excess is the observed mean minus the permuted mean, so where some seed lacks a value it
    need not lie in the range of the others.

    Parameters
    ----------
    summaries : mapping of str to pyarrow.Table
        By model, columns of `saeflow.artifacts.catalog.SUMMARY`. Their order decides which model of
        a pair the other is subtracted from.
    permutations : iterable of (str, pyarrow.Table)
        Model, and columns of `saeflow.artifacts.catalog.PERMUTATIONS`, in any order.
    dictionaries : sequence of str, optional
        Which dictionaries to compare, where the summaries hold their controls, too; all if not
        given.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.COMPARISON`. Control ``none`` holds the rate, its
        excess over chance, or a difference, control ``permuted`` the same number under permutation.
    """
    rates = {model: _observed(summary, dictionaries) for model, summary in summaries.items()}
    for model, table in permutations:
        _add_permuted(rates[model], table)
    rows = [*_rows_of_models(rates), *_rows_of_pairs(rates)]
    return pa.Table.from_pylist(rows, COMPARISON.schema())


def about_one(rate: Rate, metric: str) -> list[Row]:
    """Rows about one model: the rate, the same under permutation, and the excess.

    Parameters
    ----------
    rate : Rate
        What was measured.
    metric : str
        What it is called.
    """
    observed = list(rate.observed.values())
    permuted = list(rate.seed_means().values())
    excess = _minus(_mean_or_none(observed), _mean_or_none(permuted))
    return [
        _ranged(metric, "none", _mean_or_none(observed), observed, SEEDS),
        _ranged(metric, "permuted", _mean_or_none(permuted), permuted, PERMUTATIONS),
        _ranged("excess", "none", excess, rate.excesses(), SEEDS),
    ]


def about_two(rate: Rate, other: Rate) -> list[Row]:
    """Rows about two models: the difference, the same under permutation, and what remains.

    The range over seeds is that of all pairs of a seed of one and a seed of the other. Permutations
    are paired by their number: on one data set, the same number moves the same problems. The
    permuted difference is the gap between two chance levels, not what two equal models would give.

    Parameters
    ----------
    rate, other : Rate
        The second is subtracted from the first.
    """
    pairs = [one - two for one in rate.observed.values() for two in other.observed.values()]
    difference = _minus(
        _mean_or_none(rate.observed.values()), _mean_or_none(other.observed.values())
    )
    means, other_means = rate.seed_means(), other.seed_means()
    permuted = [
        mean - other_means[number] for number, mean in means.items() if number in other_means
    ]
    excess = _minus(difference, _mean_or_none(permuted))
    excesses = [one - two for one in rate.excesses() for two in other.excesses()]
    return [
        _ranged("difference", "none", difference, pairs, SEEDS),
        _ranged("difference", "permuted", _mean_or_none(permuted), permuted, PERMUTATIONS),
        _ranged("excess_difference", "none", excess, excesses, SEEDS),
    ]


def _rows_of_models(rates: Mapping[str, Rates]) -> Iterator[dict[str, object]]:
    for model, runs in rates.items():
        for run, by_metric in runs.items():
            name = {"model": model, "other": "", **run._asdict()}
            name |= {"other_dataset": "", "other_dictionary": ""}
            for question, metric in QUESTIONS.items():
                if question not in BETWEEN_MODELS:
                    for row in about_one(by_metric[metric], metric):
                        yield {"question": question, **name, **row._asdict()}


def _rows_of_pairs(rates: Mapping[str, Rates]) -> Iterator[dict[str, object]]:
    for (model, runs), (other, other_runs) in combinations_with_replacement(rates.items(), 2):
        for run, other_run in _pairs(list(runs), list(other_runs), same=model == other):
            name = {"model": model, "other": other, **run._asdict()}
            name |= {"other_dataset": other_run.dataset, "other_dictionary": other_run.dictionary}
            for question, metric in QUESTIONS.items():
                for row in about_two(runs[run][metric], other_runs[other_run][metric]):
                    yield {"question": question, **name, **row._asdict()}


def _pairs(runs: list[Run], others: list[Run], *, same: bool) -> Iterator[tuple[Run, Run]]:
    """Runs to hold against each other: of one model all, of two those alike where there are any."""
    if same:
        pairs = list(combinations(runs, 2))
    else:
        alike = [(run, run) for run in runs if run in others]
        pairs = alike or [(run, other) for run in runs for other in others]
    return (pair for pair in pairs if pair[0].mode == pair[1].mode)


def _observed(summary: pa.Table, dictionaries: Sequence[str] | None) -> Rates:
    if dictionaries is not None:
        summary = summary.filter(pc.is_in(summary["dictionary"], pa.array(dictionaries)))
    rates: Rates = {}
    for row in _overall(summary.filter(pc.equal(summary["control"], "none"))):
        run = Run(row["dataset"], row["dictionary"], row["mode"])
        by_metric = rates.setdefault(run, {metric: Rate() for metric in QUESTIONS.values()})
        if row["value"] is not None:
            by_metric[row["metric"]].observed[row["seed"]] = row["value"]
    return rates


def _add_permuted(rates: Rates, permutations: pa.Table) -> None:
    for row in _overall(permutations):
        rate = rates[Run(row["dataset"], row["dictionary"], row["mode"])][row["metric"]]
        if row["value"] is not None:
            rate.permuted.setdefault(row["permutation"], {})[row["seed"]] = row["value"]


def _overall(table: pa.Table) -> list[dict[str, Any]]:
    """Rows over all layers and steps of the metrics that are asked about."""
    asked = pa.array(sorted(set(QUESTIONS.values())))
    everywhere = pc.and_(pc.is_null(table["layer"]), pc.is_null(table["step"]))
    chosen = table.filter(pc.and_(everywhere, pc.is_in(table["metric"], asked)))
    return list(chosen.to_pylist())


def _ranged(
    metric: str, control: str, value: float | None, spread: Sequence[float], interval: str
) -> Row:
    if value is None or not spread:
        return Row(metric, control, value, None, None, NONE, len(spread))
    return Row(metric, control, value, min(spread), max(spread), interval, len(spread))


def _mean(values: Iterable[float]) -> float:
    # An exact sum does not depend on the order of the tables' rows.
    values = list(values)
    return math.fsum(values) / len(values)


def _mean_or_none(values: Iterable[float]) -> float | None:
    values = list(values)
    return _mean(values) if values else None


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
