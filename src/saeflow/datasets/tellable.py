"""Numbers with which a chain of calculations can be told, each step starting from the last result."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

from saeflow.datasets.composed import SMALLEST, Rule, calculated

Rules = tuple[Rule, ...]


def plain(operators: str) -> Rules:
    """Rules of sentences that go on with a story: their number is the right operand."""
    return tuple(Rule(o, "factor" if o in "*/" else "quantity", swapped=False) for o in operators)


def first_amount(operator: str, scale: int, value: int) -> int:
    """Left operand of a first calculation; a quotient is scaled, so that it comes out whole."""
    return scale * value if operator == "/" else scale


@lru_cache(maxsize=10_000)
def scales(operator: str, value: int, later: str, max_number: int) -> tuple[int, ...]:
    """Scales from which a first calculation and the later ones can be told, ascending.

    Parameters
    ----------
    operator : str
        Of the first calculation.
    value : int
        Its right operand.
    later : str
        Operators of the later calculations.
    max_number : int
        Largest operand or result.
    """
    possible = tellable(plain(operator + later), max_number)
    return tuple(
        scale
        for scale in range(SMALLEST, max_number + 1)
        if (amount := first_amount(operator, scale, value)) <= max_number
        and value in possible[amount]
    )


@lru_cache(maxsize=10_000)
def tellable(rules: Rules, max_number: int) -> tuple[tuple[int, ...], ...]:
    """Numbers that the first of some sentences may tell so that the others can be told, too.

    Parameters
    ----------
    rules : tuple of Rule
        What the sentences calculate; at least one.
    max_number : int
        Largest operand or result.

    Returns
    -------
    tuple of tuple of int
        For each amount before them, from 0 to ``max_number``, the numbers in ascending order.
    """
    outcomes = _results(rules[0], max_number)
    if len(rules) == 1:
        return tuple(tuple(results) for results in outcomes)
    after = tellable(rules[1:], max_number)
    return tuple(
        tuple(told for told, result in results.items() if after[result]) for results in outcomes
    )


def nearest_numbers(
    running: int, rules: Rules, wish: tuple[int, ...], max_number: int, *, keep: int | None = None
) -> tuple[int, ...] | None:
    """Numbers that sentences tell: those wished for, or where one cannot be told the nearest.

    Parameters
    ----------
    running : int
        The amount before the sentences.
    rules : tuple of Rule
        What they calculate.
    wish : tuple of int
        One number per sentence.
    max_number : int
        Largest operand or result.
    keep : int, optional
        Sentence whose number must be the one wished for.

    Returns
    -------
    tuple of int or None
        None where there are no such numbers.
    """
    numbers = []
    for place, wished in enumerate(wish):
        possible = tellable(rules[place:], max_number)[running]
        if not possible or (place == keep and wished not in possible):
            return None
        told = nearest(possible, wished)
        running = _results(rules[place], max_number)[running][told]
        numbers.append(told)
    return tuple(numbers)


def nearest(numbers: tuple[int, ...], wished: int) -> int:
    """The number closest to the one wished for, the smaller of two; numbers ascend."""
    place = bisect_left(numbers, wished)
    around = numbers[max(place - 1, 0) : place + 1]
    return min(around, key=lambda number: abs(number - wished))


def ever_told(rule: Rule, told: int, max_number: int) -> bool:
    """Whether a number can be told from any amount."""
    return any(told in results for results in _results(rule, max_number))


@lru_cache(maxsize=100)
def _results(rule: Rule, max_number: int) -> tuple[dict[int, int], ...]:
    """Results by told number, in ascending order of it, for each amount before."""
    outcomes: list[dict[int, int]] = []
    for running in range(max_number + 1):
        found = {
            told: calculated(rule, running, told, max_number)
            for told in range(SMALLEST, max_number + 1)
        }
        outcomes.append({told: numbers[2] for told, numbers in found.items() if numbers})
    return tuple(outcomes)
