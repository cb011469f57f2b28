"""Columns that several tables share."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.schema import Column

TEXT = pa.string()
INDEX = pa.int32()
SMALL = pa.int16()
REAL = pa.float64()

RUN_KEYS = (
    Column("dataset", TEXT, "Data set, by its name in the configuration."),
    Column("dictionary", TEXT, "Recipe of the SAEs, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAEs."),
    Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
)
SITE_KEYS = (
    Column("layer", SMALL, "Layer, as the dictionary's layer_convention counts."),
    Column("step", SMALL, "Thought step: 0 is the begin-of-thought token, 1 to 6 the latents."),
)
FEATURE_KEYS = (*SITE_KEYS, Column("feature", INDEX, "Index of the latent in its SAE."))
CONTROL = Column("control", TEXT, "none for the measurement itself, else the control's name.")
VALUES = (
    Column("metric", TEXT, "What is measured."),
    Column("value", REAL, "The measured number.", nullable=True),
    Column("ci_low", REAL, "Lower end of the interval.", nullable=True),
    Column("ci_high", REAL, "Upper end of the interval.", nullable=True),
    Column("interval", TEXT, "Kind of interval; none where there is none."),
    Column("n", pa.int64(), "How many units the value is taken over.", nullable=True),
)
TARGET = Column(
    "target", TEXT, "What features are tested against; token in the published procedure."
)
MAYBE_SITE = tuple(
    Column(column.name, column.type, column.about + " Null: all of them.", nullable=True)
    for column in SITE_KEYS
)
