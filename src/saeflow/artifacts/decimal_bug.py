"""Tables of the study of the decimal bug: prompts, answers, overlap, patches, numbers."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

FLAG = pa.bool_()
PROMPT_KEYS = (
    Column("form", TEXT, "Format of the prompt, such as qa_which (docs/decimal_bug.md)."),
    Column("order", TEXT, "given, or swapped: the other number first."),
    Column("item", INDEX, "Number of the pair; its prompts in all formats share it."),
)
MODE = Column("mode", TEXT, "published: the study's procedure; calibrated: ours.")
LAYER = Column("layer", SMALL, "Block, from 0.")
BANK_KEYS = (
    Column("dictionary", TEXT, "Recipe of the SAEs, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAEs."),
)
UNITS = (
    Column(
        "kind",
        TEXT,
        "head, kv_group, block (the study's residual coordinates), or a whole module: attn_out, "
        "mlp_out, resid_post.",
    ),
    Column("units", TEXT, "Numbers of the units, joined by commas; all for a whole module."),
)

PROMPTS = Artifact(
    "decimal_prompts",
    1,
    "Prompts that ask which of two numbers is the bigger one.",
    (
        *PROMPT_KEYS,
        Column("stratum", TEXT, "Kind of the pair, such as prone_dates, equal_digits or integers."),
        Column("half", TEXT, "choose: layers and units are chosen on it; report: reported on it."),
        Column("adjective", TEXT, "bigger, larger or greater."),
        Column("first", TEXT, "Number that comes first in the prompt."),
        Column("second", TEXT, "Number that comes second."),
        Column("truth", TEXT, "The bigger number."),
        Column("other", TEXT, "The smaller number."),
        Column("text", TEXT, "The prompt."),
        Column(
            "first_start", INDEX, "Where the first number starts in the text.", unit="characters"
        ),
        Column("first_end", INDEX, "Where it ends.", unit="characters"),
        Column("second_start", INDEX, "Where the second number starts.", unit="characters"),
        Column("second_end", INDEX, "Where it ends.", unit="characters"),
        Column("adjective_start", INDEX, "Where the adjective starts.", unit="characters"),
        Column("adjective_end", INDEX, "Where it ends.", unit="characters"),
    ),
    ("form", "order", "item"),
)

ALIGNMENT = Artifact(
    "decimal_alignment",
    1,
    "Which token of a prompt corresponds to which of the same pair in another format.",
    (
        *PROMPT_KEYS,
        Column("other_form", TEXT, "Format that it is held against."),
        Column("token", SMALL, "Place of the token in the prompt, from 0."),
        Column("text", TEXT, "The token's text."),
        Column(
            "key",
            TEXT,
            "What the token is, such as begin, first 0, second 2, last, or its own text.",
        ),
        Column("other_token", SMALL, "Place of its counterpart; null: it has none.", nullable=True),
    ),
    ("form", "order", "item", "other_form", "token"),
)

DECIMAL_ANSWERS = Artifact(
    "decimal_answers",
    1,
    "What the model answers, and how the study's judge reads it.",
    (
        *PROMPT_KEYS,
        Column("sample", SMALL, "0: greedy; from 1 on: sampled."),
        Column("answer", TEXT, "The answer."),
        Column("verdict", TEXT, "right, wrong or unclear, by the study's judge."),
        Column("fallback", TEXT, "The same where an unclear answer's first line decides."),
        Column("gibberish", FLAG, "Whether one of the study's signs of gibberish shows."),
        Column(
            "logit_difference",
            REAL,
            "Logit of the first token that names the true number, minus that of the other.",
            nullable=True,
            unit="nats",
        ),
    ),
    ("form", "order", "item", "sample"),
)

OVERLAP = Artifact(
    "decimal_overlap",
    1,
    "How alike the features of a token are in two prompts of one pair, layer by layer.",
    (
        *BANK_KEYS,
        LAYER,
        *PROMPT_KEYS,
        Column("comparison", TEXT, "format, or a paraphrase that keeps family and answer."),
        Column("other_form", TEXT, "Format of the other prompt."),
        Column("key", TEXT, "What the token is, in both prompts."),
        Column("half", TEXT, "choose or report, as the pair's."),
        Column("n_active", INDEX, "Features that are not 0 on the token.", unit="features"),
        Column("other_n_active", INDEX, "The same in the other prompt.", unit="features"),
        Column("jaccard", REAL, "Of the sets of active half-features.", nullable=True),
        Column("weighted_jaccard", REAL, "Of their absolute values.", nullable=True),
        Column("cosine", REAL, "Of the vectors of all features.", nullable=True),
    ),
    (
        "dictionary",
        "seed",
        "layer",
        "form",
        "order",
        "item",
        "comparison",
        "other_form",
        "key",
    ),
)

LAYER_FEATURES = Artifact(
    "decimal_layer_features",
    1,
    "The published lists: the strongest features of the last token in both prompts of the study.",
    (
        *BANK_KEYS,
        LAYER,
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column("group", TEXT, "shared, qa_only or simple_only."),
        Column("qa_value", REAL, "Its value at the last token of Q&A."),
        Column("simple_value", REAL, "Its value at the last token of Simple."),
        Column("filler", FLAG, "Whether it is 0 in a list that holds it: it only fills the list."),
    ),
    ("dictionary", "seed", "layer", "feature"),
)

PATCHES = Artifact(
    "decimal_patches",
    1,
    "One row per prompt and patch: what is answered with another run's activations in place.",
    (
        Column(
            "part", TEXT, "choice, site, spared, map, random, blend, subsets, published or own."
        ),
        MODE,
        Column(
            "half",
            TEXT,
            "choose or report, as the pair's; own: the study's; spared: unlike pairs.",
        ),
        Column("direction", TEXT, "plain_to_buggy or buggy_to_plain."),
        Column("donor", TEXT, "Where the activations come from."),
        LAYER,
        *UNITS,
        Column("phase", TEXT, "prefill: the prompt's tokens; decode: the answer's; or both."),
        Column("weight", REAL, "Share of the donor: 1 replaces."),
        Column("set", TEXT, "Name of the set of units, where it has one."),
        *PROMPT_KEYS,
        Column("verdict", TEXT, "right, wrong or unclear."),
        Column(
            "logit_difference",
            REAL,
            "Logit of the first token that names the true number, minus that of the other.",
            unit="nats",
        ),
        Column("clean_logit_difference", REAL, "The same without the patch.", unit="nats"),
        Column("wrote_donor", FLAG, "Whether the answer names a number of the donor's pair only."),
        Column("donor_item", INDEX, "Number of the donor's pair; -2: it has none."),
    ),
    (
        "part",
        "mode",
        "half",
        "direction",
        "donor",
        "layer",
        "kind",
        "units",
        "phase",
        "weight",
        "set",
        "form",
        "order",
        "item",
    ),
)

ATTRIBUTION = Artifact(
    "decimal_attribution",
    1,
    "Which units write which features: directly, and what is left of a feature without the unit.",
    (
        *BANK_KEYS,
        LAYER,
        *UNITS,
        Column("feature_layer", SMALL, "Block whose MLP's output the feature is of."),
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column(
            "direct_write",
            REAL,
            "Mean of the unit's write on the feature's encoder direction, buggy minus plain.",
        ),
        Column("effect", REAL, "Mean change of the feature when the unit is set to its mean."),
        Column("p_value", REAL, "Of that change beside other units', permuted within prompts."),
        Column("q_value", REAL, "Adjusted over all pairs of the bank."),
        Column("n", INDEX, "Pairs.", unit="pairs"),
    ),
    ("dictionary", "seed", "layer", "kind", "units", "feature_layer", "feature"),
)

DECIMAL_BUG = Artifact(
    "decimal_bug",
    1,
    "Numbers of the study, each beside what chance, paraphrases or other donors give.",
    (
        Column("part", TEXT, "behaviour, checks, overlap, patching, subsets or attribution."),
        Column("dictionary", TEXT, "Recipe of the SAEs; empty where none is read."),
        Column("seed", INDEX, "Seed of the SAEs; 0 where none is read."),
        MODE,
        Column("layer", SMALL, "Block, from 0. Null: none, or all of them.", nullable=True),
        Column("group", TEXT, "Format and kind of pair, token, units or donor; or all."),
        Column("metric", TEXT, "What is measured (docs/decimal_bug.md, Metrics)."),
        CONTROL,
        *VALUES[1:],
        Column("p_value", REAL, "Where a test is made.", nullable=True),
        Column("q_value", REAL, "Adjusted over what is reported beside it.", nullable=True),
    ),
    ("part", "dictionary", "seed", "mode", "layer", "group", "metric", "control"),
)

DECIMAL_ARTIFACTS = (
    PROMPTS,
    ALIGNMENT,
    DECIMAL_ANSWERS,
    OVERLAP,
    LAYER_FEATURES,
    PATCHES,
    ATTRIBUTION,
    DECIMAL_BUG,
)
BANK_ARTIFACTS = (OVERLAP, LAYER_FEATURES, ATTRIBUTION, DECIMAL_BUG)
"""What is made of each bank."""
