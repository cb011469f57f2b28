"""Tables of the study of specialists: texts, pooled features, specialists, similarities, numbers."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

FLAG = pa.bool_()
BANK_KEYS = (
    Column("dictionary", TEXT, "Recipe of the SAEs, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAEs."),
)
MODE = Column("mode", TEXT, "published: the study's procedure; calibrated: ours.")
LAYER = Column("layer", SMALL, "Block, from 0.")
POOLING = Column(
    "pooling", TEXT, "average_then_encode, encode_then_average, max or last (docs/specialists.md)."
)
NUMBER = Column("text", INDEX, "Running number of the text.")

SPECIALIST_TEXTS = Artifact(
    "specialist_texts",
    1,
    "Texts of the study: contents in several forms, then plain categories.",
    (
        NUMBER,
        Column("content", TEXT, "The text."),
        Column("set", TEXT, "pairs: one content in several forms; categories: plain texts."),
        Column("topic", TEXT, "Topic of a pair; empty for a category's text."),
        Column("form", TEXT, "Form of a pair; empty likewise. Topic and form are the class."),
        Column("pair", INDEX, "Number of the pair in its topic, or of the text in its category."),
        Column("meaning", TEXT, "What the pair is about, where its source tells it; else empty."),
        Column("expected", TEXT, "Right continuation; null where none is asked.", nullable=True),
        Column("category", TEXT, "Category of a plain text; empty for a pair's."),
    ),
    ("text",),
)

POOLED = Artifact(
    "specialist_pooled",
    1,
    "Features of whole texts, pooled over tokens; zeros are not stored.",
    (
        MODE,
        LAYER,
        POOLING,
        NUMBER,
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column("value", pa.float32(), "Its pooled activation, signed.", unit="activation"),
    ),
    ("mode", "layer", "pooling", "text", "feature"),
)

TEXT_LENGTHS = Artifact(
    "specialist_lengths",
    1,
    "How many tokens of each text are pooled.",
    (MODE, NUMBER, Column("n_tokens", INDEX, "Tokens that count.", unit="tokens")),
    ("mode", "text"),
)

SPECIALIST_FEATURES = Artifact(
    "specialist_features",
    1,
    "Which feature stands for which class of texts, by each criterion.",
    (
        *BANK_KEYS,
        MODE,
        LAYER,
        POOLING,
        Column(
            "set",
            TEXT,
            "pairs: topic and form, told from other topics; forms: from other forms of the topic; "
            "categories.",
        ),
        Column("class", TEXT, "Topic and form, or category; all: the whole set."),
        Column(
            "criterion",
            TEXT,
            "published: strongest, frequent, selective or specialist; calibrated: best, the largest "
            "score.",
        ),
        Column("split", SMALL, "From 1: chosen on half A of this split; 0: chosen on all texts."),
        Column("feature", INDEX, "Index of the latent in its SAE; -1: there is none."),
        Column(
            "sign",
            SMALL,
            "1: large values stand for the class; -1: the feature is negative on it, and its size is "
            "what is scored.",
        ),
        Column("score", REAL, "What it was chosen by, on the texts that it was chosen on."),
        Column("inside", INDEX, "Texts of the class above the threshold.", nullable=True),
        Column("outside", INDEX, "Texts of the contrast above the threshold.", nullable=True),
        Column("n_inside", INDEX, "Texts of the class.", unit="texts"),
        Column("n_outside", INDEX, "Texts of the contrast.", unit="texts"),
        Column("auroc", REAL, "Area under the curve on half B.", nullable=True),
        Column("d_prime", REAL, "Difference of means in standard deviations, on half B.", True),
        Column(
            "chance_score", REAL, "95th percentile of the best one of classes drawn anew.", True
        ),
        Column("p_value", REAL, "As the best of all features, of classes drawn anew.", True),
        Column("q_value", REAL, "Adjusted over classes and layers.", nullable=True),
        Column("found", FLAG, "Whether the mode calls it a specialist."),
    ),
    ("dictionary", "seed", "mode", "layer", "pooling", "set", "class", "criterion", "split"),
)

SIMILARITIES = Artifact(
    "specialist_similarities",
    1,
    "How alike two classes of topic and form are, in features and in words.",
    (
        Column("dictionary", TEXT, "Recipe of the SAEs; empty where words are compared."),
        Column("seed", INDEX, "Seed of the SAEs; 0 likewise."),
        MODE,
        Column("layer", SMALL, "Block, from 0. Null: words are compared.", nullable=True),
        Column(
            "pooling",
            TEXT,
            "Of features; else words, trigrams, characters, word_length or character_length.",
        ),
        Column("first", TEXT, "Topic and form."),
        Column("second", TEXT, "Topic and form; each pair of classes is listed both ways."),
        Column(
            "similarity",
            REAL,
            "Cosine of their means; calibrated: of texts that have no pair in common.",
        ),
    ),
    ("dictionary", "seed", "mode", "layer", "pooling", "first", "second"),
)

SPECIALISTS = Artifact(
    "specialist_summary",
    1,
    "Numbers of the study, each beside what chance, words or other halves give.",
    (
        Column(
            "part",
            TEXT,
            "discovery, overlap, geometry, retrieval, variance, sparsity, tasks, tokens, ablation or "
            "cascade.",
        ),
        Column("dictionary", TEXT, "Recipe of the SAEs; empty where none is read."),
        Column("seed", INDEX, "Seed of the SAEs; 0 where none is read."),
        MODE,
        Column("layer", SMALL, "Block, from 0. Null: none is read.", nullable=True),
        Column(
            "pooling",
            TEXT,
            "How features are pooled, or were to choose specialists; empty where none are read.",
        ),
        Column("group", TEXT, "Set, topic, class or pair of classes; or all."),
        Column("metric", TEXT, "What is measured (docs/specialists.md, Metrics)."),
        CONTROL,
        *VALUES[1:],
        Column("p_value", REAL, "Where a test is made.", nullable=True),
        Column("q_value", REAL, "Adjusted over what is reported beside it.", nullable=True),
    ),
    ("part", "dictionary", "seed", "mode", "layer", "pooling", "group", "metric", "control"),
)

FEATURE_ALIGNMENT = Artifact(
    "specialist_alignment",
    1,
    "What the features of two models share on the same texts, beside exchanged texts.",
    (
        Column("model", TEXT, "The first model, by its name in the configuration."),
        *BANK_KEYS,
        Column("other_model", TEXT, "The second model, by its name in the configuration."),
        Column("other_dictionary", TEXT, "Recipe of its SAEs."),
        Column("other_seed", INDEX, "Seed of its SAEs."),
        MODE,
        LAYER,
        Column("other_layer", SMALL, "Block of the second model, from 0."),
        POOLING,
        Column("group", TEXT, "What texts are exchanged: any contents, or contents of one topic."),
        Column("metric", TEXT, "What is measured (docs/specialists.md, Metrics)."),
        CONTROL,
        *VALUES[1:],
        Column("p_value", REAL, "Where a test is made.", nullable=True),
        Column("q_value", REAL, "Adjusted over pairs of layers.", nullable=True),
    ),
    (
        "model",
        "dictionary",
        "seed",
        "other_model",
        "other_dictionary",
        "other_seed",
        "mode",
        "layer",
        "other_layer",
        "pooling",
        "group",
        "metric",
        "control",
    ),
)

SPECIALIST_EXAMPLES = Artifact(
    "specialist_examples",
    1,
    "Texts on which a specialist is strongest, with its activation on their tokens.",
    (
        *BANK_KEYS,
        LAYER,
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column("rank", SMALL, "Place of the text among the specialist's, from 0."),
        NUMBER,
        Column("value", pa.float32(), "Largest activation on a token, signed.", unit="activation"),
        Column(
            "tokens",
            pa.list_(TEXT),
            "What each token shows of the text; those that share a character are listed as one.",
        ),
        Column(
            "activations",
            pa.list_(pa.float32()),
            "Signed activation on each of them, of several the largest; null on a token that the "
            "tokenizer puts before the text.",
            unit="activation",
        ),
    ),
    ("dictionary", "seed", "layer", "feature", "rank"),
)

SPECIALIST_ARTIFACTS = (
    SPECIALIST_TEXTS,
    POOLED,
    TEXT_LENGTHS,
    SPECIALIST_FEATURES,
    SIMILARITIES,
    SPECIALISTS,
    FEATURE_ALIGNMENT,
    SPECIALIST_EXAMPLES,
)
BANK_TABLES = (SPECIALIST_FEATURES, SIMILARITIES, SPECIALISTS)
"""What is made of the pooled features of each bank."""
SHARED_TABLES = (SIMILARITIES, SPECIALISTS, FEATURE_ALIGNMENT)
"""What is made of words alone, and of all models together."""
