"""One number of the evaluation, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from saeflow.artifacts.catalog import EVALUATION
from saeflow.seeds import numpy_generator

WILSON = "wilson 95 %"
BOOTSTRAP = "cluster bootstrap 95 %"
NONE = "none"
MODEL = "none"
"""Value of the column ``control`` for the model itself."""
_RESAMPLES = 2000


class What(NamedTuple):
    """What is measured: key columns of `saeflow.artifacts.catalog.EVALUATION`."""

    part: str
    condition: str
    group: str
    metric: str
    control: str = MODEL


@dataclass(frozen=True)
class Measure:
    """A row of the evaluation; see `saeflow.artifacts.catalog.EVALUATION`."""

    part: str
    condition: str
    group: str
    metric: str
    control: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str
    n: int


def share(what: What, hits: Sequence[bool]) -> Measure:
    """Share of independent examples, with Wilson's interval."""
    if not hits:
        return constant(what, None, 0)
    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    value = sum(hits) / len(hits)
    return Measure(*what, value, float(found.low), float(found.high), WILSON, len(hits))


def mean(
    what: What, values: Sequence[float | int], clusters: Sequence[Hashable] | None = None
) -> Measure:
    """Mean of a quantity per example, with a bootstrap interval over clusters of examples.

    Parameters
    ----------
    what : What
        Key columns.
    values : sequence of float
        One per example.
    clusters : sequence of hashable, optional
        What each example is of, such as one matched pair told in three forms; by default every
        example is its own.

    Returns
    -------
    Measure
        ``n`` counts clusters. Where all clusters agree there is nothing to resample, and no
        interval is given.
    """
    if not len(values):
        return constant(what, None, 0)
    named: dict[Hashable, list[float]] = {}
    for key, value in zip(clusters or range(len(values)), values, strict=True):
        named.setdefault(key, []).append(float(value))
    sums = np.array([sum(each) for each in named.values()])
    sizes = np.array([len(each) for each in named.values()])
    value = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) == 0:
        return constant(what, value, len(named))
    rng = numpy_generator("evaluation", *what)
    rows = rng.integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.quantile(sums[rows].sum(1) / sizes[rows].sum(1), [0.025, 0.975])
    return Measure(*what, value, float(low), float(high), BOOTSTRAP, len(named))


def constant(what: What, value: float | None, n: int) -> Measure:
    """Return a number without an interval, such as a chance level."""
    return Measure(*what, value, None, None, NONE, n)


def measures_table(measures: Sequence[Measure]) -> pa.Table:
    """Return the evaluation's table."""
    columns = {
        field.name: [getattr(measure, field.name) for measure in measures]
        for field in fields(Measure)
    }
    return pa.table(columns, schema=EVALUATION.schema())
