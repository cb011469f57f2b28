"""Texts of the study as a table, and their classes in numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int

from saeflow.artifacts.specialists import SPECIALIST_TEXTS
from saeflow.datasets.matched.contrast import (
    ContrastSet,
    category_halves,
    category_sets,
    contrast_sets,
    pair_halves,
    subject_of,
)
from saeflow.datasets.matched.published import CategoryText, MatchedText
from saeflow.errors import SaeflowError

PAIRS, FORMS, CATEGORIES = "pairs", "forms", "categories"
"""Sets of classes: of topic and form, told from other topics; the same, told from the other forms of
their topic, as only a feature of the form can; and plain categories."""
ALL = "all"
_FIELDS = ("topic", "form", "pair", "meaning", "expected")


@dataclass(frozen=True)
class StudyTexts:
    """Texts of the study; all rows of a matrix of features are in this order.

    Attributes
    ----------
    pairs : tuple of MatchedText
        Texts 0 and on.
    categories : tuple of CategoryText
        Those after them; may be none.
    """

    pairs: tuple[MatchedText, ...]
    categories: tuple[CategoryText, ...] = ()

    @property
    def contents(self) -> list[str]:
        """The texts themselves, in order."""
        return [row.text for row in self.pairs] + [row.text for row in self.categories]


@dataclass(frozen=True)
class Classes:
    """Classes of one set of texts, in numbers.

    Attributes
    ----------
    name : str
        `PAIRS`, `FORMS` or `CATEGORIES`.
    rows : slice or numpy.ndarray of int64, shape (texts,)
        Rows of the set among all texts.
    names : tuple of str
        By class: topic and form, or category.
    classes, groups, clusters : numpy.ndarray of int64, shape (texts,)
        Class of each text; what its contrast leaves out, such as other forms of its topic; and its
        pair, numbered over all topics.
    sets : tuple of ContrastSet
        By class: what the study compares.
    """

    name: str
    rows: slice | Int[np.ndarray, " texts"]
    names: tuple[str, ...]
    classes: Int[np.ndarray, " texts"]
    groups: Int[np.ndarray, " texts"]
    clusters: Int[np.ndarray, " texts"]
    sets: tuple[ContrastSet, ...]

    @property
    def group_of(self) -> Int[np.ndarray, " classes"]:
        """Group of each class."""
        found: Int[np.ndarray, " classes"] = self.groups[
            np.unique(self.classes, return_index=True)[1]
        ]
        return found

    def masks(self, each: int) -> tuple[Bool[np.ndarray, " texts"], Bool[np.ndarray, " texts"]]:
        """Which texts are inside a class, and in its contrast."""
        inside, outside = np.zeros((2, len(self.classes)), bool)
        inside[self.sets[each].inside] = True
        outside[self.sets[each].contrast] = True
        return inside, outside


def texts_table(texts: StudyTexts) -> pa.Table:
    """Return the texts as a table with the columns of `SPECIALIST_TEXTS`."""
    rows = [
        {"set": PAIRS, "content": each.text, "category": "", **_fields(each)}
        for each in texts.pairs
    ]
    counted: dict[str, int] = {}
    for text in texts.categories:
        number = counted.setdefault(text.category, 0)
        counted[text.category] += 1
        blank = _fields(MatchedText(text.text, "", "", number))
        rows.append({"set": CATEGORIES, "content": text.text, "category": text.category, **blank})
    numbered = [{"text": number, **row} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, SPECIALIST_TEXTS.schema())


def read_texts(table: pa.Table) -> StudyTexts:
    """Texts of a table with the columns of `SPECIALIST_TEXTS`.

    Raises
    ------
    SaeflowError
        If they are not numbered from 0, pairs first, or there are no pairs.
    """
    rows = sorted(table.to_pylist(), key=lambda row: int(row["text"]))
    pairs = tuple(
        MatchedText(
            *(row[name] for name in ("content", "topic", "form", "pair", "meaning", "expected"))
        )
        for row in rows
        if row["set"] == PAIRS
    )
    categories = tuple(
        CategoryText(row["content"], row["category"]) for row in rows if row["set"] == CATEGORIES
    )
    numbers = [row["text"] for row in rows]
    order = [row["set"] for row in rows]
    if numbers != list(range(len(rows))) or order != [PAIRS] * len(pairs) + [CATEGORIES] * len(
        categories
    ):
        raise SaeflowError(
            f"The {len(rows)} texts of the study are out of order; expected numbers from 0 on, those of "
            "pairs before those of categories."
        )
    if not pairs:
        raise SaeflowError("The study has no matched pairs; expected some of two topics at least.")
    return StudyTexts(pairs, categories)


def pair_classes(texts: StudyTexts, *, by_subject: bool = False) -> Classes:
    """Classes of topic and form.

    Parameters
    ----------
    texts : StudyTexts
        The texts.
    by_subject : bool
        Whether the topics of maths count as one, so that neither is in the other's contrast. Where
        there is nothing but maths they are two all the same.

    Raises
    ------
    SaeflowError
        If a class has nothing to be told from.
    """
    rows = texts.pairs
    by_subject = by_subject and len({subject_of(row.topic) for row in rows}) > 1
    sets = contrast_sets(rows, by_subject=by_subject)
    topics = [subject_of(row.topic) if by_subject else row.topic for row in rows]
    return Classes(
        PAIRS,
        slice(0, len(rows)),
        tuple(class_name(*each) for each in sets),
        numbered([(row.topic, row.form) for row in rows]),
        numbered(topics),
        numbered([row.content for row in rows]),
        tuple(sets.values()),
    )


def form_classes(texts: StudyTexts) -> list[Classes]:
    """Classes of each topic by itself, told from the other forms of the same pairs."""
    every = pair_classes(texts)
    found = []
    for group in range(int(every.groups.max()) + 1):
        rows = np.flatnonzero(every.groups == group)
        classes = numbered(every.classes[rows].tolist())
        names = [every.names[each] for each in dict.fromkeys(every.classes[rows].tolist())]
        sets = tuple(
            ContrastSet(np.flatnonzero(classes == each), np.flatnonzero(classes != each))
            for each in range(len(names))
        )
        found.append(
            Classes(FORMS, rows, tuple(names), classes, classes, every.clusters[rows], sets)
        )
    return found


def category_classes(texts: StudyTexts) -> Classes | None:
    """Categories as classes, each text a cluster by itself; None where there are none."""
    rows = texts.categories
    if not rows:
        return None
    sets = category_sets(rows)
    classes = numbered([row.category for row in rows])
    start = len(texts.pairs)
    return Classes(
        CATEGORIES,
        slice(start, start + len(rows)),
        tuple(sets),
        classes,
        classes,
        np.arange(len(rows)),
        tuple(sets.values()),
    )


def study_sets(texts: StudyTexts, *, by_subject: bool = False) -> list[Classes]:
    """Classes of topic and form, and categories where there are any."""
    categories = category_classes(texts)
    pairs = pair_classes(texts, by_subject=by_subject)
    return [pairs] if categories is None else [pairs, categories]


def halves_of(
    texts: StudyTexts, classes: Classes, *, seed: int, splits: int
) -> Bool[np.ndarray, "splits texts"]:
    """Half A of each split of one set of texts; no pair is in both halves."""
    if classes.name == CATEGORIES:
        return category_halves(texts.categories, seed=seed, repeats=splits)
    found = pair_halves(texts.pairs, seed=seed, repeats=splits)
    return found[:, classes.rows]


def class_name(topic: str, form: str) -> str:
    """Name of a class in tables."""
    return f"{topic}: {form}"


def numbered(labels: Sequence[Hashable]) -> Int[np.ndarray, " texts"]:
    """Number labels from 0 in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)


def _fields(row: MatchedText) -> dict[str, object]:
    return {name: getattr(row, name) for name in _FIELDS}
