"""Lines with one right ending: arithmetic of graded difficulty, and everyday facts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import chain, zip_longest
from typing import TypeVar

from saeflow.datasets.generated import is_held_out
from saeflow.datasets.texts.facts import FACTS, FRAMES, Fact, other_answers
from saeflow.datasets.texts.numerals import number_words
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text, split_of
from saeflow.errors import SaeflowError

PART, ARITHMETIC, OTHER = "cloze", "arithmetic", "other"
_DISTRACTORS = 3
_ONE_IN = 4
_Thing = TypeVar("_Thing")

# fmt: off
_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}

# Two wordings of each form; the second is used once a level has no new operation left.
_SENTENCES = {
    "+": ("The sum of {0} and {1} is", "If you add {1} to {0}, you get"),
    "-": ("The difference between {0} and {1} is", "If you take {1} from {0}, you get"),
    "*": ("The product of {0} and {1} is", "If you multiply {0} by {1}, you get"),
    "/": ("The result of dividing {0} by {1} is", "If you divide {0} by {1}, you get"),
    "+*": (
        "The sum of {0} and the product of {1} and {2} is",
        "If you add {0} to the product of {1} and {2}, you get",
    ),
    "*-": (
        "The product of {0} and {1}, less {2}, is",
        "If you take {2} from the product of {0} and {1}, you get",
    ),
}
FORMS = ("symbols", "words", "sentence")
_WORDINGS = 2


@dataclass(frozen=True)
class Operation:
    """A calculation with two or three whole numbers.

    Attributes
    ----------
    signs : str
        ``+``, ``-``, ``*`` or ``/``; ``+*`` or ``*-`` where there are three numbers.
    numbers : tuple of int
        The operands from left to right.
    level : int
        Difficulty from 1 to 5.
    """

    signs: str
    numbers: tuple[int, ...]
    level: int

    @property
    def result(self) -> int:
        """What comes out, products first."""
        first, *others = self.numbers
        match self.signs:
            case "+":
                return first + others[0]
            case "-":
                return first - others[0]
            case "*":
                return first * others[0]
            case "/":
                return first // others[0]
            case "+*":
                return first + others[0] * others[1]
            case _:
                return first * others[0] - others[1]

    @property
    def symbols(self) -> str:
        """The calculation in digits and signs."""
        return self._joined([str(number) for number in self.numbers], list(self.signs))

    @property
    def words(self) -> str:
        """The calculation as one says it."""
        spoken = [number_words(number) for number in self.numbers]
        return self._joined(spoken, [_SPOKEN[sign] for sign in self.signs])

    @staticmethod
    def _joined(numbers: list[str], signs: list[str]) -> str:
        both = chain.from_iterable(zip_longest(numbers, signs))
        return " ".join(piece for piece in both if piece is not None)


def operation_split(seed: int, operation: Operation) -> str:
    """Split of an operation, the same in every wording and in every part of the mixture.

    It is held out where word problems, drills and symbolic problems never show one of its
    calculations.
    """
    numbers, signs = operation.numbers, operation.signs
    if len(signs) == 1:
        calculations = [(signs, (numbers[0], numbers[1]))]
    else:
        first, *others = numbers
        product = (others[0], others[1]) if signs == "+*" else (first, others[0])
        inner = product[0] * product[1]
        outer = (first, inner) if signs == "+*" else (inner, others[1])
        calculations = [("*", product), (signs.replace("*", ""), outer)]
    hidden = any(is_held_out(seed, sign, Decimal(a), Decimal(b)) for sign, (a, b) in calculations)
    return HELD_OUT if hidden else TRAIN


@cache
def operations() -> tuple[Operation, ...]:
    """All operations, the easiest first."""
    ones, twos, tables = range(1, 10), range(10, 100), range(2, 13)
    found = [Operation("+", (a, b), 1) for a in ones for b in ones]
    found += [Operation("-", (a, b), 1) for a in ones for b in ones if b <= a]
    found += [Operation("+", (a, b), 2) for a in twos for b in ones if a + b < 100]
    found += [Operation("+", (a, b), 3) for a in twos for b in twos if a + b < 100]
    found += [Operation("-", (a, b), 3) for a in twos for b in twos if b < a]
    found += [Operation("*", (a, b), 4) for a in tables for b in tables]
    found += [Operation("/", (a * b, b), 4) for a in tables for b in tables]
    found += [Operation("+", (a, b), 5) for a in twos for b in twos if a + b >= 100]
    found += [Operation("+*", (a, b, c), 5) for a in range(1, 20) for b in ones for c in tables]
    found += [
        Operation("*-", (a, b, c), 5) for a in tables for b in ones for c in ones if c < a * b
    ]
    return tuple(found)


def operation_turns(rng: random.Random) -> list[tuple[Operation, int]]:
    """All operations in random order with the wording to use, one of each level in turn.

    A level starts over with the second wording when it has no new operation left.
    """
    pools: dict[tuple[int, bool], list[Operation]] = {}
    for operation in operations():
        # The last level holds far more sums than calculations with three numbers.
        pools.setdefault((operation.level, len(operation.signs) > 1), []).append(operation)
    for pool in pools.values():
        rng.shuffle(pool)
    hardest = max(level for level, _ in pools)
    levels = [pool for (level, _), pool in pools.items() if level < hardest]
    levels.append(in_turn([pools[hardest, True], pools[hardest, False]]))
    return in_turn(
        [
            [(operation, wording) for wording in range(_WORDINGS) for operation in pool]
            for pool in levels
        ]
    )


def in_turn(pools: Sequence[Sequence[_Thing]]) -> list[_Thing]:
    """One of each pool in turn while they last."""
    turns = chain.from_iterable(zip_longest(*([(thing,) for thing in pool] for pool in pools)))
    return [turn[0] for turn in turns if turn is not None]


def wrong_results(operation: Operation, rng: random.Random, n: int = _DISTRACTORS) -> list[int]:
    """Numbers near the result and with as many digits.

    How many of them are smaller is drawn first, so that the place of the right number among all
    tells nothing.
    """
    right = operation.result
    near = [right + step for step in (-10, -3, -2, -1, 1, 2, 3, 10)]
    fitting = [number for number in near if number >= 0 and len(str(number)) == len(str(right))]
    below = [number for number in fitting if number < right]
    above = [number for number in fitting if number > right]
    possible = [k for k in range(n + 1) if k <= len(below) and n - k <= len(above)]
    smaller = rng.choice(possible)
    return rng.sample([*rng.sample(below, smaller), *rng.sample(above, n - smaller)], n)


def cloze_texts(*, seed: int, n_arithmetic: int, n_other: int) -> list[Text]:
    """Draw cloze lines; asking for more of a group only appends to it.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_arithmetic, n_other : int
        Lines of each group.

    Returns
    -------
    list of Text
        Arithmetic, whose held-out calculations are trained in no wording, then the other facts,
        whose held-out lines are trained in another wording.
    """
    _refuse_beyond(len(operations()) * _WORDINGS * len(FORMS), n_arithmetic, ARITHMETIC)
    _refuse_beyond(sum(len(FRAMES[fact.kind]) for fact in FACTS), n_other, OTHER)
    return _arithmetic_texts(seed, n_arithmetic)[:n_arithmetic] + _other_texts(seed)[:n_other]


def _refuse_beyond(most: int, n: int, group: str) -> None:
    if n > most:
        raise SaeflowError(f"There are only {most} {group} cloze lines, not {n} of them.")


def _arithmetic_texts(seed: int, n: int) -> list[Text]:
    rng = random.Random(f"{seed}/{PART}/{ARITHMETIC}")
    items: dict[Operation, int] = {}
    texts: list[Text] = []
    for operation, wording in operation_turns(rng):
        if len(texts) >= n:
            break
        item = items.setdefault(operation, len(items))
        split, wrong = operation_split(seed, operation), wrong_results(operation, rng)
        texts += _three_forms(operation, wording, split, item, wrong)
    return texts


def _three_forms(
    operation: Operation, wording: int, split: str, item: int, wrong: list[int]
) -> list[Text]:
    figures, spoken = operation.symbols, operation.words
    sentence = _SENTENCES[operation.signs][wording].format(*operation.numbers)
    prompts = (
        (f"{figures} =", f"{figures} equals")[wording],
        (f"{spoken} is", f"{spoken} makes")[wording],
        sentence,
    )
    texts = []
    for form, prompt in zip(FORMS, prompts, strict=True):
        told = number_words if form == "words" else str
        target, *distractors = (f" {told(number)}" for number in (operation.result, *wrong))
        texts.append(
            Text(
                PART,
                ARITHMETIC,
                form,
                item,
                split,
                prompt,
                target,
                tuple(distractors),
                operation.level,
            )
        )
    return texts


def _other_texts(seed: int) -> list[Text]:
    rng = random.Random(f"{seed}/{PART}/{OTHER}")
    facts = list(FACTS)
    rng.shuffle(facts)
    columns = [_fact_texts(seed, item, fact, rng) for item, fact in enumerate(facts)]
    # Every fact in its first frame, then every fact in its second, and so on.
    return [text for row in zip_longest(*columns) for text in row if text is not None]


def _fact_texts(seed: int, item: int, fact: Fact, rng: random.Random) -> list[Text]:
    frames = list(FRAMES[fact.kind])
    rng.shuffle(frames)
    splits = [
        split_of(seed, PART, fact.family, fact.subject, frame, one_in=_ONE_IN) for frame in frames
    ]
    # A fact is trained before it is held out, and so in one frame at least.
    trained = splits.index(TRAIN) if TRAIN in splits else 0
    splits[trained] = TRAIN
    for order in (frames, splits):
        order.insert(0, order.pop(trained))
    texts = []
    for frame, split in zip(frames, splits, strict=True):
        wrong = rng.sample(other_answers(fact), _DISTRACTORS)
        texts.append(
            Text(
                PART,
                OTHER,
                fact.kind,
                item,
                split,
                fact.told_by(frame),
                f" {fact.answer}",
                tuple(f" {answer}" for answer in wrong),
                fact.level,
            )
        )
    return texts
