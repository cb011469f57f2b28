"""Table of how wide SAEs were trained."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, TEXT
from saeflow.artifacts.schema import Artifact, Column

TRAINING_FILE = "training.parquet"
"""In the folder of each wide SAE."""

SCALING_TRAINING = Artifact(
    "scaling_training",
    1,
    "What wide SAEs measured of themselves while they were trained, on the batches that train them.",
    (
        Column("dictionary", TEXT, "Recipe of the SAE, by its name in the configuration."),
        Column("seed", INDEX, "Seed of the SAE."),
        CONTROL,
        Column("step", INDEX, "Last update of a stretch, from 1."),
        Column("tokens", pa.int64(), "Tokens trained on up to there.", unit="tokens"),
        Column(
            "metric",
            TEXT,
            "Such as l0, fvu and dead_share; loss terms as the recipe weighs them.",
        ),
        Column(
            "value",
            REAL,
            "Mean over the stretch; of the share of dead latents, at its end. Null: not defined.",
            nullable=True,
        ),
    ),
    ("dictionary", "seed", "control", "step", "metric"),
)
