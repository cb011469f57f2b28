"""What is drawn at random of the texts: once for all blocks and poolings, so that all see the same.

Drawing takes longer than looking at the features of a block does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.seeds import derive_seed, numpy_generator
from saeflow.stats.selectivity_null import Relabelings, class_relabelings, relabelings
from saeflow.studies.specialists.texts import (
    Classes,
    StudyTexts,
    form_classes,
    halves_of,
    study_sets,
)


class DrawnClasses(NamedTuple):
    """Classes of one set of texts, with their halves and what they could have been.

    Attributes
    ----------
    classes : Classes
        Of the set.
    splits : numpy.ndarray of bool, shape (splits, texts)
        Half A of each split.
    designs : list of Relabelings
        One for each class.
    """

    classes: Classes
    splits: Bool[np.ndarray, "splits texts"]
    designs: list[Relabelings]


class SizedClasses(NamedTuple):
    """Classes of one set of texts, with choices of a few pairs.

    Attributes
    ----------
    classes : Classes
        Of the set.
    size : int
        Pairs of each topic.
    splits : numpy.ndarray of bool, shape (splits, texts)
        Texts of the pairs chosen.
    """

    classes: Classes
    size: int
    splits: Bool[np.ndarray, "splits texts"]


class Draws(NamedTuple):
    """Everything that is drawn of the texts for the search of specialists.

    Attributes
    ----------
    tested : list of DrawnClasses
        Classes told from other subjects, and from the other forms of their topic; with
        `SpecialistsCalibrated.permutations`.
    studied : list of DrawnClasses
        Classes as the study compares them; with `SpecialistsCalibrated.relabelings`.
    sized : list of SizedClasses
        Those told from other subjects, by size; sizes that leave a topic no pair to report on are left
        out.
    """

    tested: list[DrawnClasses]
    studied: list[DrawnClasses]
    sized: list[SizedClasses]


def draw(texts: StudyTexts, settings: SpecialistsCalibrated) -> Draws:
    """Draw halves, relabelings and choices of pairs.

    700 texts and 1,000 permutations take about 1 s, and 10 MB.

    Parameters
    ----------
    texts : StudyTexts
        The texts.
    settings : SpecialistsCalibrated
        Numbers and seed.
    """
    by_subject = study_sets(texts, by_subject=True)
    tested = [
        DrawnClasses(
            classes,
            halves_of(texts, classes, seed=settings.seed, splits=settings.splits),
            class_relabelings(
                classes.classes,
                classes.clusters,
                classes.groups,
                permutations=settings.permutations,
                seed=derive_seed(settings.seed, "specialists", classes.name, classes.names[0]),
            ),
        )
        for classes in [*by_subject, *form_classes(texts)]
    ]
    studied = [
        DrawnClasses(
            classes,
            halves_of(texts, classes, seed=settings.seed, splits=settings.splits),
            [
                relabelings(
                    *classes.masks(number),
                    classes.clusters,
                    settings.relabelings,
                    numpy_generator(
                        settings.seed, "specialists", "relabelled", classes.name, number
                    ),
                )
                for number in range(len(classes.names))
            ],
        )
        for classes in study_sets(texts)
    ]
    sized = []
    for classes in by_subject:
        for size in settings.sizes:
            splits = some_clusters(classes, size, settings.splits, settings.seed)
            if splits is not None:
                sized.append(SizedClasses(classes, size, splits))
    return Draws(tested, studied, sized)


def some_clusters(
    classes: Classes, size: int, splits: int, seed: int
) -> Bool[np.ndarray, "splits texts"] | None:
    """Texts of so many clusters of every set of forms; None where one has no more than that.

    Clusters of one topic have the same classes, so that each class gets as many texts.
    """
    kinds: dict[tuple[int, ...], list[int]] = {}
    for cluster in np.unique(classes.clusters):
        kind = tuple(np.unique(classes.classes[classes.clusters == cluster]).tolist())
        kinds.setdefault(kind, []).append(int(cluster))
    if any(len(some) <= size for some in kinds.values()):
        return None
    found = np.zeros((splits, len(classes.clusters)), bool)
    for split in range(splits):
        generator = numpy_generator(seed, "specialists", "sizes", classes.name, size, split)
        chosen = [generator.permutation(some)[:size] for some in kinds.values()]
        found[split] = np.isin(classes.clusters, np.concatenate(chosen))
    return found
