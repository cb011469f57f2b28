"""What the words of the texts give by themselves, once for all banks and models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.geometry import Square
from saeflow.stats.lexical import TERMS, lexical_similarities
from saeflow.stats.pair_geometry import disjoint_pairs
from saeflow.studies.specialists.texts import Classes, StudyTexts, numbered, pair_classes

COSINES = tuple(TERMS)
"""Baselines that are cosines of bags: words, trigrams, characters."""
AHEAD_OF = ("words", "trigrams")
"""Baselines that both put a text nearer than the partner, where `against_words` compares."""


@dataclass(frozen=True)
class Baselines:
    """Matched texts, their classes, and how alike they are without a model.

    Attributes
    ----------
    classes : Classes
        Of topic and form; groups are topics.
    groupings : dict of str to numpy.ndarray of int64, shape (classes,)
        Group of each class: by ``topics``, and by ``subjects``, where the topics of maths are one; only
        the former where that leaves one subject or changes nothing.
    apart : numpy.ndarray of int64, shape (chosen,)
        Texts of which no two classes have a pair in common (`disjoint_pairs`).
    published : dict of str to numpy.ndarray of float, shape (classes, classes)
        Similarities of classes in words and lengths, of all texts.
    of_classes : dict of str to numpy.ndarray of float, shape (classes, classes)
        The same of the texts `apart`.
    of_texts : dict of str to numpy.ndarray of float, shape (texts, texts)
        The same of texts.
    """

    classes: Classes
    groupings: dict[str, Int[np.ndarray, " classes"]]
    apart: Int[np.ndarray, " chosen"]
    published: dict[str, Float[np.ndarray, "classes classes"]]
    of_classes: dict[str, Float[np.ndarray, "classes classes"]]
    of_texts: dict[str, Float[np.ndarray, "texts texts"]]

    @cached_property
    def ahead_in_words(self) -> Int[np.ndarray, "3 compared"]:
        """Text, its partner in another form, and a text of that form that words put as near or nearer.

        Words as well as trigrams (`AHEAD_OF`).
        """
        classes, found = self.classes, []
        near = [self.of_texts[name] for name in AHEAD_OF]
        every = np.arange(len(classes.classes))
        for text in every:
            same = classes.clusters == classes.clusters[text]
            own_topic = classes.groups == classes.groups[text]
            for partner in np.flatnonzero(same & own_topic & (every != text)):
                others = (classes.classes == classes.classes[partner]) & ~same
                for alike in near:
                    others &= alike[text] >= alike[text, partner] - 1e-12
                found += [(text, partner, other) for other in np.flatnonzero(others)]
        return np.array(found, np.int64).reshape(-1, 3).T

    def given(self, similarities: dict[str, Square]) -> list[Square]:
        """Baselines that are held fixed, in a fixed order."""
        return [similarities[name] for name in sorted(similarities)]


def lexical_baselines(texts: StudyTexts, seed: int) -> Baselines:
    """Compare texts and classes by words, characters and lengths.

    700 texts take about 1 s, and 25 MB.

    Parameters
    ----------
    texts : StudyTexts
        The texts.
    seed : int
        Of the choice of texts that have no pair in common.

    Raises
    ------
    SaeflowError
        If a topic has fewer pairs than forms, so that its forms cannot be held apart.
    """
    classes = pair_classes(texts)
    contents = [row.text for row in texts.pairs]
    apart = disjoint_pairs(
        classes.classes,
        classes.clusters,
        classes.groups,
        numpy_generator(seed, "specialists", "apart"),
    )
    without = np.setdiff1d(classes.classes, classes.classes[apart])
    if len(without):
        raise SaeflowError(
            f"No pair is left for the class {classes.names[without[0]]!r}; expected as many pairs of its "
            "topic as it has forms, at least."
        )
    subjects = pair_classes(texts, by_subject=True).group_of
    groupings = {"topics": classes.group_of}
    if not np.array_equal(numbered(subjects.tolist()), classes.group_of):
        groupings["subjects"] = subjects
    return Baselines(
        classes,
        groupings,
        apart,
        lexical_similarities(contents, classes.classes),
        lexical_similarities([contents[each] for each in apart], classes.classes[apart]),
        lexical_similarities(contents),
    )
