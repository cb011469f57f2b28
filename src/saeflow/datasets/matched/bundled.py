"""Our own matched pairs and categories: texts of the mixture that no training step reads.

They have the published shape (methods/3, section 4.2) and sentences of our own, those of
`saeflow.datasets.texts.pairs` and `saeflow.datasets.texts.categories`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import TypeVar

from saeflow.datasets.matched.published import CategoryText, MatchedText
from saeflow.datasets.texts.categories import CATEGORIES
from saeflow.datasets.texts.pairs.draw import TOPICS
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError

_Drawn = TypeVar("_Drawn")
_CALCULATION = re.compile(r"([0-9]+)([-+*/^])([0-9]+)")
_OPERATIONS = {
    "+": ("addition", operator.add),
    "-": ("subtraction", operator.sub),
    "*": ("multiplication", operator.mul),
    "/": ("division", operator.floordiv),  # the mixture divides without remainder
    "^": ("exponents", operator.pow),
}


def bundled_pairs(texts: Sequence[Text], per_topic: int | None = None) -> list[MatchedText]:
    """Held-out pairs of every topic, each in all forms of its topic.

    A pair is left out if one of its texts is also in training, in whatever part, or in a pair before
    it. Calculations (``Math_Simple``) carry their operation and their result; the other topics have
    no meaning in words and nothing to expect. As texts they are new to the model, but most of these
    calculations also occur *inside* drills and problems of the training: what they come to may be
    known by heart.

    Parameters
    ----------
    texts : sequence of Text
        Every text of the mixture, in any order.
    per_topic : int, optional
        The first so many pairs of each topic; all where None. More only append.

    Returns
    -------
    list of MatchedText
        Topic by topic, pair by pair, form by form. A pair keeps its number in the mixture.

    Raises
    ------
    SaeflowError
        If a topic holds fewer pairs, or none.
    """
    seen = _trained_on(texts)
    drawn = {
        (text.group, text.item, text.form): text.text
        for text in texts
        if (text.part, text.split) == ("pairs", HELD_OUT)
    }
    rows: list[MatchedText] = []
    for topic, grammar in TOPICS.items():
        items = sorted({item for group, item, _ in drawn if group == topic})
        forms = [[drawn[topic, item, form] for form in grammar.forms] for item in items]
        pairs = []
        for item, contents in zip(items, forms, strict=True):
            if seen.isdisjoint(contents):
                seen.update(contents)
                pairs.append(_pair(topic, grammar.forms, item, contents))
        rows += [
            row for pair in _first(pairs, per_topic, "per_topic", "pairs", topic) for row in pair
        ]
    return rows


def bundled_categories(
    texts: Sequence[Text], per_category: int | None = None
) -> list[CategoryText]:
    """Held-out texts of every category.

    Parameters
    ----------
    texts : sequence of Text
        Every text of the mixture, in any order.
    per_category : int, optional
        The first so many texts of each category; all where None. More only append.

    Returns
    -------
    list of CategoryText
        Category by category; none is also in training or among the held-out pairs.

    Raises
    ------
    SaeflowError
        If a category holds fewer texts, or none.
    """
    seen = _trained_on(texts) | {text.text for text in texts if text.part == "pairs"}
    drawn = sorted(
        (text for text in texts if (text.part, text.split) == ("categories", HELD_OUT)),
        key=lambda text: text.item,
    )
    rows: list[CategoryText] = []
    for category in CATEGORIES:
        found = []
        for text in drawn:
            if text.group == category and text.text not in seen:
                seen.add(text.text)
                found.append(CategoryText(text.text, category))
        rows += _first(found, per_category, "per_category", "texts", category)
    return rows


def _trained_on(texts: Sequence[Text]) -> set[str]:
    return {text.text for text in texts if text.split == TRAIN}


def _first(found: list[_Drawn], n: int | None, key: str, what: str, name: str) -> list[_Drawn]:
    if not found or (n is not None and len(found) < n):
        asked = 1 if n is None else f"{n} (studies.specialists.texts.{key})"
        raise SaeflowError(
            f"The mixture holds out {len(found)} {what} of {name}; expected at least {asked}."
        )
    return found[:n]


def _pair(
    topic: str, forms: Sequence[str], item: int, contents: Sequence[str]
) -> list[MatchedText]:
    meaning, expected = _solved(contents[0]) if topic == "Math_Simple" else ("", None)
    return [
        MatchedText(text, topic, form, item, meaning, expected)
        for form, text in zip(forms, contents, strict=True)
    ]


def _solved(calculation: str) -> tuple[str, str]:
    """Operation and result of such as ``12+5``."""
    match = _CALCULATION.fullmatch(calculation)
    if match is None:
        raise ValueError(f"{calculation!r} is no calculation")
    name, operate = _OPERATIONS[match[2]]
    return name, str(operate(int(match[1]), int(match[3])))
