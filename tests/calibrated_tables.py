"""Small tables of the calibrated mode, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.calibration import (
    CALIBRATION,
    CAPACITY,
    DISCOVERIES,
    MATCHED,
    MATCHES,
    STABILITY,
)
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.studies import Gsm8kCalibrated

LAYERS = range(3)
MODES = {"interpretable_rate": "published", "monosemantic_rate": "published"}
CONTROL_DICTIONARY = "tiny_pca"
OWN = {"dataset": "small", "dictionary": "tiny_k4"}
CALIBRATED = {
    "settings": Gsm8kCalibrated.model_validate(
        {
            "association": {"min_active": 21, "min_support": 12, "q_value": 0.07},
            "targets": ["token", "decoded"],
            "permutations": {"count": 99},
        }
    ).model_dump(mode="json"),
    "models": {"toy": {"datasets": ["small"], "dictionaries": ["tiny_k4"], "seeds": [0, 1]}},
    "reseeded": ["toy"],
    "sized": ["toy"],
}

Numbers = tuple[float, float, float]
"""Value and both ends of its interval."""
Rates = Mapping[str, Mapping[str, Numbers]]
"""Numbers by control (``none`` for the observed rate), by metric."""

RATES: dict[str, dict[str, Numbers]] = {
    "interpretable_rate": {
        "none": (0.45, 0.44, 0.46),
        "permuted": (0.36, 0.31, 0.41),
        "frequency_matched": (0.37, 0.36, 0.38),
        "untrained": (0.5, 0.5, 0.5),
        "pca": (0.25, 0.25, 0.25),
    },
    "monosemantic_rate": {
        "none": (0.6, 0.59, 0.61),
        "permuted": (0.75, 0.7, 0.8),
        "frequency_matched": (0.72, 0.71, 0.73),
        "untrained": (0.66, 0.66, 0.66),
        "pca": (0.7, 0.7, 0.7),
    },
    "discovered_rate": {
        "none": (0.12, 0.11, 0.13),
        "permuted": (0.001, 0.0, 0.004),
        "untrained": (0.02, 0.02, 0.02),
        "pca": (0.06, 0.06, 0.06),
    },
    "confirmed_rate": {"none": (0.8, 0.7, 0.9), "chance": (0.04, 0.03, 0.05)},
}
LOCAL = ("pca",)
"""Controls at layer 1 alone."""


def calibration(rates: Rates = RATES, model: str = "toy") -> pa.Table:
    """A table of these rates, the same at all layers; its differences as the study takes them."""
    rows = []
    for metric, found in rates.items():
        for layer in (None, *(LAYERS if metric != "confirmed_rate" else ())):
            for control, numbers in found.items():
                if control not in LOCAL or layer in (None, 1):
                    rows += _compared(metric, layer, control, numbers, found["none"])
    fixed = {"model": model, **OWN, "target": "token", "step": None, "n": 2}
    return pa.Table.from_pylist([{**fixed, **row} for row in rows], CALIBRATION.schema())


def _compared(
    metric: str, layer: int | None, control: str, numbers: Numbers, own: Numbers
) -> list[dict[str, Any]]:
    place = {"mode": MODES.get(metric, "calibrated"), "layer": layer}
    interval = "permutation_range" if control == "permuted" else "seed_range"
    names = ("value", "ci_low", "ci_high")
    rate = dict(zip(names, numbers, strict=True))
    rows = [{**place, "metric": metric, "control": control, "interval": interval, **rate}]
    ends = (own[0] - numbers[0], own[1] - numbers[2], own[2] - numbers[1])
    difference = dict(zip(names, ends, strict=True))
    if control == "permuted":
        more = {**place, "metric": metric.replace("_rate", "_excess"), "control": "none"}
        rows.append({**more, **difference, "interval": "permutation_95"})
        # Over seeds alone, which the report must not take for the other.
        rows.append(
            {**more, "value": ends[0], "ci_low": -1, "ci_high": 1, "interval": "seed_range"}
        )
    elif control not in ("none", "frequency_matched", "chance"):
        over = {"metric": metric.replace("_rate", "_over"), "control": control}
        rows.append({**place, **over, **difference, "interval": "seed_range"})
    return rows


def summary_rows(seed: int) -> list[dict[str, Any]]:
    """Rows of the public summary: the calibrated ones, and those of a control dictionary."""
    rows = []
    places = [(None, None), *((layer, None) for layer in LAYERS), (None, 0), (None, 1)]
    for layer, step in places:
        for target, rate in (("token", 0.1234), ("decoded", 0.0321)):
            key = {**OWN, "seed": seed, "mode": "calibrated", "target": target}
            key |= {"layer": layer, "step": step}
            rows += _banded(key, rate)
    overall = {**OWN, "seed": seed, "mode": "calibrated", "target": "token"}
    overall |= {"layer": None, "step": None}
    for metric, control, value in (
        ("family_wise_rate", "none", 0.0211),
        ("confirmed_rate", "none", 0.7654),
        ("confirmed_rate", "chance", 0.0432),
    ):
        none = {"value": value, "ci_low": None, "ci_high": None, "interval": "none", "n": 4321}
        rows.append({**overall, "metric": metric, "control": control, **none})
    if not seed:
        control = {**overall, "dictionary": CONTROL_DICTIONARY}
        rows += _banded(control, 0.9999)
        rows += [{**row, "mode": "published"} for row in _banded(control, 0.8888)]
    return rows


def _banded(key: Mapping[str, Any], rate: float) -> list[dict[str, Any]]:
    metric = {"metric": "discovered_rate", "n": 4321}
    band = {"value": 0.0021, "ci_low": 0.0, "ci_high": 0.0061, "interval": "permutation_range"}
    more = {"value": rate - 0.0021, "ci_low": rate - 0.005, "ci_high": rate, "n": 4321}
    none = {"ci_low": None, "ci_high": None, "interval": "none"}
    return [
        {**key, **metric, "control": "none", "value": rate, **none},
        {**key, **metric, "control": "permuted", **band},
        {**key, **more, "metric": "discovered_excess", "control": "none", "interval": "permutation_95"},
    ]  # fmt: skip


def discoveries(label: str) -> pa.Table:
    """Of a labelled feature, of one without a label, of a control; the first has a dangerous label."""
    place = {**OWN, "seed": 0, "mode": "calibrated", "layer": 0, "step": 0, "feature": 0}
    fixed = {"a": 17, "b": 4, "c": 0, "d": 54, "log_odds": 4.5678, "log_odds_low": 1.2345}
    fixed |= {"log_odds_high": 7.8912, "precision": 0.8095, "recall": 1.0, "f1": 0.8947}
    fixed |= {"auroc": 0.9123, "point_biserial": 0.7, "conditional_p_value": 0.3}
    rows = [
        {**place, "target": "token", "label": "13", "p_value": 1e-5, "q_value": 0.004},
        {**place, "target": "token", "label": label, "p_value": 1e-9, "q_value": 0.0003},
        {**place, "target": "decoded", "label": "+", "p_value": 1e-12, "q_value": 1e-8},
        {**place, "feature": 99, "target": "token", "label": "7", "p_value": 2e-6, "q_value": 0.02},
        {**place, "seed": 1, "layer": 2, "feature": 98, "target": "decoded", "label": "8"}
        | {"p_value": 2e-7, "q_value": 0.03},
        {**place, "dictionary": CONTROL_DICTIONARY, "feature": 77, "target": "token", "label": "9"}
        | {"p_value": 1e-9, "q_value": 1e-6},
    ]
    signs = ("+", "-", "-", "+", "+", "+")
    return pa.Table.from_pylist(
        [
            {**fixed, **row, "sign": sign, "rank": 0, "carried": row["label"] == "13"}
            for row, sign in zip(rows, signs, strict=True)
        ],
        DISCOVERIES.schema(),
    )


def matches() -> pa.Table:
    pair = {**OWN, "seed": 0, "other_seed": 1, "layer": 0, "step": 0}
    return pa.Table.from_pylist(
        [
            {**pair, "feature": 0, "other_feature": 1, "cosine": -0.9123, "correlation": -0.8123}
            | {"recurs": True, "same_label": None},
            {**pair, "feature": 99, "other_feature": 50, "cosine": 0.2, "correlation": 0.3}
            | {"recurs": False, "same_label": False},
        ],
        MATCHES.schema(),
    )


def stability() -> pa.Table:
    pair = {**OWN, "seed": 0, "other_seed": 1, "mode": "calibrated", "interval": "none"}
    metrics = {
        "recurring_share": (0.0123, 0.001, 0.0),
        "recurring_share.activation": (0.456, 0.012),
    }
    metrics |= {"recurring_share.direction": (0.034, None, 0.0), "label_agreement": (None, None)}
    controls = ("none", "permuted", "random_directions")
    rows = [
        {**pair, "layer": None, "step": None, "metric": metric, "control": control, "value": value}
        | {"n": 188 if value is not None else 0}
        for metric, values in metrics.items()
        for control, value in zip(controls, values, strict=False)
    ]
    return pa.Table.from_pylist(rows, STABILITY.schema())


def capacity() -> pa.Table:
    fixed = {"model": "toy", "dataset": "small", "depth": 0.75, "layer": 2, "step": 3, "seed": 0}
    rows = []
    for d_sae in (8, 16):
        for k in (2, 4):
            key = {**fixed, "d_sae": d_sae, "k": k, "n": 15, "interval": "none"}
            quality = {**key, "mode": "calibrated", "control": "none"}
            rows.append({**quality, "metric": "fvu", "value": 1 / k + d_sae / 1000})
            rows.append({**quality, "metric": "dead_share", "value": k / d_sae / 10})
            for metric, value in (("interpretable", k / d_sae), ("monosemantic", None)):
                rows += _graded({**key, "mode": "published"}, metric, value)
            rows += _graded({**key, "mode": "calibrated"}, "discovered", k / d_sae / 5)
    return pa.Table.from_pylist(rows, CAPACITY.schema())


def _graded(key: Mapping[str, Any], name: str, value: float | None) -> list[dict[str, Any]]:
    half = None if value is None else value / 2
    banded = {"value": half, "ci_low": half and half - 0.01, "ci_high": half and half + 0.01}
    return [
        {**key, "metric": f"{name}_rate", "control": "none", "value": value},
        {**key, "metric": f"{name}_rate", "control": "permuted", **banded},
        {**key, "metric": f"{name}_excess", "control": "none", **banded},
    ]


def matched(other: str = "toy2") -> pa.Table:
    pair = {"model": "toy", "other": other, "dataset": "small", "depth": 0.75, "step": 3}
    rows = []
    for matched_on, level in (("l0", 4.0), ("explained_variance", 0.6543)):
        key = {**pair, "d_sae": 16, "n": 15, "matched_on": matched_on, "level": level}
        for mode, name in (("published", "interpretable"), ("calibrated", "discovered")):
            for row in _graded({**key, "mode": mode, "interval": "none"}, name, 0.2468):
                rows.append(row)
    return pa.Table.from_pylist(rows, MATCHED.schema())


def write_calibrated(
    root: Path, studied: Path, label: str, provenance: Provenance
) -> tuple[Path, Path]:
    """Write all of them; returns the paths of the two comparisons."""
    for table, artifact in (
        (discoveries(label), DISCOVERIES),
        (matches(), MATCHES),
        (stability(), STABILITY),
        (capacity(), CAPACITY),
    ):
        write_table(table, studied / f"{artifact.name}.parquet", artifact, provenance)
    compared: Sequence[tuple[Path, pa.Table, Any]] = (
        (root / "compare/calibration.parquet", calibration(), CALIBRATION),
        (root / "compare/capacity.parquet", matched("toy"), MATCHED),
    )
    for path, table, artifact in compared:
        write_table(table, path, artifact, provenance)
    return compared[0][0], compared[1][0]
