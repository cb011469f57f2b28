"""Lines with one right ending: arithmetic of graded difficulty, and everyday facts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest

from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text, split_of

PART, ARITHMETIC, OTHER = "cloze", "arithmetic", "other"
_DISTRACTORS = 3
_ONE_IN = 4

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}

# Two wordings of each form; the second is used once every operation has been told in the first.
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


@dataclass(frozen=True)
class Fact:
    """A subject and the one answer to what is asked about it.

    Attributes
    ----------
    kind : str
        What is asked, such as ``opposite`` or ``capital``.
    family : str
        Facts whose answers can stand in for each other; the kind itself unless it is a sequence.
    subject : str
        What is asked about.
    answer : str
        The right answer, without a leading blank.
    level : int
        1 where few answers have to be told apart, 3 where the fact is rare.
    """

    kind: str
    family: str
    subject: str
    answer: str
    level: int

    def told_by(self, frame: str) -> str:
        """The frame with the subject filled in."""
        name = self.subject
        article = "an" if name[0] in "aeiou" else "a"
        line = frame.format(x=name, ax=f"{article} {name}")
        return line[0].upper() + line[1:]


def number_words(number: int) -> str:
    """A number from 0 to 999 in words."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_SMALL[hundreds]} hundred" + (f" and {number_words(rest)}" if rest else "")


def operation_split(seed: int, operation: Operation) -> str:
    """Split of an operation, the same in every wording and in every part of the mixture."""
    numbers, signs = operation.numbers, operation.signs
    # 7 + 5 and 5 + 7 go together, and a held-out product is not trained inside a longer line.
    if len(signs) == 1:
        left, right = sorted(numbers) if signs in "+*" else numbers
        return split_of(seed, PART, signs, left, right, one_in=_ONE_IN)
    product = numbers[1:] if signs == "+*" else numbers[:2]
    if operation_split(seed, Operation("*", product, operation.level)) == HELD_OUT:
        return HELD_OUT
    return split_of(seed, PART, signs, numbers[0], *numbers[1:], one_in=_ONE_IN)


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


def drawn_operations(rng: random.Random) -> list[Operation]:
    """All operations in random order, one of each level in turn while they last."""
    by_level: dict[int, list[Operation]] = {}
    for operation in operations():
        by_level.setdefault(operation.level, []).append(operation)
    for pool in by_level.values():
        rng.shuffle(pool)
    # The last level holds far more sums than calculations with three numbers.
    hardest = by_level[max(by_level)]
    longer = [operation for operation in hardest if len(operation.numbers) > 2]
    sums = [operation for operation in hardest if len(operation.numbers) == 2]
    by_level[max(by_level)] = _in_turn([longer, sums])
    return _in_turn(list(by_level.values()))


def _in_turn(pools: list[list[Operation]]) -> list[Operation]:
    turns = chain.from_iterable(zip_longest(*pools))
    return [operation for operation in turns if operation is not None]


def wrong_results(operation: Operation, rng: random.Random, n: int = _DISTRACTORS) -> list[int]:
    """Numbers near the result and with as many digits."""
    right = operation.result
    near = (right + step for step in (-10, -3, -2, -1, 1, 2, 3, 10))
    fitting = [number for number in near if number >= 0 and len(str(number)) == len(str(right))]
    return rng.sample(fitting, n)


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
    arithmetic = _first(_arithmetic_texts(seed, n_arithmetic), n_arithmetic, ARITHMETIC)
    return arithmetic + _first(_other_texts(seed), n_other, OTHER)


def _first(texts: list[Text], n: int, group: str) -> list[Text]:
    if n > len(texts):
        raise ValueError(
            f"There are only {len(texts)} different cloze lines on {group}, not {n} of them."
        )
    return texts[:n]


def _arithmetic_texts(seed: int, n: int) -> list[Text]:
    rng = random.Random(f"{seed}/{PART}/{ARITHMETIC}")
    order = drawn_operations(rng)
    # Easy levels have few operations: they are told a second time before the others run on.
    few = [operation for operation in order if operation.level in (1, 4)]
    many = [operation for operation in order if operation.level not in (1, 4)]
    told = [
        turn
        for pair in zip_longest(_twice(few), _twice(many, spread=2), fillvalue=())
        for turn in pair
    ]
    items = {operation: item for item, operation in enumerate(order)}
    texts: list[Text] = []
    for operation, wording in told:
        if len(texts) >= n:
            break
        split, item = operation_split(seed, operation), items[operation]
        wrong = wrong_results(operation, rng)
        texts += _three_forms(operation, wording, split, item, wrong)
    return texts


def _twice(pool: list[Operation], spread: int = 1) -> list[tuple[tuple[Operation, int], ...]]:
    raise NotImplementedError
