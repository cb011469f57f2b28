"""Overlap by layer: as published with its fillers, and calibrated beside paraphrases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from saeflow.config.decimal_bug import ListSettings, OverlapSettings
from saeflow.datasets.comparisons.formats import ORDER, WORDING
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.overlap import overlap_class, overlap_summary
from saeflow.stats.resampling import cluster_averages, sign_flip_p_value
from saeflow.studies import rows
from saeflow.studies.decimal_bug.overlap import EVERY, FORMAT, LAST, Check, LayerOverlap
from saeflow.studies.rows import mean_row, row

METRICS = ("jaccard", "weighted_jaccard", "cosine")
PARAPHRASES = (WORDING, ORDER)
"""Controls: another wording of the same question, and the numbers in the other order."""


def check_rows(
    checks: Sequence[Check], quality: pa.Table, run: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What the SAEs give on these prompts, beside the texts that they were not trained on.

    Parameters
    ----------
    checks : sequence of Check
        On the prompts.
    quality : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.QUALITY`, of the bank.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    held_out = {
        (record["layer"], record["metric"]): record
        for record in quality.to_pylist()
        if record["split"] == "validation"
    }
    for check in checks:
        key = _key("checks", run, rows.CALIBRATED, check.layer, check.tokens)
        yield row(key, check.metric, check.value, n=check.n)
        # Held-out texts are read at all of their tokens.
        other = held_out.get((check.layer, check.metric)) if check.tokens == EVERY else None
        if other is not None:
            yield row(key, check.metric, other["value"], n=other["n"], control="held_out_texts")


def published_rows(
    layers: Sequence[LayerOverlap], settings: ListSettings, run: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The study's numbers of each layer, how much of them is filler, and their summary.

    Parameters
    ----------
    layers : sequence of LayerOverlap
        As `saeflow.studies.decimal_bug.overlap.published_layers` gives them.
    settings : ListSettings
        Where classes begin.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    names = {"percent": "overlap_percent", "amplification": "amplification"}
    fillers = ("wrong_fillers", "correct_fillers", "shared_fillers")
    for layer, found, _, _ in layers:
        key = _key("overlap", run, rows.PUBLISHED, layer, LAST)
        for field, metric in names.items():
            yield row(key, metric, getattr(found, field), n=1)
        yield row(key, "shared", len(found.shared), n=settings.top)
        for field in fillers:
            yield row(key, field, getattr(found, field), n=settings.top)
        level = overlap_class(found.percent, settings.low, settings.high)
        for name in ("low", "medium", "high"):
            yield row(key, f"class_{name}", float(level == name), n=1)
    percents = np.array([found.percent for _, found, _, _ in layers])
    summary = overlap_summary(percents, settings.low, settings.high)
    key = _key("overlap", run, rows.PUBLISHED, None, LAST)
    yield row(key, "overlap_percent", summary.mean, n=len(layers))
    yield row(key, "overlap_percent_sd", summary.sd, n=len(layers))
    for name in ("low", "medium", "high"):
        yield row(key, f"class_{name}", getattr(summary, name), n=len(layers))
    ratios = [found.amplification for _, found, _, _ in layers]
    yield row(key, "amplification", float(np.mean(ratios)), n=len(layers))


def overlap_rows(
    table: pa.Table, settings: OverlapSettings, run: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Mean likeness of the formats' features by layer and over all, beside that of paraphrases.

    ``…_below_wording`` is how much less alike the formats are than other wordings of the same question,
    pair by pair; its p-value flips signs of pairs, and is adjusted over layers by Holm. Prompts that
    differ in the order of the numbers alone are no measure for it: they share every other token.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.OVERLAP`.
    settings : OverlapSettings
        Permutations and seed.
    run : mapping
        Values of the key columns dictionary and seed.
    """
    frame = table.to_pandas()
    families: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for token, chosen in ((LAST, frame[frame["key"] == LAST]), (EVERY, frame)):
        every = _key("overlap", run, rows.CALIBRATED, None, token)
        for metric in METRICS:
            generator = numpy_generator(settings.seed, "decimal_bug", "overlap", token, metric)
            yield from _likeness(every, metric, chosen, generator)
        for layer, some in chosen.groupby("layer", sort=True):
            key = _key("overlap", run, rows.CALIBRATED, int(layer), token)
            for metric in METRICS:
                generator = numpy_generator(settings.seed, "decimal_bug", "overlap", token, metric)
                yield from _likeness(key, metric, some, generator)
                below = _below(some, metric)
                name = f"{metric}_below_wording"
                found = mean_row(key, name, below, None, generator)
                p_value = sign_flip_p_value(below, None, settings.permutations, generator)
                families.setdefault((token, metric), []).append({**found, "p_value": p_value})
    for tested in families.values():
        adjusted = holm(np.array([each["p_value"] for each in tested], np.float64))
        for each, q_value in zip(tested, adjusted.tolist(), strict=True):
            yield {**each, "q_value": q_value}


def _likeness(
    key: Mapping[str, Any], metric: str, frame: pd.DataFrame, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Mean over pairs of the likeness of formats, and of paraphrases."""
    for comparison in (FORMAT, *PARAPHRASES):
        part = frame[frame["comparison"] == comparison]
        control = rows.NONE if comparison == FORMAT else comparison
        values = part[metric].to_numpy(np.float64)
        yield mean_row(key, metric, values, part["item"].tolist(), generator, control)


def _below(frame: pd.DataFrame, metric: str) -> np.ndarray:
    """Likeness of wordings minus that of formats, one number per pair that has both."""
    averages = []
    for comparison in (WORDING, FORMAT):
        part = frame[frame["comparison"] == comparison]
        items = part["item"].tolist()
        found = cluster_averages(part[metric].to_numpy(np.float64), items)
        averages.append(pd.Series(found, index=list(dict.fromkeys(items))))
    difference: np.ndarray = (averages[0] - averages[1]).dropna().to_numpy(np.float64)
    return difference


def _key(
    part: str, run: Mapping[str, Any], mode: str, layer: int | None, group: str
) -> dict[str, Any]:
    return {"part": part, **run, "mode": mode, "layer": layer, "group": group}
