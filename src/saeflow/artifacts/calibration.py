"""Tables of the calibrated mode: exact discoveries, matches across seeds, grids, controls."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import (
    CONTROL,
    FEATURE_KEYS,
    INDEX,
    MAYBE_SITE,
    REAL,
    RUN_KEYS,
    SITE_KEYS,
    SMALL,
    TARGET,
    TEXT,
    VALUES,
)
from saeflow.artifacts.schema import Artifact, Column

COUNTS = (
    Column("a", INDEX, "Half-feature active, label present.", unit="problems"),
    Column("b", INDEX, "Half-feature active, label absent.", unit="problems"),
    Column("c", INDEX, "Half-feature inactive, label present.", unit="problems"),
    Column("d", INDEX, "Half-feature inactive, label absent.", unit="problems"),
)

DISCOVERIES = Artifact(
    "discoveries",
    1,
    "Pairs of a half-feature and a label whose adjusted p-value is small, on held-out problems.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("sign", TEXT, "Half of the feature: + where it is above 0, - where below."),
        TARGET,
        Column("rank", SMALL, "Place among the half-feature's labels of this target by p-value."),
        Column("label", TEXT, "What follows the feature, such as a token of the calculations."),
        *COUNTS,
        Column("p_value", REAL, "Exact and one-sided (Fisher)."),
        Column("q_value", REAL, "Adjusted for all tests of this target in the bank."),
        Column("log_odds", REAL, "Log odds ratio, half a problem added to each cell.", unit="nats"),
        Column(
            "log_odds_low",
            REAL,
            "Lower end of its 95 % interval, had the pair not been selected.",
            unit="nats",
        ),
        Column(
            "log_odds_high",
            REAL,
            "Upper end of that interval; discoveries look stronger than they are.",
            unit="nats",
        ),
        Column("precision", REAL, "Share of active problems that hold the label."),
        Column("recall", REAL, "Share of the label's problems on which it is active."),
        Column("f1", REAL, "Harmonic mean of both."),
        Column("auroc", REAL, "Area under the curve of the absolute activation for the label."),
        Column("point_biserial", REAL, "Correlation of the signed activation with the label."),
        Column(
            "conditional_p_value",
            REAL,
            "Exact p-value given the half-feature's best label of this target; its own for that.",
        ),
        Column(
            "carried",
            pa.bool_(),
            "Whether it is no longer significant then: it follows the best label, not the feature.",
        ),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature", "sign", "target", "rank"),
)

SEED_PAIR = (
    Column("dataset", TEXT, "Data set, by its name in the configuration."),
    Column("dictionary", TEXT, "Recipe of the SAEs, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAEs."),
    Column("other_seed", INDEX, "Seed of the SAEs that they are matched with."),
)

MATCHES = Artifact(
    "matches",
    1,
    "Features that are active on held-out problems with their partners under another SAE seed.",
    (
        *SEED_PAIR,
        *FEATURE_KEYS,
        Column("other_feature", INDEX, "Index of the partner in its SAE."),
        Column("cosine", REAL, "Cosine of both decoder directions, signed."),
        Column("correlation", REAL, "Correlation of both activations, signed."),
        Column("recurs", pa.bool_(), "Whether both are large enough, with one sign."),
        Column(
            "same_label",
            pa.bool_(),
            "Whether both have the same best token; null where one has no discovered token.",
            nullable=True,
        ),
    ),
    ("dataset", "dictionary", "seed", "other_seed", "layer", "step", "feature"),
)

STABILITY = Artifact(
    "stability",
    1,
    "How many features recur under another SAE seed, beside what chance gives.",
    (
        *SEED_PAIR,
        Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
        CONTROL,
        *MAYBE_SITE,
        *VALUES,
    ),
    ("dataset", "dictionary", "seed", "other_seed", "layer", "step", "metric", "control"),
)

CAPACITY = Artifact(
    "capacity",
    1,
    "SAEs of every d_sae and k at the same sites: quality and rates, each beside chance.",
    (
        Column("model", TEXT, "Model, by its name in the configuration."),
        Column("dataset", TEXT, "Data set, by its name in the configuration."),
        Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
        CONTROL,
        Column("depth", REAL, "Relative depth: 1 is the last block's output."),
        *SITE_KEYS,
        Column("d_sae", INDEX, "Latents of the SAE."),
        Column("k", INDEX, "Active latents per activation."),
        Column("seed", INDEX, "Seed of the SAE."),
        *VALUES,
    ),
    (
        "model",
        "dataset",
        "depth",
        "layer",
        "step",
        "d_sae",
        "k",
        "seed",
        "mode",
        "metric",
        "control",
    ),
)

MATCHED = Artifact(
    "matched",
    1,
    "One model minus another where their SAEs are equally sparse, or explain equally much.",
    (
        Column("model", TEXT, "Model, by its name in the configuration."),
        Column("other", TEXT, "The model that is subtracted from it."),
        Column("dataset", TEXT, "Data set, by its name in the configuration."),
        Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
        Column("matched_on", TEXT, "l0 or explained_variance."),
        Column("level", REAL, "L0, or explained variance, at which both are compared."),
        Column("depth", REAL, "Relative depth: 1 is the last block's output."),
        Column("step", SMALL, "Thought step."),
        Column("d_sae", INDEX, "Latents of the SAEs."),
        CONTROL,
        *VALUES,
    ),
    (
        "model",
        "other",
        "dataset",
        "matched_on",
        "depth",
        "step",
        "d_sae",
        "level",
        "mode",
        "metric",
        "control",
    ),
)

CALIBRATION = Artifact(
    "calibration",
    1,
    "Every rate of a model beside chance, the untrained model and the control dictionaries.",
    (
        Column("model", TEXT, "Model, by its name in the configuration."),
        Column("dataset", TEXT, "Data set, by its name in the configuration."),
        Column("dictionary", TEXT, "Recipe of the model's SAEs, by its name."),
        Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
        TARGET,
        CONTROL,
        *MAYBE_SITE,
        *VALUES,
    ),
    (
        "model",
        "dataset",
        "dictionary",
        "mode",
        "target",
        "layer",
        "step",
        "metric",
        "control",
        "interval",
    ),
)

CALIBRATION_ARTIFACTS = (
    DISCOVERIES,
    MATCHES,
    STABILITY,
    CAPACITY,
    MATCHED,
    CALIBRATION,
)
