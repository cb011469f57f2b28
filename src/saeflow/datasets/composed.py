"""Word problems by design: every word and number is a coordinate that can be set by itself.

The sentences, the arithmetic and the worked answers are those of `saeflow.datasets.generated`,
limited to whole numbers and to problems that open with one amount and then change it step by step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from saeflow.datasets.generated import OPERATORS, GeneratedProblem, is_held_out, split_of
from saeflow.datasets.wording.forms import Phrase
from saeflow.datasets.wording.story import SCENARIOS, Telling, words_of
from saeflow.datasets.wording.words import CONNECTORS, FRIENDS, GOODS, HER_NAMES, HIS_NAMES

SMALLEST = 2
"""Fewer would need wording of its own: "1 apple", "no apples"."""
FACTORS = range(2, 13)
NAMES = HER_NAMES + HIS_NAMES
LINKS = tuple(dict.fromkeys(CONNECTORS))
"""What may stand before the sentence of a step, each once."""
_LARGEST_PRICE = 20
_DRAWS = 2000


@dataclass(frozen=True)
class Step:
    """One calculation and the sentence that tells it.

    Attributes
    ----------
    operator : str
        ``+``, ``-``, ``*`` or ``/``.
    phrase : int
        Which of `phrases`.
    told : int
        The number in the sentence.
    connector : str
        One of `LINKS`; a sentence that ends the story has none.
    sentence : int
        Which of the family's answer sentences, where the phrase brings none.
    """

    operator: str
    phrase: int
    told: int
    connector: str = ""
    sentence: int = 0


@dataclass(frozen=True)
class Design:
    """Everything that makes a problem.

    Attributes
    ----------
    scenario : int
        Which of `saeflow.datasets.wording.story.SCENARIOS`.
    thing : int
        Which of the scenario's things.
    name : str
        Who it is about; the pronouns follow.
    friend, rival, goods : str
        The other words; many stories use only some.
    opening : int
        Which of the scenario's first sentences.
    first : int
        The amount in that sentence.
    steps : tuple of Step
        The calculations in order; each starts from the result before.
    ending : int
        Which of the questions in the end; without effect where the last step asks its own.
    """

    scenario: int
    thing: int
    name: str
    friend: str
    rival: str
    goods: str
    opening: int
    first: int
    steps: tuple[Step, ...]
    ending: int


def phrases(scenario: int, operator: str, *, last: bool) -> tuple[Phrase, ...]:
    """Sentences that may tell a step.

    Parameters
    ----------
    scenario : int
        Which scenario.
    operator : str
        What the step calculates.
    last : bool
        Whether it is the last step, which may also ask the question.

    Returns
    -------
    tuple of Phrase
        Those that go on with the story first, then those that end it.
    """
    setting = SCENARIOS[scenario]
    steps = setting.steps_by_operator[operator]
    return steps + setting.closings_by_operator.get(operator, ()) if last else steps


def compose(design: Design, *, max_number: int = 100, seed: int = 0) -> GeneratedProblem | None:
    """Write a problem with its worked answer.

    Parameters
    ----------
    design : Design
        What to write.
    max_number : int
        Largest operand or result.
    seed : int
        Seed of the problem set whose split and held-out combinations are told.

    Returns
    -------
    GeneratedProblem or None
        None where its numbers are impossible: not whole, below 2, above ``max_number``, factors
        above 12, prices above 20 dollars; or where it would tell the same sentence twice.
    """
    setting = SCENARIOS[design.scenario]
    words = words_of(
        setting.things[design.thing], design.name, design.friend, design.rival, design.goods
    )
    story = Telling(setting, words)
    story.open_with(setting.openings[design.opening], str(design.first))
    running, held_out, asked = design.first, False, False
    for number, step in enumerate(design.steps, 1):
        last = number == len(design.steps)
        phrase = phrases(design.scenario, step.operator, last=last)[step.phrase]
        asked = step.phrase >= len(setting.steps_by_operator[step.operator])
        numbers = calculated(Rule.of(phrase), running, step.told, max_number)
        if numbers is None or story.has_told(phrase):
            return None
        left, right, result = numbers
        story.tell_with(phrase, str(running), str(step.told), "" if asked else step.connector)
        expression = f"{left}{step.operator}{right}"
        answer = phrase.answer or setting.family.answers[step.operator][step.sentence]
        story.work_with(answer, f"{expression}=<<{expression}={result}>>{result}")
        held_out |= is_held_out(seed, step.operator, Decimal(left), Decimal(right))
        running = result
    if not asked:
        story.ask_with(setting.all_endings[design.ending])
    story.conclude(str(running))
    split = split_of(seed, story.question)
    return GeneratedProblem(story.question, story.answer, split, len(design.steps), held_out)


class Rule(NamedTuple):
    """What a sentence calculates; see `saeflow.datasets.wording.forms.Phrase`."""

    operator: str
    second: str
    swapped: bool

    @staticmethod
    def of(phrase: Phrase) -> Rule:
        """Rule of a sentence."""
        return Rule(phrase.operator, phrase.second, phrase.swapped)


def calculated(rule: Rule, running: int, told: int, max_number: int) -> tuple[int, int, int] | None:
    """Left operand, right operand and result of a sentence; None where it cannot be told.

    Parameters
    ----------
    rule : Rule
        What the sentence calculates.
    running : int
        The amount so far.
    told : int
        The number in the sentence.
    max_number : int
        Largest operand or result.
    """
    left, right = (told, running) if rule.swapped else (running, told)
    result = _apply(rule.operator, left, right)
    if result is None or not all(SMALLEST <= n <= max_number for n in (left, right, result)):
        return None
    factor = told if rule.second == "factor" else None
    if rule.swapped and rule.operator == "/":
        factor = result
    if factor is not None and factor not in FACTORS:
        return None
    return None if rule.second == "price" and told > _LARGEST_PRICE else (left, right, result)


def random_design(rng: random.Random, n_steps: int, max_number: int = 100) -> Design:
    """Draw a design that can be composed.

    Parameters
    ----------
    rng : random.Random
        Where the draws come from.
    n_steps : int
        Number of calculations.
    max_number : int
        Largest operand or result.

    Returns
    -------
    Design
        Operators are equally likely where arithmetic leaves the choice.

    Raises
    ------
    ValueError
        If none is found.
    """
    for _ in range(_DRAWS):
        words = random_words(rng, rng.randrange(len(SCENARIOS)))
        design = _with_steps(rng, words, n_steps, max_number)
        if design is not None:
            return design
    raise ValueError(f"No problem of {n_steps} steps was found with numbers up to {max_number}.")


def random_words(rng: random.Random, scenario: int) -> Design:
    """Draw a design of a scenario without amount and steps."""
    setting = SCENARIOS[scenario]
    friend, rival = rng.sample(FRIENDS, 2)
    return Design(
        scenario=scenario,
        thing=rng.randrange(len(setting.things)),
        name=rng.choice(NAMES),
        friend=friend,
        rival=rival,
        goods=rng.choice(GOODS),
        opening=rng.randrange(len(setting.openings)),
        first=SMALLEST,
        steps=(),
        ending=rng.randrange(len(setting.all_endings)),
    )


def _with_steps(rng: random.Random, design: Design, n_steps: int, max_number: int) -> Design | None:
    first = running = rng.randint(SMALLEST, max_number)
    steps: list[Step] = []
    while len(steps) < n_steps:
        last = len(steps) == n_steps - 1
        drawn = _random_step(rng, design.scenario, running, max_number, last=last)
        if drawn is None:
            return None
        step, running = drawn
        steps.append(step)
    design = replace(design, first=first, steps=tuple(steps))
    return None if compose(design, max_number=max_number) is None else design


def _random_step(
    rng: random.Random, scenario: int, running: int, max_number: int, *, last: bool
) -> tuple[Step, int] | None:
    for operator in rng.sample(OPERATORS, len(OPERATORS)):
        pool = phrases(scenario, operator, last=last)
        index = rng.randrange(len(pool))
        numbers = range(SMALLEST, max_number + 1)
        results = {
            told: found[2]
            for told in numbers
            if (found := calculated(Rule.of(pool[index]), running, told, max_number)) is not None
        }
        if results:
            told = rng.choice(list(results))
            sentence = rng.randrange(len(SCENARIOS[scenario].family.answers[operator]))
            return Step(operator, index, told, rng.choice(LINKS), sentence), results[told]
    return None


def _apply(operator: str, left: int, right: int) -> int | None:
    """Calculate; None where the result is not whole."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    return None if right == 0 or left % right else left // right
