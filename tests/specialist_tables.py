"""Small tables of the study of specialists, and the report over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.specialists import FEATURE_ALIGNMENT
from saeflow.artifacts.tables import write_table
from saeflow.report.report import SPECIALIST_TABLES, write_report
from saeflow.report.specialists.model import SpecialistModel, read_specialist_models
from saeflow.report.specialists.numbers import Bank, Numbers, SpecialistTables, read_numbers
from tests.report_tables import EVIL, FRESH, SPEC, TEMPLATES, write_tables
from tests.specialist_numbers import (
    BANK,
    BASELINES,
    CLASSES,
    FOUND,
    KINDS,
    POOLING,
    Row,
    Told,
    summary_rows,
)

TRAINED = Provenance("x", model_revision="sha256:1", packages=("pyarrow",))
OWN = Bank(BANK["dictionary"], BANK["seed"])
UNTRAINED = {"toy": "toy_untrained"}
SPECIALIST_SPEC: dict[str, Any] = {
    "pooling": POOLING,
    "threshold": 4.5,
    "candidates": 6,
    "top_means": 13,
    "relabelings": 17,
    "q_value": 0.07,
    "floor": 0.65,
}


def _features(told: Told, bank: Row) -> Iterator[Row]:
    blank = dict.fromkeys(
        ("inside", "outside", "auroc", "d_prime", "chance_score", "p_value", "q_value")
    )
    for layer, (number, name) in product(told.layers, enumerate(CLASSES)):
        key = {**bank, **blank, "layer": layer, "pooling": POOLING, "set": "pairs", "class": name}
        key |= {"n_inside": 30, "n_outside": 60}
        yield {**key, "mode": "published", "criterion": "specialist", "split": 0, "sign": 1} | {
            "feature": 40 + number if number else -1,
            "score": float(number),
            "inside": number,
            "outside": 0,
            "found": number > 0,
        }
        best = {**key, "mode": "calibrated", "criterion": "best", "feature": 10 + number}
        best |= {"sign": -1 if number == 1 else 1}
        tested = {"chance_score": 0.6875, "p_value": 0.001, "q_value": told.tested}
        found = told.areas > 0.6
        yield {**best, "split": 0, "score": 0.9375, "found": found, **tested}
        yield {**best, "split": 1, "score": 0.95, "auroc": told.areas, "found": found}


def _similarities(told: Told, bank: Row) -> Iterator[Row]:
    for first, second in product(CLASSES, CLASSES):
        alike = 1.0 if first == second else 0.125
        pair = {"first": first, "second": second, "similarity": alike}
        for name in BASELINES:
            words = {"dictionary": "", "seed": 0, "layer": None, "pooling": name}
            if bank["seed"] == BANK["seed"]:
                yield {**pair, **words, "mode": "calibrated"}
        for layer, mode in product(told.layers, ("published", "calibrated")):
            yield {**pair, **bank, "layer": layer, "pooling": POOLING, "mode": mode}


def _behaviour(told: Told, bank: Row) -> Iterator[Row]:
    fixed = {**bank, "ci_low": None, "ci_high": None, "interval": "none", "n": 20}
    blank = dict.fromkeys(("holm", "q_value", "other_features"))
    specialists = ((CLASSES[0], 10), (CLASSES[3], 13))
    for layer, kind, (name, feature) in product(told.layers, KINDS, specialists):
        tested = {"p_value": told.tested / 4, "holm": told.tested, "q_value": told.tested / 2}
        key = {"mode": "calibrated", "layer": layer, "class": name, "feature": feature}
        named = {**key, "group": kind, "outcome": "margin", "metric": "spearman"}
        yield {**fixed, **named, "value": -0.375, **tested, "other_features": told.tested}
    for metric, value in (("right", 0.125), ("point_biserial", 0.3125), ("t", 1.75)):
        if told.answers:
            key = {"mode": "published", "layer": told.layers[0], "class": CLASSES[0], "feature": 41}
            named = {**key, "group": CLASSES[0], "outcome": "contained", "metric": metric}
            tested = {"p_value": None if metric == "right" else 0.0625}
            yield {**fixed, **named, "value": value, **blank, **tested}
    for outcome, metric in (("correct", "point_biserial"), ("log_probability", "spearman")):
        key = {"mode": "published", "layer": told.layers[0], "class": CLASSES[3], "feature": 13}
        named = {**key, "group": KINDS[0], "outcome": outcome, "metric": metric}
        yield {**fixed, **named, "value": 0.4375, **blank, "p_value": 0.03125}


def _effects(told: Told, bank: Row) -> Iterator[Row]:
    for layer, name, group in product(told.layers, CLASSES[::3], ("Math_Simple", "Code", KINDS[0])):
        key = {**bank, "layer": layer, "class": name, "feature": 10 + CLASSES.index(name)}
        key |= {
            "group": group,
            "n": told.contents,
            "n_active": 0 if group == "Code" and name == CLASSES[0] else 12,
        }
        for control, metric in product(
            ("none", "random_feature", "cross_domain", "random_direction"),
            ("log_probability", "kl", "flip"),
        ):
            value = -0.25 if metric == "log_probability" else 0.0625
            tested = {"p_value": told.tested / 2, "holm": told.tested, "q_value": told.tested}
            if not key["n_active"] or metric != "log_probability":
                tested = dict.fromkeys(tested)  # type: ignore[arg-type]
            ends = {"ci_low": value - 0.1, "ci_high": value + 0.1, "interval": "95"}
            named = {
                "mode": "calibrated",
                "condition": "zero",
                "control": control,
                "metric": metric,
            }
            yield {**key, **named, "value": value, **ends, **tested}
        for metric, value in (("log_probability", -0.25), ("flip", 0.03125)):
            named = {"mode": "published", "condition": "zero", "control": "none", "metric": metric}
            tested = {"p_value": 0.001 if metric == "log_probability" else None}
            tested |= dict.fromkeys(("holm", "q_value", "ci_low", "ci_high"))
            yield {**key, **named, "value": value, "interval": "none", **tested}


def _examples(told: Told, bank: Row) -> Iterator[Row]:
    tokens = ["<s>", "2", " +", EVIL, "\n", "end"]
    for layer, rank in product(told.layers, (0, 1)):
        values = [None, 8.0, 0.0, -4.0, 0.0, 0.5]
        named = {"layer": layer, "feature": 13, "rank": rank, "text": 5 + rank, "value": 8.0}
        yield {**bank, **named, "tokens": tokens, "activations": values}


def _asked(told: Told) -> tuple[list[Row], list[Row]]:
    tasks = [
        {"task": number, "part": part, "group": group, "form": "words", "item": number, "level": 1}
        | {"prompt": EVIL, "target": "4", "target_tokens": 1, "log_probability": -1.0}
        | {
            "best_distractor": -1.5,
            "mean_distractor": -2.0,
            "margin": number / 8,
            "mean_margin": 1.0,
        }
        | {"correct": number > 0, "chance": 0.25, "prompt_tokens": 5, "log_frequency": 0.0}
        for number, (part, group) in enumerate([kind.split() for kind in KINDS] * 3)
    ]
    answers = [
        {"text": 1, "prompt": EVIL, "expected": "4", "answer": EVIL, "contained": False}
        | {"judged": None, "judge": "exact"}
    ]
    return tasks, answers if told.answers else []


def claims(told: Told = FOUND) -> list[Row]:
    """A sentence about any weights, and one of other weights."""
    fixed: Row = {"study": "specialists", "source": "methods", "interval": "none"}
    fixed |= dict.fromkeys(
        ("published_value", "value", "ci_low", "ci_high", "null", "analogue_value", "layer")
    )
    return [
        {**fixed, "claim": "depth", "statement": f"Depth {EVIL}", "scope": "procedure"}
        | {"published": "5/7, 7/7", "published_value": 6.0, "value": told.areas, "ci_low": 0.8}
        | {"ci_high": 0.95, "null": 0.0, "metric": "auroc_growth", "layer": 2}
        | {"verdict": "supported", "rule": "Areas."},
        {
            **fixed,
            "claim": "no_right_answers",
            "statement": "GPT-2",
            "scope": "model",
            "published": "2 %",
        }
        | {"metric": "judged", "analogue_value": 0.125}
        | {"verdict": "not testable in this run", "rule": "Other weights."},
    ]


def tables(told: Told = FOUND, *, fresh: bool = False) -> SpecialistTables:
    """Tables of one model."""
    banks = [{**BANK, "seed": BANK["seed"] + seed} for seed in range(told.seeds)]
    tried = banks if told.tried else []
    tasks, answers = _asked(told)
    activations = [
        {**bank, "layer": layer, "class": CLASSES[3], "feature": 13, "task": task["task"]}
        | {"value": task["task"] / 4}
        for bank in tried
        for layer in told.layers
        for task in tasks
    ]
    rows = (
        summary_rows(told),
        claims(told),
        [each for bank in banks for each in _features(told, bank)],
        [each for bank in banks for each in _similarities(told, bank)],
        activations,
        [each for bank in tried for each in _behaviour(told, bank)],
        [each for bank in tried for each in _effects(told, bank)],
        [each for bank in tried for each in _examples(told, bank)],
        tasks,
        answers,
    )
    metadata = (FRESH if fresh else TRAINED).metadata()
    return SpecialistTables(
        *(
            pa.Table.from_pylist(some, artifact.schema()).replace_schema_metadata(metadata)
            for some, artifact in zip(rows, SPECIALIST_TABLES, strict=True)
        )
    )


def numbers(told: Told = FOUND) -> Numbers:
    """What the pages read of one model."""
    return read_numbers(tables(told))


def models(told: Mapping[str, Told]) -> list[SpecialistModel]:
    """Models by name, the untrained named so."""
    found = {name: tables(each, fresh=name.endswith("untrained")) for name, each in told.items()}
    return read_specialist_models(found, UNTRAINED)


def alignment_of_two() -> pa.Table:
    """What two models share, of two layers each."""
    fixed = {"model": "toy", **BANK, "other_model": "other", "other_dictionary": EVIL}
    fixed |= {"other_seed": 0, "mode": "calibrated", "pooling": POOLING, "group": "any contents"}
    fixed |= {"ci_low": None, "ci_high": None, "interval": "none", "n": 9}
    rows = []
    for layer, other, metric in product((0, 2), (0, 2), ("cka", "svcca")):
        if metric == "cka" or layer == other:
            for control, value, tested in (("none", 0.625, 0.005), ("exchanged", 0.375, None)):
                key = {"layer": layer, "other_layer": other, "metric": metric, "control": control}
                rows.append({**fixed, **key, "value": value, "p_value": tested, "q_value": tested})
    return pa.Table.from_pylist(rows, FEATURE_ALIGNMENT.schema())


def make_specialists(root: Path, told: Mapping[str, Told], aligned: pa.Table | None = None) -> Path:
    """Write tables of models, the untrained named so, and the report; returns its folder."""
    folders = []
    for name, each in told.items():
        folder = root / "specialists" / name
        provenance = FRESH if name.endswith("untrained") else TRAINED
        found = tables(each)
        for file, artifact in zip(found._fields, SPECIALIST_TABLES, strict=True):
            write_table(getattr(found, file), folder / f"{file}.parquet", artifact, provenance)
        folders.append(folder)
    compared = root / "compare/specialists.parquet"
    write_table(
        alignment_of_two() if aligned is None else aligned, compared, FEATURE_ALIGNMENT, TRAINED
    )
    files = write_tables(root, 24, FRESH, calibrated=False)
    chosen = {**SPECIALIST_SPEC, "models": list(told), "untrained": UNTRAINED}
    write_report(
        replace(files, specialists=folders, alignment=compared),
        templates=TEMPLATES,
        spec={**SPEC, "specialists": chosen},
        folder=root / "report",
    )
    return root / "report"
