"""Which features two forms of a topic share: the study's Jaccard index, and beside its ceiling."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Num

from saeflow.config.specialists import DiscoverySettings, SpecialistsCalibrated
from saeflow.seeds import numpy_generator
from saeflow.stats.set_overlap import (
    jaccard,
    overlap_beside_ceiling,
    top_by_mean,
    top_specialists,
)
from saeflow.studies.rows import NONE, row
from saeflow.studies.specialists.rows import CHANCE, Key
from saeflow.studies.specialists.texts import ALL, Classes, StudyTexts, pair_classes

CEILING = "split_half_ceiling"
Found = dict[tuple[int, int], float]
"""By two classes of one topic."""


def published_overlap_rows(
    values: Num[np.ndarray, "texts features"],
    texts: StudyTexts,
    settings: DiscoverySettings,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """Jaccard index of the top features of two forms, by mean and by score (methods/3, 4.5 B).

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Features of all texts, as `StudyTexts` orders them.
    texts : StudyTexts
        The texts.
    settings : DiscoverySettings
        Lengths of the lists, and threshold.
    key : mapping
        Values of the columns dictionary, seed, mode, layer and pooling.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: of each pair of forms, of each topic and
        of all, the mean over pairs.
    """
    classes = pair_classes(texts)
    part = values[classes.rows]
    means, scores = [], []
    for number in range(len(classes.names)):
        inside, outside = classes.masks(number)
        means.append(top_by_mean(part[inside].mean(0, dtype=np.float64), settings.top_means))
        scores.append(
            top_specialists(
                part, inside, outside, threshold=settings.threshold, top=settings.top_scores
            )
        )
    for metric, listed in (("jaccard_top_means", means), ("jaccard_top_scores", scores)):
        found = {pair: jaccard(*(listed[each] for each in pair)) for pair in within_topic(classes)}
        yield from _averaged(found, classes, texts, metric, key)


def calibrated_overlap_rows(
    values: Num[np.ndarray, "texts features"],
    texts: StudyTexts,
    published: DiscoverySettings,
    settings: SpecialistsCalibrated,
    key: Key,
) -> Iterator[dict[str, Any]]:
    """The same by halves of the pairs, beside what two halves of one form share, and random sets.

    Parameters
    ----------
    values, texts, key
        As of `published_overlap_rows`.
    published : DiscoverySettings
        Length of the lists.
    settings : SpecialistsCalibrated
        Splits and seed.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.specialists.SPECIALISTS`: ``jaccard_halves`` with the controls
        ``split_half_ceiling`` and ``chance``, and ``jaccard_relative``, its share of the ceiling.
    """
    classes = pair_classes(texts)
    part = values[classes.rows]
    between: Found = {}
    ceiling: Found = {}
    floor: Found = {}
    relative: Found = {}
    for pair in within_topic(classes):
        one, two = (classes.classes == each for each in pair)
        found = overlap_beside_ceiling(
            part[one],
            part[two],
            classes.clusters[one],
            classes.clusters[two],
            numpy_generator(settings.seed, "specialists", "overlap", *pair),
            top=published.top_means,
            splits=settings.overlap_splits,
        )
        between[pair], ceiling[pair] = found.between, found.ceiling
        floor[pair], relative[pair] = found.floor, found.relative
    for metric, some, control in (
        ("jaccard_halves", between, NONE),
        ("jaccard_halves", ceiling, CEILING),
        ("jaccard_halves", floor, CHANCE),
        ("jaccard_relative", relative, NONE),
    ):
        yield from _averaged(some, classes, texts, metric, key, control)


def within_topic(classes: Classes) -> list[tuple[int, int]]:
    """Pairs of classes of one topic: 19 of the published texts."""
    group_of = classes.group_of
    numbers = range(len(classes.names))
    return [pair for pair in combinations(numbers, 2) if group_of[pair[0]] == group_of[pair[1]]]


def _averaged(
    found: Found,
    classes: Classes,
    texts: StudyTexts,
    metric: str,
    key: Key,
    control: str = NONE,
) -> Iterator[dict[str, Any]]:
    topic_of = {
        int(group): row_.topic for group, row_ in zip(classes.groups, texts.pairs, strict=True)
    }
    groups: dict[str, list[float]] = {ALL: []}
    for pair, value in found.items():
        first, second = (classes.names[each] for each in pair)
        topic = topic_of[int(classes.group_of[pair[0]])]
        label = f"{first} ~ {second.removeprefix(f'{topic}: ')}"
        for group in (ALL, topic, label):
            groups.setdefault(group, []).append(value)
    for group, values in groups.items():
        known = [value for value in values if not np.isnan(value)]
        mean = float(np.mean(known)) if known else None
        yield row(
            {"part": "overlap", **key, "group": group}, metric, mean, n=len(known), control=control
        )
