"""Small tables of a wide SAE's listed features, and the page over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.scaling_examples import (
    SCALING_DENSITIES,
    SCALING_EXAMPLES,
    SCALING_FEATURES,
    SCALING_MAP,
    SCALING_NEIGHBOURS,
    SCALING_TOKENS,
)
from saeflow.artifacts.scaling_explanations import EXPLANATION_SCORES, EXPLANATIONS
from saeflow.artifacts.scaling_search import SEARCH
from saeflow.artifacts.schema import Artifact
from saeflow.report.scaling.features import write_features_page
from saeflow.report.site import Link, Site
from tests.report_tables import EVIL, TEMPLATES

Row = dict[str, Any]
SITE: Row = {"dictionary": "wide", "seed": 0, "layer": 2}
SPLITS = ("train", "validation")
WORDS = (" the", " of", "s", "\n", " wide", "\t", "\0", " سلام", "ing", EVIL)
"""Tokens that examples are made of."""
SAID = f"fires on {EVIL} and \0 and سلام"
"""Explanation of feature 1."""
LARGEST = 4.0
"""Of every feature."""


def _table(artifact: Artifact, rows: Iterator[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=artifact.schema())


def _features(d_sae: int) -> Iterator[Row]:
    runs = (("wide", 0, "none"), ("frozen", 0, "frozen_decoder"))
    for dictionary, seed, control in runs:
        for split in SPLITS:
            for feature in range(d_sae):
                yield {**SITE, "dictionary": dictionary, "seed": seed, "control": control} | {
                    "split": split,
                    "feature": feature,
                    "n_active": 10 * feature,
                    "n_documents": feature,
                    "density": feature / 1000 / (1 + (split == "train")),
                    "mean": 0.25,
                    "second_moment": 0.5,
                    "largest": LARGEST if feature and split == "validation" else 1.0,
                    "cosine": 0.5,
                    "cosine_with": (feature + 1) % d_sae,
                }


def _densities(d_sae: int) -> Iterator[Row]:
    for dictionary, control in (("wide", "none"), ("frozen", "frozen_decoder")):
        for split in SPLITS:
            key = {**SITE, "dictionary": dictionary, "control": control, "split": split}
            for low, high, count in ((0.0, 0.0, 1), (0.001, 0.01, d_sae - 2), (0.01, 1.0, 1)):
                yield {**key, "low": low, "high": high, "n_features": count}


def _window(generator: np.random.Generator, words: tuple[str, ...], width: int) -> list[str]:
    return [words[place] for place in generator.integers(len(words), size=width)]


def _examples(listed: int, words: tuple[str, ...], width: int, counts: Row) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    pool = [_window(generator, words, width) for _ in range(16)]
    document = 100
    for split in SPLITS:
        for feature in range(listed):
            for kind, bins, count in (
                ("top", [-1], counts["top"]),
                ("bin", range(4), counts["per_bin"]),
                ("silent", [-1], counts["silent"]),
            ):
                for place, rank in ((b, r) for b in bins for r in range(count)):
                    silent = kind == "silent"
                    number = int(generator.integers(16)) if silent else document
                    document += not silent
                    tokens = pool[number] if silent else _window(generator, words, width)
                    values: list[float | None] = [0.0] * width
                    centre = width // 2
                    if not silent:
                        values[centre] = LARGEST if kind == "top" else place + 0.5
                        values[centre + 1] = -1.0 if feature == 1 else 1.25
                    values[0] = None
                    yield {**SITE, "split": split, "feature": feature, "kind": kind} | {
                        "bin": place,
                        "rank": rank,
                        "document": number if split == "train" else 10**6 + number,
                        "position": 7,
                        "group": f"topic {EVIL}" if feature == 1 else "sport",
                        "value": values[centre],
                        "bin_tokens": 1234 if kind == "bin" else None,
                        "tokens": tokens,
                        "activations": values,
                        "centre": centre,
                    }


def _tokens(listed: int, words: tuple[str, ...]) -> Iterator[Row]:
    for split in SPLITS:
        for feature in range(listed):
            for by in ("count", "total"):
                for rank, token in enumerate(words[-10:]):
                    yield {**SITE, "split": split, "feature": feature, "by": by, "rank": rank} | {
                        "token_id": rank,
                        "token": token,
                        "count": 20 - rank,
                        "total": 50.5,
                        "occurrences": 400,
                        "expected": 2.5,
                    }


def _neighbours(listed: int, d_sae: int, count: int) -> Iterator[Row]:
    for feature in range(listed):
        for by in ("correlation", "cosine"):
            for rank in range(count):
                # The last of them is listed nowhere.
                other = d_sae - 1 if rank == count - 1 else (feature + rank + 1) % listed
                yield {**SITE, "feature": feature, "by": by, "rank": rank, "other": other} | {
                    "similarity": 0.9 - rank / 100,
                    "other_similarity": None if rank else 0.3,
                }


def _map(listed: int) -> Iterator[Row]:
    for feature in range(1, listed):
        place = {"x": feature * 1.5, "y": (feature % 5) * 1.5, "first": 0.0, "second": 0.0}
        yield {**SITE, "feature": feature, **place}


def _explanations(listed: int) -> Iterator[Row]:
    for explainer in ("tokens", "local"):
        for feature in range(listed):
            yield {**SITE, "explainer": explainer, "feature": feature} | {
                "explanation": SAID
                if feature == 1
                else f"{explainer} word {feature}" * (feature > 0),
                "parsed": feature != 2,
                "patterns": [],
                "shares": [],
                "weights": [],
                "rules": "",
                "density": 0.1,
                "n_activating": 11,
                "swapped_with": (feature + 1) % listed,
            }


def _scores(listed: int) -> Iterator[Row]:
    accuracy = {"none": 0.875, "swapped": 0.5, "empty": 0.5}
    for control in accuracy:
        for method in ("detection", "fuzzing"):
            for kind in ("random", "all"):
                for feature in range(listed):
                    yield {**SITE, "explainer": "tokens", "scorer": "tokens"} | {
                        "control": control,
                        "method": method,
                        "kind": kind,
                        "feature": feature,
                        "density": 0.1,
                        "balanced_accuracy": accuracy[control] - feature / 1000,
                        "ci_low": 0.4,
                        "ci_high": 0.95,
                        "interval": "exact",
                        "auroc": 0.9375,
                        "threshold": 0.1,
                        "n_positive": 20,
                        "n_negative": 40,
                        "n_unread": 0,
                    }


def _search() -> Iterator[Row]:
    blank = dict.fromkeys(
        ("p_value", "p_holm", "best_p_value", "threshold", "stability", "value"), None
    )
    shared = {"dictionary": "wide", "seed": 0, **blank, "inputs": "scaled", "n_positive": 15}
    shared |= {"n_negative": 30, "tokens": [EVIL], "activations": [1.0]}
    for topic in ("animals", "sport", EVIL):
        for level in ("document_max", "token"):
            key = {**shared, "prompts": f"topics/{topic}", "mode": "calibrated", "score": "auroc"}
            key |= {"level": level}
            first = {"animals": 2, "sport": 3, EVIL: 1}[topic]
            for place, feature in enumerate((first, 4), start=1):
                yield {**key, "control": "none", "place": place, "feature": feature} | {
                    "value_chosen": 1.0 if topic == "sport" else 0.96,
                    # The second place is better on the other half, which must not choose.
                    "value": 0.9 + place / 100 - (level == "token") / 10,
                    "p_holm": 0.01,
                    "stability": 0.75,
                }
            for control, value in (("words", 0.625), ("length", 0.5), ("untrained", 0.7)):
                yield {**key, "control": control, "place": 1, "feature": -1} | {
                    "value_chosen": 0.6,
                    "value": value,
                }
        yield {**shared, "prompts": f"topics/{topic}", "mode": "published", "score": "rank"} | {
            "level": "token",
            "control": "none",
            "place": 1,
            "feature": 5,
            "value_chosen": 3.5,
        }


def feature_tables(
    listed: int = 6,
    d_sae: int = 12,
    *,
    words: tuple[str, ...] = WORDS,
    width: int = 5,
    top: int = 2,
    per_bin: int = 1,
    silent: int = 1,
    neighbours: int = 3,
) -> dict[str, pa.Table]:
    """Tables of a model whose SAE was searched and explained.

    Feature 0 never fires, is not on the map, and has an empty explanation; feature 1 holds what would
    become an element, a sign below 0, NUL and right-to-left text.
    """
    counts = {"top": top, "per_bin": per_bin, "silent": silent}
    return {
        "features": _table(SCALING_FEATURES, _features(d_sae)),
        "densities": _table(SCALING_DENSITIES, _densities(d_sae)),
        "examples": _table(SCALING_EXAMPLES, _examples(listed, words, width, counts)),
        "tokens": _table(SCALING_TOKENS, _tokens(listed, words)),
        "neighbours": _table(SCALING_NEIGHBOURS, _neighbours(listed, d_sae, neighbours)),
        "map": _table(SCALING_MAP, _map(listed)),
        "explanations": _table(EXPLANATIONS, _explanations(listed)),
        "explanation_scores": _table(EXPLANATION_SCORES, _scores(listed)),
        "search": _table(SEARCH, _search()),
    }


def make_features(folder: Path, tables: dict[str, pa.Table], model: str = "toy") -> Path:
    """Write the page with what it loads; its own link is all its navigation."""
    page = Link(model, f"scaling-{model}-features.html")
    site = Site(TEMPLATES, folder, [page])
    site.write_assets()
    write_features_page(site, model, tables, back=[page])
    return folder / page.href
