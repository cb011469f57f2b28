"""Tables of the hierarchy study: ranks, specialists, levels, modules, interventions."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.artifacts.columns import (
    CONTROL,
    FEATURE_KEYS,
    INDEX,
    MAYBE_SITE,
    REAL,
    RUN_KEYS,
    SITE_KEYS,
    TEXT,
    VALUES,
)
from saeflow.artifacts.schema import Artifact, Column

FLAG = pa.bool_()
NUMBERS = pa.list_(INDEX)
FEATURE_ROW = ("dataset", "dictionary", "seed", "layer", "step", "feature")

RANKS = Artifact(
    "ranks",
    1,
    "One row per feature: how often it fires, and what the published rules call it.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("rank", INDEX, "Place in its SAE by how often it fires, from 1."),
        Column("n_active", INDEX, "Held-out problems on which it is not zero.", unit="problems"),
        Column("activation_rate", REAL, "n_active over the held-out problems."),
        Column("mean_magnitude", REAL, "Mean absolute activation, zeros included."),
        Column("n_samples", INDEX, "Problems that the rules look at: those it fires hardest on."),
        Column("top_problems", NUMBERS, "The first ten of them, strongest first."),
        Column(
            "type", TEXT, "Of the top features: operation-level, value-level, mixed, unknown.", True
        ),
        Column("confidence", TEXT, "Of the top features: high, medium or low.", True),
        Column("patterns", pa.list_(TEXT), "Of the top features: patterns found.", True),
        Column(
            "rank_range", TEXT, "Rank range in which the rule for specialists looks at it.", True
        ),
        Column(
            "specialisation",
            TEXT,
            "In a rank range: operation-specialised, value-specialised, highly-specialised, general.",
            True,
        ),
        Column("name", TEXT, "Name that the rule gives a specialist, ties and all.", True),
        Column("specialised", FLAG, "Whether the published rule would call it a specialist."),
        Column("specialised_untied", FLAG, "The same with ties between patterns counted."),
        Column("mean_impact", REAL, "Mean absolute change of the reconstruction without it.", True),
        Column("max_impact", REAL, "Largest absolute change of the reconstruction.", True),
        Column("mean_l2", REAL, "Mean length of the change of a reconstruction.", True),
        Column("impact_level", TEXT, "HIGH, MEDIUM or LOW by the published thresholds.", True),
    ),
    FEATURE_ROW,
)

SWAP_PAIRS = Artifact(
    "swap_pairs",
    1,
    "Pairs of specialists that the study would exchange: the commonest of each name.",
    (
        *RUN_KEYS,
        *SITE_KEYS,
        Column("rank_range", TEXT, "Rank range that both are from."),
        Column("kind", TEXT, "operation or value."),
        Column("name", TEXT, "Operation or value of the first."),
        Column("feature", INDEX, "Index of its latent."),
        Column("other_name", TEXT, "Operation or value of the second."),
        Column("other_feature", INDEX, "Index of its latent."),
    ),
    (
        "dataset",
        "dictionary",
        "seed",
        "layer",
        "step",
        "rank_range",
        "kind",
        "name",
        "other_name",
    ),
)

SPECIALISTS = Artifact(
    "specialists",
    1,
    "Half-features that follow an operator, operand, sequence of operators or value, held out.",
    DISCOVERIES.columns,
    DISCOVERIES.keys,
)

HIERARCHY = Artifact(
    "hierarchy",
    1,
    "Counts and rates of the study, each beside what chance gives.",
    (
        *RUN_KEYS,
        *MAYBE_SITE,
        Column("group", TEXT, "Which features: a rank range, a bin of n_active, a level; or all."),
        Column("metric", TEXT, "What is measured (docs/hierarchy.md, Metrics)."),
        CONTROL,
        *VALUES[1:],
    ),
    ("dataset", "dictionary", "seed", "mode", "layer", "step", "group", "metric", "control"),
)

LEVELS = Artifact(
    "levels",
    1,
    "What each feature knows of a problem: operators, the first one, their order, a value, or both.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("n_active", INDEX, "Balanced problems on which it is not zero.", unit="problems"),
        *(
            Column(f"{kind}.{name}", REAL, about.format(name))
            for name in ("operators", "first_operator", "sequence", "value", "operator_value")
            for kind, about in (
                ("mi", "Mutual information with {}, as counted; biased upwards."),
                ("null", "The same with problems permuted, mean."),
                ("adjusted", "Adjusted: 0 is chance, 1 is the same partition as {}."),
            )
        ),
        Column(
            "level",
            TEXT,
            "Variable of the largest adjusted information; operator_value only beyond each of the "
            "two; none where chance does.",
        ),
        Column("score", REAL, "Largest adjusted information."),
    ),
    FEATURE_ROW,
)

COACTIVATION = Artifact(
    "coactivation",
    1,
    "Pairs of features of one SAE that fire together more often than their frequencies say.",
    (
        *RUN_KEYS,
        *SITE_KEYS,
        Column("feature", INDEX, "Index of the latent in its SAE."),
        Column("other_feature", INDEX, "Index of the other, which is larger."),
        Column("n_active", INDEX, "Problems on which the first is not zero.", unit="problems"),
        Column("other_n_active", INDEX, "Problems on which the other is not.", unit="problems"),
        Column("n_both", INDEX, "Problems on which neither is zero.", unit="problems"),
        Column("lift", REAL, "n_both over what independent firing as often would give."),
        Column("p_value", REAL, "Exact and one-sided (Fisher)."),
        Column("q_value", REAL, "Adjusted for all pairs of the bank."),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature", "other_feature"),
)

MODULES = Artifact(
    "modules",
    1,
    "Groups of features of one SAE that fire together, and which operators they follow.",
    (
        *RUN_KEYS,
        *SITE_KEYS,
        Column("module", INDEX, "Running number in the SAE, the largest first."),
        Column("features", NUMBERS, "Indices of its latents."),
        Column("mean_correlation", REAL, "Mean correlation of the firing of its pairs."),
        Column(
            "operator",
            TEXT,
            "Operator that the module, on where half of it fires, goes with most clearly; none where "
            "it is always or never on.",
        ),
        Column(
            "n_following", INDEX, "Members that follow it by themselves, carried ones left out."
        ),
        Column("n_following_expected", REAL, "As many random features of the SAE; mean.", True),
        Column(
            "p_value",
            REAL,
            "Exact and one-sided (Fisher), of the module as one unit, times the operators tested.",
            True,
        ),
        Column("q_value", REAL, "Adjusted for all modules of the bank.", True),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "module"),
)

CONDITION = (
    Column("unit", TEXT, "What is edited: F{index}, set, or all features of the site."),
    Column("edit", TEXT, "zero, mean, scale, swap.value, swap.operator or none."),
    Column(
        "dose",
        REAL,
        "Factor on the activation: 0 is ablation, 1 changes nothing; null where there is none.",
        True,
    ),
    CONTROL,
)

TRIALS = Artifact(
    "trials",
    1,
    "One row per problem and intervention that changes its activations: what the model then does.",
    (
        *RUN_KEYS,
        *SITE_KEYS,
        *CONDITION,
        Column("half", TEXT, "chosen: the problems that a site is chosen on; or reported."),
        Column("problem", INDEX, "Running number of the problem in the data set."),
        Column("log_probability", pa.float32(), "Change for the right answer.", unit="nats"),
        Column(
            "kl", pa.float32(), "Divergence of the first answer token from before.", unit="nats"
        ),
        Column("cosine", pa.float32(), "Cosine of the next latent with the one before."),
        Column("changed", FLAG, "Whether the answer is another."),
        Column("correct", pa.int8(), "Change of being right: -1, 0 or 1."),
        Column("right_before", FLAG, "Whether the answer without the intervention is right."),
        Column(
            "toward",
            pa.float32(),
            "Of swaps: change for the right answer of the problem that values are taken from.",
            True,
            "nats",
        ),
    ),
    (
        "dataset",
        "dictionary",
        "seed",
        "layer",
        "step",
        "unit",
        "edit",
        "dose",
        "control",
        "half",
        "problem",
    ),
)

SCREEN = Artifact(
    "screen",
    1,
    "Every feature's attributed effect on the problems that features are picked on, and the "
    "shortlist's exact one on those that are reported.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("n_active", INDEX, "Problems that are not reported, on which it is not zero."),
        Column(
            "attribution",
            REAL,
            "Effect of ablation, to first order, mean over all problems that are not reported.",
            unit="nats",
        ),
        Column("attribution_reported", REAL, "The same on reported problems.", unit="nats"),
        Column(
            "in_set",
            FLAG,
            "Whether it is ablated with its site's set, picked on the screened problems alone.",
        ),
        Column("rank", INDEX, "Place in its SAE by absolute attribution, from 1."),
        Column(
            "exact",
            REAL,
            "Effect of ablation on reported problems; the shortlist's.",
            True,
            "nats",
        ),
        Column("n_exact", INDEX, "Reported problems on which it is not zero.", True),
    ),
    FEATURE_ROW,
)

EFFECTS = Artifact(
    "effects",
    1,
    "What interventions do to answers, at every site, each beside its controls.",
    (
        *RUN_KEYS,
        *SITE_KEYS,
        *CONDITION,
        Column("half", TEXT, "chosen: the problems that a site is chosen on; or reported."),
        Column("label", TEXT, "What the feature follows; empty where that is not asked."),
        Column("group", TEXT, "all; or with, without the label, and the difference of the two."),
        *VALUES,
        Column("p_value", REAL, "Of the difference from the control named; swaps have none.", True),
        Column(
            "q_value",
            REAL,
            "Adjusted over the features, or over the sets of all sites, of which the same is asked.",
            True,
        ),
    ),
    (
        "dataset",
        "dictionary",
        "seed",
        "layer",
        "step",
        "unit",
        "edit",
        "dose",
        "control",
        "half",
        "label",
        "group",
        "metric",
    ),
)

MAXIMAL = Artifact(
    "maximal",
    1,
    "The input that a search over the generator finds for a feature, beside the best of the corpus.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column(
            "source",
            TEXT,
            "search; start: the best of its random starts; random: of as many random problems as it "
            "tried; corpus: of the held-out problems.",
        ),
        Column("value", REAL, "Activation there, signed.", unit="activation"),
        Column(
            "question", TEXT, "The problem; empty where the corpus has none, its value being 0."
        ),
        Column("calculations", TEXT, 'Its calculations, joined by " | ".'),
        Column("evaluations", INDEX, "Problems that were tried."),
    ),
    (*FEATURE_ROW, "source"),
)

HIERARCHY_COMPARISON = Artifact(
    "hierarchy_comparison",
    1,
    "The study's numbers of each trained model, each beside chance, the untrained model and control "
    "dictionaries.",
    (
        Column("model", TEXT, "Model, by its name in the configuration."),
        Column(
            "other",
            TEXT,
            "The untrained model or the control dictionary that a number is of, or that a difference is "
            "from; else empty.",
        ),
        *RUN_KEYS,
        *MAYBE_SITE,
        Column("group", TEXT, "Which features: all, a rank range, set or the shortlist."),
        Column("metric", TEXT, "What is measured."),
        CONTROL,
        *VALUES[1:],
    ),
    (
        "model",
        "dataset",
        "dictionary",
        "seed",
        "mode",
        "metric",
        "group",
        "control",
        "layer",
        "step",
    ),
)

HIERARCHY_ARTIFACTS = (
    HIERARCHY_COMPARISON,
    RANKS,
    SWAP_PAIRS,
    SPECIALISTS,
    HIERARCHY,
    LEVELS,
    COACTIVATION,
    MODULES,
    TRIALS,
    SCREEN,
    EFFECTS,
    MAXIMAL,
)
