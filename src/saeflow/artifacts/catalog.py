"""Every table of the workflow (design, section 4)."""

from __future__ import annotations

import pyarrow as pa

from saeflow.artifacts.calibration import CALIBRATION_ARTIFACTS
from saeflow.artifacts.checks import CHECKS
from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.columns import (
    CONTROL,
    FEATURE_KEYS,
    INDEX,
    MAYBE_SITE,
    REAL,
    RUN_KEYS,
    SMALL,
    TARGET,
    TEXT,
    VALUES,
)
from saeflow.artifacts.decimal_bug import DECIMAL_ARTIFACTS
from saeflow.artifacts.hierarchy import HIERARCHY_ARTIFACTS
from saeflow.artifacts.model_files import MODEL_FILES_TABLE
from saeflow.artifacts.released import RELEASED
from saeflow.artifacts.run import RUN_TABLES
from saeflow.artifacts.scaling_examples import SCALING_READING
from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS
from saeflow.artifacts.scaling_search import SEARCH_ARTIFACTS
from saeflow.artifacts.scaling_steering import STEERING_ARTIFACTS
from saeflow.artifacts.scaling_training import SCALING_TRAINING
from saeflow.artifacts.schema import Artifact, Column
from saeflow.artifacts.specialist_effects import EFFECT_ARTIFACTS
from saeflow.artifacts.specialists import SPECIALIST_ARTIFACTS

PROBLEMS = Artifact(
    "problems",
    1,
    "Word problems with their worked answers, in the order of their source.",
    (
        Column("problem", INDEX, "Running number in the data set."),
        Column("problem_id", TEXT, "Id as the study writes it, such as train_0."),
        Column("question", TEXT, "Question as in the source."),
        Column("answer", TEXT, "Worked answer with <<...>> annotations and a #### line."),
        Column("gold", REAL, "Number after ####, thousands separators removed."),
        Column("n_steps", SMALL, "Number of <<...>> annotations."),
        Column("split", TEXT, "train: its activations may train SAEs; validation: they do not."),
        Column("analysed", pa.bool_(), "Whether the study's subset holds it."),
        Column(
            "held_out_pair",
            pa.bool_(),
            "Whether a step's operation and operands never occur in training (generated only).",
            nullable=True,
        ),
    ),
    ("problem",),
)

TEXTS = Artifact(
    "texts",
    1,
    "Texts that a model reads token by token, those that train SAEs first.",
    (
        Column("text", INDEX, "Running number in the data set."),
        Column("content", TEXT, "The whole text, a prompt with what follows it."),
        Column("split", TEXT, "train: its tokens may train SAEs; validation: they do not."),
        Column("part", TEXT, "Part of the training mixture; empty for texts of other sources."),
        Column("group", TEXT, "Category, topic or kind of task; what a file calls it, or empty."),
        Column("form", TEXT, "Form of a matched pair, format of a prompt; empty likewise."),
        Column("item", INDEX, "Number of the content in its group, or of the text in its files."),
    ),
    ("text",),
)

TEXT_TOKENS = Artifact(
    "text_tokens",
    1,
    "One row per token of the texts that were captured.",
    (
        Column("text", INDEX, "Running number of the text in the data set."),
        Column("position", SMALL, "Place of the token in the text, from 0."),
        Column("token_id", INDEX, "Its id."),
        Column("token", TEXT, "It decoded by itself; part of a character gives U+FFFD."),
        Column(
            "begin",
            pa.bool_(),
            "Whether the tokenizer put it before the text; it trains no SAE.",
        ),
    ),
    ("text", "position"),
)

COT_TOKENS = Artifact(
    "cot_tokens",
    2,
    "One row per occurrence of a token in the calculations of the problems.",
    (
        Column("problem", INDEX, "Running number of the problem in the data set."),
        Column("calculation", SMALL, "Which <<...>> annotation of the answer, from 0."),
        Column("position", SMALL, "Which token of that annotation, from 0."),
        Column("token", TEXT, "The token, as in the text."),
        Column("kind", TEXT, "number or operator."),
    ),
    ("problem", "calculation", "position"),
)

ANSWERS = Artifact(
    "answers",
    2,
    "What the model answered, greedily, after its latent thoughts.",
    (
        Column("problem", INDEX, "Running number of the problem in the data set."),
        Column("text", TEXT, "Decoded answer."),
        Column(
            "predicted", REAL, "Last number of the answer; null if it holds none.", nullable=True
        ),
        Column("gold", REAL, "Number after #### in the problem."),
        Column("correct", pa.bool_(), "Whether the two are equal as floats."),
        Column(
            "decoded",
            pa.list_(TEXT),
            "Likeliest token that the output embedding reads from each thought, s0 first.",
        ),
    ),
    ("problem",),
)

QUALITY = Artifact(
    "quality",
    2,
    "How well each SAE of a bank reconstructs, with the checksum of its weights in the metadata.",
    (
        Column("dictionary", TEXT, "Recipe of the SAEs, by its name in the configuration."),
        Column("seed", INDEX, "Seed of the SAEs."),
        CONTROL,
        Column("layer", SMALL, "Layer, as layer_convention counts; block of an SAE of tokens."),
        Column("step", SMALL, "Thought step; null for an SAE of tokens.", nullable=True),
        Column("split", TEXT, "Examples it is measured on: train, validation or all."),
        *VALUES,
    ),
    ("layer", "step", "split", "metric"),
)

FEATURES = Artifact(
    "features",
    1,
    "Activations of the features on the problems that the studies read; zeros are not stored.",
    (
        Column("problem", INDEX, "Running number of the problem in the data set."),
        *FEATURE_KEYS,
        Column("value", pa.float32(), "Activation, signed.", unit="activation"),
    ),
    ("step", "problem", "feature"),
)

TESTED = Artifact(
    "tested",
    1,
    "One row per feature of the bank: how often it fires and how many tokens follow it.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("n_active", INDEX, "Analysed problems on which it is not zero.", unit="problems"),
        Column("n_problems", INDEX, "Analysed problems.", unit="problems"),
        Column("tested", pa.bool_(), "Whether it fires often enough to be tested."),
        Column("n_kept", INDEX, "Tokens that pass the criteria, stored or not.", unit="tokens"),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature"),
)

ASSOCIATION = Artifact(
    "association",
    1,
    "Feature-token pairs that pass the published criteria, strongest first.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("rank", SMALL, "Place among the feature's pairs by enrichment, from 0."),
        Column("token", TEXT, "Token of the calculations."),
        Column("a", INDEX, "Feature active, token present.", unit="problems"),
        Column("b", INDEX, "Feature active, token absent.", unit="problems"),
        Column("c", INDEX, "Feature inactive, token present.", unit="problems"),
        Column("d", INDEX, "Feature inactive, token absent.", unit="problems"),
        Column("chi2", REAL, "Chi-square with Yates's correction, one degree of freedom."),
        Column("p_value", REAL, "Its p-value, not corrected for the number of tests."),
        Column("enrichment", REAL, "Rate of the token when active over the rate when inactive."),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature", "rank"),
)

LABELS = Artifact(
    "labels",
    1,
    "One row per feature with at least one pair, named by the published rule.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("feature_id", TEXT, "L{layer}_P{step}_F{feature}."),
        Column("label", TEXT, "Name by the published rule."),
        Column("label_type", TEXT, "Label up to its first underscore."),
        Column("monosemantic", pa.bool_(), "Whether the published rule calls it monosemantic."),
        Column("explanation", TEXT, "Which part of the rule gave the label."),
        Column("n_active", INDEX, "Analysed problems on which it is not zero.", unit="problems"),
        Column("activation_rate", REAL, "n_active over the analysed problems."),
        Column("n_kept", INDEX, "Tokens that pass the criteria.", unit="tokens"),
        Column("top_tokens", pa.list_(TEXT), "The five most enriched tokens."),
        Column("max_enrichment", REAL, "Enrichment of the first of them."),
        Column("min_p_value", REAL, "Smallest uncorrected p-value among its stored pairs."),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature"),
)

EXAMPLES = Artifact(
    "examples",
    1,
    "The analysed problems on which each labelled feature fires hardest, either sign.",
    (
        *RUN_KEYS,
        *FEATURE_KEYS,
        Column("rank", SMALL, "Place among the problems by absolute activation, from 0."),
        Column("problem", INDEX, "Running number of the problem in the data set."),
        Column("value", pa.float32(), "Activation, signed.", unit="activation"),
    ),
    ("dataset", "dictionary", "seed", "layer", "step", "feature", "rank"),
)

PERMUTATIONS = Artifact(
    "permutations",
    2,
    "The summary's numbers after each joint permutation of the problems' token rows.",
    (
        *RUN_KEYS,
        TARGET,
        *MAYBE_SITE,
        Column("permutation", INDEX, "Running number of the permutation."),
        Column("metric", TEXT, "What is measured."),
        Column("value", REAL, "The measured number.", nullable=True),
        Column("n", pa.int64(), "How many units the value is taken over.", nullable=True),
    ),
    ("dataset", "dictionary", "seed", "mode", "target", "layer", "step", "metric", "permutation"),
)

SUMMARY = Artifact(
    "summary",
    2,
    "Rates and counts of the study, published and calibrated, each beside what chance gives.",
    (*RUN_KEYS, TARGET, CONTROL, *MAYBE_SITE, *VALUES),
    ("dataset", "dictionary", "seed", "mode", "target", "layer", "step", "metric", "control"),
)

COMPARISON = Artifact(
    "comparison",
    1,
    "The study's questions: rates of each model and differences between models, beside chance.",
    (
        Column("question", TEXT, "interpretable, monosemantic, number or capacity."),
        Column("model", TEXT, "Model, by its name in the configuration."),
        Column("other", TEXT, "The model it is compared with; empty for a row about one model."),
        Column("dataset", TEXT, "Data set of the model, by its name in the configuration."),
        Column("dictionary", TEXT, "Recipe of the model's SAEs, by its name."),
        Column("other_dataset", TEXT, "Data set of the other model; empty where there is none."),
        Column("other_dictionary", TEXT, "Recipe of the other model's SAEs; empty likewise."),
        Column("mode", TEXT, "published: the study's procedure; calibrated: ours."),
        CONTROL,
        *VALUES,
    ),
    (
        "question",
        "model",
        "other",
        "dataset",
        "dictionary",
        "other_dataset",
        "other_dictionary",
        "mode",
        "metric",
        "control",
    ),
)

MIXTURE_TEXTS = Artifact(
    "mixture_texts",
    1,
    "Texts of the reference models' training mixture, with the right continuations.",
    (
        Column("part", TEXT, "categories, pairs, cloze, choices, decimals or documents."),
        Column("group", TEXT, "Category, topic or kind of task."),
        Column(
            "form", TEXT, "Form of a matched pair, format of a prompt; empty where there is one."
        ),
        Column(
            "item",
            INDEX,
            "Number of the content; the texts of one pair, fact or operation share it.",
        ),
        Column("split", TEXT, "train, or held_out: read by no training step."),
        Column("prompt", TEXT, "What comes first; empty where nothing is to be continued."),
        Column("target", TEXT, "The text, or the right continuation of the prompt."),
        Column("distractors", pa.list_(TEXT), "Wrong continuations matched to the target."),
        Column("level", SMALL, "Difficulty, 1 the easiest; 0 where there is none."),
    ),
    ("part", "item", "group", "form", "prompt"),
)

TRAINING = Artifact(
    "training",
    1,
    "Curves of a reference model's training.",
    (
        Column("step", INDEX, "Optimizer steps done."),
        Column("metric", TEXT, "A loss, in nats per token but for distillation, or an accuracy."),
        Column("value", REAL, "Mean loss since the row before, or accuracy on held-out problems."),
    ),
    ("metric", "step"),
)

EVALUATION = Artifact(
    "evaluation",
    1,
    "What a model can do on texts and problems that its training never read.",
    (
        Column("part", TEXT, "Part of the training mixture, or logit_lens."),
        Column(
            "condition", TEXT, "How the model answers, the format asked in, or the thought step."
        ),
        Column("group", TEXT, "Which of the examples; all for every one."),
        Column("control", TEXT, "none for the model itself, else the trivial answer beside it."),
        *VALUES,
    ),
    ("part", "condition", "group", "metric", "control"),
)

LOGIT_LENS = Artifact(
    "logit_lens",
    1,
    "The tokens that a model's output embedding reads from each thought.",
    (
        Column("problem", INDEX, "Running number of the held-out problem."),
        Column("step", SMALL, "Thought step: 0 is the begin-of-thought token, then the latents."),
        Column("rank", SMALL, "0 for the likeliest token."),
        Column("token", TEXT, "The token, as text."),
        Column("log_probability", REAL, "Its log-probability.", unit="nats"),
    ),
    ("problem", "step", "rank"),
)

ARTIFACTS = {
    artifact.name: artifact
    for artifact in (
        PROBLEMS,
        TEXTS,
        TEXT_TOKENS,
        COT_TOKENS,
        ANSWERS,
        QUALITY,
        FEATURES,
        TESTED,
        ASSOCIATION,
        LABELS,
        EXAMPLES,
        PERMUTATIONS,
        SUMMARY,
        COMPARISON,
        MIXTURE_TEXTS,
        TRAINING,
        EVALUATION,
        LOGIT_LENS,
        *CALIBRATION_ARTIFACTS,
        *HIERARCHY_ARTIFACTS,
        *DECIMAL_ARTIFACTS,
        CLAIMS,
        *SPECIALIST_ARTIFACTS,
        *EFFECT_ARTIFACTS,
        SCALING_TRAINING,
        MODEL_FILES_TABLE,
        *SCALING_READING,
        *SEARCH_ARTIFACTS,
        *STEERING_ARTIFACTS,
        *EXPLANATION_ARTIFACTS,
        RELEASED,
        CHECKS,
        *RUN_TABLES.values(),
    )
}
