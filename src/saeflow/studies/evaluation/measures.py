"""One number of the evaluation, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest, bootstrap

from saeflow.artifacts.catalog import EVALUATION
from saeflow.seeds import numpy_generator

WILSON = "wilson 95 %"
PAIRED = "paired bootstrap 95 %"
MEAN = "bootstrap 95 %"
NONE = "none"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Measure:
    """A row of the evaluation; see `saeflow.artifacts.catalog.EVALUATION`."""

    part: str
    condition: str
    group: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str
    n: int


def share(part: str, condition: str, group: str, metric: str, hits: Sequence[bool]) -> Measure:
    """Share of independent examples, with Wilson's interval."""
    if not hits:
        return Measure(part, condition, group, metric, None, None, None, NONE, 0)
    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    value = sum(hits) / len(hits)
    return Measure(part, condition, group, metric, value, found.low, found.high, WILSON, len(hits))


def mean(
    part: str,
    condition: str,
    group: str,
    metric: str,
    values: Sequence[float],
    interval: str = MEAN,
) -> Measure:
    """Mean of a quantity per example, with a bootstrap interval over the examples."""
    value = float(np.mean(values)) if values else None
    low = high = value
    if len(set(values)) > 1:
        rng = numpy_generator("evaluation", part, condition, group, metric)
        found = bootstrap(
            (np.asarray(values),),
            np.mean,
            n_resamples=_RESAMPLES,
            method="percentile",
            rng=rng,
            batch=200,
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    kind = interval if values else NONE
    return Measure(part, condition, group, metric, value, low, high, kind, len(values))


def constant(part: str, condition: str, group: str, metric: str, value: float, n: int) -> Measure:
    """Return a number that is known without measuring, such as a chance level."""
    return Measure(part, condition, group, metric, value, None, None, NONE, n)


def measures_table(measures: Sequence[Measure]) -> pa.Table:
    """Return the evaluation's table."""
    columns = {
        field.name: [getattr(measure, field.name) for measure in measures]
        for field in fields(Measure)
    }
    return pa.table(columns, schema=EVALUATION.schema())
