"""Generated grade-school word problems in the format of the GSM8K JSONL files.

The generator is a pure function of its arguments: the same seed gives the same problems on
every platform, and asking for more problems of a split only appends to it.
"""

import hashlib
import json
import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from saeflow.datasets.wording.forms import Phrase
from saeflow.datasets.wording.story import Story

OPERATORS = "+-*/"
TRAIN, VALIDATION = "train", "validation"
# All values are held as whole numbers of hundredths: exact, and far faster than Decimal.
_HUNDRED, _SMALLEST = 100, 200
_FACTORS = range(2, 13)
_LARGEST_PRICE = 20 * _HUNDRED
_LARGEST_FRACTION = 60 * _HUNDRED
_HELD_OUT_ONE_IN, _VALIDATION_ONE_IN = 10, 4
_PAIR_TRIES, _OPERAND_TRIES = 8, 16
_MAX_ATTEMPTS = 2000
_FRACTIONAL_OPERAND_SHARE = 0.7
_SMALL_NUMBER_SHARE = 0.5
_PAIR_SHARE = 0.35
_BUNDLE_SHARE = 0.3
_CLOSING_SHARE = 0.4
# Halves and quarters are the decimals that prices and measures usually have.
_GRAINS = (50, 50, 50, 50, 25, 25, 25, 10, 10, 5)
_Real = int | float  # beartype, rightly, takes no int for a float
_Numbers = tuple[int, int, int]  # left operand, right operand and result, in hundredths


@dataclass(frozen=True)
class GeneratedProblem:
    """One word problem with its worked answer.

    Attributes
    ----------
    question : str
        The problem as told to the pupil.
    answer : str
        One sentence per step, each with a ``<<a*b=c>>`` annotation, then ``#### result``.
    split : str
        ``train`` or ``validation``.
    n_steps : int
        Number of calculations, 1 to 4.
    held_out_pair : bool
        True when some step uses a combination that no training problem uses.
    """

    question: str
    answer: str
    split: str
    n_steps: int
    held_out_pair: bool


@dataclass(frozen=True)
class _Settings:
    """What every draw of one call has in common; ``max_value`` is in hundredths."""

    seed: int
    max_value: int
    step_weights: Sequence[_Real]
    decimal_share: _Real


def is_held_out(seed: int, operator: str, left: Decimal, right: Decimal) -> bool:
    """Tell whether training problems must avoid a combination of operator and operands.

    Parameters
    ----------
    seed : int
        Seed of the problem set.
    operator : str
        ``+``, ``-``, ``*`` or ``/``; the operands of ``+`` and ``*`` may be exchanged.
    left, right : Decimal
        The operands; ``2.5`` and ``2.50`` count as the same number.

    Returns
    -------
    bool
        True for about one combination in ten.

    Raises
    ------
    ValueError
        If the operator is not one of the four.
    """
    if operator not in tuple(OPERATORS):
        raise ValueError(f"The operator must be one of + - * /, not {operator!r}.")
    if operator in "+*" and left > right:
        left, right = right, left
    return _hash(f"{seed}/{operator}/{_plain(left)}/{_plain(right)}") % _HELD_OUT_ONE_IN == 0


def split_of(seed: int, question: str) -> str:
    """Tell which split of a problem set may hold a question: ``train`` or ``validation``.

    The question alone decides, so neither split depends on the other's size.
    """
    for_validation = _hash(f"{seed}/{question}") % _VALIDATION_ONE_IN == 0
    return VALIDATION if for_validation else TRAIN


def generate_problems(
    *,
    n_train: int,
    n_validation: int,
    seed: int,
    max_number: int = 200,
    step_weights: Sequence[_Real] = (1, 1, 1, 1),
    decimal_share: _Real = 0.2,
) -> list[GeneratedProblem]:
    """Generate word problems, the training split first.

    The first problems of a split stay the same when more of either split are asked for. No two
    questions are equal, and training problems never use a held-out combination.

    Parameters
    ----------
    n_train, n_validation : int
        Number of problems of each split.
    seed : int
        Seed; other seeds give other problems and hold out other combinations.
    max_number : int
        Upper bound of all operands and results, at least 20.
    step_weights : sequence of float
        Relative frequencies of problems with 1, 2, 3 and 4 steps.
    decimal_share : float
        Share of problems that hold decimals, between 0 and 1.

    Returns
    -------
    list of GeneratedProblem
        ``n_train`` training problems, then ``n_validation`` validation problems.

    Raises
    ------
    ValueError
        If an argument is impossible, or if not enough different questions can be found.
    """
    _check_arguments((n_train, n_validation), max_number, step_weights, decimal_share)
    settings = _Settings(seed, max_number * _HUNDRED, step_weights, decimal_share)
    counts = {TRAIN: n_train, VALIDATION: n_validation}
    return [p for split, count in counts.items() for p in _generate_split(settings, split, count)]


def to_jsonl_line(problem: GeneratedProblem) -> str:
    """Write a problem as one line of a GSM8K file.

    Parameters
    ----------
    problem : GeneratedProblem
        The problem to write.

    Returns
    -------
    str
        A JSON object with the keys ``question`` and ``answer``, without a line end.
    """
    return json.dumps({"question": problem.question, "answer": problem.answer}, ensure_ascii=False)


def _check_arguments(
    counts: tuple[int, int], max_number: int, step_weights: Sequence[_Real], decimal_share: _Real
) -> None:
    if min(counts) < 0:
        raise ValueError("The numbers of problems must not be negative.")
    if max_number < 20:
        raise ValueError(f"max_number must be at least 20, not {max_number}.")
    sound = len(step_weights) == 4 and all(0 <= weight < math.inf for weight in step_weights)
    if not sound or not any(step_weights):
        raise ValueError("step_weights must be four numbers, none negative and not all zero.")
    if not 0 <= decimal_share <= 1:
        raise ValueError(f"decimal_share must lie between 0 and 1, not {decimal_share}.")


def _generate_split(settings: _Settings, split: str, count: int) -> list[GeneratedProblem]:
    problems: dict[str, GeneratedProblem] = {}
    for index in range(count):
        problem = _generate_one(settings, split, index, problems.keys())
        if problem is None:
            raise ValueError(f"Only {index} of {count} different {split} problems were found.")
        problems[problem.question] = problem
    return list(problems.values())


def _generate_one(
    settings: _Settings, split: str, index: int, seen: Collection[str]
) -> GeneratedProblem | None:
    seed = f"{settings.seed}/{split}/{index}"
    # Drawn once per index, so that rejected attempts cannot shift the shares asked for.
    plan = random.Random(seed)
    n_steps = plan.choices((1, 2, 3, 4), weights=settings.step_weights)[0]
    with_decimals = plan.random() < settings.decimal_share
    for attempt in range(_MAX_ATTEMPTS):
        draft = _Draft(settings, f"{seed}/{attempt}", split, with_decimals)
        if not draft.compose(n_steps):
            continue
        question = draft.story.question
        if split_of(settings.seed, question) == split and question not in seen:
            return GeneratedProblem(question, draft.story.answer, split, n_steps, draft.held_out)
    return None


class _Draft:
    """A problem being composed: a story and the chain of calculations that it tells."""

    def __init__(self, settings: _Settings, seed: str, split: str, with_decimals: bool) -> None:
        self.settings = settings
        self.rng = random.Random(seed)
        self.avoid_held_out = split == TRAIN
        self.with_decimals = with_decimals
        self.story = Story(self.rng)
        self.measured = self.story.scenario.family.measured
        self.running = 0
        self.held_out = self.has_decimals = False

    def compose(self, n_steps: int) -> bool:
        """Fill the draft; False where the numbers drawn lead nowhere."""
        # Where things are counted, only a price can bring decimals in.
        needs_price = self.with_decimals and not self.measured
        closings = self.story.closings(priced_only=needs_price)
        if not closings or not self._open():
            return False
        closed = False
        while (left_to_do := n_steps - self.story.n_worked) > 0:
            if left_to_do >= 2 and self.rng.random() < _BUNDLE_SHARE and self._tell_bundle():
                continue
            if left_to_do == 1 and (needs_price or self.rng.random() < _CLOSING_SHARE):
                closed = self._tell_one_of(closings, connected=False)
            if not closed and not self._tell_one_of(self.story.steps, connected=True):
                return False
        if not closed:
            self.story.ask()
        self.story.conclude(_text(self.running))
        return self.has_decimals == self.with_decimals

    def _open(self) -> bool:
        if self.rng.random() >= _PAIR_SHARE:
            self.running = self._draw_first(self.rng.choice(OPERATORS))
            self.story.open(_text(self.running))
            return True
        phrase = self.rng.choice(self.story.scenario.pairs)
        numbers = self._draw_pair(phrase, self.settings.max_value)
        if numbers is None:
            return False
        self.story.tell(phrase, *map(_text, numbers[:2]), connected=False)
        self._work(phrase.operator, numbers, phrase.answer)
        return True

    def _tell_one_of(self, pools: dict[str, tuple[Phrase, ...]], connected: bool) -> bool:
        for operator in self.rng.sample(sorted(pools), len(pools)):
            phrase = self.rng.choice(pools[operator])
            numbers = self._draw_second(phrase, self.running, self.settings.max_value)
            if numbers is None or self.story.has_told(phrase):
                continue
            told = numbers[0] if phrase.swapped else numbers[1]
            self.story.tell(phrase, _text(self.running), _text(told), connected=connected)
            self._work(operator, numbers, phrase.answer)
            return True
        return False

    def _tell_bundle(self) -> bool:
        bundle = self.rng.choice(self.story.scenario.family.bundles)
        operator = bundle.outer_operator
        above, below = self.settings.max_value - self.running, self.running - _SMALLEST
        inner = self._draw_pair(bundle.inner, above if operator == "+" else below)
        outer = self._checked(operator, self.running, inner[2], whole=False) if inner else None
        if inner is None or outer is None or self.story.has_told(bundle.inner):
            return False
        self.story.tell(bundle.inner, *map(_text, inner[:2]), connected=True)
        self._work(bundle.inner.operator, inner, bundle.inner.answer)
        self._work(operator, outer, answer="")
        return True

    def _work(self, operator: str, numbers: _Numbers, answer: str) -> None:
        left, right, result = map(_text, numbers)
        expression = f"{left}{operator}{right}"
        self.story.work(operator, answer, f"{expression}=<<{expression}={result}>>{result}")
        self.running = numbers[2]
        self.held_out |= _is_pair_held_out(self.settings.seed, operator, *numbers[:2])
        self.has_decimals |= any(number % _HUNDRED for number in numbers)

    def _draw_pair(self, phrase: Phrase, limit: int) -> _Numbers | None:
        for _ in range(_PAIR_TRIES):
            factor = _HUNDRED * self.rng.choice(_FACTORS)
            left = factor if phrase.first == "factor" else self._draw_first(phrase.operator)
            if (numbers := self._draw_second(phrase, left, limit)) is not None:
                return numbers
        return None

    def _draw_first(self, operator: str) -> int:
        """Draw a left operand that leaves the operator room to act."""
        largest = self.settings.max_value
        factor = self.rng.choice(_FACTORS)
        if operator in "*/":
            number = self._draw_number(largest // factor)
            return number if operator == "*" else factor * number
        return self._draw_number(largest - _SMALLEST)

    def _draw_second(self, phrase: Phrase, running: int, limit: int) -> _Numbers | None:
        whole = phrase.whole or not (self.measured or phrase.second == "price")
        for _ in range(_OPERAND_TRIES):
            drawn = self._draw_candidate(phrase, running, limit)
            left, right = (drawn, running) if phrase.swapped else (running, drawn)
            numbers = self._checked(phrase.operator, left, right, whole) if drawn else None
            if drawn == 0 or (numbers is not None and numbers[2] <= limit):
                return numbers
        return None

    def _draw_candidate(self, phrase: Phrase, running: int, limit: int) -> int:
        """Draw a number for the phrase to tell; 0 where none can do."""
        unit = 1 if self.measured else _HUNDRED
        if phrase.swapped and phrase.operator == "-":
            return running + self._draw_number(limit - running)
        if phrase.operator == "/" and phrase.second == "factor":
            divisors = [factor for factor in _FACTORS if running % (factor * unit) == 0]
            return _HUNDRED * self.rng.choice(divisors) if divisors else 0
        if phrase.swapped or phrase.second == "factor":
            factors = [factor for factor in _FACTORS if factor * running <= limit]
            scale = running if phrase.swapped else _HUNDRED
            return scale * self.rng.choice(factors) if factors else 0
        largest = {
            "+": limit - running,
            "-": running - _SMALLEST,
            "*": limit * _HUNDRED // running,
            "/": running // 2,
        }[phrase.operator]
        return self._draw_number(largest, is_price=phrase.second == "price")

    def _draw_number(self, largest: int, is_price: bool = False) -> int:
        """Draw a number up to ``largest``; too little room gives one that the checks refuse."""
        small = self.rng.random() < _SMALL_NUMBER_SHARE
        largest = min(largest, _LARGEST_PRICE if small or is_price else largest)
        may_be_fraction = self.with_decimals and (self.measured or is_price)
        if may_be_fraction and self.rng.random() < _FRACTIONAL_OPERAND_SHARE:
            grain = self.rng.choice(_GRAINS)
            return grain * self.rng.randint(1, max(1, min(largest, _LARGEST_FRACTION) // grain))
        return _HUNDRED * self.rng.randint(2, max(2, largest // _HUNDRED))

    def _checked(self, operator: str, left: int, right: int, whole: bool) -> _Numbers | None:
        result = _apply(operator, left, right)
        if result is None or (whole and result % _HUNDRED):
            return None
        # 0 and 1 would need their own wording: "1 apple", "no apples".
        smallest = (_SMALLEST, 1 if self.with_decimals else self.settings.max_value + 1)
        numbers = (left, right, result)
        if not all(smallest[n % _HUNDRED > 0] <= n <= self.settings.max_value for n in numbers):
            return None
        if self.avoid_held_out and _is_pair_held_out(self.settings.seed, operator, left, right):
            return None
        return numbers


def _apply(operator: str, left: int, right: int) -> int | None:
    """Calculate in hundredths; None where more than two decimals would be needed."""
    if operator in "+-":
        return left + right if operator == "+" else left - right
    dividend, divisor = (left * right, _HUNDRED) if operator == "*" else (left * _HUNDRED, right)
    return None if dividend % divisor else dividend // divisor


@lru_cache(maxsize=100_000)
def _text(hundredths: int) -> str:
    return _plain(Decimal(hundredths).scaleb(-2))


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@lru_cache(maxsize=100_000)
def _is_pair_held_out(seed: int, operator: str, left: int, right: int) -> bool:
    return is_held_out(seed, operator, Decimal(left).scaleb(-2), Decimal(right).scaleb(-2))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
