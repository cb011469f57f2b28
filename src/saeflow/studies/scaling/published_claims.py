"""Sentences published about a wide SAE, and which numbers of a run they are held against.

The study shows what it does rather than says it: features that a search gives, texts that steering gives.
A sentence of the scope ``procedure`` says what such an example is an example of, with the example beside
it.
"""

from __future__ import annotations

from saeflow.config.scaling_search import LEVELS
from saeflow.studies.claims.sentences import Published, Wanted
from saeflow.studies.rows import CALIBRATED, NONE
from saeflow.studies.rows import PUBLISHED as BY_STUDY

TRAINING, EVALUATION = "training notebook (methods/5)", "evaluation (methods/5)"
SEARCHING, EXAMPLES = "analysis_utils (methods/5)", "feature notebook (methods/5)"
MEANINGS, INFLUENCE = "feature_meanings (methods/5)", "influence notebook (methods/5)"
HELD_OUT, WHOLE = "held_out", "all"
"""Documents: those that trained no SAE, and all that were read."""
FIRST, LAST = "first", "last"
"""Stretches of training."""
UNTRAINED, FROZEN, CONTROLS = "untrained", "frozen_decoder", "best_control"
"""Controls: the untrained model's SAE, the SAE with its decoder as it starts, and of all SAEs of this model
that are controls the one with the largest value."""
CHANCE, SWAPPED, WORDS, DIRECTION = "chance", "swapped", "words", "difference_of_means"
EVERY = "every"
"""The control of steering that a feature beats by least."""
BOOST = 30.0
"""Multiplier of the study's examples."""
LEXICON, CLASSIFIER = "lexicon_share", "class_probability"
ZERO, MEAN = "zero", "mean"
"""What takes the place of an activation where nothing of it is recovered."""


def _quality(
    metric: str, mode: str = CALIBRATED, control: str = NONE, group: str = HELD_OUT
) -> Wanted:
    return Wanted("quality", group, metric, mode, control)


def _search(metric: str, control: str = NONE, mode: str = CALIBRATED, group: str = "") -> Wanted:
    return Wanted("search", group, metric, mode, control)


def _steering(metric: str, control: str, score: str = LEXICON) -> Wanted:
    return Wanted("steering", score, metric, control=control)


def _explained(method: str, metric: str, control: str = NONE, kind: str = "all") -> Wanted:
    return Wanted("explanations", f"{method}, {kind}", metric, control=control)


SAE = (
    Published(
        "sparse",
        TRAINING,
        "With its L1 penalty the SAE is sparse: few latents are active on a token.",
        "12,793 of 65,536 latents, in 3,072 dimensions",
        "procedure",
        _quality("l0_mean", BY_STUDY),
        _quality("l0_mean", BY_STUDY),
        _quality("d_in", group=WHOLE),
        below=True,
        further=(_quality("l0_mean"),),
    ),
    Published(
        "penalty",
        TRAINING,
        "The penalty of each token, summed over latents, is weighed by lambda.",
        "lambda .00597965",
        "procedure",
        _quality("l0_mean", BY_STUDY),
        _quality("l0_mean", BY_STUDY),
    ),
    Published(
        "zeros",
        EVALUATION,
        "Most entries of a latent vector are 0.",
        "80.48 %",
        "model",
        _quality("zero_share", BY_STUDY),
        _quality("zero_share", BY_STUDY),
        fixed=0.5,
    ),
    Published(
        "active_share",
        "training log (methods/5)",
        "Training makes fewer and fewer features active.",
        "50 % at first, 19.1 % at last",
        "model",
        Wanted("training", LAST, "active_share", BY_STUDY),
        Wanted("training", LAST, "active_share", BY_STUDY),
        Wanted("training", FIRST, "active_share", BY_STUDY),
        below=True,
    ),
    Published(
        "tokens",
        TRAINING,
        "The SAE is trained on the tokens of 30,000 documents.",
        "10.6 M, of which about 1 M differ, each seen five times",
        "model",
    ),
    Published(
        "validation_loss",
        "training log (methods/5)",
        "The loss on held-out files falls from epoch to epoch.",
        ".330, .267, .243 and .230",
        "model",
    ),
    Published(
        "scale",
        TRAINING,
        "Activations have a root mean square length of 11.889 and are multiplied by 4.662.",
        "11.888623 (34.12 with the first token)",
        "model",
    ),
    Published(
        "explained_variance",
        EVALUATION,
        "The SAE explains nearly all of the variance.",
        ".924 (mean squared error .0759)",
        "model",
        _quality("explained_variance", BY_STUDY),
        _quality("explained_variance", BY_STUDY),
        _quality("explained_variance", control=CONTROLS),
    ),
    *(
        Published(
            f"reconstruction_{ablation}",
            EVALUATION,
            "What the SAE reconstructs can stand for the activation: of the cross-entropy that "
            f"{what} in its place costs, at least .9 is recovered.",
            "not measured; .924 of the variance",
            "procedure",
            _quality(f"ce_recovered_{ablation}"),
            _quality(f"ce_recovered_{ablation}", BY_STUDY),
            _quality(f"ce_recovered_{ablation}", control=CONTROLS),
            further=(
                _quality(f"ce_recovered_{other}"),
                _quality(f"ce_recovered_{other}", control=CONTROLS),
            ),
        )
        for ablation, other, what in ((ZERO, MEAN, "a zero"), (MEAN, ZERO, "the mean activation"))
    ),
    Published(
        "alive",
        EVALUATION,
        "Training leaves hardly a feature dead.",
        "0 % dead",
        "procedure",
        _quality("dead_share", group=WHOLE),
        _quality("dead_share", BY_STUDY, group=WHOLE),
        _quality("dead_share", control=FROZEN, group=WHOLE),
        further=(_quality("dead_share", control=UNTRAINED, group=WHOLE),),
    ),
    Published(
        "neighbours",
        EXAMPLES,
        "Features are neighbours by the cosine of their activations.",
        "summed over files, up to their number",
        "procedure",
        _quality("largest_cosine", group=WHOLE),
        None,
        _quality("largest_cosine", control="random_directions", group=WHOLE),
    ),
)
SEARCHES = (
    Published(
        "search_finds",
        SEARCHING,
        "Some prompts are enough to find the feature of what they share.",
        "the same three medical prompts for choice and report",
        "procedure",
        _search("share_found"),
        None,
        _search("share_found", CONTROLS),
        further=(
            *(
                _search(metric, control)
                for metric, control in (
                    ("smallest_auroc", NONE),
                    ("auroc", NONE),
                    ("auroc", UNTRAINED),
                    ("auroc", FROZEN),
                    ("auroc", DIRECTION),
                    ("auroc", WORDS),
                )
            ),
            *(_search("share_found", group=level) for level in LEVELS),
        ),
    ),
    *(
        Published(
            f"search_beyond_{control}",
            SEARCHING,
            f"What the search finds is {what}.",
            "not measured",
            "procedure",
            _search("auroc_beyond", control),
            None,
            fixed=0.0,
            further=(_search("auroc"), _search("auroc", control)),
        )
        for control, what in (
            (UNTRAINED, "what the model has learned"),
            (FROZEN, "what training the decoder has learned"),
            (DIRECTION, "more than the difference of means, which needs no SAE"),
            (WORDS, "more than words that tell the prompts apart"),
        )
    ),
    *(
        Published(
            f"{score}_finds",
            SEARCHING,
            f"The feature with the largest score ({name}) is one of what the prompts share.",
            example,
            "procedure",
            _search("first_found", mode=BY_STUDY, group=score),
            _search("largest_score", mode=BY_STUDY, group=score),
            _search("first_found", CHANCE, mode=BY_STUDY, group=score),
        )
        for score, name, example in (
            ("local_min_max", "local min-max mean", "32026 (.2996)"),
            ("rank", "share of tokens among the top 5 %", "52875 (.868)"),
        )
    ),
    *(
        Published(
            f"medical_{score}",
            SEARCHING,
            "Three medical prompts, without negative ones, give these features first.",
            example,
            "model",
            None,
            _search("largest_score", mode=BY_STUDY, group=score),
            saes=True,
        )
        for score, example in (
            (
                "local_min_max",
                "32026 .2996, 57660 .2853, 45783 .2745, 41517 .2728, 64668 .2667, 29073 .2629, "
                "14701 .2558, 6527 .2511, 49447 .2490, 52757 .2487",
            ),
            ("rank", "52875 .868, 9660 .802, 6527 .626"),
        )
    ),
    *(
        Published(
            f"position_{score}",
            SEARCHING,
            f"By {name} the feature of companies, 60113, comes at this place of 65,536.",
            place,
            "model",
            None,
            _search("position", mode=BY_STUDY, group=score),
            saes=True,
        )
        for score, name, place in (
            ("local_min_max", "the local min-max mean", "148"),
            ("joint_min_max", "the joint min-max mean", "160"),
            ("global_min_max", "the global min-max mean", "9,787"),
            ("percentile", "percentiles", "4,665"),
            ("z_score", "z-scores", "4,708"),
            ("cohens_d", "Cohen's d", "882"),
            ("rank", "the share of tokens among the top 5 %", "36"),
        )
    ),
)
EXPLAINED = (
    Published(
        "largest_activation",
        EXAMPLES,
        "The largest activation of feature 45783 is 12.397.",
        "12.397",
        "model",
        saes=True,
    ),
    Published(
        "titles",
        MEANINGS,
        "What ChatGPT-4o says of a feature's 20 top examples is what the feature means.",
        "a title and a summary of each feature, not scored",
        "none",
    ),
    *(
        Published(
            f"explanations_{method}",
            MEANINGS,
            f"What contexts of a feature say of it tells {what} it fires in other contexts.",
            "not scored",
            "procedure",
            _explained(method, "balanced_accuracy"),
            None,
            _explained(method, "balanced_accuracy", SWAPPED),
            further=(
                _explained(method, "gain_over_swapped"),
                _explained(method, "balanced_accuracy", kind="near_miss"),
                _explained(method, "balanced_accuracy", UNTRAINED),
            ),
        )
        for method, what in (("detection", "whether"), ("fuzzing", "where"))
    ),
    *(
        Published(
            f"explanations_beyond_untrained{ending}",
            MEANINGS,
            f"Contexts of a feature tell {what} it fires better than those of the untrained model's "
            "features do.",
            "not scored",
            "procedure",
            _explained(method, "balanced_accuracy"),
            None,
            _explained(method, "balanced_accuracy", UNTRAINED),
        )
        for method, ending, what in (("detection", "", "whether"), ("fuzzing", "_fuzzing", "where"))
    ),
)
STEERED = (
    *(
        Published(
            f"steering_{control}" if control != NONE else "steering",
            INFLUENCE,
            f"Adding a feature's direction moves what is written to its topic{more}.",
            "one greedy text at 30 times: 45783 gives a rare disease called SLE",
            "procedure",
            _steering("share_rising", control),
            None,
            fixed=0.05,
            further=(
                _steering("share_falling", control),
                _steering("slope", control),
                _steering("share_rising", control, CLASSIFIER),
            ),
        )
        for control, more in (
            (NONE, ""),
            ("random_feature", ", more than another feature's that is active as often"),
            ("random_direction", ", more than any direction of its length"),
            ("decoder_bias", ", more than b_dec, which the study adds with every feature"),
            (DIRECTION, ", more than the difference of means, which needs no SAE"),
            (EVERY, ", more than that of every control"),
        )
    ),
    Published(
        "boost",
        INFLUENCE,
        "At 30 times a feature and b_dec, the text is about the feature's topic, as it is not with b_dec "
        "alone.",
        "one greedy text each, none with b_dec alone",
        "procedure",
        Wanted("boost", LEXICON, "beyond_decoder_bias", BY_STUDY),
        Wanted("boost", LEXICON, "share", BY_STUDY),
        fixed=0.0,
        further=(
            Wanted("boost", LEXICON, "share", BY_STUDY),
            Wanted("boost", LEXICON, "share", BY_STUDY, "decoder_bias"),
            Wanted("boost", LEXICON, "share", BY_STUDY, "unsteered"),
        ),
    ),
    *(
        Published(
            f"boost_{feature}",
            INFLUENCE,
            f"At {times} times feature {feature} the model writes about {topic}.",
            f"one greedy text: {example}",
            "model",
            None,
            Wanted("boost", LEXICON, "share", BY_STUDY) if times == BOOST else None,
            saes=True,
        )
        for feature, times, topic, example in (
            (45783, 30, "a rare disease", '"20 year old female ... rare disease called SLE"'),
            (54818, 30, "sinusitis", "sinusitis"),
            (57957, 30, "brain tumours", "brain tumor"),
            (25398, 60, "Zurich", "the capital of Switzerland becomes Zurich"),
        )
    ),
    Published(
        "unsteered",
        INFLUENCE,
        "Not steered, the model writes about no illness.",
        "\"confused about the meaning of the word 'sociology'\"",
        "model",
    ),
)
PUBLISHED = (*SAE, *SEARCHES, *EXPLAINED, *STEERED)
"""What is judged; of those with the scope ``none`` the study holds no measurement."""
