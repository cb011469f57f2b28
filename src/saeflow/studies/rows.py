"""Rows of a study's summary, whose numbers come with an interval and, where tested, a p-value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from saeflow.stats.resampling import BOOTSTRAP, WILSON, Clusters, cluster_means, wilson_of_shares

NONE = "none"
CALIBRATED, PUBLISHED = "calibrated", "published"
NO_BANK = {"dictionary": "", "seed": 0}
"""Key columns of what reads no SAE."""


def row(
    key: Mapping[str, Any],
    metric: str,
    value: float | int | None,
    *,
    n: int,
    ends: tuple[float, float] | None = None,
    interval: str = NONE,
    control: str = NONE,
    p_value: float | None = None,
    q_value: float | None = None,
) -> dict[str, Any]:
    """Row of a summary with the columns value, interval and p_value, and those beside them.

    Parameters
    ----------
    key : mapping
        Values of the columns that say what the number is of, such as dictionary, seed and layer.
    metric : str
        What is measured.
    value : float, optional
        The number; None where it is not defined.
    n : int
        Units that it is taken over.
    ends : (float, float), optional
        Of its interval; None: it has none.
    interval : str
        Kind of the interval.
    control : str
        ``none`` for the measurement itself.
    p_value, q_value : float, optional
        Where a test is made.
    """
    known = value is not None and np.isfinite(value)
    shown = ends if known and ends is not None and np.isfinite(ends).all() else None
    return {
        **key,
        "metric": metric,
        "control": control,
        "value": float(value) if known and value is not None else None,
        "ci_low": shown[0] if shown else None,
        "ci_high": shown[1] if shown else None,
        "interval": interval if shown else NONE,
        "n": n,
        "p_value": p_value,
        "q_value": q_value,
    }


def share_row(
    key: Mapping[str, Any], metric: str, shares: Float[np.ndarray, " pairs"], control: str = NONE
) -> dict[str, Any]:
    """Mean of shares of pairs, each of which counts once, with Wilson's interval."""
    if not len(shares):
        return row(key, metric, None, n=0, control=control)
    return row(
        key,
        metric,
        float(shares.mean()),
        n=len(shares),
        ends=wilson_of_shares(shares),
        interval=WILSON,
        control=control,
    )


def mean_row(
    key: Mapping[str, Any],
    metric: str,
    values: Float[np.ndarray, " examples"],
    clusters: Clusters,
    generator: np.random.Generator,
    control: str = NONE,
) -> dict[str, Any]:
    """Mean of a quantity per example, with a bootstrap interval over clusters of examples."""
    found = cluster_means(values[None].astype(np.float64), clusters, generator)
    return row(
        key,
        metric,
        float(found.value[0]),
        n=int(found.n[0]),
        ends=(float(found.low[0]), float(found.high[0])),
        interval=BOOTSTRAP,
        control=control,
    )
