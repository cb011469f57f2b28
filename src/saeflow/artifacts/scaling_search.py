"""Tables of the search of features from prompts."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import INDEX, REAL, SMALL, TEXT
from saeflow.artifacts.schema import Artifact, Column

SEARCH_KEYS = (
    Column("dictionary", TEXT, "Recipe of the SAE, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAE."),
    Column("prompts", TEXT, "Set of prompts, by its name; of a group, with the group behind it."),
)
SCORE_KEYS = (
    Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
    Column(
        "inputs",
        TEXT,
        "scaled: activations as the SAE was trained on them; published: without the factor of its "
        "training.",
    ),
    Column(
        "level",
        TEXT,
        "What is ranked: document_max or document_mean, prompts by the feature's maximum or mean over "
        "their tokens; token.",
    ),
    Column("score", TEXT, "auroc, area under the curve; or one of the study's scores."),
)

SEARCH = Artifact(
    "scaling_search",
    1,
    "Features that fire on positive and not on negative prompts, chosen on half of them.",
    (
        *SEARCH_KEYS,
        *SCORE_KEYS,
        Column(
            "control",
            TEXT,
            "none for features of the SAE; words, length or difference_of_means: what tells the prompts "
            "apart without it; else the best feature of another SAE.",
        ),
        Column("place", INDEX, "Place by the score, from 1."),
        Column("feature", INDEX, "Index of the latent in its SAE; -1: a control without features."),
        Column(
            "value_chosen",
            REAL,
            "The score on the prompts that the feature was chosen on: half A; published: all.",
        ),
        Column(
            "value",
            REAL,
            "The score on half B. Null: published, nothing is held out.",
            nullable=True,
        ),
        Column(
            "p_value",
            REAL,
            "On half B: labelings of its prompts under which the area is as large or larger.",
            nullable=True,
        ),
        Column(
            "p_holm", REAL, "Adjusted over the features listed beside it (Holm).", nullable=True
        ),
        Column(
            "best_p_value",
            REAL,
            "On half A: labelings under which the best of all features is as good or better.",
            nullable=True,
        ),
        Column(
            "threshold",
            REAL,
            "95th percentile, over labelings of half A, of the area of the best of all features.",
            nullable=True,
        ),
        Column(
            "stability",
            REAL,
            "Share of draws of half A's prompts in which it is among as many as are listed.",
            nullable=True,
        ),
        Column("n_positive", INDEX, "Positive prompts that the value is of.", unit="prompts"),
        Column("n_negative", INDEX, "Negative prompts that the value is of.", unit="prompts"),
        Column(
            "tokens",
            pa.list_(TEXT),
            "Tokens of all prompts on which the feature is largest, each text once.",
        ),
        Column(
            "activations",
            pa.list_(pa.float32()),
            "Its largest activation on each.",
            unit="activation",
        ),
    ),
    (
        "dictionary",
        "seed",
        "prompts",
        "mode",
        "inputs",
        "level",
        "score",
        "control",
        "place",
    ),
)

SEARCH_TARGETS = Artifact(
    "scaling_search_targets",
    1,
    "Where features that were named before the search come under every score.",
    (
        *SEARCH_KEYS,
        *SCORE_KEYS,
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column("value", REAL, "Its score on all prompts.", nullable=True),
        Column(
            "position",
            INDEX,
            "1 and how many features have a larger score. Null: the score is not defined.",
            nullable=True,
        ),
        Column("n_features", INDEX, "Features in all.", unit="features"),
    ),
    ("dictionary", "seed", "prompts", "mode", "inputs", "level", "score", "feature"),
)

SEARCH_PROMPTS = Artifact(
    "scaling_search_prompts",
    1,
    "Prompts that features were searched by, each once.",
    (
        *SEARCH_KEYS,
        Column("prompt", INDEX, "Number of the prompt in its set, positive ones first."),
        Column("side", TEXT, "positive or negative."),
        Column(
            "half",
            TEXT,
            "A: features were chosen on it; B: reported on it; none: too few to hold any out.",
        ),
        Column("n_tokens", SMALL, "Tokens that count.", unit="tokens"),
        Column("content", TEXT, "The prompt."),
    ),
    ("dictionary", "seed", "prompts", "prompt"),
)

SEARCH_ARTIFACTS = (SEARCH, SEARCH_TARGETS, SEARCH_PROMPTS)
