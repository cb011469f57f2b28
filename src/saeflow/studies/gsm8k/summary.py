"""Rates and counts of the study, and the same after permutations (methods/1, section 2.7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from saeflow.config.studies import Gsm8kCriteria, LabelSettings
from saeflow.progress import progress
from saeflow.stats.contingency import published_pairs
from saeflow.studies.gsm8k.association import (
    LayerFeatures,
    TokenMatrix,
    permuted_rows,
    rank_within,
)
from saeflow.studies.gsm8k.labels import TOP, Label, label_feature

RATES = {
    "interpretable_rate": ("n_interpretable", "n_features"),
    "monosemantic_rate": ("n_monosemantic", "n_interpretable"),
    "number_rate": ("n_number", "n_interpretable"),
    "high_enrichment_rate": ("n_high_enrichment", "n_monosemantic"),
}
"""Rate, and the counts that it is the quotient of."""


class Measured(NamedTuple):
    """One number of the summary; `layer` and `step` are None where it spans all of them."""

    layer: int | None
    step: int | None
    metric: str
    value: float | None
    n: int


@dataclass(frozen=True)
class Outcome:
    """What became of every feature of a bank, one entry each.

    Attributes
    ----------
    layer, step : numpy.ndarray of int
        Where the feature is.
    tested : numpy.ndarray of bool
        Whether it fires often enough.
    n_kept : numpy.ndarray of int
        Tokens that pass.
    enrichment : numpy.ndarray of float
        Enrichment of its top token; 0 where there is none.
    labels : list of Label or None
        Its name; None where no token passes.
    """

    layer: Int[np.ndarray, " features"]
    step: Int[np.ndarray, " features"]
    tested: Bool[np.ndarray, " features"]
    n_kept: Int[np.ndarray, " features"]
    enrichment: Float[np.ndarray, " features"]
    labels: list[Label | None]


def outcome_from_tables(tested: pa.Table, labels: pa.Table) -> Outcome:
    """Outcome of the measurement itself, from what the earlier stages wrote."""
    features = tested.to_pandas()
    named = labels.to_pandas()
    key = ["layer", "step", "feature"]
    merged = features.merge(
        named[[*key, "label", "monosemantic", "explanation", "max_enrichment"]], on=key, how="left"
    )
    given = [
        Label(label, bool(mono), why) if isinstance(label, str) else None
        for label, mono, why in zip(
            merged["label"], merged["monosemantic"], merged["explanation"], strict=True
        )
    ]
    return Outcome(
        layer=merged["layer"].to_numpy(),
        step=merged["step"].to_numpy(),
        tested=merged["tested"].to_numpy(),
        n_kept=merged["n_kept"].to_numpy(),
        enrichment=merged["max_enrichment"].fillna(0.0).to_numpy(),
        labels=given,
    )


def outcome_of_layers(
    layers: list[LayerFeatures],
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
    device: torch.device,
) -> Outcome:
    """Associate and label in one go, keeping only what the summary reads.

    Parameters
    ----------
    layers : list of LayerFeatures
        Features to test.
    tokens : TokenMatrix
        Tokens, permuted or not.
    criteria : Gsm8kCriteria
        Thresholds.
    device : torch.device
        Where to multiply.

    Returns
    -------
    Outcome
        Features in the order of `layers`, steps and index.
    """
    parts = [_outcome_of_layer(each, tokens, criteria, device) for each in layers]
    return Outcome(
        layer=np.concatenate([part.layer for part in parts]),
        step=np.concatenate([part.step for part in parts]),
        tested=np.concatenate([part.tested for part in parts]),
        n_kept=np.concatenate([part.n_kept for part in parts]),
        enrichment=np.concatenate([part.enrichment for part in parts]),
        labels=[label for part in parts for label in part.labels],
    )


def measure(outcome: Outcome, naming: LabelSettings) -> list[Measured]:
    """Count and divide, over everything, by layer, by step and by site.

    Number features are those whose label contains "number"; the highest enrichment and the number
    of high ones are taken over monosemantic features only (methods/1, section 2.7).

    Parameters
    ----------
    outcome : Outcome
        What became of every feature.
    naming : LabelSettings
        What counts as high.

    Returns
    -------
    list of Measured
        Counts, rates, and counts and shares of label types.
    """
    named = outcome.labels
    mono = np.array([label is not None and label.monosemantic for label in named], bool)
    flags = {
        "n_features": np.ones(len(named), bool),
        "n_tested": outcome.tested,
        "n_interpretable": np.array([label is not None for label in named], bool),
        "n_monosemantic": mono,
        "n_number": np.array([label is not None and label.number for label in named], bool),
        "n_high_enrichment": mono & (outcome.enrichment >= naming.high_enrichment),
    }
    rows: list[Measured] = []
    for layer, step, chosen in _groups(outcome):
        counts = {name: int(flag[chosen].sum()) for name, flag in flags.items()}
        counts["n_correlations"] = int(outcome.n_kept[chosen].sum())
        size = counts["n_features"]
        rows += [Measured(layer, step, name, count, size) for name, count in counts.items()]
        for name, (part, whole) in RATES.items():
            value = counts[part] / counts[whole] if counts[whole] else None
            rows.append(Measured(layer, step, name, value, counts[whole]))
        best = outcome.enrichment[chosen & mono]
        top = float(best.max()) if len(best) else None
        rows.append(Measured(layer, step, "max_enrichment", top, len(best)))
    return rows + _types(named)


def permutation_table(
    layers: list[LayerFeatures],
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
    run: Mapping[str, object],
    device: torch.device,
) -> pa.Table:
    """Measure again after each joint permutation of the problems' token rows.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PERMUTATIONS`.
    """
    rows = []
    count, seed = criteria.permutations.count, criteria.permutations.seed
    for index in progress(range(count), description="permutations", total=count):
        order = permuted_rows(len(tokens.present), seed, index)
        permuted = TokenMatrix(tokens.tokens, tokens.present[order])
        outcome = outcome_of_layers(layers, permuted, criteria, device)
        measured = measure(outcome, criteria.labels)
        rows += [{**run, **row._asdict(), "permutation": index} for row in measured]
    return pa.Table.from_pylist(rows)


def summary_table(
    measured: list[Measured], permuted: pa.Table, run: Mapping[str, object], permutations: int
) -> pa.Table:
    """Each number beside the range that permutations give.

    Parameters
    ----------
    measured : list of Measured
        The measurement itself.
    permuted : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.PERMUTATIONS`.
    run : mapping
        Values of the key columns dataset, dictionary, seed, mode.
    permutations : int
        How many there were; a count or type that one of them lacks is zero there.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.SUMMARY`: a row with control ``none`` for each number
        and a row with control ``permuted``: the mean over permutations, with their smallest and
        largest value as the interval ``permutation_range``.
    """
    bands = _bands(permuted, permutations)
    places = {(row.layer, row.step, row.metric): row for row in measured}
    rows = []
    for place in sorted({*places, *bands}, key=lambda key: tuple(map(str, key))):
        layer, step, metric = place
        own = places.get(place) or Measured(layer, step, metric, 0.0, 0)
        key = {**run, "layer": layer, "step": step, "metric": metric}
        rows.append(
            {**key, "control": "none", "value": own.value, "ci_low": None, "ci_high": None,
             "interval": "none", "n": own.n}
        )
        if place in bands:
            rows.append({**key, "control": "permuted", **bands[place]})
    return pa.Table.from_pylist(rows)


def _bands(
    permuted: pa.Table, permutations: int
) -> dict[tuple[int | None, int | None, str], dict[str, object]]:
    found: dict[tuple[int | None, int | None, str], list[float]] = {}
    columns = [permuted[name].to_pylist() for name in ("layer", "step", "metric", "value")]
    for layer, step, metric, value in zip(*columns, strict=True):
        found.setdefault((layer, step, metric), [])
        if value is not None:
            found[layer, step, metric].append(value)
    bands: dict[tuple[int | None, int | None, str], dict[str, object]] = {}
    for place, values in found.items():
        if place[2].startswith(("n_type.", "share_type.")):
            values += [0.0] * (permutations - len(values))
        bands[place] = {
            "value": float(np.mean(values)) if values else None,
            "ci_low": min(values, default=None),
            "ci_high": max(values, default=None),
            "interval": "permutation_range",
            "n": len(values),
        }
    return bands


def _outcome_of_layer(
    features: LayerFeatures,
    tokens: TokenMatrix,
    criteria: Gsm8kCriteria,
    device: torch.device,
) -> Outcome:
    pairs = published_pairs(features.active, tokens.present, criteria.association, device)
    count = features.active.shape[1]
    first = rank_within(pairs.feature) == 0
    enrichment = np.zeros(count)
    enrichment[pairs.feature[first]] = pairs.enrichment[first]
    labels: list[Label | None] = [None] * count
    starts = np.flatnonzero(first)
    for start, end in zip(starts, [*starts[1:], len(pairs.feature)], strict=True):
        top = [tokens.tokens[token] for token in pairs.label[start : min(end, start + TOP)]]
        labels[pairs.feature[start]] = label_feature(
            top, float(pairs.enrichment[start]), criteria.labels
        )
    return Outcome(
        layer=np.full(count, features.layer),
        step=np.repeat(features.steps, features.d_sae),
        tested=features.active.sum(0) >= criteria.association.min_active,
        n_kept=np.bincount(pairs.feature, minlength=count),
        enrichment=enrichment,
        labels=labels,
    )


def _groups(
    outcome: Outcome,
) -> Iterator[tuple[int | None, int | None, Bool[np.ndarray, " features"]]]:
    everything = np.ones(len(outcome.layer), bool)
    layers = [int(layer) for layer in np.unique(outcome.layer)]
    steps = [int(step) for step in np.unique(outcome.step)]
    yield None, None, everything
    for layer in layers:
        yield layer, None, outcome.layer == layer
    for step in steps:
        yield None, step, outcome.step == step
    for layer in layers:
        for step in steps:
            yield layer, step, (outcome.layer == layer) & (outcome.step == step)


def _types(labels: list[Label | None]) -> list[Measured]:
    counts = Counter(label.type for label in labels if label is not None)
    total = sum(counts.values())
    rows = []
    for name, count in sorted(counts.items()):
        rows.append(Measured(None, None, f"n_type.{name}", count, total))
        rows.append(Measured(None, None, f"share_type.{name}", count / total, total))
    return rows
