"""Shapes of sentences, families and scenarios, and short ways to write them down."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Phrase:
    """One calculation: how the question tells it and how the answer works it out.

    Attributes
    ----------
    operator : str
        ``+``, ``-``, ``*`` or ``/``.
    question : str
        Sentence without its first capital; without its full stop unless it asks a question.
    answer : str
        Answer sentence; empty where one of the family's own sentences fits.
    first, second : str
        What the operands are: ``factor`` (a small whole number), ``quantity`` (in the family's
        unit) or ``price`` (dollars, may be a fraction even where things are counted).
    swapped : bool
        True where the number told in the sentence is the left operand.
    whole : bool
        True where only a whole result makes sense.
    """

    operator: str
    question: str
    answer: str = ""
    first: str = "quantity"
    second: str = "quantity"
    swapped: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Bundle:
    """Two calculations told in one sentence: a fresh pair, combined with the running amount."""

    inner: Phrase
    outer_operator: str


@dataclass(frozen=True)
class Family:
    """Sentences shared by scenarios whose running amount behaves alike."""

    measured: bool
    steps: tuple[Phrase, ...]
    closings: tuple[Phrase, ...]
    bundles: tuple[Bundle, ...]
    answers: dict[str, tuple[str, ...]]
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """A setting: its nouns, its first sentences and whatever only makes sense there."""

    family: Family
    things: tuple[tuple[str, str], ...]
    openings: tuple[str, ...]
    pairs: tuple[Phrase, ...]
    closings: tuple[Phrase, ...] = ()
    steps: tuple[Phrase, ...] = ()
    endings: tuple[str, ...] = ()

    @cached_property
    def steps_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Sentences of the family and of this scenario, by what they calculate."""
        return by_operator(self.family.steps + self.steps)

    @cached_property
    def closings_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Last sentences of the family and of this scenario, by what they calculate."""
        return by_operator(self.family.closings + self.closings)

    @cached_property
    def priced_closings_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Last sentences that tell a price, by what they calculate."""
        closings = self.family.closings + self.closings
        return by_operator(tuple(p for p in closings if p.second == "price"))

    @property
    def all_endings(self) -> tuple[str, ...]:
        """Questions of the family and of this scenario about the amount in the end."""
        return self.family.endings + self.endings


def by_operator(phrases: tuple[Phrase, ...]) -> dict[str, tuple[Phrase, ...]]:
    """Phrases by the operator that they tell of."""
    pools = {operator: tuple(p for p in phrases if p.operator == operator) for operator in "+-*/"}
    return {operator: pool for operator, pool in pools.items() if pool}


def add(question: str, answer: str = "") -> Phrase:
    """Phrase that adds {b} to the amount {a}."""
    return Phrase("+", question, answer)


def subtract(question: str, answer: str = "") -> Phrase:
    """Phrase that takes {b} from the amount {a}."""
    return Phrase("-", question, answer)


def multiply(question: str, answer: str = "") -> Phrase:
    """Phrase that multiplies the amount by the factor {b}."""
    return Phrase("*", question, answer, second="factor")


def divide(question: str, answer: str = "") -> Phrase:
    """Phrase that divides the amount by the factor {b}."""
    return Phrase("/", question, answer, second="factor")


def packs(question: str, answer: str, second: str = "quantity") -> Phrase:
    """Phrase of {a} packs with {b} in each."""
    return Phrase("*", question, answer, first="factor", second=second)


def priced(question: str, answer: str) -> Phrase:
    """Phrase of {a} things at the price {b}."""
    return Phrase("*", question, answer, second="price")


def measure_out(question: str, answer: str, second: str = "quantity") -> Phrase:
    """Phrase that measures the amount out in whole portions of {b}."""
    return Phrase("/", question, answer, second=second, whole=True)


def missing(question: str, answer: str) -> Phrase:
    """Phrase that asks what the amount lacks of {b}, which is the left operand."""
    return Phrase("-", question, answer, swapped=True)


def ratio(question: str, answer: str) -> Phrase:
    """Phrase that asks how many times the amount goes into {b}, the left operand: a whole number."""
    return Phrase("/", question, answer, swapped=True, whole=True)


def bare(*nouns: str) -> tuple[tuple[str, str], ...]:
    """Nouns without a second word."""
    return tuple((noun, "") for noun in nouns)
