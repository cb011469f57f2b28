"""Tables of a wide SAE read over a corpus: metrics, features, examples, tokens, neighbours, a map."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

COUNT = pa.int64()
WIDE_KEYS = (
    Column("dictionary", TEXT, "Recipe of the SAE, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAE."),
)
LAYER = Column("layer", SMALL, "Block, from 0.")
SPLIT = Column("split", TEXT, "Documents that were read: train, those that train SAEs, or others.")
FEATURE = Column("feature", INDEX, "Index of the latent in its SAE.")

SCALING_QUALITY = Artifact(
    "scaling_quality",
    1,
    "How well a wide SAE reconstructs, what its features have in common, and which return.",
    (
        *WIDE_KEYS,
        CONTROL,
        LAYER,
        Column("split", TEXT, "Documents that were read; all where the decoder alone is."),
        Column("other_seed", INDEX, "Seed that it is compared with; -1 where it is not compared."),
        *VALUES,
    ),
    ("dictionary", "seed", "control", "layer", "split", "other_seed", "metric"),
)

SCALING_FEATURES = Artifact(
    "scaling_features",
    1,
    "How often and how strongly every feature of a wide SAE fires.",
    (
        *WIDE_KEYS,
        CONTROL,
        LAYER,
        SPLIT,
        FEATURE,
        Column("n_active", COUNT, "Tokens on which it is not 0.", unit="tokens"),
        Column("n_documents", COUNT, "Documents with such a token.", unit="documents"),
        Column("density", REAL, "Share of all tokens on which it is not 0."),
        Column("mean", REAL, "Mean over all tokens.", unit="activation"),
        Column("second_moment", REAL, "Mean of its square over all tokens."),
        Column("largest", REAL, "Largest value in size; 0: it never fires.", unit="activation"),
        Column(
            "cosine",
            REAL,
            "Largest cosine of its decoder direction with that of another feature; null: there is none.",
            nullable=True,
        ),
        Column("cosine_with", INDEX, "That feature; -1: there is none."),
    ),
    ("dictionary", "seed", "control", "layer", "split", "feature"),
)

SCALING_DENSITIES = Artifact(
    "scaling_densities",
    1,
    "How many features of a wide SAE fire on how many tokens.",
    (
        *WIDE_KEYS,
        CONTROL,
        LAYER,
        SPLIT,
        Column("low", REAL, "Lower end of the bin, excluded."),
        Column("high", REAL, "Upper end, included; 0: features that never fire."),
        Column("n_features", INDEX, "Features whose density is between.", unit="features"),
    ),
    ("dictionary", "seed", "control", "layer", "split", "high"),
)

SCALING_EXAMPLES = Artifact(
    "scaling_examples",
    1,
    "Tokens of the corpus around which a feature fires most, fires so much, or is silent.",
    (
        *WIDE_KEYS,
        LAYER,
        SPLIT,
        FEATURE,
        Column("kind", TEXT, "top: where it is largest; bin: drawn from a bin; silent: it is 0."),
        Column(
            "bin",
            SMALL,
            "Of kind bin: part of equal width between 0 and the largest activation, from 0; else -1.",
        ),
        Column("rank", SMALL, "Place among its kind and bin, from 0."),
        Column("document", INDEX, "Running number of the document."),
        Column("position", INDEX, "Place of the token in the document, from 0."),
        Column("group", TEXT, "Group of the document, such as its topic; empty where not known."),
        Column("value", pa.float32(), "Activation on the token, signed.", unit="activation"),
        Column(
            "bin_tokens",
            COUNT,
            "Tokens of the bin, of which this is a sample; null for other kinds.",
            nullable=True,
            unit="tokens",
        ),
        Column(
            "tokens",
            pa.list_(TEXT),
            "What each token around it shows; those that share a character are listed as one.",
        ),
        Column(
            "activations",
            pa.list_(pa.float32()),
            "Signed activation on each of them, of several the largest; null on a token that the "
            "tokenizer puts before the text.",
            unit="activation",
        ),
        Column("centre", SMALL, "Which of them the example is, from 0."),
    ),
    ("dictionary", "seed", "layer", "feature", "split", "kind", "bin", "rank"),
)

SCALING_TOKENS = Artifact(
    "scaling_tokens",
    1,
    "Tokens on which a feature fires most, beside what independence would give.",
    (
        *WIDE_KEYS,
        LAYER,
        SPLIT,
        FEATURE,
        Column("by", TEXT, "count: how often it fires there; total: with how much activation."),
        Column("rank", SMALL, "Place of the token, from 0."),
        Column("token_id", INDEX, "Its id."),
        Column("token", TEXT, "It decoded by itself; part of a character gives U+FFFD."),
        Column("count", COUNT, "Occurrences on which the feature fires.", unit="tokens"),
        Column("total", REAL, "Sum of its activations' sizes there.", unit="activation"),
        Column("occurrences", COUNT, "How often the token was read.", unit="tokens"),
        Column(
            "expected",
            REAL,
            "Occurrences on which it would fire if it fired on any token alike.",
            unit="tokens",
        ),
    ),
    ("dictionary", "seed", "layer", "feature", "split", "by", "rank"),
)

SCALING_NEIGHBOURS = Artifact(
    "scaling_neighbours",
    1,
    "Features that are most like a feature.",
    (
        *WIDE_KEYS,
        LAYER,
        FEATURE,
        Column(
            "by",
            TEXT,
            "correlation: of activations over all tokens; cosine: of decoder directions.",
        ),
        Column("rank", SMALL, "Place of the neighbour, from 0."),
        Column("other", INDEX, "The neighbour."),
        Column("similarity", REAL, "Correlation or cosine."),
        Column(
            "other_similarity",
            REAL,
            "The other of the two; null where it was not computed.",
            nullable=True,
        ),
    ),
    ("dictionary", "seed", "layer", "feature", "by", "rank"),
)

SCALING_MAP = Artifact(
    "scaling_map",
    1,
    "Features as points of a plane by their decoder directions.",
    (
        *WIDE_KEYS,
        LAYER,
        FEATURE,
        Column("x", REAL, "Place in a map that keeps neighbours together (t-SNE)."),
        Column("y", REAL, "Likewise."),
        Column("first", REAL, "First principal component of directions of length 1."),
        Column("second", REAL, "Second one."),
    ),
    ("dictionary", "seed", "layer", "feature"),
)

SCALING_READING = (
    SCALING_QUALITY,
    SCALING_FEATURES,
    SCALING_DENSITIES,
    SCALING_EXAMPLES,
    SCALING_TOKENS,
    SCALING_NEIGHBOURS,
    SCALING_MAP,
)
"""What one reading of a corpus gives, in the order of `saeflow.studies.scaling.reading.Reading`."""
