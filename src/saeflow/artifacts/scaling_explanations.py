"""Tables of explanations of features: contexts to explain from, explanations, verdicts, scores."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.columns import CONTROL, INDEX, REAL, SMALL, TEXT, VALUES
from saeflow.artifacts.schema import Artifact, Column

FLAG = pa.bool_()
FEATURE = Column("feature", INDEX, "Index of the latent in its SAE.")
SITE = (
    Column("dictionary", TEXT, "Recipe of the SAE, by its name in the configuration."),
    Column("seed", INDEX, "Seed of the SAE."),
    Column("layer", SMALL, "Block, from 0."),
)
EXPLAINER = Column("explainer", TEXT, "Who explains: tokens, or the model that does.")
SCORER = Column("scorer", TEXT, "Who scores: tokens, or the model that does.")
EXPLANATION_CONTROL = Column(
    "control",
    TEXT,
    "none: the feature's own explanation; swapped: that of another feature; empty: without one.",
)
METHOD = Column(
    "method", TEXT, "detection: does it fire here; fuzzing: does it fire on what is marked."
)
NEGATIVES = Column(
    "kind",
    TEXT,
    "What activating contexts are told from: random, near_miss, or moved, the same contexts with "
    "other tokens marked; all: every one of them, each kind counting alike.",
)

EXPLANATION_EXAMPLES = Artifact(
    "scaling_explanation_examples",
    1,
    "Contexts of features: from those of the set train they are explained, on those of test scored.",
    (
        *SITE,
        FEATURE,
        Column("set", TEXT, "train or test; a document is of one of them, for every feature."),
        Column("kind", TEXT, "activating, random or near_miss."),
        Column("example", INDEX, "Running number in the feature, set and kind."),
        Column("document", INDEX, "Running number of the document in the corpus."),
        Column("group", TEXT, "Group of the document, such as its topic; empty where not known."),
        Column(
            "quantile",
            SMALL,
            "Which part of the feature's activations, from 0, the weakest; null where it is silent.",
            nullable=True,
        ),
        Column("tokens", pa.list_(TEXT), "What each token shows of the context."),
        Column(
            "activations",
            pa.list_(pa.float32()),
            "The feature's activation on each of them, 0 where it is silent.",
            unit="activation",
        ),
        Column(
            "token_ids",
            pa.list_(INDEX),
            "Ids of the tokens, for other tools; null where not known.",
            nullable=True,
        ),
        Column(
            "tempting",
            pa.list_(FLAG),
            "Of a near miss: the tokens on which a neighbour fires, or that are the feature's most "
            "frequent one; null where not known.",
            nullable=True,
        ),
    ),
    ("dictionary", "seed", "layer", "feature", "set", "kind", "example"),
)

EXPLANATIONS = Artifact(
    "scaling_explanations",
    1,
    "What features are said to fire on, by token statistics or by a language model.",
    (
        *SITE,
        EXPLAINER,
        FEATURE,
        Column("explanation", TEXT, "For a reader; empty where there is nothing to explain from."),
        Column(
            "parsed",
            FLAG,
            "Whether the reply had the form asked for; if not, it is kept as it was written.",
        ),
        Column("patterns", pa.list_(TEXT), "Token statistics: what it fires on, largest first."),
        Column(
            "shares",
            pa.list_(REAL),
            "Share of the feature's activation in the training half that falls to each pattern.",
        ),
        Column(
            "weights",
            pa.list_(REAL),
            "Mean activation where each pattern stands, in units of the mean where it fires.",
        ),
        Column("rules", TEXT, "The same for machines, as JSON; empty for a language model's."),
        Column("density", REAL, "Share of tokens on which it fires.", nullable=True),
        Column("n_activating", INDEX, "Activating contexts it was explained from."),
        Column("swapped_with", INDEX, "Feature whose explanation serves as control; -1: none."),
    ),
    ("dictionary", "seed", "layer", "explainer", "feature"),
)

VERDICTS = Artifact(
    "scaling_explanation_verdicts",
    1,
    "What a scorer said of every context that it was shown, with its own or another explanation.",
    (
        *SITE,
        EXPLAINER,
        SCORER,
        EXPLANATION_CONTROL,
        METHOD,
        FEATURE,
        Column("trial", INDEX, "Running number in the feature and method."),
        Column("kind", TEXT, "activating, or the kind of negative (random, near_miss, moved)."),
        Column("of_kind", TEXT, "Kind of the context among the examples."),
        Column("example", INDEX, "Number of the context among the examples of its kind."),
        Column("document", INDEX, "Running number of the document in the corpus."),
        Column("marked", pa.list_(FLAG), "Fuzzing: which tokens are marked; empty where none are."),
        Column("score", REAL, "Number behind the verdict, where there is one.", nullable=True),
        Column("verdict", FLAG, "What is said; null where a reply cannot be read.", nullable=True),
    ),
    (
        "dictionary",
        "seed",
        "layer",
        "explainer",
        "scorer",
        "control",
        "method",
        "feature",
        "trial",
    ),
)

EXPLANATION_SCORES = Artifact(
    "scaling_explanation_scores",
    1,
    "How well each feature's explanation tells held-out contexts apart, by kind of negative.",
    (
        *SITE,
        EXPLAINER,
        SCORER,
        EXPLANATION_CONTROL,
        METHOD,
        NEGATIVES,
        FEATURE,
        Column("density", REAL, "Share of tokens on which it fires.", nullable=True),
        Column(
            "balanced_accuracy",
            REAL,
            "Mean of the share of activating contexts that are recognised and of negatives that are "
            "refused; 0.5 by chance. Null: no verdict of one of both can be read.",
            nullable=True,
        ),
        Column("ci_low", REAL, "Lower end of its interval.", nullable=True),
        Column("ci_high", REAL, "Upper end of its interval.", nullable=True),
        Column("interval", TEXT, "Kind of interval; none where there is none."),
        Column("auroc", REAL, "Area under the curve, where the scorer gives numbers.", True),
        Column("threshold", REAL, "Score from which it says yes, of the training half.", True),
        Column("n_positive", INDEX, "Activating contexts with a verdict."),
        Column("n_negative", INDEX, "Negatives with a verdict."),
        Column("n_unread", INDEX, "Replies that cannot be read; they are in no share."),
    ),
    (
        "dictionary",
        "seed",
        "layer",
        "explainer",
        "scorer",
        "control",
        "method",
        "kind",
        "feature",
    ),
)

EXPLANATION_SUMMARY = Artifact(
    "scaling_explanation_summary",
    1,
    "Mean scores of explanations over features, beside swapped and empty ones.",
    (
        *SITE,
        EXPLAINER,
        SCORER,
        METHOD,
        NEGATIVES,
        Column(
            "metric",
            TEXT,
            "balanced_accuracy, auroc, unread_share, unparsed_share, or gain_over_swapped and "
            "gain_over_empty: differences in balanced accuracy, feature by feature.",
        ),
        CONTROL,
        *VALUES[1:],
        Column("p_value", REAL, "Sign flips over features, where a test is made.", nullable=True),
        Column("q_value", REAL, "Adjusted by Holm over methods and kinds.", nullable=True),
    ),
    (
        "dictionary",
        "seed",
        "layer",
        "explainer",
        "scorer",
        "method",
        "kind",
        "metric",
        "control",
    ),
)

EXPLANATION_ARTIFACTS = (
    EXPLANATION_EXAMPLES,
    EXPLANATIONS,
    VERDICTS,
    EXPLANATION_SCORES,
    EXPLANATION_SUMMARY,
)
