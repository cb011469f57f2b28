"""Rates and counts of the study, each beside its chance level (methods/1, section 2.7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from saeflow.config.studies import LabelSettings
from saeflow.studies.chance import band, excess, places
from saeflow.studies.gsm8k.labels import Label

RATES = {
    "interpretable_rate": ("n_interpretable", "n_features"),
    "monosemantic_rate": ("n_monosemantic", "n_interpretable"),
    "number_rate": ("n_number", "n_interpretable"),
    "high_enrichment_rate": ("n_high_enrichment", "n_monosemantic"),
}
"""Rate, and the counts that it is the quotient of."""
TYPE_METRICS = ("n_type.", "share_type.")
ENRICHMENT_EDGES = (0, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500)
"""Lower edges of the bins of top enrichments; each belongs to its bin, and the last bin is open."""
_Place = tuple[int | None, int | None, str]
"""Layer, step and metric."""


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


def measure(outcome: Outcome, naming: LabelSettings) -> list[Measured]:
    """Count and divide, over everything, by layer, by step and by site.

    Number features are those whose label contains "number"; the highest enrichment and the number
    of high ones are taken over monosemantic features only (methods/1, section 2.7). The bins of
    enrichment, ``n_enrichment.`` with the lower edge, are ours and hold every labelled feature, by
    its top token; like the label types, they are counted over everything only.

    Parameters
    ----------
    outcome : Outcome
        What became of every feature.
    naming : LabelSettings
        What counts as high.

    Returns
    -------
    list of Measured
        Counts, rates, counts by bin of enrichment, and counts and shares of label types.
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
    for layer, step, chosen in places(outcome.layer, outcome.step):
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
    return rows + _enrichments(outcome.enrichment[flags["n_interpretable"]]) + _types(named)


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
        largest value as the interval ``permutation_range``; for each rate also its `excess`.
    """
    chance = _permuted_values(permuted, permutations)
    found = {(row.layer, row.step, row.metric): row for row in measured}
    rows = []
    for place in sorted({*found, *chance}, key=lambda key: tuple(map(str, key))):
        layer, step, metric = place
        own = found.get(place) or Measured(layer, step, metric, 0.0, 0)
        key = {**run, "target": "token", "layer": layer, "step": step}
        nothing = {"ci_low": None, "ci_high": None, "interval": "none"}
        named = {**key, "metric": metric}
        rows.append({**named, "control": "none", "value": own.value, **nothing, "n": own.n})
        if metric.startswith(TYPE_METRICS):
            chance.setdefault(place, [0.0] * permutations)
        if place in chance:
            rows.append({**named, "control": "permuted", **band(chance[place])})
        if metric in RATES and own.value is not None and chance.get(place):
            name = metric.replace("_rate", "_excess")
            rows.append({**key, **excess(name, own.value, chance[place], own.n)})
    return pa.Table.from_pylist(rows)


def _permuted_values(permuted: pa.Table, permutations: int) -> dict[_Place, list[float]]:
    found: dict[_Place, list[float]] = {}
    columns = [permuted[name].to_pylist() for name in ("layer", "step", "metric", "value")]
    for layer, step, metric, value in zip(*columns, strict=True):
        found.setdefault((layer, step, metric), [])
        if value is not None:
            found[layer, step, metric].append(value)
    for (_, _, metric), values in found.items():
        if metric.startswith(TYPE_METRICS):
            # A type is only listed where it occurs.
            values += [0.0] * (permutations - len(values))
    return found


def _enrichments(top: Float[np.ndarray, " labelled"]) -> list[Measured]:
    # Empty bins are listed, too, so that every permutation counts in a bin's band.
    bins = np.searchsorted(ENRICHMENT_EDGES, top, side="right") - 1
    counts = np.bincount(bins, minlength=len(ENRICHMENT_EDGES))
    return [
        Measured(None, None, f"n_enrichment.{edge}", int(count), len(top))
        for edge, count in zip(ENRICHMENT_EDGES, counts, strict=True)
    ]


def _types(labels: list[Label | None]) -> list[Measured]:
    counts = Counter(label.type for label in labels if label is not None)
    total = sum(counts.values())
    rows = []
    for name, count in sorted(counts.items()):
        rows.append(Measured(None, None, f"n_type.{name}", count, total))
        rows.append(Measured(None, None, f"share_type.{name}", count / total, total))
    return rows
