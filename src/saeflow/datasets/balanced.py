"""Problems in which operator, number and length occur in exactly equal numbers (methods/2).

A story is told once for each operator and value of its first calculation. All else stays the same
as far as arithmetic allows; only the words between sentences ("Then", "Later", ...) are free,
until every question is one that the generator keeps from training.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from saeflow.config.datasets import BalancedDataset
from saeflow.datasets.composed import LINKS, Design, Step, compose, random_words
from saeflow.datasets.generated import OPERATORS, VALIDATION, GeneratedProblem
from saeflow.datasets.tellable import first_amount, nearest, nearest_numbers, plain, scales
from saeflow.datasets.wording.story import SCENARIOS
from saeflow.datasets.wording.words import CONNECTORS
from saeflow.errors import SaeflowError

OPERATOR_NAMES = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_ID = re.compile(rf"(.*\d)_({'|'.join(OPERATOR_NAMES.values())})_(\d+)")
_SAME_SCALE = ("+-", "*/")
_ATTEMPTS, _WISHES, _SCALES_TRIED, _LINKS_TRIED = 200, 4, 12, 60
_LARGEST_WISH = 12
# A scenario may have only three sentences per operator, and none is told twice.
_MOST_REPEATS = 2
_Cell = tuple[str, int]  # operator and value of the first calculation


@dataclass(frozen=True)
class BalancedProblem:
    """One cell of the design.

    Attributes
    ----------
    problem_id : str
        Prefix, story, name of the operator and value.
    story : int
        Number of the story, counted over all lengths.
    operator : str
        Operator of the first calculation.
    value : int
        Its right operand.
    design : Design
        What makes the problem.
    problem : GeneratedProblem
        The problem with its worked answer.
    """

    problem_id: str
    story: int
    operator: str
    value: int
    design: Design
    problem: GeneratedProblem


def balanced_problems(settings: BalancedDataset) -> list[BalancedProblem]:
    """Write every story once for each operator and value.

    Parameters
    ----------
    settings : BalancedDataset
        The block of the configuration.

    Returns
    -------
    list of BalancedProblem
        By length, story, operator and value. More stories of a length only append to it.

    Raises
    ------
    SaeflowError
        If the numbers leave no way to tell a length, or not enough questions are found.
    """
    made: list[BalancedProblem] = []
    seen: set[str] = set()
    for n_steps in settings.steps:
        for index, later in enumerate(_later_operators(settings, n_steps)):
            story = len(made) // (len(OPERATORS) * len(settings.values))
            cells = _tell_story(settings, index, later, seen)
            if cells is None:
                raise SaeflowError(
                    f"only {index} of {settings.stories} balanced stories of length {n_steps} were "
                    "found; expected fewer stories or values, or a larger max_number."
                )
            for operator, value in itertools.product(OPERATORS, settings.values):
                name = f"{settings.id_prefix}{story}_{OPERATOR_NAMES[operator]}_{value}"
                design, problem = cells[operator, value]
                made.append(BalancedProblem(name, story, operator, value, design, problem))
                seen.add(problem.question)
    return made


def story_numbers(problem_ids: Sequence[str]) -> Int[np.ndarray, " problems"]:
    """Story of each balanced problem, from its id.

    Raises
    ------
    SaeflowError
        If an id is none of a balanced problem.
    """
    found = []
    for name in problem_ids:
        parts = name.rsplit("_", 3)
        if len(parts) != 4 or not parts[1].isdigit():
            raise SaeflowError(
                f"{name!r} is no id of a balanced problem; expected one such as balanced_3_add_5."
            )
        found.append(int(parts[1]))
    return np.array(found, np.int64)


def whole_stories(problem_ids: Sequence[str], count: int) -> Int[np.ndarray, " problems"]:
    """Rows of so many stories, spread over all of them and so over their lengths.

    Parameters
    ----------
    problem_ids : sequence of str
        Ids of balanced problems.
    count : int
        Stories; all where there are no more.

    Raises
    ------
    SaeflowError
        If an id is none of a balanced problem.
    """
    story = story_numbers(problem_ids)
    known = np.unique(story)
    spread = np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int)
    rows: Int[np.ndarray, " problems"] = np.flatnonzero(np.isin(story, known[spread]))
    return rows


def swap_partners(problem_ids: Sequence[str]) -> dict[str, Int[np.ndarray, " problems"]]:
    """For each problem the one with which to swap.

    Parameters
    ----------
    problem_ids : sequence of str
        Ids of balanced problems, such as ``balanced_3_add_5``.

    Returns
    -------
    dict of str to numpy.ndarray of int64
        Positions in ``problem_ids``: of ``value``, the same story and operator with the next
        value; of ``operator``, the same story and value with the next of + - * /. The last is
        followed by the first.

    Raises
    ------
    SaeflowError
        If an id is none of a balanced problem, occurs twice or has nothing to swap with.
    """
    order = list(OPERATOR_NAMES.values())
    groups: dict[tuple[str, str, int | str], dict[int, int]] = defaultdict(dict)
    for row, name in enumerate(problem_ids):
        match = _ID.fullmatch(name)
        if match is None:
            raise SaeflowError(
                f"{name!r} is no id of a balanced problem; expected one such as 'balanced_3_add_5'."
            )
        story, operator, value = match[1], match[2], int(match[3])
        for group, place in (
            (("value", story, operator), value),
            (("operator", story, value), order.index(operator)),
        ):
            if place in groups[group]:
                raise SaeflowError(f"{name!r} occurs twice; expected each balanced problem once.")
            groups[group][place] = row
    partners = {kind: np.empty(len(problem_ids), np.int64) for kind in ("value", "operator")}
    for (kind, *_), rows in groups.items():
        ordered = [row for _, row in sorted(rows.items())]
        if len(ordered) < 2:
            raise SaeflowError(
                f"{problem_ids[ordered[0]]!r} has no partner with another {kind}; expected whole "
                "stories."
            )
        partners[kind][ordered] = np.roll(ordered, -1)
    return partners


def _later_operators(settings: BalancedDataset, n_steps: int) -> list[str]:
    """Operators behind the first calculation, one sequence per story, each operator as often."""
    options = [
        later
        for later in map("".join, itertools.product(OPERATORS, repeat=n_steps - 1))
        if all(later.count(operator) <= _MOST_REPEATS for operator in OPERATORS)
        and all(
            scales(operator, value, later, settings.max_number)
            for operator, value in itertools.product(OPERATORS, settings.values)
        )
    ]
    if not options:
        raise SaeflowError(
            f"no problem of {n_steps} steps can be told for every operator and value up to "
            f"{max(settings.values)}; expected a larger max_number than {settings.max_number}."
        )
    random.Random(f"{settings.seed}/balanced/{n_steps}/operators").shuffle(options)
    chosen: list[str] = []
    for _ in range(settings.stories):
        counts = Counter(pair for later in chosen for pair in enumerate(later))
        chosen.append(
            min(
                options, key=lambda x: (sum(counts[pair] for pair in enumerate(x)), chosen.count(x))
            )
        )
    return chosen


def _tell_story(
    settings: BalancedDataset, index: int, later: str, seen: Collection[str]
) -> dict[_Cell, tuple[Design, GeneratedProblem]] | None:
    stage = f"{settings.seed}/balanced/{len(later) + 1}"
    settings_of_stories = random.Random(f"{stage}/scenarios").sample(
        range(len(SCENARIOS)), len(SCENARIOS)
    )
    scenario = settings_of_stories[index % len(SCENARIOS)]
    for attempt in range(_ATTEMPTS):
        rng = random.Random(f"{stage}/{index}/{attempt}")
        telling = _Telling(rng, settings, scenario, later, seen)
        cells: dict[_Cell, tuple[Design, GeneratedProblem]] = {}
        for operators, tried in telling.scales.items():
            found = telling.first_found(operators, tried)
            if found is None:
                break
            cells |= found
        else:
            return cells
    return None


class _Telling:
    """One attempt at a story: its words are drawn, and its numbers put in order."""

    def __init__(
        self,
        rng: random.Random,
        settings: BalancedDataset,
        scenario: int,
        later: str,
        seen: Collection[str],
    ) -> None:
        self.rng, self.settings, self.later, self.seen = rng, settings, later, seen
        self.max_number = settings.max_number
        self.words = random_words(rng, scenario)
        self.setting = SCENARIOS[scenario]
        self.steps: list[Step] = []
        for operator in later:
            self.steps.append(self._step(operator, rng.choice(self._unused(operator))))
        self.first_connector = rng.choice(CONNECTORS)
        wishes = [
            tuple(rng.randint(2, _LARGEST_WISH) for _ in later)
            for _ in range(_WISHES if later else 1)
        ]
        ordered = [(self._scales_in_order(wish), wish) for wish in wishes]
        best, self.wish = min(ordered, key=lambda each: sum(cost for cost, _ in each[0].values()))
        self.scales = {operators: tried for operators, (_, tried) in best.items()}

    def first_found(
        self, operators: str, tried: list[int]
    ) -> dict[_Cell, tuple[Design, GeneratedProblem]] | None:
        """Cells of some operators at the first scale at which all questions are for validation."""
        for scale in tried:
            cells: dict[_Cell, tuple[Design, GeneratedProblem]] = {}
            for operator in operators:
                found = self._tell_operator(operator, scale)
                if found is None:
                    break
                cells |= found
            else:
                return cells
        return None

    def _step(self, operator: str, phrase: int) -> Step:
        sentence = self.rng.randrange(len(self.setting.family.answers[operator]))
        return Step(operator, phrase, 0, self.rng.choice(CONNECTORS), sentence)

    def _unused(self, operator: str) -> list[int]:
        used = {step.phrase for step in self.steps if step.operator == operator}
        return [n for n in range(len(self.setting.steps_by_operator[operator])) if n not in used]

    def _scales_in_order(self, wish: tuple[int, ...]) -> dict[str, tuple[int, list[int]]]:
        """Scales that most cells can share, fewest changed numbers first, with the number of them."""
        ordered = {}
        for operators in _SAME_SCALE:
            cells = list(itertools.product(operators, self.settings.values))
            shared = Counter(
                scale
                for operator, value in cells
                for scale in scales(operator, value, self.later, self.max_number)
            )
            most = [scale for scale, n in sorted(shared.items()) if n == max(shared.values())]
            tried = self.rng.sample(most, min(_SCALES_TRIED, len(most)))
            changed = {
                scale: sum(
                    told != wished
                    for cell in cells
                    for told, wished in zip(self._numbers(*cell, scale, wish)[1], wish, strict=True)
                )
                for scale in tried
            }
            tried.sort(key=changed.__getitem__)
            ordered[operators] = (changed[tried[0]], tried)
        return ordered

    def _numbers(
        self, operator: str, value: int, scale: int, wish: tuple[int, ...]
    ) -> tuple[int, tuple[int, ...]]:
        """First amount and the later numbers, as near to the story's as can be told."""
        return _numbers(operator, value, scale, self.later, wish, self.max_number)

    def _tell_operator(
        self, operator: str, scale: int
    ) -> dict[_Cell, tuple[Design, GeneratedProblem]] | None:
        for phrase in self.rng.sample(unused := self._unused(operator), len(unused)):
            opening = replace(self._step(operator, phrase), connector=self.first_connector)
            cells: dict[_Cell, tuple[Design, GeneratedProblem]] = {}
            for value in self.settings.values:
                first, told = self._numbers(operator, value, scale, self.wish)
                steps = zip([opening, *self.steps], (value, *told), strict=True)
                told_steps = tuple(replace(step, told=number) for step, number in steps)
                found = self._for_validation(replace(self.words, first=first, steps=told_steps))
                if found is None:
                    break
                cells[operator, value] = found
            else:
                return cells
        return None

    def _for_validation(self, design: Design) -> tuple[Design, GeneratedProblem] | None:
        """The design with the fewest changed connectors that training never sees."""
        wanted = tuple(step.connector for step in design.steps)
        everything = _all_links(len(wanted))
        some = self.rng.sample(everything, min(_LINKS_TRIED, len(everything)))
        for links in sorted(
            [wanted, *some],
            key=lambda links: sum(a != b for a, b in zip(links, wanted, strict=True)),
        ):
            steps = zip(design.steps, links, strict=True)
            other = replace(design, steps=tuple(replace(s, connector=link) for s, link in steps))
            problem = compose(other, max_number=self.max_number, seed=self.settings.seed)
            assert problem is not None, "its numbers were found tellable"
            if problem.split == VALIDATION and problem.question not in self.seen:
                return other, problem
        return None


@lru_cache(maxsize=100_000)
def _numbers(
    operator: str, value: int, scale: int, later: str, wish: tuple[int, ...], max_number: int
) -> tuple[int, tuple[int, ...]]:
    possible = nearest(scales(operator, value, later, max_number), scale)
    first = first_amount(operator, possible, value)
    numbers = nearest_numbers(first, plain(operator + later), (value, *wish), max_number, keep=0)
    assert numbers is not None, "the scale was found possible"
    return first, numbers[1:]


@lru_cache(maxsize=4)
def _all_links(n_steps: int) -> list[tuple[str, ...]]:
    return list(itertools.product(LINKS, repeat=n_steps))
