"""Tables that units of long jobs keep until these are done; no user reads them."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import FEATURE_KEYS, INDEX, REAL, TEXT
from saeflow.artifacts.schema import Artifact, Column

SCREENED = Artifact(
    "screened",
    1,
    "What some problems say about every feature of every site.",
    (
        *FEATURE_KEYS,
        Column("effect", REAL, "Mean attributed effect of ablation.", unit="nats"),
        Column("n_active", pa.int64(), "Problems on which it is not zero."),
        Column("mean", REAL, "Mean activation, zeros included."),
        Column("n_problems", pa.int64(), "How many problems."),
    ),
    ("layer", "step", "feature"),
)

ABLATED = Artifact(
    "ablated",
    1,
    "What ablations of specialists did on some prompts.",
    (
        Column("prompt", INDEX, "Running number of the prompt."),
        Column("specialist", INDEX, "Running number of the specialist."),
        Column("condition", TEXT, "What was done."),
        Column("draws", pa.int64(), "How often; 0 where there was nothing to do."),
        Column("log_probability", REAL, "Change for the target, summed over draws.", unit="nats"),
        Column("kl", REAL, "Divergence of the next token, summed over draws.", unit="nats"),
        Column("flip", REAL, "How often another token is the likeliest."),
        Column("rank", REAL, "Change of the target's rank, summed over draws."),
        Column("mass", REAL, "Length of what the specialist adds, summed over tokens."),
        Column("clean", REAL, "Log-probability of the target without any edit.", unit="nats"),
        Column("margin", REAL, "The same less that of the likeliest other token.", unit="nats"),
    ),
    ("prompt", "specialist", "condition"),
)
