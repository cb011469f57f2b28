"""Greedy search for the word problem on which a score is largest.

The space is that of `saeflow.datasets.composed`: every word, sentence and number of a problem is a
coordinate, so the winner is a problem that the generator could have told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from saeflow.datasets.composed import (
    LINKS,
    NAMES,
    SMALLEST,
    Design,
    Rule,
    Step,
    compose,
    phrases,
)
from saeflow.datasets.generated import OPERATORS, GeneratedProblem
from saeflow.datasets.tellable import ever_told, nearest_numbers
from saeflow.datasets.wording.story import SCENARIOS
from saeflow.datasets.wording.words import FRIENDS, GOODS
from saeflow.errors import SaeflowError

Score = Callable[[list[str]], Float[np.ndarray, " questions"]]


@dataclass(frozen=True)
class Found:
    """Where a search ended.

    Attributes
    ----------
    design : Design
        The best design.
    problem : GeneratedProblem
        The problem that it makes.
    value : float
        Its score.
    evaluations : int
        Number of different questions that were scored.
    trace : tuple of float
        Score of the start that led there, then after each move; strictly rising.
    """

    design: Design
    problem: GeneratedProblem
    value: float
    evaluations: int
    trace: tuple[float, ...]


def greedy_search(
    start: Sequence[Design],
    score: Score,
    sweeps: int,
    rng: random.Random,
    *,
    climbs: int = 4,
    max_number: int = 100,
    seed: int = 0,
) -> Found:
    """Improve designs one coordinate at a time, and give the best.

    All starts are scored, and the best of them improved one after the other. In each sweep every
    coordinate is visited once, in an order drawn anew; all its alternatives are scored in one
    batch, and the best is taken if it is better. A sweep without a move ends the climb: then no
    change of a single coordinate helps.

    Parameters
    ----------
    start : sequence of Design
        Designs to start from; at least one that can be composed.
    score : callable
        Gives one finite number per question of a list.
    sweeps : int
        Most sweeps; 0 only chooses among the starts.
    rng : random.Random
        Where the orders come from.
    climbs : int
        How many of the starts are improved.
    max_number : int
        Largest operand or result.
    seed : int
        As for `saeflow.datasets.composed.compose`.

    Returns
    -------
    Found
        Never worse than any start.

    Raises
    ------
    SaeflowError
        If no start can be composed, or the score is not one finite number per question.
    """
    scores = _Scores(score)
    starts = _composed(start, max_number)
    if not starts:
        raise SaeflowError(
            f"none of {len(start)} designs can be told with numbers up to {max_number}; expected "
            "at least one to start the search from."
        )
    traces = [
        _climb(value, design, scores, sweeps, rng, max_number)
        for value, design in scores.of(starts)[: max(climbs, 1)]
    ]
    design, trace = max(traces, key=lambda each: each[1][-1])
    problem = compose(design, max_number=max_number, seed=seed)
    assert problem is not None, "only what can be composed is scored"
    return Found(design, problem, trace[-1], scores.evaluations, tuple(trace))


def _climb(
    value: float,
    design: Design,
    scores: _Scores,
    sweeps: int,
    rng: random.Random,
    max_number: int,
) -> tuple[Design, list[float]]:
    """Best design on the way up from one, and the scores on the way."""
    trace = [value]
    for _ in range(sweeps):
        moves = len(trace)
        coordinates = list(range(n_coordinates(design)))
        rng.shuffle(coordinates)
        for coordinate in coordinates:
            options = _composed(_alternatives(design, coordinate, max_number), max_number)
            value, best = scores.of(options)[0]
            if value > trace[-1]:
                design = best
                trace.append(value)
        if len(trace) == moves:
            break
    return design, trace


def coordinate_options(design: Design, *, max_number: int = 100) -> list[list[Design]]:
    """All designs that differ from one in a single coordinate and can be composed.

    Parameters
    ----------
    design : Design
        Where to start from.
    max_number : int
        Largest operand or result.

    Returns
    -------
    list of list of Design
        Per coordinate: scenario, thing, name, friend, rival, goods, opening, first amount, ending;
        then for each step operator, phrase, told number and connector. Numbers are all that can be
        told. Where arithmetic demands it the other numbers change, too, to the nearest possible
        ones, and where another scenario or operator has fewer sentences, another is taken.
        Alternatives that do not change the question are left out.
    """
    here = _composed([design], max_number)
    return [
        [other for question, other in options.items() if question not in here]
        for options in (
            _composed(_alternatives(design, coordinate, max_number), max_number)
            for coordinate in range(n_coordinates(design))
        )
    ]


def n_coordinates(design: Design) -> int:
    """Number of coordinates of a design."""
    return len(_WORDS) + len(_STEP) * len(design.steps)


def _composed(designs: Iterable[Design], max_number: int) -> dict[str, Design]:
    """Designs that can be composed by their questions; the first of each question."""
    made: dict[str, Design] = {}
    for design in designs:
        problem = compose(design, max_number=max_number)
        if problem is not None:
            made.setdefault(problem.question, design)
    return made


class _Scores:
    """Scores of questions, each asked for once."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._known: dict[str, float] = {}

    @property
    def evaluations(self) -> int:
        """Number of questions scored so far."""
        return len(self._known)

    def of(self, designs: dict[str, Design]) -> list[tuple[float, Design]]:
        """Scores of designs that are named by their questions, with them, the largest first."""
        self._ask([question for question in designs if question not in self._known])
        scored = [(self._known[question], design) for question, design in designs.items()]
        return sorted(scored, key=lambda each: -each[0])

    def _ask(self, questions: list[str]) -> None:
        if not questions:
            return
        values = self._score(questions)
        if len(values) != len(questions) or not np.isfinite(values).all():
            raise SaeflowError(
                f"the score of a search gave {len(values)} values, {np.isfinite(values).sum()} of "
                f"them finite, for {len(questions)} questions; expected one finite value each."
            )
        self._known.update(zip(questions, values.tolist(), strict=True))


def _scenarios(design: Design, max_number: int) -> Iterable[Design]:
    last = len(design.steps) - 1
    for scenario, setting in enumerate(SCENARIOS):
        changed = replace(
            design,
            scenario=scenario,
            thing=design.thing % len(setting.things),
            opening=design.opening % len(setting.openings),
            ending=design.ending % len(setting.all_endings),
            steps=tuple(
                _refitted(step, scenario, last=place == last)
                for place, step in enumerate(design.steps)
            ),
        )
        yield from _told_nearest(changed, max_number)


def _refitted(step: Step, scenario: int, *, last: bool) -> Step:
    pool = phrases(scenario, step.operator, last=last)
    answers = SCENARIOS[scenario].family.answers[step.operator]
    return replace(step, phrase=step.phrase % len(pool), sentence=step.sentence % len(answers))


def _words(design: Design, field: str, words: Iterable[str | int]) -> Iterable[Design]:
    changes: Iterable[dict[str, Any]] = ({field: word} for word in words)
    return (replace(design, **change) for change in changes)


def _friends(design: Design, field: str, other: str) -> Iterable[Design]:
    return _words(design, field, [word for word in FRIENDS if word != getattr(design, other)])


def _first_amounts(design: Design, max_number: int) -> Iterable[Design]:
    for first in range(SMALLEST, max_number + 1):
        yield from _told_nearest(replace(design, first=first), max_number, move_first=False)


_WORDS: tuple[Callable[[Design, int], Iterable[Design]], ...] = (
    _scenarios,
    lambda d, _: _words(d, "thing", range(len(SCENARIOS[d.scenario].things))),
    lambda d, _: _words(d, "name", NAMES),
    lambda d, _: _friends(d, "friend", "rival"),
    lambda d, _: _friends(d, "rival", "friend"),
    lambda d, _: _words(d, "goods", GOODS),
    lambda d, _: _words(d, "opening", range(len(SCENARIOS[d.scenario].openings))),
    _first_amounts,
    lambda d, _: _words(d, "ending", range(len(SCENARIOS[d.scenario].all_endings))),
)


def _operators(design: Design, place: int, max_number: int) -> Iterable[Design]:
    last = place == len(design.steps) - 1
    for operator in OPERATORS:
        step = replace(design.steps[place], operator=operator)
        step = _refitted(step, design.scenario, last=last)
        yield from _told_nearest(_with_step(design, place, step), max_number)


def _phrases(design: Design, place: int, max_number: int) -> Iterable[Design]:
    step = design.steps[place]
    last = place == len(design.steps) - 1
    for phrase in range(len(phrases(design.scenario, step.operator, last=last))):
        changed = _with_step(design, place, replace(step, phrase=phrase))
        yield from _told_nearest(changed, max_number)


def _numbers(design: Design, place: int, max_number: int) -> Iterable[Design]:
    for told in range(SMALLEST, max_number + 1):
        changed = _with_step(design, place, replace(design.steps[place], told=told))
        yield from _told_nearest(changed, max_number, keep=place)


def _connectors(design: Design, place: int, max_number: int) -> Iterable[Design]:
    for connector in LINKS:
        yield _with_step(design, place, replace(design.steps[place], connector=connector))


def _with_step(design: Design, place: int, step: Step) -> Design:
    return replace(design, steps=(*design.steps[:place], step, *design.steps[place + 1 :]))


def _told_nearest(
    design: Design, max_number: int, *, keep: int | None = None, move_first: bool = True
) -> Iterable[Design]:
    """The design with the nearest numbers that can be told; none where there are none."""
    last = len(design.steps) - 1
    rules = tuple(
        Rule.of(phrases(design.scenario, step.operator, last=place == last)[step.phrase])
        for place, step in enumerate(design.steps)
    )
    if keep is not None and not ever_told(rules[keep], design.steps[keep].told, max_number):
        return
    wish = tuple(step.told for step in design.steps)
    firsts = range(SMALLEST, max_number + 1) if move_first else [design.first]
    for first in sorted(firsts, key=lambda number: abs(number - design.first)):
        numbers = nearest_numbers(first, rules, wish, max_number, keep=keep)
        if numbers is not None:
            steps = zip(design.steps, numbers, strict=True)
            moved = tuple(replace(step, told=told) for step, told in steps)
            yield replace(design, first=first, steps=moved)
            return


_STEP = (_operators, _phrases, _numbers, _connectors)


def _alternatives(design: Design, coordinate: int, max_number: int) -> Iterable[Design]:
    """Values of a coordinate, the present one among them; some may tell a sentence twice."""
    if coordinate < len(_WORDS):
        return _WORDS[coordinate](design, max_number)
    place, kind = divmod(coordinate - len(_WORDS), len(_STEP))
    return _STEP[kind](design, place, max_number)
