"""From trials to effects: means over problems with intervals, each beside its controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from scipy.stats import false_discovery_control, ttest_ind, wilcoxon

from saeflow.artifacts.hierarchy import EFFECTS
from saeflow.saes.bank import Site
from saeflow.seeds import numpy_generator
from saeflow.stats.resampling import BOOTSTRAP, percentile_ends, resample_counts
from saeflow.studies.hierarchy.trials import ALL, NONE, REPORTED, SET

METRICS = {
    "accuracy": "correct",
    "log_probability": "log_probability",
    "kl": "kl",
    "changed": "changed",
    "cosine": "cosine",
    "toward": "toward",
}
"""Metric, and the column of the trials that it is the mean of."""
PLACE = ["dataset", "layer", "step", "unit", "edit", "dose", "half"]
"""What a condition and its controls share."""
MIN_GROUP = 10
"""Problems with and without a label, at least: of fewer, a resample holds hardly any, so that intervals
are too short, and Welch's test leans on a variance of almost nothing."""
SWAP = "swap."
"""Start of edits that are made within a few stories."""


class FeatureLabel(NamedTuple):
    """What a feature follows on the problems that it was chosen on.

    Attributes
    ----------
    label : str
        Target and label.
    present : numpy.ndarray of int
        Running numbers of the reported problems that have it.
    """

    label: str
    present: Int[np.ndarray, " problems"]


Labels = Mapping[tuple[Site, int], FeatureLabel]
"""Labels of features, where they have one."""


def effect_table(
    trials: pa.Table,
    halves: Mapping[tuple[str, str], Int[np.ndarray, " problems"]],
    labels: Labels,
    run: Mapping[str, object],
    seed: int,
) -> pa.Table:
    """Mean effects with intervals over problems, differences from controls, and p-values.

    Problems whose activations an intervention leaves as they are count as unchanged: an effect is a
    mean over all problems of its half, and ``n_active`` says on how many there was something to do.
    A row whose control is not none has as ``{metric}_excess`` what the intervention has beyond that
    control, problem by problem, problems left out on which it changes something and the control, for
    want of features, nothing; its p-value is that of Wilcoxon's signed-rank test, two-sided. That of
    the difference between problems with and without a label is Welch's; there are at least `MIN_GROUP`
    of either. The q-value is adjusted by Benjamini and Hochberg over all features, or the sets of all
    sites, of which the same is asked. Swaps have neither: their problems tell a few stories over and
    over, which no test that counts problems allows for.

    Parameters
    ----------
    trials : pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.TRIALS`.
    halves : mapping of (str, str) to numpy.ndarray of int
        Running numbers of all problems by data set and half.
    labels : mapping of (Site, int) to FeatureLabel
        What single features follow.
    run : mapping
        Values of the key columns dictionary, seed, mode.
    seed : int
        Seed of the resamples.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.hierarchy.EFFECTS`.
    """
    frame = trials.to_pandas()
    rows: list[dict[str, Any]] = []
    for place, group in frame.groupby(PLACE, dropna=False, sort=True):
        key = dict(zip(PLACE, place, strict=True))
        key["dose"] = None if pd.isna(key["dose"]) else float(key["dose"])
        problems = halves[key["dataset"], key["half"]]
        found = {
            str(control): _values(part, problems) for control, part in group.groupby("control")
        }
        resamples = _resamples(len(problems), seed)
        rows += _condition_rows(found, resamples, {**run, **key})
        label = labels.get(_feature(key)) if key["edit"] == "zero" else None
        if label is not None and key["half"] == REPORTED:
            has = np.isin(problems, label.present)
            rows += _label_rows(found, has, resamples, {**run, **key, "label": label.label})
    _adjust(rows)
    table = pa.Table.from_pylist(rows, EFFECTS.schema())
    return table.sort_by([(name, "ascending") for name in EFFECTS.keys])


def mean_row(metric: str, values: Float[np.ndarray, " problems"], seed: int) -> dict[str, Any]:
    """Mean over problems with its interval, as columns metric to n of a summary.

    Parameters
    ----------
    metric : str
        Its name.
    values : numpy.ndarray of float, shape (problems,)
        One per problem.
    seed : int
        Seed of the resamples.
    """
    row = _mean({}, metric, values, _resamples(len(values), seed))
    return {name: value for name, value in row.items() if name not in ("p_value", "q_value")}


Values = dict[str, Float[np.ndarray, " problems"]]
"""By metric, one value per problem of the half; ``n_active`` marks those with something to do."""
Problems = Bool[np.ndarray, " problems"]
Resamples = Int[np.ndarray, "resamples problems"]


def _values(trials: pd.DataFrame, problems: Int[np.ndarray, " problems"]) -> Values:
    place = np.searchsorted(problems, trials["problem"].to_numpy())
    values = {}
    for metric, column in METRICS.items():
        if trials[column].isna().all():
            continue
        # A latent that nothing is done to is the one that it was.
        values[metric] = np.full(len(problems), 1.0 if metric == "cosine" else 0.0)
        values[metric][place] = trials[column].to_numpy(np.float64)
    values["n_active"] = np.zeros(len(problems))
    values["n_active"][place] = 1
    return values


def _resamples(count: int, seed: int) -> Int[np.ndarray, "resamples problems"]:
    """How often each problem is drawn, in every resample of as many problems."""
    generator = numpy_generator(seed, "hierarchy", "effects", count)
    return resample_counts(count, generator)


def _condition_rows(
    found: Mapping[str, Values],
    resamples: Resamples,
    key: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    for control, values in found.items():
        named = {**key, "control": control, "label": "", "group": ALL}
        active = values["n_active"]
        yield _row(named, "n_active", float(active.sum()), None, len(active))
        for metric in values.keys() - {"n_active"}:
            yield _mean(named, metric, values[metric], resamples)
        for metric, excess, paired in _excesses(found, control):
            row = _mean(named, metric, excess, resamples, paired)
            independent = not key["edit"].startswith(SWAP)
            yield {**row, "p_value": _signed_rank(excess[paired]) if independent else None}


def _label_rows(
    found: Mapping[str, Values],
    has: Problems,
    resamples: Resamples,
    key: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Effects with and without the label, and their difference, where there are enough of either."""
    everywhere = np.ones(len(has), bool)
    for control, values in found.items():
        named = {**key, "control": control}
        for metric in values.keys() - {"n_active"}:
            yield from _contrast(named, metric, values[metric], has, everywhere, resamples)
        for metric, excess, paired in _excesses(found, control):
            rows = list(_contrast(named, metric, excess, has, paired, resamples))
            if rows:
                *groups, row = rows
                yield from groups
                yield {**row, "p_value": _welch(excess[has & paired], excess[~has & paired])}


def _excesses(
    found: Mapping[str, Values], control: str
) -> Iterator[tuple[str, Float[np.ndarray, " problems"], Problems]]:
    """What the intervention has beyond a control, by metric, and the problems to compare them on.

    Where the intervention does something and the control nothing, because no other feature is active,
    the difference would be the whole effect.
    """
    if control == NONE or NONE not in found:
        return
    own, other = found[NONE], found[control]
    paired = (own["n_active"] == 0) | (other["n_active"] > 0)
    if not paired.any():
        return
    for metric in other.keys() & own.keys() - {"n_active"}:
        yield f"{metric}_excess", own[metric] - other[metric], paired


def _contrast(
    key: Mapping[str, Any],
    metric: str,
    values: Float[np.ndarray, " problems"],
    has: Problems,
    of: Problems,
    resamples: Resamples,
) -> Iterator[dict[str, Any]]:
    """Means with and without, and last their difference; nothing where either are too few."""
    groups = {"with": has & of, "without": ~has & of}
    if min(int(group.sum()) for group in groups.values()) < MIN_GROUP:
        return
    drawn = {name: _drawn(values, group, resamples) for name, group in groups.items()}
    means = {name: float(values[group].mean()) for name, group in groups.items()}
    for name, group in groups.items():
        count = int(group.sum())
        yield _row({**key, "group": name}, metric, means[name], percentile_ends(drawn[name]), count)
    ends = percentile_ends(drawn["with"] - drawn["without"])
    value = means["with"] - means["without"]
    yield _row({**key, "group": "difference"}, metric, value, ends, int(of.sum()))


def _mean(
    key: Mapping[str, Any],
    metric: str,
    values: Float[np.ndarray, " problems"],
    resamples: Resamples,
    of: Problems | None = None,
) -> dict[str, Any]:
    of = np.ones(len(values), bool) if of is None else of
    ends = percentile_ends(_drawn(values, of, resamples))
    return _row(key, metric, float(values[of].mean()), ends, int(of.sum()))


def _drawn(
    values: Float[np.ndarray, " problems"], of: Problems, resamples: Resamples
) -> Float[np.ndarray, " resamples"]:
    """Mean over some of the problems in every resample; nan where a resample has none of them."""
    size = resamples @ of.astype(np.float64)
    found: Float[np.ndarray, " resamples"]
    found = resamples @ (of * values) / np.where(size > 0, size, np.nan)
    return found


def _row(
    key: Mapping[str, Any],
    metric: str,
    value: float,
    ends: tuple[float, float] | None,
    n: int,
) -> dict[str, Any]:
    # Where all problems agree there is nothing to resample.
    some = ends is not None and ends[0] < ends[1]
    return {
        **key,
        "metric": metric,
        "value": value,
        "ci_low": ends[0] if some and ends else None,
        "ci_high": ends[1] if some and ends else None,
        "interval": BOOTSTRAP if some else "none",
        "n": n,
        "p_value": None,
        "q_value": None,
    }


def _signed_rank(difference: Float[np.ndarray, " problems"]) -> float:
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, zero_method="wilcox").pvalue)


def _welch(some: Float[np.ndarray, " some"], others: Float[np.ndarray, " others"]) -> float:
    if not (np.ptp(some) or np.ptp(others)):
        return 1.0
    return float(ttest_ind(some, others, equal_var=False).pvalue)


FAMILY = ("dataset", "half", "edit", "dose", "control", "group", "metric")
"""What is asked of every feature, or of every site's set, is one family of tests."""


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    families: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["p_value"] is not None:
            family = (row["unit"] == SET, *(row[name] for name in FAMILY))
            families.setdefault(family, []).append(row)
    for tested in families.values():
        adjusted = false_discovery_control([row["p_value"] for row in tested])
        for row, value in zip(tested, adjusted, strict=True):
            row["q_value"] = float(value)


def _feature(key: Mapping[str, Any]) -> tuple[Site, int]:
    unit = str(key["unit"])
    number = int(unit[1:]) if unit.startswith("F") else -1
    return Site(int(key["layer"]), int(key["step"])), number
