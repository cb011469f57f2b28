"""Draw matched pairs of every topic."""

from __future__ import annotations

import random

from saeflow.datasets.texts.pairs.code import PYTHON
from saeflow.datasets.texts.pairs.languages import NON_ENGLISH
from saeflow.datasets.texts.pairs.maths import MATH_COMPLEX, MATH_SIMPLE
from saeflow.datasets.texts.pairs.registers import FORMAL
from saeflow.datasets.texts.pairs.slots import Grammar, distinct
from saeflow.datasets.texts.pairs.speech import CONVERSATIONAL, SOCIAL
from saeflow.datasets.texts.text import Text, split_of

TOPICS: dict[str, Grammar] = {
    "Math_Simple": MATH_SIMPLE,
    "Math_Complex": MATH_COMPLEX,
    "Python": PYTHON,
    "Non_English": NON_ENGLISH,
    "Social": SOCIAL,
    "Formal": FORMAL,
    "Conversational": CONVERSATIONAL,
}


def pair_texts(*, seed: int, n_per_topic: int) -> list[Text]:
    """Matched pairs of every topic, each pair in all forms of its topic.

    Asking for more pairs only appends within each topic. No text of a form occurs in two pairs, so
    none of a held-out pair is in training.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_per_topic : int
        Pairs of each topic.

    Returns
    -------
    list of Text
        Topic by topic, pair by pair, form by form.

    Raises
    ------
    ValueError
        If a topic has too few distinct pairs.
    """
    return [
        text for topic, grammar in TOPICS.items() for text in _of(seed, topic, grammar, n_per_topic)
    ]


def _of(seed: int, topic: str, grammar: Grammar, n: int) -> list[Text]:
    rng = random.Random(f"{seed}/pairs/{topic}")
    texts = []
    for item, contents in distinct(lambda: grammar.draw(rng), n, topic):
        # The first form names the content: no two pairs share it.
        split = split_of(seed, topic, contents[0])
        texts += [
            Text("pairs", topic, form, item, split, prompt="", target=target)
            for form, target in zip(grammar.forms, contents, strict=True)
        ]
    return texts
