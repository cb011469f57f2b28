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
    control, problem by problem; its p-value is that of Wilcoxon's signed-rank test, two-sided. That of
    the difference between problems with and without a label is Welch's. The q-value is adjusted by
    Benjamini and Hochberg over all features, or the sets of all sites, of which the same is asked.

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
    resamples: Int[np.ndarray, "resamples problems"],
    key: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    for control, values in found.items():
        named = {**key, "control": control, "label": "", "group": ALL}
        active = values["n_active"]
        yield _row(named, "n_active", float(active.sum()), None, len(active))
        for metric in values.keys() - {"n_active"}:
            yield _mean(named, metric, values[metric], resamples)
            own = found.get(NONE, {}).get(metric)
            if control != NONE and own is not None:
                difference = own - values[metric]
                row = _mean(named, f"{metric}_excess", difference, resamples)
                yield {**row, "p_value": _signed_rank(difference)}


def _label_rows(
    found: Mapping[str, Values],
    has: Bool[np.ndarray, " problems"],
    resamples: Int[np.ndarray, "resamples problems"],
    key: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Effects with and without the label, and their difference."""
    if has.all() or not has.any():
        return
    for control, values in found.items():
        named = {**key, "control": control}
        for metric in values.keys() - {"n_active"}:
            yield from _contrast(named, metric, values[metric], has, resamples)
            own = found.get(NONE, {}).get(metric)
            if control != NONE and own is not None:
                excess = own - values[metric]
                *groups, row = _contrast(named, f"{metric}_excess", excess, has, resamples)
                yield from groups
                yield {**row, "p_value": _welch(excess[has], excess[~has])}


def _contrast(
    key: Mapping[str, Any],
    metric: str,
    values: Float[np.ndarray, " problems"],
    has: Bool[np.ndarray, " problems"],
    resamples: Int[np.ndarray, "resamples problems"],
) -> Iterator[dict[str, Any]]:
    """Means with and without, and last their difference."""
    means, drawn = {}, {}
    for group, of in (("with", has), ("without", ~has)):
        weight = of.astype(np.float64)
        drawn[group] = resamples @ (weight * values) / np.maximum(resamples @ weight, 1)
        means[group] = float(values[of].mean())
        ends = percentile_ends(drawn[group])
        yield _row({**key, "group": group}, metric, means[group], ends, int(of.sum()))
    ends = percentile_ends(drawn["with"] - drawn["without"])
    value = means["with"] - means["without"]
    yield _row({**key, "group": "difference"}, metric, value, ends, len(has))


def _mean(
    key: Mapping[str, Any],
    metric: str,
    values: Float[np.ndarray, " problems"],
    resamples: Int[np.ndarray, "resamples problems"],
) -> dict[str, Any]:
    ends = percentile_ends(resamples @ values / len(values))
    return _row(key, metric, float(values.mean()), ends, len(values))


def _row(
    key: Mapping[str, Any], metric: str, value: float, ends: tuple[float, float] | None, n: int
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
    if min(len(some), len(others)) < 2 or not (np.ptp(some) or np.ptp(others)):
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
