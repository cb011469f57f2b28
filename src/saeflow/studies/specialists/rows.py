"""Rows of the study's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from saeflow.artifacts.specialists import SPECIALIST_FEATURES, SPECIALISTS
from saeflow.stats.exact import adjusted
from saeflow.stats.resampling import WILSON, Clusters, cluster_averages, wilson_of_shares
from saeflow.studies.rows import NONE, mean_row, row

CHANCE, RELABELED = "chance", "relabeled"
"""Controls: what is expected where there is nothing to find, and classes that could have been."""
PERMUTED = "permutation 95 %"
SPLITS = "range over splits"
"""Kinds of intervals: middle of what permutations give, and smallest and largest of all splits."""
Key = Mapping[str, Any]
"""Values of the columns dictionary, seed, mode, layer and pooling."""


def bank_key(run: Key, mode: str, layer: int | None, pooling: str) -> dict[str, Any]:
    """Key columns of one matrix; `run` holds dictionary and seed."""
    return {
        "dictionary": run["dictionary"],
        "seed": run["seed"],
        "mode": mode,
        "layer": layer,
        "pooling": pooling,
    }


def spread_row(
    key: Key, metric: str, values: Float[np.ndarray, " splits"], control: str = NONE, **tested: Any
) -> dict[str, Any]:
    """Mean of a number over splits of the texts, with its range, which is no confidence interval."""
    known = values[~np.isnan(values)]
    if not len(known):
        return row(key, metric, None, n=0, control=control, **tested)
    ends = float(known.min()), float(known.max())
    return row(
        key,
        metric,
        float(known.mean()),
        n=len(known),
        ends=ends if len(known) > 1 else None,
        interval=SPLITS,
        control=control,
        **tested,
    )


def clustered_share_row(
    key: Key,
    metric: str,
    shares: Float[np.ndarray, " examples"],
    clusters: Clusters,
    generator: np.random.Generator,
) -> dict[str, Any]:
    """Share of examples with a bootstrap interval over clusters; `n` counts examples.

    Where all clusters agree, as where nothing was found, no resample differs: the interval is Wilson's
    over clusters, each of which counts once.

    Parameters
    ----------
    key : mapping
        Values of the columns part, dictionary, seed, mode, layer, pooling and group.
    metric : str
        What is measured.
    shares : numpy.ndarray of float, shape (examples,)
        From 0 to 1; may be empty.
    clusters : sequence of hashable or None
        What each example is of.
    generator : numpy.random.Generator
        Draws the resamples.
    """
    found = {**mean_row(key, metric, shares, clusters, generator), "n": len(shares)}
    if found["ci_low"] is not None or not len(shares):
        return found
    low, high = wilson_of_shares(cluster_averages(shares, clusters))
    return {**found, "ci_low": low, "ci_high": high, "interval": WILSON}


def record(key: Key, **values: Any) -> dict[str, Any]:
    """Row with the columns of `SPECIALIST_FEATURES`; those that are not given are null."""
    blank = {column.name: None for column in SPECIALIST_FEATURES.columns if column.nullable}
    known = {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in values.items()
    }
    return {**blank, **key, **known}


def adjust(rows: Iterable[Mapping[str, Any]], family: tuple[str, ...]) -> list[dict[str, Any]]:
    """Adjust p-values (Benjamini and Hochberg) over the rows that agree in the columns of `family`.

    Rows without a p-value, or with a q-value already, stay as they are.
    """
    found = [dict(each) for each in rows]
    families: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in found:
        if each["p_value"] is not None and each["q_value"] is None:
            families.setdefault(tuple(each[name] for name in family), []).append(each)
    for tested in families.values():
        p_values = np.array([each["p_value"] for each in tested], np.float64)
        for each, q_value in zip(tested, adjusted(p_values, len(tested)).tolist(), strict=True):
            each["q_value"] = q_value
    return found


def features_table(records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return records as a table with the columns of `SPECIALIST_FEATURES`."""
    return pa.Table.from_pylist([dict(each) for each in records], SPECIALIST_FEATURES.schema())


def numbers_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table with the columns of `SPECIALISTS`."""
    return pa.Table.from_pylist([dict(each) for each in rows], SPECIALISTS.schema())
