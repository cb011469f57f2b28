"""Form or meaning of single texts: pairs looked up across forms, and shares of variance.

A pair is one content in several forms. Whether a text lies nearest to its own content in another form does
not depend on what topics share (methods/3, section 4.7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.seeds import numpy_generator
from saeflow.stats.geometry import Square
from saeflow.stats.pair_geometry import RetrievalDesign, pair_retrieval, retrieval_design
from saeflow.stats.pair_variance import (
    TERMS,
    VarianceDesign,
    variance_decomposition,
    variance_design,
)
from saeflow.stats.resampling import BOOTSTRAP, sign_flip_p_value
from saeflow.studies.rows import NONE, mean_row, row
from saeflow.studies.specialists.baselines import Baselines
from saeflow.studies.specialists.rows import CHANCE, Key
from saeflow.studies.specialists.texts import ALL, Classes


class PairDraws(NamedTuple):
    """Permutations and resamples of pairs, the same for all matrices of the same texts.

    Attributes
    ----------
    retrieval : dict of str to RetrievalDesign
        By topic, and of all.
    variance : VarianceDesign
        Of all.
    """

    retrieval: dict[str, RetrievalDesign]
    variance: VarianceDesign


def pair_draws(classes: Classes, settings: SpecialistsCalibrated) -> PairDraws:
    """Draw what `retrieval_rows` and `variance_rows` compare with.

    Raises
    ------
    SaeflowError
        If a topic is not a complete table of pairs by forms, of two or more each.
    """
    retrieval = {
        name: retrieval_design(
            classes.classes[own],
            classes.clusters[own],
            settings.permutations,
            numpy_generator(settings.seed, "specialists", "retrieval", name),
        )
        for name, own in by_topic(classes).items()
    }
    variance = variance_design(
        classes.groups,
        classes.classes,
        classes.clusters,
        settings.permutations,
        numpy_generator(settings.seed, "specialists", "variance"),
    )
    return PairDraws(retrieval, variance)


def retrieval_rows(
    similarity: Square, classes: Classes, draws: PairDraws, key: Key, control: str = NONE
) -> Iterator[dict[str, Any]]:
    """Whether the nearest text in another form is of the same pair, over all and by topic."""
    for name, own in by_topic(classes).items():
        found = pair_retrieval(similarity[np.ix_(own, own)], draws.retrieval[name])
        group = {"part": "retrieval", **key, "group": name}
        n = found.n_pairs
        for metric, value, ends, chance, p_value in (
            ("top_1", found.top_1, (found.top_1_low, found.top_1_high), found.top_1_chance, None),
            ("mrr", found.mrr, (found.mrr_low, found.mrr_high), found.mrr_chance, found.p_value),
        ):
            yield row(
                group,
                metric,
                value,
                n=n,
                ends=ends,
                interval=BOOTSTRAP,
                control=control,
                p_value=p_value,
            )
            if control == NONE:
                yield row(group, metric, chance, n=n, control=CHANCE)


def against_words_rows(
    similarity: Square, words: Baselines, settings: SpecialistsCalibrated, key: Key
) -> Iterator[dict[str, Any]]:
    """Whether a text of the same pair is nearer than those that words and trigrams put nearer.

    Taking a regression on words out of similarities instead would take too much: partners are alike in
    words as no other texts are, where a straight line does not hold, and fell below chance.
    """
    classes = words.classes
    shares = against_words(similarity, words)
    for name, own in by_topic(classes).items():
        group = {"part": "retrieval", **key, "group": name}
        generator = numpy_generator(settings.seed, "specialists", "against_words", name)
        clusters = classes.clusters[own].tolist()
        metric = "found_against_words"
        found = mean_row(group, metric, shares[own], clusters, generator)
        tested = sign_flip_p_value(shares[own] - 0.5, clusters, settings.permutations, generator)
        yield {**found, "p_value": tested if found["n"] else None}
        yield row(group, metric, 0.5, n=found["n"], control=CHANCE)


def against_words(similarity: Square, words: Baselines) -> Float[np.ndarray, " texts"]:
    """Share of texts that words put nearer than a text's own pair, and that features put farther.

    Of each other form of a topic those texts are compared that are at least as alike as the partner in
    words as well as in trigrams: whoever goes by words gives 0, who does not know them one half, and
    who knows what is meant gives 1.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (texts, texts)
        Of matched texts.
    words : Baselines
        Their classes and similarities.

    Returns
    -------
    numpy.ndarray of float64, shape (texts,)
        Mean over all compared texts; NaN where words find the partners in every form.
    """
    text, partner, other = words.ahead_in_words
    ahead = np.round(similarity[text, partner] - similarity[text, other], 9)
    beaten = np.bincount(text, (1 + np.sign(ahead)) / 2, len(similarity))
    compared = np.bincount(text, minlength=len(similarity))
    return np.where(compared > 0, beaten / np.maximum(compared, 1), np.nan)


def by_topic(classes: Classes) -> dict[str, Bool[np.ndarray, " texts"]]:
    """Which texts are of each topic; and all."""
    topics = [name.split(": ", 1)[0] for name in classes.names]
    found = {ALL: np.ones(len(classes.classes), bool)}
    for topic in dict.fromkeys(topics):
        members = [number for number, name in enumerate(topics) if name == topic]
        found[topic] = np.isin(classes.classes, members)
    return found


def variance_rows(
    similarity: Square, draws: PairDraws, key: Key, control: str = NONE
) -> Iterator[dict[str, Any]]:
    """Shares of topic, form and pair; of cosines, so that long texts count no more than short ones."""
    found = variance_decomposition(similarity, draws.variance)
    for number, term in enumerate(TERMS):
        group = {"part": "variance", **key, "group": term}
        p_value = found.p_value[number]
        n = len(similarity)
        yield row(
            group,
            "share",
            float(found.share[number]),
            n=n,
            control=control,
            p_value=None if np.isnan(p_value) else float(p_value),
        )
        if control == NONE and term != TERMS[-1]:
            yield row(group, "share", float(found.chance_share[number]), n=n, control=CHANCE)
