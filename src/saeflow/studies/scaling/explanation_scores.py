"""Scores of explanations: balanced accuracy and area under the curve, beside swapped and empty ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score

from saeflow.artifacts.scaling_explanations import EXPLANATION_SCORES, EXPLANATION_SUMMARY
from saeflow.seeds import numpy_generator
from saeflow.stats.balanced_accuracy import EXACT, balanced_accuracy
from saeflow.stats.exact import holm
from saeflow.stats.resampling import (
    BOOTSTRAP,
    cluster_means,
    sign_flip_p_value,
)
from saeflow.studies.scaling.scorers import Verdicts
from saeflow.studies.scaling.trials import Trial

ALL = "all"
CONTROLS = ("swapped", "empty")
MEASURED = ("balanced_accuracy", "auroc", "unread_share")


def score_rows(
    trials: Sequence[Trial], said: Verdicts, threshold: float | None
) -> list[dict[str, Any]]:
    """Score one feature's verdicts of one method.

    Parameters
    ----------
    trials : sequence of Trial
        Of the test half.
    said : Verdicts
        What was said of each.
    threshold : float or None
        Behind it, where there is one.

    Returns
    -------
    list of dict
        One for each kind of negative, and all of them: columns of `EXPLANATION_SCORES` without the keys
        of the run.
    """
    kind = np.array([trial.kind for trial in trials], object)
    positive = np.array([trial.positive for trial in trials], bool)
    document = np.array([trial.context.document for trial in trials], np.int64)
    read = ~np.isnan(said.verdict)
    kinds = sorted(set(kind[~positive].tolist()))
    rows = []
    for name, some in [*((each, [each]) for each in kinds), (ALL, kinds)]:
        among = [(kind == each) & read for each in some]
        yes = positive & read
        found = balanced_accuracy(
            said.verdict[yes],
            document[yes].tolist(),
            [1 - said.verdict[each] for each in among],
            [document[each].tolist() for each in among],
        )
        known = not np.isnan(found.value)
        asked = positive | np.isin(kind, some)
        rows.append(
            {
                "kind": name,
                "balanced_accuracy": found.value if known else None,
                "ci_low": found.low if known else None,
                "ci_high": found.high if known else None,
                "interval": EXACT if known else "none",
                "auroc": _area(said.score, positive, [kind == each for each in some]),
                "threshold": threshold,
                "n_positive": int(yes.sum()),
                "n_negative": int(sum(each.sum() for each in among)),
                "n_unread": int((asked & ~read).sum()),
            }
        )
    return rows


def _area(
    score: Float[np.ndarray, " trials"],
    positive: Bool[np.ndarray, " trials"],
    negatives: Sequence[Bool[np.ndarray, " trials"]],
) -> float | None:
    """Mean area under the curve over kinds of negatives; None without numbers or without both."""
    areas = []
    for negative in negatives:
        chosen = (positive | negative) & ~np.isnan(score)
        if not positive[chosen].any() or positive[chosen].all():
            return None
        areas.append(roc_auc_score(positive[chosen], score[chosen]))
    return float(np.mean(areas)) if areas else None


def summarise_scores(
    scores: pa.Table,
    site: Mapping[str, Any],
    parsed: Sequence[bool],
    *,
    permutations: int,
    seed: int,
) -> pa.Table:
    """Average scores over features, and test what an explanation adds to a swapped one.

    Parameters
    ----------
    scores : pyarrow.Table
        Columns of `EXPLANATION_SCORES`, of one run.
    site : mapping
        Values of the columns dictionary, seed, layer, explainer and scorer.
    parsed : sequence of bool
        Of each explanation, whether it had the form asked for.
    permutations : int
        Sign flips of each test, at most.
    seed : int
        Seed of resamples and flips.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.scaling_explanations.EXPLANATION_SUMMARY`. Intervals are over
        features; p-values are of both sides, adjusted by Holm over methods and kinds.
    """
    found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in scores.to_pylist():
        found[row["method"], row["kind"], row["control"]][row["feature"]] = row
    rows, tests = list[dict[str, Any]](), list[dict[str, Any]]()
    for (method, kind, control), own in sorted(found.items()):
        where = {"method": method, "kind": kind}
        for metric in MEASURED:
            values = np.array([_measured(row, metric) for _, row in sorted(own.items())])
            rows.append(
                _row(
                    where,
                    metric,
                    control,
                    values,
                    numpy_generator(seed, "explanations", metric, method, kind),
                )
            )
        if control in CONTROLS:
            metric = f"gain_over_{control}"
            gains = _gains(found[method, kind, "none"], own)
            stage = (seed, "explanations", metric, method, kind)
            row = _row(where, metric, "none", gains, numpy_generator(*stage, "interval"))
            if not np.isnan(gains).all():
                row["p_value"] = sign_flip_p_value(
                    gains, None, permutations, numpy_generator(*stage, "flips")
                )
                tests.append(row)
            rows.append(row)
    for metric in {row["metric"] for row in tests}:
        family = [row for row in tests if row["metric"] == metric]
        adjusted = holm(np.array([row["p_value"] for row in family], np.float64))
        for row, q_value in zip(family, adjusted.tolist(), strict=True):
            row["q_value"] = q_value
    unparsed = np.array([not each for each in parsed], np.float64)
    generator = numpy_generator(seed, "explanations", "unparsed")
    rows.append(_row({"method": ALL, "kind": ALL}, "unparsed_share", "none", unparsed, generator))
    whole = [{**site, **row} for row in rows]
    return pa.Table.from_pylist(whole, EXPLANATION_SUMMARY.schema())


def scores_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return scores as a table with the columns of `EXPLANATION_SCORES`."""
    return pa.Table.from_pylist([dict(row) for row in rows], EXPLANATION_SCORES.schema())


def _measured(row: Mapping[str, Any], metric: str) -> float:
    if metric == "unread_share":
        asked = row["n_positive"] + row["n_negative"] + row["n_unread"]
        return row["n_unread"] / asked if asked else float("nan")
    value = row[metric]
    return float("nan") if value is None else float(value)


def _gains(
    own: Mapping[int, Mapping[str, Any]], other: Mapping[int, Mapping[str, Any]]
) -> Float[np.ndarray, " features"]:
    """Differences in balanced accuracy, feature by feature."""
    both = sorted(own.keys() & other.keys())
    values = [
        [_measured(each[feature], "balanced_accuracy") for each in (own, other)] for feature in both
    ]
    first, second = np.array(values, np.float64).reshape(-1, 2).T
    return first - second


def _row(
    where: Mapping[str, str],
    metric: str,
    control: str,
    values: Float[np.ndarray, " features"],
    generator: np.random.Generator,
) -> dict[str, Any]:
    found = cluster_means(values[None], None, generator)
    known, bounded = int(found.n[0]) > 0, not np.isnan(found.low[0])
    return {
        **where,
        "metric": metric,
        "control": control,
        "value": float(found.value[0]) if known else None,
        "ci_low": float(found.low[0]) if bounded else None,
        "ci_high": float(found.high[0]) if bounded else None,
        "interval": BOOTSTRAP if bounded else "none",
        "n": int(found.n[0]),
        "p_value": None,
        "q_value": None,
    }
