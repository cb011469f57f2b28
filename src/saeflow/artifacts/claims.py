"""What a study published, beside what a run supports."""

from __future__ import annotations

from saeflow.artifacts.columns import REAL, SMALL, TEXT
from saeflow.artifacts.schema import Artifact, Column

CLAIMS = Artifact(
    "claims",
    1,
    "What a study published, beside what this run supports (design, section 9).",
    (
        Column("study", TEXT, "Name of the study."),
        Column("claim", TEXT, "Short name of the statement."),
        Column("source", TEXT, "Where it is published."),
        Column("statement", TEXT, "The statement."),
        Column("scope", TEXT, "procedure: true of any model; model: about named weights."),
        Column("published", TEXT, "The published number."),
        Column("metric", TEXT, "What the numbers of this run measure; empty: it has none."),
        Column("layer", SMALL, "Block of this model that they are of.", nullable=True),
        Column("published_value", REAL, "By the published procedure in this run.", nullable=True),
        Column("value", REAL, "Calibrated.", nullable=True),
        Column("ci_low", REAL, "Lower end of its interval, or of the analogue's.", nullable=True),
        Column("ci_high", REAL, "Upper end of that interval.", nullable=True),
        Column("interval", TEXT, "Kind of interval; none where there is none."),
        Column("null", REAL, "What chance or a control gives for it.", nullable=True),
        Column(
            "analogue_value",
            REAL,
            "What other weights show for a claim about named ones.",
            nullable=True,
        ),
        Column(
            "verdict",
            TEXT,
            "supported, not distinguishable from chance, contradicted, not testable in this run, or "
            "reported but never measured.",
        ),
        Column("rule", TEXT, "What gave the verdict."),
    ),
    ("study", "claim"),
)
