"""Questions with three lettered options, on the operations and facts of the cloze lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from saeflow.datasets.texts.cloze import (
    ARITHMETIC,
    OTHER,
    in_turn,
    operation_split,
    operation_turns,
    wrong_results,
)
from saeflow.datasets.texts.facts import FACTS, Fact, other_answers
from saeflow.datasets.texts.numerals import number_words
from saeflow.datasets.texts.text import Text, split_of
from saeflow.errors import SaeflowError

PART = "choices"
LETTERS = "ABC"
_ROUNDS, _ONE_IN = 10, 4

# Questions differ from the frames of the cloze lines, so that they give none of them away.
_QUESTIONS = {
    "opposite": "Which of these words is the opposite of {x}?",
    "sequence": "Which {thing} comes right {side} {x}?",
    "plural": "How do we say {x} when there are many?",
    "past": "How do we say {x} when it was yesterday?",
    "capital": "Which city is the capital of {x}?",
    "kind": "What sort of thing is {ax}?",
    "tool": "What do you need to {x}?",
    "colour": "Which colour do you expect of {x}?",
    "young": "What do you call a very young {x}?",
}


def choice_texts(*, seed: int, n: int) -> list[Text]:
    """Draw questions, half of them arithmetic; asking for more only appends.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n : int
        Number of questions.

    Returns
    -------
    list of Text
        Arithmetic and other questions in turn. An operation is held out wherever the cloze lines
        hold it out; of the other questions, a fact together with its options.
    """
    half = (n + 1) // 2
    # The facts run out long before the operations do.
    other = list(islice(_other(seed), half))
    if len(other) < half:
        raise SaeflowError(f"There are only {2 * len(other)} different questions, not {n} of them.")
    return in_turn([list(islice(_arithmetic(seed), half)), other])[:n]


def _arithmetic(seed: int) -> Iterator[Text]:
    rng = random.Random(f"{seed}/{PART}/{ARITHMETIC}")
    letters, items = _letters(rng), dict[object, int]()
    for operation, wording in operation_turns(rng):
        item = items.setdefault(operation, len(items))
        # Half of the operations are asked in symbols first and in words later on.
        in_words = (item + wording) % 2 == 1
        told = number_words if in_words else str
        asked = operation.words if in_words else operation.symbols
        right, *wrong = map(told, [operation.result, *wrong_results(operation, rng, n=2)])
        prompt, target, distractors = _asked(f"What is {asked}?", right, wrong, next(letters))
        form, split = "words" if in_words else "symbols", operation_split(seed, operation)
        yield Text(
            PART, ARITHMETIC, form, item, split, prompt, target, distractors, operation.level
        )


def _other(seed: int) -> Iterator[Text]:
    rng = random.Random(f"{seed}/{PART}/{OTHER}")
    facts = list(FACTS)
    rng.shuffle(facts)
    letters, asked = _letters(rng), set[tuple[Fact, tuple[str, ...]]]()
    for _ in range(_ROUNDS):
        for item, fact in enumerate(facts):
            wrong = rng.sample(other_answers(fact), 2)
            options = tuple(sorted([fact.answer, *wrong]))
            if (fact, options) in asked:
                continue
            asked.add((fact, options))
            split = split_of(seed, PART, fact.family, fact.subject, *options, one_in=_ONE_IN)
            question = fact.told_by(_QUESTIONS[fact.kind])
            prompt, target, distractors = _asked(question, fact.answer, wrong, next(letters))
            yield Text(PART, OTHER, fact.kind, item, split, prompt, target, distractors, fact.level)


def _letters(rng: random.Random) -> Iterator[str]:
    """Right letters, each of them once in every three."""
    while True:
        yield from rng.sample(LETTERS, len(LETTERS))


def _asked(
    question: str, right: str, wrong: list[str], letter: str
) -> tuple[str, str, tuple[str, ...]]:
    """Prompt with the right option at the letter, then the letter and the other letters."""
    options = list(wrong)
    options.insert(LETTERS.index(letter), right)
    listed = " ".join(f"({name}) {option}" for name, option in zip(LETTERS, options, strict=True))
    others = tuple(f" {name}" for name in LETTERS if name != letter)
    return f"{question} {listed} Answer:", f" {letter}", others
