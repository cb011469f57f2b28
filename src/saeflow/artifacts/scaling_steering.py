"""Tables of the study of wide dictionaries: what a model writes while it is steered."""

from __future__ import annotations

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column
from saeflow.artifacts.specialists import BANK_KEYS, MODE

TOPIC = Column("topic", TEXT, "Topic whose feature is steered; empty where it is none's.")
DIRECTION = Column(
    "direction",
    TEXT,
    "none, feature, random_feature, random_direction, decoder_bias or difference_of_means.",
)

SCALING_CONTINUATIONS = Artifact(
    "scaling_continuations",
    1,
    "What a model writes behind neutral prompts at each dose of each direction.",
    (
        *BANK_KEYS,
        MODE,
        TOPIC,
        DIRECTION,
        Column(
            "dose",
            REAL,
            "Multiples of what the topic's feature adds at its maximum; published: multiplier.",
        ),
        Column("prompt", INDEX, "Running number of the prompt."),
        Column("sample", INDEX, "Running number of the continuation; published ones are greedy."),
        Column("feature", INDEX, "Latent that is steered; null where none is.", nullable=True),
        Column("added", REAL, "Length of what is added to every token.", unit="activation"),
        Column("prompt_text", TEXT, "What is continued."),
        Column("text", TEXT, "What is written."),
        Column(
            "lexicon_share",
            REAL,
            "Share of its words that are on the topic's list; null where there is no list.",
            nullable=True,
        ),
        Column(
            "class_probability",
            REAL,
            "Of the topic, by a naive Bayes classifier of words; null where it knows no such topic.",
            nullable=True,
        ),
        Column(
            "kl",
            REAL,
            "Divergence of the next token, from unsteered to steered, mean over tokens.",
            unit="nats per token",
        ),
        Column(
            "log_perplexity",
            REAL,
            "Logarithm of the perplexity under the unsteered model, the end of the text included.",
            unit="nats per token",
        ),
        Column("distinct_1", REAL, "Different tokens over all tokens."),
        Column("distinct_2", REAL, "Different pairs of neighbouring tokens over all.", True),
        Column("distinct_3", REAL, "Different runs of three tokens over all.", True),
        Column("repeated_2", REAL, "Share of pairs that occur more than once.", True),
        Column("tokens", INDEX, "Tokens written, the end included.", unit="tokens"),
    ),
    ("dictionary", "seed", "mode", "topic", "direction", "dose", "prompt", "sample"),
)

SCALING_STEERING = Artifact(
    "scaling_steering",
    1,
    "Topic scores and their price at each dose, and slopes of features against every control.",
    (
        *BANK_KEYS,
        MODE,
        TOPIC,
        DIRECTION,
        Column("dose", REAL, "As in scaling_continuations; null: slope over all.", nullable=True),
        CONTROL,
        *VALUES,
        Column("p_value", REAL, "Of a sign-flip test over prompts, where one is made.", True),
        Column("p_holm", REAL, "Adjusted by Holm over topics.", nullable=True),
    ),
    ("dictionary", "seed", "mode", "topic", "direction", "dose", "control", "metric"),
)

STEERING_ARTIFACTS = (SCALING_CONTINUATIONS, SCALING_STEERING)
