"""What a specialist is compared on: texts inside a class, texts to contrast them with, and halves.

Study 2 contrasts a class with every text of the other topics (methods/3, section 4.5, A): the other
forms of its own topic are on neither side. The published texts give 589 of them for either topic of
maths, 618 for Python and 583 for the others. Discovery and score used the same texts there (section
4.7); with halves one is for choosing and the other for reporting.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int

from saeflow.datasets.matched.published import CategoryText, MatchedText
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator

_SUBJECTS = {"Math_Simple": "Math", "Math_Complex": "Math"}
_Name = TypeVar("_Name", bound=Hashable)


class ContrastSet(NamedTuple):
    """Places of texts in the list they come from, ascending; each distinct text once.

    Attributes
    ----------
    inside : numpy.ndarray of int64, shape (inside,)
        Texts of the class.
    contrast : numpy.ndarray of int64, shape (contrast,)
        Texts that it is told from; none equals one inside.
    """

    inside: Int[np.ndarray, " inside"]
    contrast: Int[np.ndarray, " contrast"]


def subject_of(topic: str) -> str:
    """Topic, or ``Math`` for both topics of maths, which the study counts as different ones."""
    return _SUBJECTS.get(topic, topic)


def contrast_sets(
    rows: Sequence[MatchedText], *, by_subject: bool = False
) -> dict[tuple[str, str], ContrastSet]:
    """Texts inside every class of topic and form, and those of other topics.

    Parameters
    ----------
    rows : sequence of MatchedText
        The texts.
    by_subject : bool
        Whether the topics of maths are left out of each other's contrast. The study keeps them in,
        although they share most of their words.

    Returns
    -------
    dict of (str, str) to ContrastSet
        By topic and form, in order of appearance.

    Raises
    ------
    SaeflowError
        If a class has nothing to be told from.
    """
    classes = [(row.topic, row.form) for row in rows]
    topics = [subject_of(row.topic) if by_subject else row.topic for row in rows]
    return _sets([row.text for row in rows], classes, topics)


def category_sets(rows: Sequence[CategoryText]) -> dict[str, ContrastSet]:
    """Texts inside every category, and those of all others (methods/3, section 4.4).

    Parameters
    ----------
    rows : sequence of CategoryText
        The texts.

    Returns
    -------
    dict of str to ContrastSet
        By category, in order of appearance.

    Raises
    ------
    SaeflowError
        If a category has nothing to be told from.
    """
    categories = [row.category for row in rows]
    return _sets([row.text for row in rows], categories, categories)


def pair_halves(
    rows: Sequence[MatchedText], *, seed: int, repeats: int = 5
) -> Bool[np.ndarray, "repeats texts"]:
    """Split the pairs of every topic into halves A and B, several times.

    All forms of a pair are in the same half. Of an odd number of pairs a coin gives the last one
    to A or to B.

    Parameters
    ----------
    rows : sequence of MatchedText
        The texts, in any order: a pair's half depends on the seed, the repeat and the numbers of
        the pairs of its topic.
    seed : int
        Seed of the splits.
    repeats : int
        How many splits; more only append.

    Returns
    -------
    numpy.ndarray of bool, shape (repeats, texts)
        True in half A, which chooses; False in half B, which reports.

    Raises
    ------
    SaeflowError
        If a topic has fewer than two pairs.
    """
    return _halves([row.topic for row in rows], [row.pair for row in rows], seed, repeats)


def category_halves(
    rows: Sequence[CategoryText], *, seed: int, repeats: int = 5
) -> Bool[np.ndarray, "repeats texts"]:
    """Split the texts of every category into halves A and B, several times.

    Parameters
    ----------
    rows : sequence of CategoryText
        The texts; the order of each category's texts matters.
    seed : int
        Seed of the splits.
    repeats : int
        How many splits; more only append.

    Returns
    -------
    numpy.ndarray of bool, shape (repeats, texts)
        True in half A, which chooses; False in half B, which reports.

    Raises
    ------
    SaeflowError
        If a category has fewer than two texts.
    """
    counted: dict[str, int] = {}
    numbers = []
    for row in rows:
        numbers.append(counted.setdefault(row.category, 0))
        counted[row.category] += 1
    return _halves([row.category for row in rows], numbers, seed, repeats)


def _sets(
    texts: Sequence[str], classes: Sequence[_Name], topics: Sequence[str]
) -> dict[_Name, ContrastSet]:
    codes = np.unique(np.array(texts, dtype=object), return_inverse=True)[1]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(classes))}
    class_of = np.array([numbers[name] for name in classes])
    topic_of = np.unique(np.array(topics, dtype=object), return_inverse=True)[1]
    found = {}
    for name, number in numbers.items():
        own = class_of == number
        inside = _distinct(codes, own)
        others = topic_of != topic_of[own.argmax()]
        contrast = _distinct(codes, others & ~np.isin(codes, codes[inside]))
        if not len(contrast):
            raise SaeflowError(
                f"The class {name!r} has no texts of other topics to be told from; expected at least "
                "one."
            )
        found[name] = ContrastSet(inside, contrast)
    return found


def _distinct(
    codes: Int[np.ndarray, " texts"], wanted: Bool[np.ndarray, " texts"]
) -> Int[np.ndarray, " places"]:
    """Places of the first of equal texts among those wanted."""
    places = np.flatnonzero(wanted)
    return places[np.sort(np.unique(codes[places], return_index=True)[1])]


def _halves(
    strata: Sequence[str], items: Sequence[int], seed: int, repeats: int
) -> Bool[np.ndarray, "repeats texts"]:
    numbers: dict[str, set[int]] = {}
    for stratum, item in zip(strata, items, strict=True):
        numbers.setdefault(stratum, set()).add(item)
    for stratum, found in numbers.items():
        if len(found) < 2:
            raise SaeflowError(
                f"{stratum} has one item, which cannot be split into halves; expected two or more."
            )
    halves = np.zeros((repeats, len(strata)), bool)
    for repeat in range(repeats):
        first = {
            (stratum, item)
            for stratum, found in numbers.items()
            for item in _first_half(sorted(found), seed, repeat, stratum)
        }
        halves[repeat] = [name in first for name in zip(strata, items, strict=True)]
    return halves


def _first_half(items: Sequence[int], seed: int, repeat: int, stratum: str) -> list[int]:
    rng = numpy_generator(seed, "specialists", "halves", repeat, stratum)
    size = (len(items) + int(rng.integers(2))) // 2
    return [items[place] for place in rng.permutation(len(items))[:size]]
