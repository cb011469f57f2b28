"""Tables of the study of specialists that need the model again: tasks, behaviour and ablations."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column
from saeflow.artifacts.specialists import (
    BANK_KEYS,
    FLAG,
    LAYER,
    MODE,
    NUMBER,
    SPECIALIST_EXAMPLES,
    SPECIALISTS,
)

CLASS = Column("class", TEXT, "Topic and form that the feature was chosen for.")
FEATURE = Column("feature", INDEX, "Index of the latent in its SAE.")
TASK = Column("task", INDEX, "Running number of the task.")
TESTED = (
    Column("p_value", REAL, "Where a test is made.", nullable=True),
    Column("holm", REAL, "Adjusted by Holm over what is asked alike.", nullable=True),
    Column("q_value", REAL, "Adjusted by Benjamini and Hochberg likewise.", nullable=True),
)

SPECIALIST_TASKS = Artifact(
    "specialist_tasks",
    1,
    "Cloze lines and questions, and how much likelier a model finds the right ending.",
    (
        TASK,
        Column("part", TEXT, "cloze or choices."),
        Column("group", TEXT, "arithmetic or other."),
        Column("form", TEXT, "symbols, words, sentence, or kind of fact."),
        Column("item", INDEX, "Number within part and group; the forms of a content share it."),
        Column("level", SMALL, "Difficulty, 1 the easiest."),
        Column("prompt", TEXT, "What is read."),
        Column("target", TEXT, "Right ending."),
        Column("target_tokens", INDEX, "Tokens of the right ending.", unit="tokens"),
        Column("log_probability", REAL, "Of the right ending.", unit="nats per token"),
        Column("best_distractor", REAL, "Of the likeliest wrong ending.", unit="nats per token"),
        Column("mean_distractor", REAL, "Mean of all wrong endings.", unit="nats per token"),
        Column("margin", REAL, "log_probability - best_distractor.", unit="nats per token"),
        Column("mean_margin", REAL, "log_probability - mean_distractor.", unit="nats per token"),
        Column("correct", FLAG, "Whether the margin is above 0."),
        Column("chance", REAL, "One over the number of endings."),
        Column("prompt_tokens", INDEX, "Tokens of the prompt, its begin token too."),
        Column(
            "log_frequency",
            REAL,
            "Mean log-frequency in training of the right ending's tokens, less that of all wrong ones.",
        ),
    ),
    ("task",),
)

SPECIALIST_ANSWERS = Artifact(
    "specialist_answers",
    1,
    "What a model writes behind the texts that ask for something, as published.",
    (
        NUMBER,
        Column("prompt", TEXT, "The text with the ending that asks."),
        Column("expected", TEXT, "Right answer."),
        Column("answer", TEXT, "What the model writes, greedily."),
        Column("contained", FLAG, "Whether the answer contains the right one, as published."),
        Column("judged", FLAG, "What the judge says; null: its reply is unreadable.", True),
        Column("judge", TEXT, "Who judges: exact, or the model that does."),
    ),
    ("text",),
)

SPECIALIST_ACTIVATIONS = Artifact(
    "specialist_activations",
    1,
    "How active each specialist is on each task.",
    (
        *BANK_KEYS,
        LAYER,
        CLASS,
        FEATURE,
        TASK,
        Column(
            "value",
            pa.float32(),
            "Pooled activation on the prompt; of a half below 0 its size.",
            unit="activation",
        ),
    ),
    ("dictionary", "seed", "layer", "class", "feature", "task"),
)

SPECIALIST_BEHAVIOUR = Artifact(
    "specialist_behaviour",
    1,
    "How a specialist's activation goes with what a model answers.",
    (
        *BANK_KEYS,
        MODE,
        LAYER,
        CLASS,
        FEATURE,
        Column("group", TEXT, "Texts or tasks that it is measured on."),
        Column("outcome", TEXT, "contained, judged, correct, log_probability or margin."),
        *VALUES,
        *TESTED,
        Column(
            "other_features",
            REAL,
            "Share of other features of the SAE, this one included, that go with it as closely.",
            nullable=True,
        ),
    ),
    ("dictionary", "seed", "mode", "layer", "class", "feature", "group", "outcome", "metric"),
)

SPECIALIST_EFFECTS = Artifact(
    "specialist_effects",
    1,
    "What changes where a specialist is ablated, and what of it is more than controls change.",
    (
        *BANK_KEYS,
        MODE,
        LAYER,
        CLASS,
        FEATURE,
        Column("group", TEXT, "Class of texts, or kind of task, that is read."),
        Column("condition", TEXT, "What is done: zero, mean, or one of the controls."),
        CONTROL,
        *VALUES,
        Column("n_active", INDEX, "Prompts on which the specialist is active.", unit="prompts"),
        *TESTED,
    ),
    (
        "dictionary",
        "seed",
        "mode",
        "layer",
        "class",
        "feature",
        "group",
        "condition",
        "control",
        "metric",
    ),
)

EFFECT_ARTIFACTS = (
    SPECIALIST_TASKS,
    SPECIALIST_ANSWERS,
    SPECIALIST_ACTIVATIONS,
    SPECIALIST_BEHAVIOUR,
    SPECIALIST_EFFECTS,
)
ASKED = (SPECIALIST_TASKS, SPECIALIST_ANSWERS)
"""What a model answers."""
TRIED = (
    SPECIALIST_ACTIVATIONS,
    SPECIALIST_BEHAVIOUR,
    SPECIALIST_EFFECTS,
    SPECIALIST_EXAMPLES,
    SPECIALISTS,
)
"""What is made of each bank with the model at hand."""
