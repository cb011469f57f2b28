"""Bare arithmetic: rows of calculations, and problems told in symbols instead of a story.

They hold the same numbers as the word problems at a tenth of the tokens, so a small model learns to
calculate from them and only to read from the stories. Combinations that word problems hold out
(`saeflow.datasets.generated.is_held_out`) are in no training row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from saeflow.datasets.generated import OPERATORS, is_held_out
from saeflow.errors import SaeflowError

_SMALLEST = 2
_FACTORS = range(2, 13)
_SMALL = 20
_SMALL_SHARE = 0.5
_TRIES = 200
_WORDS = {"+": "add", "-": "subtract", "*": "multiply by", "/": "divide by"}


class Calculation(NamedTuple):
    """``left operator right = result``, all whole and at least 2."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        """As GSM8K annotates it."""
        return f"<<{self.left}{self.operator}{self.right}={self.result}>>"


class SymbolicProblem(NamedTuple):
    """A problem without a story.

    Attributes
    ----------
    question : str
        What to calculate.
    steps : tuple of Calculation
        The calculations; each starts from the result before.
    """

    question: str
    steps: tuple[Calculation, ...]


def drill_rows(
    *, seed: int, n: int, per_row: int, max_number: int, held_out_seed: int
) -> list[str]:
    """Write rows of unrelated calculations.

    Parameters
    ----------
    seed : int
        Seed of the rows.
    n, per_row : int
        Number of rows, and of calculations in each.
    max_number : int
        Largest operand or result.
    held_out_seed : int
        Seed of the word problems, whose held-out combinations are avoided.

    Returns
    -------
    list of str
        Such as ``<<12+7=19>><<8*9=72>>``; asking for more rows only appends.
    """
    rng = random.Random(f"{seed}/drills")
    draw = _Drawer(rng, max_number, held_out_seed)
    return ["".join(str(draw.opening()) for _ in range(per_row)) for _ in range(n)]


def symbolic_problems(
    *, seed: int, n: int, max_number: int, held_out_seed: int, step_weights: Sequence[float | int]
) -> list[SymbolicProblem]:
    """Write chains of calculations as short questions.

    Parameters
    ----------
    seed : int
        Seed of the problems.
    n : int
        Number of problems.
    max_number : int
        Largest operand or result.
    held_out_seed : int
        Seed of the word problems, whose held-out combinations are avoided.
    step_weights : sequence of float
        Relative frequencies of problems with 1, 2, … steps.

    Returns
    -------
    list of SymbolicProblem
        Asking for more only appends.
    """
    rng = random.Random(f"{seed}/symbolic")
    draw = _Drawer(rng, max_number, held_out_seed)
    counts = range(1, len(step_weights) + 1)
    problems = []
    for _ in range(n):
        steps = draw.chain(rng.choices(counts, weights=step_weights)[0])
        problems.append(SymbolicProblem(_asked(rng, steps), steps))
    return problems


class _Drawer:
    """Draws calculations with the operators in equal numbers."""

    def __init__(self, rng: random.Random, max_number: int, held_out_seed: int) -> None:
        self.rng = rng
        self.max_number = max_number
        self.held_out_seed = held_out_seed

    def opening(self) -> Calculation:
        """Draw a calculation with two free operands."""
        for calculation in self._tries(None):
            return calculation
        raise SaeflowError(f"No calculation was found with numbers up to {self.max_number}.")

    def chain(self, n_steps: int) -> tuple[Calculation, ...]:
        """Draw calculations that each start from the result before."""
        for _ in range(_TRIES):
            steps = [self.opening()]
            while len(steps) < n_steps:
                step = next(self._tries(steps[-1].result), None)
                if step is None:
                    break
                steps.append(step)
            if len(steps) == n_steps:
                return tuple(steps)
        raise SaeflowError(f"No chain of {n_steps} steps was found up to {self.max_number}.")

    def _tries(self, running: int | None) -> Iterator[Calculation]:
        for _ in range(_TRIES):
            operator = self.rng.choice(OPERATORS)
            numbers = self._numbers(operator, running)
            if numbers is None or not all(_SMALLEST <= n <= self.max_number for n in numbers):
                continue
            left, right, result = numbers
            if _held_out(self.held_out_seed, operator, left, right):
                continue
            yield Calculation(left, operator, right, result)

    def _numbers(self, operator: str, running: int | None) -> tuple[int, int, int] | None:
        if operator in "*/":
            factor = self.rng.choice(_FACTORS)
            if operator == "*":
                left = self._number(self.max_number // factor) if running is None else running
                if running is None and self.rng.random() < 0.5:
                    return factor, left, factor * left
                return left, factor, left * factor
            left = factor * self._number(self.max_number // factor) if running is None else running
            return (left, factor, left // factor) if left % factor == 0 else None
        left = self._number(self.max_number - _SMALLEST) if running is None else running
        right = self._number(self.max_number - left if operator == "+" else left - _SMALLEST)
        return left, right, left + right if operator == "+" else left - right

    def _number(self, largest: int) -> int:
        small = self.rng.random() < _SMALL_SHARE
        largest = min(largest, _SMALL) if small else largest
        return self.rng.randint(_SMALLEST, max(_SMALLEST, largest))


@lru_cache(maxsize=200_000)
def _held_out(seed: int, operator: str, left: int, right: int) -> bool:
    return is_held_out(seed, operator, Decimal(left), Decimal(right))


def _asked(rng: random.Random, steps: tuple[Calculation, ...]) -> str:
    first, *others = steps
    if rng.random() < 0.5:
        told = [f"Start with {first.left}"]
        told += [f"{_WORDS[step.operator]} {step.right}" for step in steps]
        return ", ".join(told) + ". What is the result?"
    asked = f"{first.left} {first.operator} {first.right}"
    for step in others:
        asked = f"({asked}) {step.operator} {step.right}"
    return f"What is {asked}?"
