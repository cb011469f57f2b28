"""Small tables of the study of wide SAEs, and the report over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.report.report import write_report
from saeflow.report.scaling.model import ScalingModel, join_scaling_models
from saeflow.report.scaling.numbers import TABLES, Numbers, Sae, read_numbers
from tests.report_tables import EVIL, FRESH, SPEC, TEMPLATES, write_tables
from tests.scaling_feature_tables import feature_tables

TRAINED = Provenance("x", model_revision="sha256:1", packages=("pyarrow",))
MAIN = Sae("wide", 0)
AGAIN, FROZEN, RELU = Sae("wide", 1), Sae("a_frozen", 0), Sae("a_relu", 0)
LATENTS = 64
UNTRAINED = {"toy": "toy_untrained"}
SCALING_SPEC: dict[str, Any] = {"published": ["a_relu"], "top": 4, "prompts": 11, "samples": 6}
TOPICS = ("space", "law", "sea", "food", "war", "art", "maths", f"odd {EVIL}")
LEVELS = ("document_mean", "token")
DOSES = (1.0, 2.0, 8.0)
CONTROLS = ("random_feature", "random_direction", "decoder_bias", "difference_of_means")
SCORES = ("lexicon_share", "class_probability")
COSTS = ("kl", "log_perplexity", "distinct_1", "distinct_2", "distinct_3", "repeated_2", "tokens")

LISTED = ("features", "examples", "tokens", "neighbours", "map")
LISTED += ("explanations", "explanation_scores")
"""Tables of single features, of the same main SAE."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What tables tell; the defaults find, steer and explain.

    Attributes
    ----------
    recovered, frozen : float
        Cross-entropy that the main SAE and the frozen decoder recover against the mean.
    area, words, fresh : float
        Area of the best features, of words, and of the untrained model's features.
    slope, beyond : float
        Slope of scores along features, and what of it lies beyond the nearest control.
    right, swapped : float
        Balanced accuracy of explanations, and of those of other features.
    returning : float
        Share of features that return with another seed.
    tested : float
        Every p-value.
    trained : bool
        Whether it was searched and steered: the untrained are not.
    saes : tuple of Sae
        Those that were trained.
    drop : tuple of str
        Tables that were not made.
    """

    recovered: float = 0.95
    frozen: float = 0.4
    area: float = 0.96875
    words: float = 0.9375
    fresh: float = 0.625
    slope: float = 0.125
    beyond: float = 0.0625
    right: float = 0.75
    swapped: float = 0.5
    returning: float = 0.8125
    tested: float = 0.001
    trained: bool = True
    saes: tuple[Sae, ...] = (MAIN, AGAIN, FROZEN, RELU)
    drop: tuple[str, ...] = ()


FOUND = Told()
NOTHING = Told(
    recovered=0.42,
    area=0.53125,
    words=0.96875,
    fresh=0.5625,
    beyond=-0.03125,
    right=0.53125,
    tested=0.7,
)
FRESH_MODEL = replace(NOTHING, recovered=0.3, right=0.515625, trained=False, saes=(MAIN,))
SPARSE = replace(
    FOUND, saes=(MAIN,), drop=tuple(name for name in TABLES if name not in ("quality", "map"))
)


def value(number: float | None, reach: float | None = None, n: int = 30) -> Row:
    """Columns of a number; ``reach`` gives an interval that far to both sides."""
    if number is None or reach is None:
        return {"value": number, "ci_low": None, "ci_high": None, "interval": "none", "n": n}
    return {"value": number, "ci_low": number - reach, "ci_high": number + reach} | {
        "interval": "95",
        "n": n,
    }


def control_of(sae: Sae) -> str:
    return "frozen_decoder" if sae == FROZEN else "none"


def key_of(sae: Sae, **more: Any) -> Row:
    return {**sae._asdict(), "control": control_of(sae), "layer": 2, **more}


def _quality(told: Told) -> Iterator[Row]:
    active = {RELU: 48.0}
    for sae, split in product(told.saes, ("train", "validation")):
        key = key_of(sae, split=split, other_seed=-1)
        mean = told.frozen if sae == FROZEN else told.recovered
        near = 0.01 if split == "train" else 0.0
        for metric, number in {
            "l0_mean": active.get(sae, 4.0),
            "fvu": 0.25 - near,
            "ce_clean": 2.0,
            "ce_zero": 8.0,
            "ce_mean": 5.0,
            "ce_spliced": 5.0 - 3 * mean,
            "ce_recovered_zero": 0.5 + mean / 2,
            "ce_recovered_mean": mean + near,
        }.items():
            yield {**key, "metric": metric, **value(number, 0.015625)}
        yield {**key, "metric": "dead_share", **value(0.125)}
    for sae in told.saes:
        key = key_of(sae, split="all", other_seed=-1)
        yield {**key, "metric": "dead_share", **value(0.0625)}
        for control in (control_of(sae), "random_directions"):
            if control == "random_directions" and sae == FROZEN:
                continue
            drawn = 0.0 if control == "random_directions" else 0.25
            for metric, number in (("largest_cosine", 0.5 + drawn), ("redundant_share_0.7", drawn)):
                yield {**key, "control": control, "metric": metric, **value(number, n=60)}
    for control, number in (("none", told.returning), ("random_directions", 0.03125)):
        if AGAIN in told.saes:
            key = key_of(MAIN, split="all", other_seed=AGAIN.seed) | {"control": control}
            yield {**key, "metric": "returning_share", **value(number, n=60)}
            yield {**key, "metric": "matched_share", **value(None, n=60)}


def _training(told: Told) -> Iterator[Row]:
    for sae, step, metric in product(told.saes, (10, 20), ("loss", "fvu", "l0", "dead_share")):
        number = None if metric == "fvu" and step == 10 and sae == AGAIN else 1 / step
        yield {**key_of(sae), "step": step, "tokens": 100 * step, "metric": metric, "value": number}


def _densities(told: Told) -> Iterator[Row]:
    for sae, split in product(told.saes, ("train", "validation")):
        for low, high, n in ((0.0, 0.0, 4), (1e-3, 1e-2, 40), (1e-2, 1.0, 20)):
            yield key_of(sae, split=split) | {"low": low, "high": high, "n_features": n}


def _search(told: Told) -> Iterator[Row]:
    for (number, topic), level in product(enumerate(TOPICS), LEVELS):
        key = {**MAIN._asdict(), "prompts": f"topics/{topic}", "mode": "calibrated"}
        key |= {"inputs": "scaled", "level": level, "score": "auroc"}
        key |= {"n_positive": 15, "n_negative": 30, "tokens": [], "activations": []}
        blank = dict.fromkeys(("p_holm", "best_p_value", "threshold", "stability"))
        for place in (1, 2):
            found = {"place": place, "feature": 10 * place + number, "control": "none"}
            found |= {"value_chosen": 0.984375, "value": told.area - number / 1024 * (place > 1)}
            found |= {"p_value": told.tested, "p_holm": told.tested, "best_p_value": told.tested}
            found |= {"threshold": 0.765625, "stability": 0.875}
            yield {**key, **found, "tokens": [" star", EVIL], "activations": [2.0, 1.0]}
        areas = {"words": told.words, "length": 0.5, "difference_of_means": 1.0}
        for control, area in {**areas, "untrained": told.fresh, "frozen_decoder": 0.75}.items():
            found = {"place": 1, "feature": -1, "control": control, "value_chosen": area}
            # Not the same difference everywhere, so that flips have something to order.
            varied = area - number / 2048
            yield {**key, **blank, **found, "value": varied, "p_value": told.tested}
        if level == LEVELS[0]:
            for inputs, feature in (("scaled", 20 + number), ("published", 5)):
                own = {"mode": "published", "inputs": inputs, "level": "token", "score": "rank"}
                blank |= {"value": None, "p_value": None}
                found = {"place": 1, "feature": feature, "control": "none", "value_chosen": 0.375}
                yield {**key, **own, **blank, **found, "tokens": [" odd"], "activations": [1.0]}


def _targets(told: Told) -> Iterator[Row]:
    key = {**MAIN._asdict(), "prompts": "topics/space", "mode": "published", "inputs": "scaled"}
    yield {**key, "level": "token", "score": "rank", "feature": 7, "value": 0.625} | {
        "position": 3,
        "n_features": LATENTS,
    }


def _directions() -> Iterator[tuple[str, float]]:
    yield "none", 0.0
    yield from product(("feature", *CONTROLS), DOSES)


def _steering(told: Told) -> Iterator[Row]:
    for topic, (direction, dose) in product(TOPICS, _directions()):
        key = {**MAIN._asdict(), "mode": "calibrated", "topic": topic, "direction": direction}
        key |= {"dose": dose, "control": "none", "p_value": None, "p_holm": None}
        strong = told.slope if direction == "feature" else told.slope - told.beyond
        for score in SCORES:
            yield {**key, "metric": score, **value(0.125 + dose * strong / 8, 0.03125)}
        for cost in COSTS:
            yield {**key, "metric": cost, **value(dose / 16, 0.0078125)}
    for topic, score in product(TOPICS, SCORES):
        key = {**MAIN._asdict(), "mode": "calibrated", "topic": topic, "dose": None}
        for direction in CONTROLS:
            slope = value(told.slope - told.beyond, 0.015625)
            named = {**key, "direction": direction, "control": "none", "metric": f"{score}_slope"}
            yield {**named, **slope, "p_value": None, "p_holm": None}
        for control in ("none", *CONTROLS, "every"):
            slope = value(told.slope if control == "none" else told.beyond, 0.015625)
            named = {**key, "direction": "feature", "control": control, "metric": f"{score}_slope"}
            yield {**named, **slope, "p_value": told.tested / 8, "p_holm": told.tested}
    key = {**MAIN._asdict(), "mode": "calibrated", "topic": "", "direction": "none", "dose": None}
    tested = {"control": "none", "p_value": None, "p_holm": None}
    yield {**key, **tested, "metric": "classifier_accuracy", **value(0.96875, 0.015625)}


def _continuations(told: Told) -> Iterator[Row]:
    blank: Row = dict.fromkeys(("distinct_2", "distinct_3", "repeated_2"))
    blank |= {"distinct_1": 1.0, "tokens": 12, "log_perplexity": 3.0, "added": 1.0}
    for (number, topic), (direction, dose) in product(enumerate(TOPICS), _directions()):
        for sample in (0, 1):
            key = {**MAIN._asdict(), "mode": "calibrated", "topic": topic, "direction": direction}
            key |= {"dose": dose, "prompt": 0, "sample": sample, "kl": dose / 16}
            text = f"{direction} {dose:g} {sample} {EVIL}"
            written = {"prompt_text": f"Once {EVIL}", "text": text, "class_probability": 0.25}
            feature = 10 + number if direction == "feature" else None
            yield {**blank, **key, **written, "lexicon_share": 0.125, "feature": feature}
    for direction, dose in (("none", 0.0), ("feature", 30.0), ("decoder_bias", 30.0)):
        key = {**MAIN._asdict(), "mode": "published", "topic": TOPICS[0], "direction": direction}
        key |= {"dose": dose, "prompt": 0, "sample": 0, "kl": dose / 16, "prompt_text": "I am a"}
        written = {"text": f"doctor {direction}", "class_probability": None, "lexicon_share": None}
        yield {**blank, **key, **written, "feature": 10 if direction == "feature" else None}


def _explanation_summary(told: Told) -> Iterator[Row]:
    key = {**MAIN._asdict(), "layer": 2, "explainer": "tokens", "scorer": EVIL}
    for method, kinds in (("detection", ("near_miss", "random")), ("fuzzing", ("moved",))):
        for kind in (*kinds, "all"):
            named = {**key, "method": method, "kind": kind, "p_value": None, "q_value": None}
            right = {"none": told.right, "swapped": told.swapped, "empty": 0.5}
            for control, number in right.items():
                own = {**named, "control": control}
                yield {**own, "metric": "balanced_accuracy", **value(number, 0.03125)}
                yield {**own, "metric": "auroc", **value(number + 0.0625, 0.03125)}
                yield {**own, "metric": "unread_share", **value(0.0)}
            for other in ("swapped", "empty"):
                gain = value(told.right - right[other], 0.03125)
                tested = {"p_value": told.tested / 4, "q_value": told.tested}
                own = {**named, "control": "none", "metric": f"gain_over_{other}"}
                yield {**own, **gain, **tested}
    own = {**key, "method": "all", "kind": "all", "control": "none", "metric": "unparsed_share"}
    yield {**own, **value(0.0), "p_value": None, "q_value": None}


def _claims(told: Told) -> Iterator[Row]:
    fixed: Row = {"study": "scaling", "source": "methods", "interval": "none"}
    fixed |= dict.fromkeys(
        ("published_value", "value", "ci_low", "ci_high", "null", "analogue_value", "layer")
    )
    yield {**fixed, "claim": "sparse", "statement": f"Sparse {EVIL}", "scope": "procedure"} | {
        "published": "12,793 of 65,536",
        "published_value": 48.0,
        "value": 48.0,
        "null": 16.0,
        "metric": "l0_mean",
        "layer": 2,
        "verdict": "contradicted",
        "rule": "Counted.",
    }
    yield {**fixed, "claim": "search_finds", "statement": "Found", "scope": "procedure"} | {
        "published": "3 prompts",
        "value": 0.875,
        "ci_low": 0.75,
        "ci_high": 1.0,
        "null": 0.125,
        "metric": "share_found",
        "verdict": "supported",
        "rule": "Counted.",
    }


def tables(told: Told = FOUND, *, fresh: bool = False) -> dict[str, pa.Table]:
    """Tables of one model, by name."""
    rows = {
        "quality": _quality,
        "training": _training,
        "densities": _densities,
        "explanation_summary": _explanation_summary,
        "claims": _claims,
    }
    if told.trained:
        rows |= {
            "search": _search,
            "search_targets": _targets,
            "steering": _steering,
            "continuations": _continuations,
        }
    metadata = (FRESH if fresh else TRAINED).metadata()
    listed = feature_tables()
    made = {name: listed[name] for name in LISTED}
    made |= {
        name: pa.Table.from_pylist(list(make(told)), TABLES[name].schema())
        for name, make in rows.items()
    }
    return {
        name: table.replace_schema_metadata(metadata)
        for name, table in made.items()
        if name not in told.drop
    }


def numbers(told: Told = FOUND) -> Numbers:
    """What the pages read of one model."""
    return read_numbers(tables(told))


def models(told: Mapping[str, Told]) -> list[ScalingModel]:
    """Models by name, the untrained named so."""
    found = {name: tables(each, fresh=name.endswith("untrained")) for name, each in told.items()}
    return join_scaling_models(found, UNTRAINED)


def make_scaling(root: Path, told: Mapping[str, Told]) -> Path:
    """Write tables of models, the untrained named so, and the report; returns its folder."""
    paths = []
    for name, each in told.items():
        provenance = FRESH if name.endswith("untrained") else TRAINED
        for file, table in tables(each).items():
            path = root / "scaling" / name / f"{file}.parquet"
            write_table(table.replace_schema_metadata(None), path, TABLES[file], provenance)
            paths.append(path)
    files = write_tables(root, 24, FRESH, calibrated=False)
    chosen = {**SCALING_SPEC, "models": list(told), "untrained": UNTRAINED}
    write_report(
        replace(files, scaling=paths),
        templates=TEMPLATES,
        spec={**SPEC, "scaling": chosen},
        folder=root / "report",
    )
    return root / "report"
