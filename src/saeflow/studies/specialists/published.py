"""Specialists as the study finds them, bug for bug, and how many its rule finds by chance.

The same texts select and score a feature (methods/3, section 4.4). What that makes of classes that
mean nothing stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from saeflow.config.specialists import DiscoverySettings
from saeflow.stats.selectivity import published_leaders, published_specialist
from saeflow.studies.rows import row
from saeflow.studies.specialists.draws import Draws
from saeflow.studies.specialists.rows import RELABELED, Key, record, spread_row
from saeflow.studies.specialists.texts import ALL, Classes, StudyTexts, study_sets

SPECIALIST = "specialist"


def published_records(
    values: Num[np.ndarray, "texts features"],
    texts: StudyTexts,
    settings: DiscoverySettings,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """The study's four criteria of one block and pooling (methods/3, sections 4.4 and 4.5 A).

    Strongest, most frequent and most selective feature are of a whole set of texts; specialists are of
    each class, told from the other categories, or from the other topics.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Features of all texts, as `StudyTexts` orders them. Only values above 0 count, as published.
    texts : StudyTexts
        The texts.
    settings : DiscoverySettings
        Threshold and number of candidates.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALIST_FEATURES`.
    """
    for classes in study_sets(texts):
        part = values[classes.rows]
        shared = {"set": classes.name, "split": 0}
        leaders = published_leaders(part, settings.threshold)
        for criterion, feature, score in (
            ("strongest", leaders.strongest, leaders.maximum),
            ("frequent", leaders.frequent, leaders.n_active),
            ("selective", leaders.selective, leaders.n_above),
        ):
            yield record(
                key,
                **shared,
                **{"class": ALL},
                criterion=criterion,
                feature=feature,
                sign=1,
                score=float(score),
                n_inside=len(part),
                n_outside=0,
                found=feature >= 0,
            )
        for number, name in enumerate(classes.names):
            inside, outside = classes.masks(number)
            found = published_specialist(
                part, inside, outside, threshold=settings.threshold, candidates=settings.candidates
            )
            yield record(
                key,
                **shared,
                **{"class": name},
                criterion=SPECIALIST,
                feature=found.feature,
                sign=1,
                score=float(found.score),
                inside=found.inside,
                outside=found.outside,
                n_inside=int(inside.sum()),
                n_outside=int(outside.sum()),
                found=found.found,
            )


def published_rows(records: Iterable[dict[str, Any]], key: Key) -> Iterator[dict[str, Any]]:
    """How many classes have a specialist, and their mean score, of one block and pooling.

    Parameters
    ----------
    records : iterable of dict
        As `published_records` gives them for this key.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`.
    """
    by_set: dict[str, list[dict[str, Any]]] = {}
    for each in records:
        if each["criterion"] == SPECIALIST:
            by_set.setdefault(each["set"], []).append(each)
    for name, some in by_set.items():
        group = {"part": "discovery", **key, "group": name}
        yield row(group, "n_specialists", sum(each["found"] for each in some), n=len(some))
        scores = [each["score"] for each in some]
        yield row(group, "mean_score", float(np.mean(scores)), n=len(some))


def chance_rows(
    values: Num[np.ndarray, "texts features"],
    draws: Draws,
    settings: DiscoverySettings,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """What the study's rule finds for classes of as many texts, drawn from as many pairs.

    Parameters
    ----------
    values, settings, key
        As of `published_records`.
    draws : Draws
        Classes drawn anew for each class; with none of them nothing is yielded.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`, control ``relabeled``: means over
        draws, with the range over draws.
    """
    for classes, _, designs in draws.studied:
        part = values[classes.rows]
        n_drawn = designs[0].drawn_inside.shape[1]
        if not n_drawn:
            return
        found, scores = np.zeros((2, len(designs), n_drawn))
        for number, design in enumerate(designs):
            for draw in range(n_drawn):
                each = published_specialist(
                    part,
                    design.drawn_inside[:, draw],
                    design.drawn_outside[:, draw],
                    threshold=settings.threshold,
                    candidates=settings.candidates,
                )
                found[number, draw], scores[number, draw] = each.found, each.score
        group = {"part": "discovery", **key, "group": classes.name}
        yield spread_row(group, "n_specialists", found.sum(0), RELABELED)
        yield spread_row(group, "mean_score", scores.mean(0), RELABELED)


def sparsity_rows(
    values: Num[np.ndarray, "texts features"], texts: StudyTexts, key: Key
) -> Iterator[dict[str, Any]]:
    """Mean number of features that are not 0, by class (methods/3, section 4.6).

    Parameters
    ----------
    values, texts, key
        As of `published_records`.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`.
    """
    for classes in study_sets(texts):
        for name, mean in zip(classes.names, class_l0(values, classes), strict=True):
            group = {"part": "sparsity", **key, "group": name}
            yield row(
                group, "l0", mean, n=int((classes.classes == classes.names.index(name)).sum())
            )


def class_l0(
    values: Num[np.ndarray, "texts features"], classes: Classes
) -> Float[np.ndarray, " classes"]:
    """Mean number of features of a class's texts that are not 0."""
    active = (values[classes.rows] != 0).sum(1)
    return np.array(
        [active[classes.classes == each].mean() for each in range(len(classes.names))], np.float64
    )
