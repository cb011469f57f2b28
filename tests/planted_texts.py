"""Synthetic activations of texts in several forms, with features of known kinds planted."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

FORM, TOPIC, PAIR = "form", "topic", "pair"


class PlantedTexts(NamedTuple):
    """Texts by topic, form and pair, and where features of each kind are.

    Columns come as noise, then a feature for each class, each topic and each pair, planted or not.
    """

    values: np.ndarray
    topics: np.ndarray
    classes: np.ndarray
    pairs: np.ndarray
    class_features: np.ndarray
    topic_features: np.ndarray
    pair_features: np.ndarray

    @property
    def topic_of(self) -> np.ndarray:
        """Topic of each class."""
        return self.topics[np.unique(self.classes, return_index=True)[1]]


def planted_texts(
    kinds: Collection[str] = (),
    seed: int = 0,
    *,
    forms: tuple[int, ...] = (3, 2, 3, 3),
    n_pairs: int = 8,
    n_noise: int = 30,
    strength: float = 6.0,
) -> PlantedTexts:
    """One text of each pair in each form of its topic; noise on every feature, `kinds` beyond it."""
    rows = [
        (topic, (topic, form), (topic, pair))
        for topic, n_forms in enumerate(forms)
        for form in range(n_forms)
        for pair in range(n_pairs)
    ]
    topics = np.array([row[0] for row in rows])
    classes = np.unique([row[1] for row in rows], axis=0, return_inverse=True)[1].ravel()
    pairs = np.unique([row[2] for row in rows], axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    blocks, starts, width = [], [], n_noise
    for kind, members in ((FORM, classes), (TOPIC, topics), (PAIR, pairs)):
        present = members[:, None] == np.unique(members)
        blocks.append(strength * present * (kind in kinds))
        starts.append(np.arange(width, width + present.shape[1]))
        width += present.shape[1]
    noise = np.maximum(rng.normal(size=(len(rows), width)), 0)
    values = noise + np.concatenate([np.zeros((len(rows), n_noise)), *blocks], axis=1)
    return PlantedTexts(values.astype(np.float32), topics, classes, pairs, *starts)
