"""Which specialists are tested on behaviour and by ablation, and on which texts and tasks.

Features are chosen on half A of the first split, and read on texts of its half B and on tasks, neither
of which chose anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from saeflow.config.specialists import SpecialistsCalibrated
from saeflow.datasets.texts.text import Text
from saeflow.seeds import numpy_generator
from saeflow.studies.rows import CALIBRATED, PUBLISHED
from saeflow.studies.specialists.behaviour import SpecialistFeature
from saeflow.studies.specialists.calibrated import BEST
from saeflow.studies.specialists.cloze import content_of
from saeflow.studies.specialists.published import SPECIALIST
from saeflow.studies.specialists.texts import PAIRS, StudyTexts, class_name, halves_of, pair_classes

FIRST_SPLIT = 1


class Chosen(NamedTuple):
    """A specialist, and how selective it is.

    Attributes
    ----------
    specialist : SpecialistFeature
        The feature, and the class that it was chosen for.
    auroc : float
        Area under the curve on half B, which did not choose it.
    sign : int
        -1 where it stands for the class by what is below 0, as features of signed dictionaries may.
    """

    specialist: SpecialistFeature
    auroc: float
    sign: int = 1

    @property
    def name(self) -> str:
        """Class that it was chosen for."""
        return self.specialist.name


def choose_specialists(
    records: Iterable[Mapping[str, Any]], texts: StudyTexts, pooling: str
) -> list[Chosen]:
    """Best feature of each topic at each block: that of the form which half A tells apart best.

    Parameters
    ----------
    records : iterable of mapping
        Columns of `saeflow.artifacts.specialists.SPECIALIST_FEATURES`.
    texts : StudyTexts
        What they were chosen on.
    pooling : str
        By which pooling.

    Returns
    -------
    list of Chosen
        Block by block, topics in the order of the texts.
    """
    classes = {class_name(each.topic, each.form): (each.topic, each.form) for each in texts.pairs}
    best: dict[tuple[int, str], Mapping[str, Any]] = {}
    for each in records:
        wanted = (CALIBRATED, pooling, PAIRS, BEST, FIRST_SPLIT)
        found = tuple(each[name] for name in ("mode", "pooling", "set", "criterion", "split"))
        if found != wanted:
            continue
        place = each["layer"], classes[each["class"]][0]
        if place not in best or each["score"] > best[place]["score"]:
            best[place] = each
    topics = list(dict.fromkeys(each.topic for each in texts.pairs))
    order = sorted(best, key=lambda place: (place[0], topics.index(place[1])))
    return [
        Chosen(
            SpecialistFeature(each["layer"], each["feature"], *classes[each["class"]]),
            float("nan") if each["auroc"] is None else each["auroc"],
            each["sign"],
        )
        for each in (best[place] for place in order)
    ]


def published_specialists(
    records: Iterable[Mapping[str, Any]], pooling: str
) -> list[tuple[str, int, int]]:
    """Class, block and feature of what the study's rule calls a specialist of a topic and form."""
    wanted = (PUBLISHED, pooling, PAIRS, SPECIALIST)
    return [
        (each["class"], each["layer"], each["feature"])
        for each in records
        if tuple(each[name] for name in ("mode", "pooling", "set", "criterion")) == wanted
        and each["found"]
    ]


def half_b(texts: StudyTexts, settings: SpecialistsCalibrated) -> Int[np.ndarray, " chosen"]:
    """Matched texts that chose no specialist: those of half B of the first split."""
    halves = halves_of(texts, pair_classes(texts), seed=settings.seed, splits=settings.splits)
    return np.flatnonzero(~halves[FIRST_SPLIT - 1])


def texts_to_read(texts: StudyTexts, settings: SpecialistsCalibrated) -> Int[np.ndarray, " chosen"]:
    """Texts of half B: so many pairs of each topic, or all that there are, each in one of its forms.

    Forms take turns. More forms of one pair would be no more examples: pairs are what is resampled.
    """
    found: list[int] = []
    by_topic: dict[str, dict[int, list[int]]] = {}
    for number in half_b(texts, settings).tolist():
        row = texts.pairs[number]
        by_topic.setdefault(row.topic, {}).setdefault(row.pair, []).append(number)
    for pairs in by_topic.values():
        read = list(pairs.values())[: settings.ablation.pairs]
        found += [forms[place % len(forms)] for place, forms in enumerate(read)]
    return np.array(sorted(found), np.int64)


def items_to_read(items: Sequence[Text], number: int, seed: int) -> list[Text]:
    """Draw whole contents until so many items of each part and group are there, in their order."""
    kept: set[tuple[str, str, int]] = set()
    for place in dict.fromkeys((item.part, item.group) for item in items):
        own = [item for item in items if (item.part, item.group) == place]
        contents = list(dict.fromkeys(map(content_of, own)))
        sizes = {content: sum(content_of(item) == content for item in own) for content in contents}
        generator = numpy_generator(seed, "specialists", "items", *place)
        left = number
        for drawn in generator.permutation(len(contents)).tolist():
            if left <= 0:
                break
            kept.add(contents[drawn])
            left -= sizes[contents[drawn]]
    return [item for item in items if content_of(item) in kept]
