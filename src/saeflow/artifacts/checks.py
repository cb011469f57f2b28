"""Table of the self-check of released SAEs."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

CHECKS_FILE = "checks.parquet"
"""Beside the quality of each released bank."""

PUBLISHED, OWN_BOUND, NOT_TESTED = "published", "own bound", "not tested"

CHECKS = Artifact(
    "checks",
    1,
    "What released SAEs give on a few texts, beside what they should give.",
    (
        Column("dictionary", TEXT, "The released SAEs, by their name in the configuration."),
        Column("layer", SMALL, "Block of the SAE."),
        *VALUES,
        Column(
            "expected",
            REAL,
            "What the release publishes, or what the value is compared with.",
            nullable=True,
        ),
        Column("bound_low", REAL, "Least value that passes; null where any does.", nullable=True),
        Column(
            "bound_high", REAL, "Largest value that passes; null where any does.", nullable=True
        ),
        Column(
            "source",
            TEXT,
            "Where the bounds come from: published, own bound (ours, no claim of the release), or "
            "not tested.",
        ),
        Column("passed", pa.bool_(), "Whether it lies within; null: not tested.", nullable=True),
    ),
    ("layer", "metric"),
)
