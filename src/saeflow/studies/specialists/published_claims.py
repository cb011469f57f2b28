"""Sentences published about specialists, and which numbers of a run they are held against.

Here those on what features are found, how much forms share, and how classes lie; those on what features
do are in `saeflow.studies.specialists.published_effects`.
"""

from __future__ import annotations

from saeflow.studies.claims.sentences import Published, Wanted
from saeflow.studies.rows import PUBLISHED as BY_STUDY
from saeflow.studies.specialists.overlap import CEILING
from saeflow.studies.specialists.published_effects import EFFECTS
from saeflow.studies.specialists.rows import CHANCE, RELABELED
from saeflow.studies.specialists.texts import ALL, CATEGORIES, FORMS, PAIRS

NOTEBOOK_1, NOTEBOOK_2 = "phase 1 notebook (methods/3)", "phase 2 notebook (methods/3)"
CORRECTED, ARTICLE = "phase 2 notebook, v2 (methods/3)", "article (methods/3)"
README, REMEASURED = "README (methods/3)", "measured anew (methods/3)"
MEAN_FIRST, ENCODED_FIRST = "average_then_encode", "encode_then_average"
"""Poolings of the study: all of its results up to 2025, and its own correction."""
FIRST, LAST = 0.0, 1.0
"""Places among the blocks that are read, as the study's layers 6 and 11 among 6, 8, 10 and 11."""
_LAYERS = {6: FIRST, 8: 1 / 3, 10: 2 / 3, 11: LAST}


def _count(
    name: str, layer: float, pooling: str, mode: str = "calibrated", control: str = "none"
) -> Wanted:
    """How many classes of a set have a specialist."""
    return Wanted("discovery", name, "n_specialists", mode, control, layer, pooling)


def _counted(name: str, layer: float, pooling: str) -> tuple[Wanted, Wanted, Wanted]:
    """The count by the calibrated test, by the study's rule, and the first of classes drawn anew."""
    return (
        _count(name, layer, ENCODED_FIRST),
        _count(name, layer, pooling, BY_STUDY),
        _count(name, layer, ENCODED_FIRST, control=RELABELED),
    )


def _by_rule(name: str) -> tuple[Wanted, Wanted, Wanted]:
    """The study's rule: what it finds on half A and holds on half B, on all, and by chance."""
    return (
        Wanted("discovery", name, "rule_half_b", BY_STUDY, layer=LAST, pooling=MEAN_FIRST),
        _count(name, LAST, MEAN_FIRST, BY_STUDY),
        _count(name, LAST, MEAN_FIRST, BY_STUDY, RELABELED),
    )


def _geometry(
    metric: str, pooling: str, *, mode: str = "calibrated", control: str = "none"
) -> Wanted:
    return Wanted("geometry", "topics", metric, mode, control, LAST, pooling)


def _words(metric: str, control: str, mode: str = "calibrated") -> Wanted:
    return Wanted("geometry", "topics", metric, mode, control)


def _overlap(group: str, metric: str, *, mode: str = "calibrated", control: str = "none") -> Wanted:
    pooling = MEAN_FIRST if mode == BY_STUDY else ENCODED_FIRST
    return Wanted("overlap", group, metric, mode, control, LAST, pooling)


CLASSES = (
    Published(
        "rule_finds_categories",
        NOTEBOOK_1,
        "A feature is a category's specialist if more of the category's texts than of all others "
        "exceed 5.0; nearly every category has one.",
        "5 to 7 of 7",
        "procedure",
        *_by_rule(CATEGORIES),
    ),
    Published(
        "rule_finds_forms",
        NOTEBOOK_2,
        "By the same rule nearly every class of topic and form has a specialist, some with a score of "
        "1 of 35 texts.",
        "17 to 20 of 20",
        "procedure",
        *_by_rule(PAIRS),
    ),
    Published(
        "depth",
        NOTEBOOK_1,
        "Specialists come with depth: only later layers have one for every category.",
        "5, 6, 7 and 7 of 7 at layers 6, 8, 10 and 11",
        "procedure",
        Wanted("discovery", CATEGORIES, "auroc_growth", layer=LAST, pooling=ENCODED_FIRST),
        _count(CATEGORIES, FIRST, ENCODED_FIRST, BY_STUDY),
        fixed=0.0,
        further=(_count(CATEGORIES, FIRST, ENCODED_FIRST),),
    ),
    *(
        Published(
            f"categories_layer_{layer}",
            NOTEBOOK_1,
            f"At layer {layer}, {found} of seven categories have a specialist.",
            f"{found} of 7 ({features})",
            "model",
            *_counted(CATEGORIES, _LAYERS[layer], MEAN_FIRST),
            saes=True,
        )
        for layer, found, features in (
            (6, 5, "Math 13955: 6"),
            (8, 6, "Math 5807: 8"),
            (10, 7, "Math 2401: 7, Python 15509: 6"),
            (
                11,
                7,
                "Math 22917, Python 15983, Social 20258, Conversational 19786, Formal 17931, "
                "Non-English 4826",
            ),
        )
    ),
    Published(
        "categories_encoded_first",
        CORRECTED,
        "With every token encoded before the mean, all seven categories have one at every layer.",
        "7 of 7 at layers 6, 8, 10 and 11 (layer 6: Python 12645: 5, Social 10220: 5; layer 8: Math 9, "
        "Social 9; layer 10: Social 10)",
        "model",
        *_counted(CATEGORIES, FIRST, ENCODED_FIRST),
        saes=True,
    ),
    Published(
        "math_feature",
        "phase 0b (methods/3)",
        "Feature 18522 is the specialist of maths.",
        "score +6",
        "model",
    ),
    Published(
        "without_mask",
        "CLAUDE and plan documents (methods/3)",
        "Where padding is not masked, hardly any category has a specialist.",
        "0 to 1 per SAE",
        "model",
    ),
    Published(
        "strength_weighting",
        "summary (methods/3)",
        "Features are weighted by the strength of their activation.",
        "weighting",
        "none",
    ),
    *(
        Published(
            f"forms_layer_{layer}",
            NOTEBOOK_2,
            f"At layer {layer}, {found} of 20 classes of topic and form have a specialist.",
            f"{found} of 20, mean score {mean} ({best})",
            "model",
            *_counted(PAIRS, _LAYERS[layer], MEAN_FIRST),
            saes=True,
        )
        for layer, found, mean, best in (
            (6, 17, "5.1", "Math_Simple symbolic 7113: 32, Formal plain 14343: 0"),
            (8, 20, "9.3", "Math_Simple symbolic 14406: 29, Formal plain 64: 1"),
            (10, 20, "10.8", "Math_Simple symbolic 43: 30, Formal plain 15094: 1"),
            (11, 20, "13.9", "Math_Simple symbolic 7029: 33, Python pseudo 19151: 1"),
        )
    ),
    Published(
        "specialists_of_forms",
        NOTEBOOK_2,
        "What tells a class from other topics is a specialist of the form.",
        "17 to 20 of 20",
        "procedure",
        Wanted("discovery", FORMS, "mean_auroc", layer=LAST, pooling=ENCODED_FIRST),
        _count(PAIRS, LAST, MEAN_FIRST, BY_STUDY),
        fixed=0.5,
        further=(_count(FORMS, LAST, ENCODED_FIRST), _count(PAIRS, LAST, ENCODED_FIRST)),
    ),
)
OVERLAPS = (
    Published(
        "forms_share_few",
        ARTICLE,
        "Forms of one topic have few specialists in common: each form has features of its own.",
        "Jaccard index .13 of the top 5",
        "procedure",
        _overlap(ALL, "jaccard_less_half_ceiling"),
        _overlap(ALL, "jaccard_top_scores", mode=BY_STUDY),
        fixed=0.0,
        below=True,
    ),
    Published(
        "ceiling_below_one",
        REMEASURED,
        "Even two random halves of one form do not share all of their top features.",
        "below 1",
        "procedure",
        _overlap(ALL, "jaccard_ceiling"),
        fixed=1.0,
        below=True,
    ),
    Published(
        "overlap_top_5",
        ARTICLE,
        "Of the five best specialists two forms of a topic share an index of .13.",
        ".13",
        "model",
        _overlap(ALL, "jaccard_halves"),
        _overlap(ALL, "jaccard_top_scores", mode=BY_STUDY),
        _overlap(ALL, "jaccard_halves", control=CEILING),
        saes=True,
    ),
    *(
        Published(
            f"overlap_{topic.lower()}",
            NOTEBOOK_2,
            f"Of the 20 features with the largest means, forms of {topic} share {mean} % at layer 11.",
            f"{mean} % ({pairs})",
            "model",
            _overlap(topic, "jaccard_halves"),
            _overlap(topic, "jaccard_top_means", mode=BY_STUDY),
            _overlap(topic, "jaccard_halves", control=CEILING),
            saes=True,
        )
        for topic, mean, pairs in (
            (
                "Math_Simple",
                "13.7",
                "symbolic and verbal 8.1, and prose 8.1; verbal and prose 25.0",
            ),
            ("Math_Complex", "29.0", "21.2, 17.6, 48.1"),
            ("Python", "29.0", "code and pseudo 29.0"),
            ("Non_English", "21.3", "es and fr 25.0, es and de 17.6, fr and de 21.2"),
            ("Social", "10.1", "25.0, 0.0, 5.3"),
            ("Formal", "20.7", "33.3, 11.1, 17.6"),
            ("Conversational", "9.2", "11.1, 11.1, 5.3"),
        )
    ),
)
GEOMETRY = (
    Published(
        "topics_cluster",
        NOTEBOOK_2,
        "Classes of one topic lie together whatever their form: features follow meaning (H2).",
        ".610 within, .137 across (t 8.391, p 1.14e-14, 190 pairs of classes)",
        "procedure",
        _geometry("difference_beyond_words", ENCODED_FIRST),
        _geometry("t", MEAN_FIRST, mode=BY_STUDY),
        _geometry("difference_beyond_words", ENCODED_FIRST, control=RELABELED),
    ),
    *(
        Published(
            f"{control}_cluster",
            REMEASURED,
            f"{what} put classes of one topic together as well, without any model.",
            published,
            "procedure",
            _words("difference", control),
            _words("within", control, BY_STUDY),
        )
        for control, what, published in (
            ("words", "The words of the texts", ".366 within, .107 across (p 1e-4)"),
            ("trigrams", "Groups of three characters", ".428 within, .194 across"),
        )
    ),
    *(
        Published(
            claim,
            source,
            f"Classes of one topic are alike by {within}, and those of different topics by .137.",
            f"{within} and .137",
            "model",
            _geometry("difference", ENCODED_FIRST),
            _geometry("within", pooling, mode=BY_STUDY),
            _words("difference", "words"),
            saes=True,
        )
        for claim, source, within, pooling in (
            ("within_topics", NOTEBOOK_2, ".610", MEAN_FIRST),
            ("within_topics_encoded_first", CORRECTED, ".503", ENCODED_FIRST),
        )
    ),
    Published(
        "same_form",
        NOTEBOOK_2,
        "Classes of one form in different topics are no more alike than others: form groups nothing.",
        ".090 (3 pairs)",
        "model",
        Wanted("variance", "form", "share", layer=LAST, pooling=ENCODED_FIRST),
        _geometry("same_form_across", MEAN_FIRST, mode=BY_STUDY),
        Wanted("variance", "form", "share", "calibrated", CHANCE, LAST, ENCODED_FIRST),
        saes=True,
    ),
    *(
        Published(
            f"component_{number}",
            NOTEBOOK_2,
            f"The {name} principal component of the class means holds {share} % of their variance.",
            f"{share} %",
            "model",
            None,
            _geometry(f"variance_share_{number}", MEAN_FIRST, mode=BY_STUDY),
            saes=True,
        )
        for number, name, share in ((1, "first", "30.3"), (2, "second", "17.5"))
    ),
    Published(
        "single_texts",
        README,
        "Text by text, those of one form are more alike than those of one content: the reverse.",
        ".530 and .397 (t 3.55, p 4e-4)",
        "model",
        Wanted("geometry", "Math_Simple", "text_within_form", BY_STUDY, "none", LAST, MEAN_FIRST),
        Wanted("geometry", "Math_Simple", "text_within_form", BY_STUDY, "none", LAST, MEAN_FIRST),
        Wanted("geometry", "Math_Simple", "text_within_pair", BY_STUDY, "none", LAST, MEAN_FIRST),
        saes=True,
    ),
)
PUBLISHED = (*CLASSES, *OVERLAPS, *GEOMETRY, *EFFECTS)
"""What is judged; of those with the scope ``none`` the study holds no measurement."""
