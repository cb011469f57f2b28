"""Captures of chosen activations, written as the workflow writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from saeflow.artifacts.captures import CaptureWriter
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.vectors import Vectors


def write_capture(folder: Path, sites: Mapping[str, Sequence[Vectors]]) -> Path:
    """One chunk of thoughts, by hook and layer; the answers are empty."""
    provenance = Provenance("c", dataset_revision="r", model_revision="w", packages=("torch",))
    writer = CaptureWriter(folder, "planted")
    for hook, layers in sites.items():
        for layer, vectors in enumerate(layers):
            writer.write_vectors(0, hook, layer, vectors, provenance)
    problems = np.unique(vectors.example)
    records = {"problem": problems, "text": [""] * len(problems)}
    records |= {"predicted": [None] * len(problems), "gold": np.zeros(len(problems))}
    records |= {"correct": [False] * len(problems), "decoded": [[]] * len(problems)}
    writer.write_records(0, records, provenance)
    writer.finish(1, provenance)
    return folder
