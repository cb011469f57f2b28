"""Small tables of the workflow, and the report over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.catalog import (
    ASSOCIATION,
    COMPARISON,
    COT_TOKENS,
    EXAMPLES,
    LABELS,
    PROBLEMS,
    QUALITY,
    SUMMARY,
)
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.studies import Gsm8kPublished
from saeflow.report.report import ReportFiles, write_report
from tests.calibrated_tables import CALIBRATED, write_calibrated
from tests.calibrated_tables import summary_rows as calibrated_rows

EVIL = '<b title="x">&lt;</b><script>alert(1)</script>'
"""What becomes an element, or another text, wherever it is not escaped."""
LAYERS, STEPS, SEEDS = range(3), range(2), (0, 1)
PERMUTATIONS = 7
RUN = {"dataset": "small", "dictionary": "tiny_k4", "mode": "published"}
MEASURED = {**RUN, "target": "token"}
FRESH = Provenance("x", model_revision=f"fresh:{EVIL}", packages=("pyarrow",))
TEMPLATES = Path(__file__).resolve().parents[1] / "workflow/report"
SPEC = {
    "models": ["toy"],
    "published": Gsm8kPublished.model_validate(
        {
            "models": {"toy": {"datasets": ["small"], "dictionaries": ["tiny_k4"]}},
            "association": {"min_active": 23, "p_value": 0.017, "min_enrichment": 2.25},
            "labels": {"monosemantic_enrichment": 5.5, "high_enrichment": 11},
            "permutations": {"count": PERMUTATIONS},
        }
    ).model_dump(mode="json"),
    "calibrated": None,
    "hierarchy": None,
    "decimal_bug": None,
    "specialists": None,
    "scaling": None,
    "evaluated": {"latents": {}, "curves": []},
}


def labelled(count: int) -> list[dict[str, Any]]:
    return [
        {
            **RUN,
            "seed": number % 2,
            "layer": number // 2 % 3,
            "step": number // 6 % 2,
            "feature": number // 12,
            "feature_id": f"L{number // 2 % 3}_P{number // 6 % 2}_F{number // 12}",
            "label": f"number_{number}" if number else f"number_{EVIL}",
            "label_type": "number",
            "monosemantic": number % 3 > 0,
            "explanation": "because",
            "n_active": 20 + number % 7,
            "activation_rate": 0.1,
            "n_kept": 1 + number % 5,
            "top_tokens": [str(number), EVIL if number == 0 else "12"],
            "max_enrichment": 2.0 + number / 7,
            "min_p_value": 10.0 ** -(2 + number % 300),
        }
        for number in range(count)
    ]


def pair_of_rows(
    key: dict[str, Any], metric: str, value: float | None, n: int, band: tuple[float, float] | None
) -> list[dict[str, Any]]:
    own = {"value": value, "ci_low": None, "ci_high": None, "interval": "none", "n": n}
    rows = [{**key, "metric": metric, "control": "none", **own}]
    if band:
        low, high = band
        ends = {"value": (low + high) / 2, "ci_low": low, "ci_high": high, "n": PERMUTATIONS}
        rows.append(
            {
                **key,
                "metric": metric,
                "control": "permuted",
                **ends,
                "interval": "permutation_range",
            }
        )
    return rows


def summary_rows(seed: int) -> list[dict[str, Any]]:
    places = [(None, None), *((layer, None) for layer in LAYERS), *((None, step) for step in STEPS)]
    rows: list[dict[str, Any]] = []
    for layer, step in places:
        key = {**MEASURED, "seed": seed, "layer": layer, "step": step}
        rows += pair_of_rows(key, "n_features", 4321, 4321, (4321, 4321))
        rows += pair_of_rows(key, "n_tested", 3210, 4321, (3210, 3210))
        rows += pair_of_rows(key, "n_correlations", 987, 4321, (900, 1000))
        rows += pair_of_rows(key, "interpretable_rate", 0.4567, 4321, (0.3111, 0.4111))
        rows += pair_of_rows(key, "monosemantic_rate", 0.6012, 1973, (0.7, 0.8))
        rows += pair_of_rows(key, "number_rate", 0.98, 1973, (0.97, 0.99))
        rows += pair_of_rows(key, "high_enrichment_rate", 0.5, 1186, (0.4, 0.6))
        rows += pair_of_rows(key, "max_enrichment", None, 0, (30.0, 40.0))
    for layer in LAYERS:
        for step in STEPS:
            key = {**MEASURED, "seed": seed, "layer": layer, "step": step}
            rows += pair_of_rows(key, "n_interpretable", 9 + layer, 4321, (4, 8))
    key = {**MEASURED, "seed": seed, "layer": None, "step": None}
    for edge, found in ((2, 30), (3, 12), (5, 4), (10, 0)):
        rows += pair_of_rows(key, f"n_enrichment.{edge}", found, 46, (0, 2 * found))
    rows += pair_of_rows(key, "share_type.number", 0.9, 1973, (0.8, 0.95))
    rows += pair_of_rows(key, f"share_type.{EVIL}", 0.1, 1973, None)
    return rows


def quality_rows(seed: int) -> list[dict[str, Any]]:
    values = {"explained_variance": 0.5, "fvu": None, "mse": 9.0, "l0_mean": 4.0, "l0_std": 0.0}
    values |= {"dead_share": 0.125, "cosine": 0.9}
    fixed = {"dictionary": "tiny_k4", "seed": seed, "control": "none", "ci_low": None}
    fixed |= {"ci_high": None, "interval": "none", "n": 60}
    return [
        {**fixed, "layer": layer, "step": step, "split": split, "metric": metric}
        # Over three layers the mean explained variance is 0.6.
        | {"value": value + 0.1 * layer if metric == "explained_variance" else value}
        for layer in LAYERS
        for step in STEPS
        for split in ("train", "validation", "all")
        for metric, value in values.items()
    ]


def feature_rows(labels: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """Pairs and examples: two tokens and two problems of each feature."""
    keys = (*RUN, "seed", "layer", "step", "feature")
    pairs, examples = [], []
    for row in labels:
        key = {name: row[name] for name in keys}
        for rank in range(2):
            counts = {"a": 5, "b": 20, "c": 3, "d": 47}
            pair = {"rank": rank, "token": row["top_tokens"][rank], **counts, "chi2": 9.0}
            p_value = (row["min_p_value"], 0.001)[rank]
            enriched = row["max_enrichment"]
            pairs.append({**key, **pair, "p_value": p_value, "enrichment": enriched})
            value = (-1) ** rank * (2.5 - rank)
            examples.append({**key, "rank": rank, "problem": 2 * rank, "value": value})
    return (
        pa.Table.from_pylist(pairs, ASSOCIATION.schema()),
        pa.Table.from_pylist(examples, EXAMPLES.schema()),
    )


def comparison_rows() -> list[dict[str, Any]]:
    key = {"model": "toy", "other": "", "dataset": "small", "dictionary": "tiny_k4"}
    key |= {"other_dataset": "", "other_dictionary": "", "mode": "published"}
    rows = []
    for question in ("interpretable", "monosemantic", "number"):
        metric = f"{question}_rate"
        seeds = {"interval": "seed_range", "n": 2}
        permuted = {"interval": "permutation_range", "n": PERMUTATIONS}
        for found in (
            {"metric": metric, "control": "none", "value": 0.4567, "ci_low": 0.44, "ci_high": 0.47}
            | seeds,
            {
                "metric": metric,
                "control": "permuted",
                "value": 0.36,
                "ci_low": 0.31,
                "ci_high": 0.41,
            }
            | permuted,
            {
                "metric": "excess",
                "control": "none",
                "value": 0.0967,
                "ci_low": 0.08,
                "ci_high": 0.11,
            }
            | seeds,
        ):
            rows.append({**key, "question": question, **found})
    return rows


def write_tables(root: Path, rows: int, provenance: Provenance, *, calibrated: bool) -> ReportFiles:
    count = 75
    dataset = root / "datasets/small"
    columns = {
        "problem": range(count),
        "problem_id": [f"train_{number}" for number in range(count)],
        "question": [EVIL] * count,
        "answer": [EVIL] * count,
        "gold": [1.0] * count,
        "n_steps": [1] * count,
        "split": ["train"] * 60 + ["validation"] * 15,
        "analysed": [number % 2 == 0 for number in range(count)],
        "held_out_pair": [None] * count,
    }
    write_table(columns, dataset / "problems.parquet", PROBLEMS, Provenance("x"))
    tokens = {
        "problem": [0, 0, 0, 0, 0, 0, 0, 2],
        "calculation": [0, 0, 0, 0, 0, 1, 1, 0],
        "position": [0, 1, 2, 3, 4, 0, 1, 0],
        "token": ["12", "+", "1", "=", "13", EVIL, "12", "7"],
        "kind": [
            "number",
            "operator",
            "number",
            "operator",
            "number",
            "number",
            "number",
            "number",
        ],
    }
    write_table(tokens, dataset / "cot_tokens.parquet", COT_TOKENS, Provenance("x"))
    studied = root / "gsm8k/toy"
    labels = labelled(rows)
    pairs, examples = feature_rows(labels)
    named = pa.Table.from_pylist(labels, LABELS.schema())
    both = (summary_rows, calibrated_rows) if calibrated else (summary_rows,)
    measured = pa.Table.from_pylist([row for each in both for seed in SEEDS for row in each(seed)])
    for table, artifact in (
        (named, LABELS),
        (pairs, ASSOCIATION),
        (examples, EXAMPLES),
        (measured, SUMMARY),
    ):
        write_table(table, studied / f"{artifact.name}.parquet", artifact, provenance)
    banks = [root / f"saes/toy/tiny_k4/seed{seed}" for seed in SEEDS]
    for seed, bank in zip(SEEDS, banks, strict=True):
        table = pa.Table.from_pylist(quality_rows(seed))
        write_table(table, bank / "quality.parquet", QUALITY, provenance)
    compared = root / "compare/gsm8k.parquet"
    write_table(pa.Table.from_pylist(comparison_rows()), compared, COMPARISON, provenance)
    files = ReportFiles([dataset], [studied], banks, compared, [], {})
    if not calibrated:
        return files
    calibration, matched = write_calibrated(root, studied, EVIL, provenance)
    return replace(files, calibration=calibration, matched=matched)


def make(
    root: Path, rows: int = 24, provenance: Provenance = FRESH, *, calibrated: bool = False
) -> Path:
    """Write small tables and the report over them; returns the folder of its pages."""
    files = write_tables(root, rows, provenance, calibrated=calibrated)
    spec = {**SPEC, "calibrated": CALIBRATED if calibrated else None}
    write_report(files, templates=TEMPLATES, spec=spec, folder=root / "report")
    return root / "report"
