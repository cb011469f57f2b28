"""Tables of the report, as plain lists that a template or the page's script lays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from saeflow.report.bands import Banded, ModelBands, Place, Run

SPLITS = ("train", "validation")
QUALITY_METRICS = ("explained_variance", "fvu", "l0_mean", "dead_share", "cosine")
SHARE = "share_type."
MISSING = "–"


class Metric(NamedTuple):
    """A row of the summary: its metric, what it is called, how it is written, what it means."""

    name: str
    title: str
    kind: str
    about: str


METRICS = (
    Metric("n_features", "Features", "count", "latents of all SAEs"),
    Metric("n_tested", "Tested", "count", "active on {min_active} analysed problems or more"),
    Metric("n_correlations", "Correlations", "count", "feature–token pairs that pass the criteria"),
    Metric("interpretable_rate", "Interpretable", "rate", "features with at least one pair"),
    Metric(
        "monosemantic_rate", "Monosemantic", "rate", "interpretable features so called by the rule"
    ),
    Metric("number_rate", "Number", "rate", "interpretable features with “number” in the label"),
    Metric(
        "high_enrichment_rate",
        "High enrichment",
        "rate",
        "monosemantic features enriched {high_enrichment:g} times or more",
    ),
    Metric("max_enrichment", "Largest enrichment", "ratio", "over monosemantic features"),
)


def summary_blocks(bands: ModelBands, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Summary of one model, one block per data set and dictionary, one column per seed.

    Parameters
    ----------
    bands : ModelBands
        Numbers of one model.
    spec : mapping
        The study's thresholds, for the rows' descriptions.

    Returns
    -------
    list of dict
        ``dataset``, ``dictionary``, ``mode``, ``seeds`` and ``rows``; a row has ``title``,
        ``about``, ``share`` (a label type's) and ``cells``.
    """
    thresholds = {**spec["association"], **spec["labels"]}
    blocks = []
    for key in dict.fromkeys((run.dataset, run.dictionary, run.mode) for run in bands.runs):
        runs = [run for run in bands.runs if (run.dataset, run.dictionary, run.mode) == key]
        rows = [
            {
                "title": metric.title,
                "about": metric.about.format_map(thresholds),
                "share": metric.name.startswith(SHARE),
                "cells": [summary_cell(_overall(bands, run, metric.name), metric) for run in runs],
            }
            for metric in (*METRICS, *_shares(bands, runs))
        ]
        dataset, dictionary, mode = key
        seeds = [run.seed for run in runs]
        named = {"dataset": dataset, "dictionary": dictionary, "mode": mode}
        blocks.append({**named, "seeds": seeds, "rows": rows})
    return blocks


def summary_cell(cell: Banded, metric: Metric) -> dict[str, Any]:
    """Write out an observed number and its band."""
    over = ""
    if metric.kind != "count" and not metric.name.startswith(SHARE) and cell.n is not None:
        over = f"of {cell.n:,}"
    return {
        "value": number_text(cell.value, metric.kind),
        "over": over,
        "mean": number_text(cell.mean, metric.kind, mean=True),
        "low": number_text(cell.low, metric.kind),
        "high": number_text(cell.high, metric.kind),
        "banded": cell.low is not None,
        "word": cell.word,
    }


def number_text(value: float | None, kind: str, *, mean: bool = False) -> str:
    """Write a number: a count, a rate in per cent, a ratio or a plain fraction."""
    if value is None or not math.isfinite(value):
        return MISSING
    if kind == "rate":
        return f"{percent(value)} %"
    if kind == "count":
        return f"{value:,.1f}" if mean and value != round(value) else f"{value:,.0f}"
    return f"{value:,.1f}" if kind == "ratio" else f"{value:.3f}"


def percent(value: float) -> str:
    """Write a share in per cent, with a second digit where one would make it all or nothing."""
    text = f"{100 * value:.1f}"
    return f"{100 * value:.2f}" if text in ("0.0", "100.0") and value not in (0, 1) else text


def points(value: float) -> str:
    """Write a difference of shares in percentage points: a minus sign, and none on zero."""
    text = f"{100 * value:+.1f}"
    if not float(text):
        text = f"{100 * value:+.2f}" if float(f"{100 * value:.2f}") else "0.0"
    return text.replace("-", "−")


def cell_text(
    row: Mapping[str, Any] | None, text: Callable[[float], str], unit: str = ""
) -> dict[str, str]:
    """Write a measurement's ``value``, and its interval in brackets where it has one."""
    if row is None or row["value"] is None:
        return {"value": MISSING, "interval": ""}
    ends = (row["ci_low"], row["ci_high"])
    interval = "" if None in ends else "[{}, {}]".format(*map(text, ends))
    return {"value": text(row["value"]) + unit, "interval": interval}


def dataset_rows(problems: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    """Count problems per data set: all, by split, analysed, and analysed of the train split.

    ``held_out`` counts the problems with an operation and operands that never occur in training;
    None where the source does not say.
    """
    rows = []
    for name, table in problems.items():
        split = table["split"].to_pylist()
        analysed = table["analysed"].to_pylist()
        seen = list(zip(split, analysed, strict=True)).count(("train", True))
        row = {part: split.count(part) for part in SPLITS}
        held_out = table["held_out_pair"].to_pylist()
        counts = {"problems": len(split), "analysed": analysed.count(True), "seen": seen}
        counts["held_out"] = held_out.count(True) if any(x is not None for x in held_out) else None
        rows.append({"name": name, **row, **counts})
    return rows


def quality_rows(banks: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Mean over sites of how well the banks of one model reconstruct, per bank and split.

    Parameters
    ----------
    banks : sequence of pyarrow.Table
        Columns of `saeflow.artifacts.catalog.QUALITY`, one table per bank.

    Returns
    -------
    list of dict
        A site without a value (its activations do not vary) is left out of the mean.
    """
    return [row for table in banks for row in _bank_rows(table.to_pylist())]


def _bank_rows(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        chosen = [row for row in rows if row["split"] == split]
        if not chosen:
            continue
        values = {
            metric: [
                row["value"]
                for row in chosen
                if row["metric"] == metric and row["value"] is not None
            ]
            for metric in QUALITY_METRICS
        }
        first = chosen[0]
        name = first["dictionary"]
        if first["control"] != "none":
            name += f" ({first['control']})"
        yield {
            "dictionary": name,
            "seed": first["seed"],
            "split": split,
            "sites": len({(row["layer"], row["step"]) for row in chosen}),
            "n": first["n"],
            "means": [_mean_text(metric, found) for metric, found in values.items()],
        }


def _mean_text(metric: str, values: list[float]) -> str:
    kind = {"l0_mean": "ratio", "dead_share": "rate"}.get(metric, "fraction")
    return number_text(math.fsum(values) / len(values) if values else None, kind)


def _shares(bands: ModelBands, runs: Sequence[Run]) -> list[Metric]:
    """Label types of any of the runs, most frequent first."""
    found: dict[str, float] = {}
    for run in runs:
        for place, cell in bands.runs[run].items():
            if place.metric.startswith(SHARE) and place[:2] == (None, None):
                found[place.metric] = max(found.get(place.metric, 0.0), cell.value or 0.0)
    names = sorted(found, key=lambda name: (-found[name], name))
    return [Metric(name, name.removeprefix(SHARE), "rate", "") for name in names]


def _overall(bands: ModelBands, run: Run, metric: str) -> Banded:
    return bands.runs[run].get(Place(None, None, metric), Banded())
