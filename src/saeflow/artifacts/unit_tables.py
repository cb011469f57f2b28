"""Tables that units of long jobs keep until these are done; no user reads them."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import FEATURE_KEYS, REAL
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
