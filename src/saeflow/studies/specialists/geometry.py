"""Whether classes of a topic lie together, and whether more so than their words do.

Published: cosines of class means with a t-test of all pairs (methods/3, section 4.5 C). Calibrated:
topics are permuted over classes that have no pair in common, and tested beyond what words explain
(section 4.7). Single texts are in `saeflow.studies.specialists.retrieval`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Num

from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.geometry import (
    Square,
    adjusted_difference,
    class_gram,
    cosines,
    gram_matrix,
    group_difference,
    mantel,
    principal_components,
    published_geometry,
)
from saeflow.studies.rows import NO_BANK, NONE, row
from saeflow.studies.specialists.baselines import COSINES, Baselines
from saeflow.studies.specialists.retrieval import (
    PairDraws,
    against_words_rows,
    pair_draws,
    retrieval_rows,
    variance_rows,
)
from saeflow.studies.specialists.rows import PERMUTED, RELABELED, Key, bank_key
from saeflow.studies.specialists.texts import Classes, StudyTexts

TOPICS = "topics"


def published_geometry_rows(
    values: Num[np.ndarray, "texts features"], texts: StudyTexts, words: Baselines, key: Key
) -> Iterator[dict[str, Any]]:
    """The study's comparison of classes within and across topics, and its principal components.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Features of all texts, as `StudyTexts` orders them.
    texts : StudyTexts
        The texts.
    words : Baselines
        Their classes.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`. ``t`` has the p-value of the study's
        test of pairs, which counts each class many times. ``text_within_form`` and ``text_within_pair``
        are means over texts of a topic, of the study's earlier analysis, which said the reverse.
    """
    classes = words.classes
    gram = gram_matrix(values[classes.rows])
    of_classes = class_gram(gram, classes.classes)
    group = {"part": "geometry", **key, "group": TOPICS}
    yield from _published(cosines(of_classes), words, group)
    _, shares = principal_components(of_classes)
    for number, share in enumerate(shares, start=1):
        yield row(group, f"variance_share_{number}", float(share), n=len(classes.names))
    similarity = cosines(gram)
    for topic in dict.fromkeys(each.topic for each in texts.pairs):
        own = np.array([each.topic == topic for each in texts.pairs])
        for metric, labels in (
            ("text_within_form", classes.classes),
            ("text_within_pair", classes.clusters),
        ):
            same = _pairs_of(labels, own)
            mean = float(similarity[same].mean()) if same.any() else None
            yield row({**group, "group": topic}, metric, mean, n=int(same.sum()) // 2)


def calibrated_geometry_rows(
    values: Num[np.ndarray, "texts features"],
    words: Baselines,
    draws: PairDraws,
    settings: SpecialistsCalibrated,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """Clustering by topic beyond words, retrieval of pairs, and shares of variance.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Features of all texts, as `StudyTexts` orders them.
    words : Baselines
        Their classes, and the similarities that are held fixed.
    draws : PairDraws
        Permutations of their pairs.
    settings : SpecialistsCalibrated
        Permutations and seed.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, without q-values.
    """
    classes = words.classes
    gram = gram_matrix(values[classes.rows])
    apart = class_similarity(gram, words)
    yield from _difference_rows(apart, words, settings, key)
    yield from _beyond_rows(apart, words, settings, key)
    similarity = cosines(gram)
    yield from retrieval_rows(similarity, classes, draws, key)
    yield from against_words_rows(similarity, words, settings, key)
    yield from variance_rows(similarity, draws, key)


def lexical_rows(words: Baselines, settings: SpecialistsCalibrated) -> Iterator[dict[str, Any]]:
    """The same numbers of the words alone, published and calibrated; the control is the baseline's name.

    Parameters
    ----------
    words : Baselines
        Similarities of classes and of texts.
    settings : SpecialistsCalibrated
        Permutations and seed.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, of no bank.
    """
    draws = pair_draws(words.classes, settings)
    for name in COSINES:
        published = {
            "part": "geometry",
            **bank_key(NO_BANK, "published", None, ""),
            "group": TOPICS,
        }
        yield from _published(words.published[name], words, published, name)
        key = bank_key(NO_BANK, "calibrated", None, "")
        yield from _difference_rows(words.of_classes[name], words, settings, key, name)
        of_texts = words.of_texts[name]
        yield from retrieval_rows(of_texts, words.classes, draws, key, name)
        yield from variance_rows(of_texts, draws, key, name)


def similarity_records(similarity: Square, classes: Classes, key: Key) -> Iterator[dict[str, Any]]:
    """List similarities of classes with the columns of `SIMILARITIES`."""
    for first, some in zip(classes.names, similarity.tolist(), strict=True):
        for second, value in zip(classes.names, some, strict=True):
            yield {**key, "first": first, "second": second, "similarity": value}


def lexical_records(words: Baselines) -> Iterator[dict[str, Any]]:
    """List all baselines with the columns of `SIMILARITIES`."""
    for mode, similarities in (("published", words.published), ("calibrated", words.of_classes)):
        for name, similarity in similarities.items():
            key = bank_key(NO_BANK, mode, None, name)
            yield from similarity_records(similarity, words.classes, key)


def published_similarity(values: Num[np.ndarray, "texts features"], words: Baselines) -> Square:
    """Cosines of class means of all texts: the study's heat map."""
    classes = words.classes
    return cosines(class_gram(gram_matrix(values[classes.rows]), classes.classes))


def calibrated_similarity(values: Num[np.ndarray, "texts features"], words: Baselines) -> Square:
    """Cosines of class means of texts that have no pair in common."""
    return class_similarity(gram_matrix(values[words.classes.rows]), words)


def class_similarity(
    gram: Float[np.ndarray, "texts texts"], words: Baselines
) -> Float[np.ndarray, "classes classes"]:
    """Cosines of class means of texts `apart`, from inner products of all matched texts."""
    chosen = words.apart
    return cosines(class_gram(gram[np.ix_(chosen, chosen)], words.classes.classes[chosen]))


def _published(
    similarity: Square, words: Baselines, group: Key, control: str = NONE
) -> Iterator[dict[str, Any]]:
    found = published_geometry(similarity, words.groupings[TOPICS])
    yield row(group, "within", found.within, n=found.n_within, control=control)
    yield row(group, "across", found.across, n=found.n_across, control=control)
    n = found.n_within + found.n_across
    p_value = None if np.isnan(found.p_value) else found.p_value
    yield row(group, "t", found.t, n=n, control=control, p_value=p_value)
    forms = [name.split(": ", 1)[1] for name in words.classes.names]
    topics = words.groupings[TOPICS]
    same_form = [
        float(similarity[one, two])
        for one in range(len(forms))
        for two in range(one)
        if forms[one] == forms[two] and topics[one] != topics[two]
    ]
    mean = float(np.mean(same_form)) if same_form else None
    yield row(group, "same_form_across", mean, n=len(same_form), control=control)


def _difference_rows(
    similarity: Square,
    words: Baselines,
    settings: SpecialistsCalibrated,
    key: Key,
    control: str = NONE,
) -> Iterator[dict[str, Any]]:
    """How much more alike classes of one topic are, by topics and by subjects.

    A baseline has its p-value, but no permutations of its own in the table.
    """
    for name, groups in words.groupings.items():
        group = {"part": "geometry", **key, "group": name}
        generator = numpy_generator(settings.seed, "specialists", "difference", name)
        found = group_difference(similarity, groups, settings.permutations, generator)
        n = len(groups)
        yield row(group, "within", found.within, n=n, control=control)
        yield row(group, "across", found.across, n=n, control=control)
        yield row(
            group, "difference", found.difference, n=n, control=control, p_value=found.p_value
        )
        if control == NONE:
            yield _null(group, "difference", found.low, found.high, n)


def _beyond_rows(
    similarity: Square, words: Baselines, settings: SpecialistsCalibrated, key: Key
) -> Iterator[dict[str, Any]]:
    """What words and lengths leave of it, and how far similarity follows each of them."""
    given = words.given(words.of_classes)
    for name, groups in words.groupings.items():
        group = {"part": "geometry", **key, "group": name}
        generator = numpy_generator(settings.seed, "specialists", "beyond", name)
        n = len(groups)
        same = (groups[:, None] == groups).astype(np.float64)
        try:
            found = adjusted_difference(similarity, groups, given, settings.permutations, generator)
        except SaeflowError:
            # With few classes, which are of one topic follows from five similarities by itself.
            for metric in ("explained_by_words", "difference_beyond_words", "mantel_beyond_words"):
                yield row(group, metric, None, n=n)
            continue
        yield row(group, "explained_by_words", found.explained, n=n)
        yield row(group, "difference_beyond_words", found.coefficient, n=n, p_value=found.p_value)
        yield _null(group, "difference_beyond_words", found.low, found.high, n)
        partial = mantel(similarity, same, settings.permutations, generator, given)
        yield _mantel_row(group, "mantel_beyond_words", partial.value, partial.p_value, n)
        yield _null(group, "mantel_beyond_words", partial.low, partial.high, n)
    for name in sorted(words.of_classes):
        generator = numpy_generator(settings.seed, "specialists", "mantel", name)
        alike = mantel(similarity, words.of_classes[name], settings.permutations, generator)
        group = {"part": "geometry", **key, "group": name}
        yield _mantel_row(group, "mantel", alike.value, alike.p_value, len(similarity))
        yield _null(group, "mantel", alike.low, alike.high, len(similarity))


def _null(group: Key, metric: str, low: float, high: float, n: int) -> dict[str, Any]:
    """What permuted classes give, 0 on average."""
    return row(group, metric, 0.0, n=n, ends=(low, high), interval=PERMUTED, control=RELABELED)


def _mantel_row(group: Key, metric: str, value: float, p_value: float, n: int) -> dict[str, Any]:
    tested = None if np.isnan(p_value) else p_value
    return row(group, metric, value, n=n, p_value=tested)


def _pairs_of(
    labels: Num[np.ndarray, " texts"], own: Bool[np.ndarray, " texts"]
) -> Bool[np.ndarray, "texts texts"]:
    """Which two different texts of a topic have one label."""
    same: Bool[np.ndarray, "texts texts"] = labels[:, None] == labels
    same = same & own[:, None] & own
    np.fill_diagonal(same, False)
    return same
