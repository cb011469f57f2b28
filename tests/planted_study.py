"""Texts of the specialists study beside planted features, and tables of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.specialists import POOLED
from saeflow.config.specialists import PoolSettings, SpecialistsCalibrated
from saeflow.datasets.matched.published import CategoryText, MatchedText
from saeflow.studies.specialists.pooled import PooledFeatures, PooledShape, lengths_table
from saeflow.studies.specialists.texts import StudyTexts
from tests.planted_texts import planted_texts

TOPICS = ("Math_Simple", "Math_Complex", "Python", "Social")
CATEGORIES = ("Formal", "URLs", "Math")
N_CATEGORY = 8
KEY = {"dictionary": "tokens", "seed": 0, "mode": "calibrated", "layer": 1, "pooling": "max"}
QUICK = SpecialistsCalibrated(
    pooling=PoolSettings(poolings=("max",)),
    splits=3,
    sizes=(2, 4),
    overlap_splits=4,
    relabelings=9,
    permutations=99,
)


def planted_study(
    kinds: Collection[str] = (), seed: int = 0, *, words: Collection[str] = (), **sizes: Any
) -> tuple[StudyTexts, np.ndarray]:
    """Texts and their features, with features of `kinds` planted, and words likewise.

    Texts of three categories come last, each of which has a feature of its own where forms have.
    """
    planted = planted_texts(kinds, seed, **sizes)
    rng = np.random.default_rng(seed + 1000)
    topics, classes, pairs = planted.topics, planted.classes, planted.pairs
    rows = []
    for number in range(len(topics)):
        first_class = int(np.flatnonzero(planted.topic_of == topics[number])[0])
        spoken = [f"w{each}" for each in rng.integers(0, 400, 6)]
        spoken += [f"topic{topics[number]}"] * 4 * ("topic" in words)
        spoken += [f"pair{pairs[number]}"] * 4 * ("pair" in words)
        text = " ".join([f"t{number}", *spoken])
        form = f"form{classes[number] - first_class}"
        rows.append(MatchedText(text, TOPICS[topics[number]], form, int(pairs[number])))
    categories = [
        CategoryText(f"{name} {number}", name)
        for name in CATEGORIES
        for number in range(N_CATEGORY)
    ]
    extra = np.maximum(rng.normal(size=(len(categories), planted.values.shape[1])), 0)
    for place in range(len(CATEGORIES)):
        some = slice(place * N_CATEGORY, (place + 1) * N_CATEGORY)
        extra[some, planted.class_features[place]] += 6.0 * ("form" in kinds)
    values = np.concatenate([planted.values, extra.astype(np.float32)])
    return StudyTexts(tuple(rows), tuple(categories)), values


def pooled_of(
    matrices: Mapping[tuple[str, int, str], np.ndarray], n_tokens: np.ndarray | None = None
) -> PooledFeatures:
    """Table of dense matrices by mode, layer and pooling."""
    rows = [
        {"mode": mode, "layer": layer, "pooling": pooling, "text": int(text),
         "feature": int(feature), "value": float(values[text, feature])}
        for (mode, layer, pooling), values in matrices.items()
        for text, feature in zip(*np.nonzero(values), strict=True)
    ]  # fmt: skip
    n_texts, d_sae = next(iter(matrices.values())).shape
    modes = dict.fromkeys(mode for mode, _, _ in matrices)
    poolings = {
        mode: tuple(dict.fromkeys(name for other, _, name in matrices if other == mode))
        for mode in modes
    }
    layers = tuple(sorted({layer for _, layer, _ in matrices}))
    counts = np.arange(n_texts) % 5 + 1 if n_tokens is None else n_tokens
    return PooledFeatures(
        pa.Table.from_pylist(rows, POOLED.schema()),
        lengths_table(dict.fromkeys(modes, counts)),
        PooledShape(n_texts, d_sae, layers, poolings),
    )


def one(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The row with these values; ``control`` is none unless named."""
    wanted = {"control": "none"} | wanted
    (found,) = (each for each in rows if all(each[name] == value for name, value in wanted.items()))
    return found
