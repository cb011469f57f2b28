"""Small tables of the study of specialists, and the report over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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

TRAINED = Provenance("x", model_revision="sha256:1", packages=("pyarrow",))
BANK: dict[str, Any] = {"dictionary": "toy_tokens", "seed": 3}
OWN = Bank(BANK["dictionary"], BANK["seed"])
UNTRAINED = {"toy": "toy_untrained"}
POOLING = "encode_then_average"
SPECIALIST_SPEC: dict[str, Any] = {
    "pooling": POOLING,
    "threshold": 4.5,
    "candidates": 6,
    "top_means": 13,
    "relabelings": 17,
    "q_value": 0.07,
    "floor": 0.65,
}
CLASSES = ("Maths: symbols", "Maths: prose", "Code: code", f"Code: {EVIL}")
BASELINES = ("words", "trigrams", "characters", "word_length", "character_length")
KINDS = ("cloze arithmetic", "choices other")

Row = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What tables tell; the defaults find forms, meaning beyond words, behaviour and causes.

    Attributes
    ----------
    layers : tuple of int
        Blocks that were read.
    poolings : tuple of str
        Calibrated poolings; the published one is `POOLING`.
    categories : bool
        Whether plain categories were read, too.
    areas : float
        Mean area under the curve on half B.
    against : float
        Share of texts that features put farther than words do.
    tested : float
        Every adjusted p-value.
    answers : bool
        Whether any text asks for an answer.
    tried : bool
        Whether specialists were held against tasks and ablated.
    seeds : int
        Banks of the model.
    drop : tuple of str
        Metrics that are missing.
    """

    layers: tuple[int, ...] = (0, 2)
    poolings: tuple[str, ...] = (POOLING, "max")
    categories: bool = True
    areas: float = 0.9
    against: float = 0.75
    tested: float = 0.01
    answers: bool = True
    tried: bool = True
    seeds: int = 1
    drop: tuple[str, ...] = ()


FOUND = Told()
NOTHING = Told(areas=0.55, against=0.5, tested=0.8)
SPARSE = Told(layers=(1,), poolings=(POOLING,), categories=False, answers=False, tried=False)


def row(part: str, group: str, metric: str, value: float | None, **more: Any) -> Row:
    """A row of the summary; ``reach`` gives an interval that far to both sides."""
    reach = more.pop("reach", None)
    ends = (None, None) if reach is None or value is None else (value - reach, value + reach)
    fixed = {"dictionary": "", "seed": 0, "mode": "calibrated", "layer": None, "pooling": ""}
    fixed |= {"control": "none", "p_value": None, "q_value": None, "n": 30}
    named = {"part": part, "group": group, "metric": metric, "value": value}
    interval = {"ci_low": ends[0], "ci_high": ends[1], "interval": "95" if reach else "none"}
    return {**fixed, **interval, **named, **more}


def _discovery(told: Told, key: Row) -> Iterator[Row]:
    published = key["mode"] == "published"
    layer = key["layer"]
    for name, n in (("pairs", 4), ("categories", 7), ("forms", 4)):
        if (name == "categories" and not told.categories) or (name == "forms" and published):
            continue
        found = float(n - 1 if told.areas > 0.6 else 0)
        yield row("discovery", name, "n_specialists", found, n=n, **key)
        if published:
            drawn = {"reach": 0.5, "control": "relabeled", "n": 17}
            yield row("discovery", name, "n_specialists", 0.75, **drawn, **key)
            yield row("discovery", name, "mean_score", 2.5 + layer, n=n, **key)
            continue
        yield row("discovery", name, "mean_auroc", told.areas + layer / 100, reach=0.02, **key)
        yield row("discovery", name, "mean_auroc", 0.5, control="chance", **key)
        if name != "forms":
            yield row("discovery", name, "rule_half_a", 2.0, reach=1, **key)
            yield row("discovery", name, "rule_half_b", 1.5, reach=0.5, **key)
            yield row("discovery", name, "percentile_half_b", 1.25, reach=0.25, **key)
            for size, area in ((2, 0.6), (16, 0.8)):
                group = f"{name}, {size} of each"
                yield row("discovery", group, "auroc_by_size", area, reach=0.05, **key)
                yield row("discovery", group, "auroc_by_size", 0.5, control="chance", **key)
    for each in () if published else CLASSES:
        yield row("discovery", f"pairs, {each}", "auroc", told.areas, reach=0.1, **key)
        yield row("discovery", f"pairs, {each}", "d_prime", 2.125, reach=0.25, **key)


def _geometry(told: Told, key: Row, control: str = "none") -> Iterator[Row]:
    bump = 0.1 if control == "none" else 0.0
    fixed = {**key, "control": control}
    yield row("geometry", "topics", "within", 0.5 + bump, **fixed)
    yield row("geometry", "topics", "across", 0.25, **fixed)
    if key["mode"] == "published":
        yield row("geometry", "topics", "t", 8.25, p_value=1e-9, **fixed)
        yield row("geometry", "topics", "same_form_across", 0.0625, **fixed)
        return
    tested = {"p_value": told.tested / 2, "q_value": told.tested}
    yield row("geometry", "topics", "difference", 0.25 + bump, **tested, **fixed)
    if control == "none":
        yield row("geometry", "topics", "explained_by_words", 0.625, **fixed)
        yield row("geometry", "topics", "difference_beyond_words", 0.125, **tested, **fixed)
        yield row("geometry", "topics", "mantel_beyond_words", 0.375, **tested, **fixed)
        for name in BASELINES:
            yield row("geometry", name, "mantel", 0.4375, **tested, **fixed)


def _texts(told: Told, key: Row, control: str = "none") -> Iterator[Row]:
    own = control == "none"
    fixed = {**key, "control": control, "reach": 0.05}
    tested = {"p_value": told.tested, "q_value": told.tested}
    for group in ("all", "Maths"):
        yield row("retrieval", group, "top_1", 0.45 if own else 0.35, **fixed)
        yield row("retrieval", group, "mrr", 0.55, **tested, **fixed)
        if own:
            yield row("retrieval", group, "found_against_words", told.against, **tested, **fixed)
            for metric, value in (("top_1", 0.03), ("mrr", 0.1), ("found_against_words", 0.5)):
                yield row("retrieval", group, metric, value, **{**key, "control": "chance"})
    for term, value in (("topic", 0.2), ("form", 0.15), ("pair", 0.3), ("residual", 0.35)):
        yield row(
            "variance", term, "share", value, p_value=told.tested, **{**key, "control": control}
        )
        if own and term != "residual":
            yield row("variance", term, "share", 0.05, **{**key, "control": "chance"})


def _overlap(key: Row) -> Iterator[Row]:
    published = key["mode"] == "published"
    for group in ("all", "Maths", "Maths: symbols ~ prose"):
        for metric, value in (
            (("jaccard_top_means", 0.1875), ("jaccard_top_scores", 0.125))
            if published
            else (("jaccard_halves", 0.3), ("jaccard_relative", 0.5))
        ):
            yield row("overlap", group, metric, value, **key)
        if not published:
            for control, value in (("split_half_ceiling", 0.6), ("chance", 0.02)):
                yield row("overlap", group, "jaccard_halves", value, **{**key, "control": control})


def _ablation(key: Row) -> Iterator[Row]:
    for kind in ("texts", "tasks"):
        for metric, value in (
            ("resilience_ratio", 140.5),
            ("effect_to_random_sd", 0.375),
            ("cascade", 2.75),
        ):
            yield row("ablation", kind, metric, value, reach=0.25, **key)
        for mode in ("published", "calibrated"):
            value = -0.5 if mode == "published" else 0.25
            fixed = {**key, "mode": mode, "p_value": 0.3}
            yield row("ablation", kind, "selectivity_causality", value, **fixed)
    where = {**key, "layer": 0, "pooling": POOLING}
    for control, value in (("none", 0.25), ("random_direction", 0.125)):
        for block in (0, 1, 2):
            metric = f"relative_change_{block}"
            yield row("cascade", CLASSES[0], metric, value / (1 + block), control=control, **where)
    for control, value in (("none", 0.875), ("all_features", 0.5), ("tokens", 0.4375)):
        yield row("tokens", CLASSES[0], "syntactic_share", value, control=control, **where)


def _tasks(told: Told) -> Iterator[Row]:
    for kind in KINDS:
        for group in (kind, f"{kind}, level 1", f"{kind}, level 2"):
            yield row("tasks", group, "right", 0.6, reach=0.1)
            yield row("tasks", group, "right", 0.25, control="chance")
            yield row("tasks", group, "margin", 0.5, reach=0.125)
    if told.answers:
        yield row("tasks", CLASSES[0], "contained", 0.125, mode="published", n=8)
        yield row("tasks", CLASSES[0], "judged", 0.375, reach=0.25, n=8)


def summary_rows(told: Told) -> list[Row]:
    """Numbers of one model: tasks, words, then every bank."""
    rows = list(_tasks(told))
    for name in BASELINES[:3]:
        for mode in ("published", "calibrated"):
            rows += _geometry(told, {"mode": mode}, name)
        rows += _texts(told, {}, name)
    for seed, layer in product(range(told.seeds), told.layers):
        bank = {**BANK, "seed": BANK["seed"] + seed}
        for pooling in told.poolings:
            key = {**bank, "layer": layer, "pooling": pooling}
            for mode in ("published", "calibrated") if pooling == POOLING else ("calibrated",):
                each = {**key, "mode": mode}
                rows += [*_discovery(told, each), *_geometry(told, each), *_overlap(each)]
            rows += _texts(told, key)
    for seed in range(told.seeds if told.tried else 0):
        rows += _ablation({**BANK, "seed": BANK["seed"] + seed})
    return [each for each in rows if each["metric"] not in told.drop]


def _features(told: Told, bank: Row) -> Iterator[Row]:
    blank = dict.fromkeys(
        ("inside", "outside", "auroc", "d_prime", "chance_score", "p_value", "q_value")
    )
    for layer, (number, name) in product(told.layers, enumerate(CLASSES)):
        key = {**bank, **blank, "layer": layer, "pooling": POOLING, "set": "pairs", "class": name}
        key |= {"n_inside": 30, "n_outside": 60}
        yield {**key, "mode": "published", "criterion": "specialist", "split": 0} | {
            "feature": 40 + number if number else -1,
            "score": float(number),
            "inside": number,
            "outside": 0,
            "found": number > 0,
        }
        best = {**key, "mode": "calibrated", "criterion": "best", "feature": 10 + number}
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
    for layer, kind, outcome in product(told.layers, KINDS, ("margin", "correct")):
        tested = {"p_value": told.tested / 4, "holm": told.tested, "q_value": told.tested / 2}
        key = {"mode": "calibrated", "layer": layer, "class": CLASSES[3], "feature": 13}
        named = {**key, "group": kind, "outcome": outcome, "metric": "spearman"}
        yield {**fixed, **named, "value": -0.375, **tested, "other_features": told.tested}
    for metric, value in (("right", 0.125), ("point_biserial", 0.3125), ("t", 1.75)):
        if told.answers:
            key = {"mode": "published", "layer": told.layers[0], "class": CLASSES[0], "feature": 41}
            named = {**key, "group": CLASSES[0], "outcome": "contained", "metric": metric}
            tested = {"p_value": None if metric == "right" else 0.0625}
            yield {**fixed, **named, "value": value, **blank, **tested}


def _effects(told: Told, bank: Row) -> Iterator[Row]:
    for layer, name, group in product(told.layers, CLASSES[::3], ("Maths", "Code", KINDS[0])):
        key = {**bank, "layer": layer, "class": name, "feature": 10 + CLASSES.index(name)}
        key |= {
            "group": group,
            "n": 20,
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
        | {"ci_high": 0.95, "null": 0.5, "metric": "mean_auroc", "layer": 2}
        | {"verdict": "supported", "rule": "Areas."},
        {**fixed, "claim": "other", "statement": "GPT-2", "scope": "model", "published": "2 %"}
        | {"metric": "right", "analogue_value": 0.125}
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


def alignment() -> pa.Table:
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
    write_table(alignment() if aligned is None else aligned, compared, FEATURE_ALIGNMENT, TRAINED)
    files = write_tables(root, 24, FRESH, calibrated=False)
    chosen = {**SPECIALIST_SPEC, "models": list(told), "untrained": UNTRAINED}
    write_report(
        replace(files, specialists=folders, alignment=compared),
        templates=TEMPLATES,
        spec={**SPEC, "specialists": chosen},
        folder=root / "report",
    )
    return root / "report"
