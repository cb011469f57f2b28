"""Sentences published about what specialists do: on tokens, with answers, by ablation, across models."""

from __future__ import annotations

from saeflow.studies.claims.sentences import Published, Wanted
from saeflow.studies.claims.verdicts import LEVEL
from saeflow.studies.rows import PUBLISHED as BY_STUDY
from saeflow.studies.specialists.counted import (
    ANY_SIGN,
    BEYOND_OTHERS,
    LARGEST_FLIP,
    NEGATIVE,
    POSITIVE,
)
from saeflow.studies.specialists.names import RANDOM_FEATURE
from saeflow.studies.specialists.overlap import CEILING
from saeflow.studies.specialists.rows import RELABELED
from saeflow.studies.specialists.texts import ALL

PHASE_2, PHASE_3 = "phase 2 notebook (methods/3)", "summary of phase 3 (methods/3)"
CORRECTED_POOLING = "encode_then_average"
MARGINS, LIKELIHOODS, SCORED = "cloze, margin", "cloze, log_probability", "choices, correct"
SMALL = "gpt2"
"""The smaller of the two models."""
RIGHT_AT_MOST, FLIPS_AT_MOST = 0.02, 0.049
"""Largest published shares of right answers and of flips."""


def _tests(group: str, metric: str, mode: str = "calibrated") -> Wanted:
    return Wanted("behaviour", group, metric, mode)


def _texts(metric: str, mode: str = "calibrated", control: str = "none") -> Wanted:
    return Wanted("ablation", "texts", metric, mode, control)


def _sparsity(metric: str, mode: str = "calibrated") -> Wanted:
    # Where a mean is encoded, as many features are active of every text.
    return Wanted("alignment", "classes", metric, mode, layer=1.0, pooling=CORRECTED_POOLING)


TOKENS = (
    Published(
        "syntactic_tokens",
        PHASE_3,
        "Specialists are active on syntactic tokens.",
        "96 % of the activation",
        "model",
        Wanted("tokens", ALL, "syntactic_share"),
        Wanted("tokens", ALL, "syntactic_share", BY_STUDY),
        Wanted("tokens", ALL, "syntactic_share", control="all_features"),
        saes=True,
    ),
)
BEHAVIOUR = (
    Published(
        "no_right_answers",
        PHASE_2,
        "The small model answers none of the texts that ask for something, so that activation cannot "
        "be held against right answers (H3, H4).",
        "0 of 54, later 2 %",
        "model",
        Wanted("tasks", ALL, "judged"),
        Wanted("tasks", ALL, "contained", BY_STUDY),
        fixed=RIGHT_AT_MOST,
        about=SMALL,
    ),
    Published(
        "scored_answers",
        PHASE_3,
        "Where a judge calls answers to 264 tasks of maths and 108 others right or wrong, specialists' "
        "activation hardly goes with it.",
        "1 of 8 tests significant",
        "model",
        None,
        _tests(SCORED, ANY_SIGN, BY_STUDY),
        fixed=LEVEL,
    ),
    Published(
        "cloze",
        PHASE_3,
        "Where the likelihood of the right ending is read instead, it goes with it in every test.",
        "6 of 6 tests significant",
        "model",
        _tests(MARGINS, POSITIVE),
        _tests(LIKELIHOODS, POSITIVE, BY_STUDY),
        fixed=LEVEL,
        suffices=True,
        further=(_tests(MARGINS, NEGATIVE), _tests(MARGINS, BEYOND_OTHERS)),
    ),
    Published(
        "cloze_correlation",
        PHASE_3,
        "The rank correlation of a specialist's activation with that likelihood is positive.",
        ".35 to .47",
        "model",
        _tests(MARGINS, "spearman"),
        _tests(LIKELIHOODS, "spearman", BY_STUDY),
        fixed=0.0,
    ),
)
ABLATIONS = (
    Published(
        "ablations",
        PHASE_3,
        "Specialists matter: many cells of 5 specialists by 4 layers change significantly where one is "
        "set to 0.",
        "11 of 20 and 15 of 20",
        "model",
        _texts(NEGATIVE),
        _texts(ANY_SIGN, BY_STUDY),
        fixed=LEVEL,
        further=(_texts(POSITIVE),),
    ),
    Published(
        "flips",
        PHASE_3,
        "Ablations rarely change the likeliest next token.",
        "at most 4.9 %",
        "model",
        _texts("flip"),
        _texts(LARGEST_FLIP, BY_STUDY),
        _texts("flip", control=RANDOM_FEATURE),
        further=(_texts(LARGEST_FLIP),),
    ),
    Published(
        "selective_is_not_causal",
        PHASE_3,
        "In the small model the more selective specialist matters less.",
        "rho -.546",
        "model",
        _texts("selectivity_causality"),
        _texts("selectivity_causality", BY_STUDY),
        fixed=0.0,
        below=True,
        about=SMALL,
    ),
    Published(
        "cascade",
        PHASE_3,
        "In the large model an ablation at the earliest layer does many times as much as at the latest.",
        "40.7 times",
        "model",
        _texts("cascade"),
        fixed=1.0,
        saes=True,
    ),
)
SIZES = (
    *(
        Published(
            claim,
            PHASE_3,
            f"The larger model is the more resilient, read as {what}.",
            "signal to noise 140.6 and 2.6; its definition is not told",
            "model",
            _texts(metric),
            sizes=True,
        )
        for claim, metric, what in (
            (
                "signal_to_noise_resilience",
                "resilience_ratio",
                "log-probability beside its change by an ablation",
            ),
            (
                "signal_to_noise_effect",
                "effect_to_random_sd",
                "effect of a specialist beside the spread of random features' effects",
            ),
        )
    ),
    Published(
        "sparsity",
        PHASE_3,
        "How many features are active depends on the form, alike in both models.",
        "rho .87",
        "model",
        _sparsity("l0_spearman_beyond_length"),
        _sparsity("l0_spearman", BY_STUDY),
        fixed=0.0,
        sizes=True,
    ),
    Published(
        "overlap_in_both",
        PHASE_3,
        "Forms share as few specialists in the large model as in the small one.",
        "Jaccard index .15 to .18",
        "model",
        Wanted("overlap", ALL, "jaccard_halves", layer=1.0, pooling=CORRECTED_POOLING),
        Wanted(
            "overlap", ALL, "jaccard_top_scores", BY_STUDY, layer=1.0, pooling=CORRECTED_POOLING
        ),
        Wanted(
            "overlap", ALL, "jaccard_halves", control=CEILING, layer=1.0, pooling=CORRECTED_POOLING
        ),
        sizes=True,
    ),
    Published(
        "clusters_at_the_last_layer",
        PHASE_3,
        "The large model puts topics together at its last layer only.",
        "the last of layers 23, 30, 37 and 41",
        "model",
        Wanted(
            "geometry", "topics", "difference_beyond_words", layer=1.0, pooling=CORRECTED_POOLING
        ),
        Wanted("geometry", "topics", "t", BY_STUDY, layer=1.0, pooling=CORRECTED_POOLING),
        Wanted(
            "geometry",
            "topics",
            "difference_beyond_words",
            control=RELABELED,
            layer=1.0,
            pooling=CORRECTED_POOLING,
        ),
        saes=True,
    ),
)
EFFECTS = (*TOKENS, *BEHAVIOUR, *ABLATIONS, *SIZES)
