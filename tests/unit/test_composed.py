from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from saeflow.datasets.composed import (
    LINKS,
    NAMES,
    Design,
    Step,
    compose,
    phrases,
    random_design,
    random_words,
)
from saeflow.datasets.generated import GeneratedProblem, generate_problems, split_of
from saeflow.datasets.tellable import nearest, nearest_numbers, plain, tellable
from saeflow.datasets.wording.story import SCENARIOS
from saeflow.datasets.wording.words import FRIENDS, GOODS
from tests.unit.test_balanced import check_sound, evaluate


def test_sentences_that_go_on_tell_the_right_operand() -> None:
    # The numbers of balanced problems are worked out before their sentences are chosen.
    for scenario, operator in product(range(len(SCENARIOS)), "+-*/"):
        for phrase in phrases(scenario, operator, last=False):
            assert (phrase.swapped, phrase.whole) == (False, False)
            assert phrase.second == ("factor" if operator in "*/" else "quantity")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**9), n_steps=st.integers(1, 4), largest=st.integers(20, 300))
def test_random_designs_compose_to_sound_problems(seed: int, n_steps: int, largest: int) -> None:
    design = random_design(random.Random(seed), n_steps, largest)
    problem = compose(design, max_number=largest, seed=5)
    assert problem is not None
    assert problem.n_steps == n_steps
    assert problem.split == split_of(5, problem.question)
    check_sound(problem.answer, n_steps, largest)
    assert re.fullmatch(r"[A-Z\d][^{}<>#\n]*[.?]", problem.question)
    assert not re.search(r"  | [.,?]|\.\.|\?\.|[a-z][.?] [a-z]", problem.question)


@settings(max_examples=150, deadline=None)
@given(
    scenario=st.integers(0, len(SCENARIOS) - 1),
    operator=st.sampled_from("+-*/"),
    first=st.integers(-3, 130),
    told=st.integers(-3, 130),
)
def test_one_step_composes_exactly_where_its_arithmetic_is_possible(
    scenario: int, operator: str, first: int, told: int
) -> None:
    words = random_words(random.Random(0), scenario)
    design = replace(words, first=first, steps=(Step(operator, 0, told),))
    possible = min(first, told) >= 2 and max(first, told) <= 100
    if possible:
        result = evaluate(first, operator, told)
        possible = result.denominator == 1 and 2 <= result <= 100
    if operator in "*/":
        possible = possible and told <= 12
    assert (compose(design) is not None) == possible


def test_a_sentence_is_not_told_twice() -> None:
    words = replace(random_words(random.Random(0), 0), first=40)
    twice = replace(words, steps=(Step("+", 0, 2), Step("+", 0, 3)))
    assert compose(twice) is None
    assert compose(replace(words, steps=(Step("+", 0, 2), Step("+", 1, 3)))) is not None


def test_designs_tell_what_the_generator_tells() -> None:
    # Each generated problem of one step behind an opening is found again among all designs.
    made = generate_problems(
        n_train=60, n_validation=0, seed=0, max_number=100, step_weights=(1, 0, 0, 0),
        decimal_share=0,
    )  # fmt: skip
    found = 0
    for problem in made:
        match = next((d for d in _designs_like(problem.question) if _same(d, problem)), None)
        found += match is not None
    assert found >= 0.5 * len(made), "the others open with a pair of amounts"


def _same(design: Design, problem: GeneratedProblem) -> bool:
    composed = compose(design, seed=0)
    return composed is not None and composed == problem


def _designs_like(question: str) -> Iterator[Design]:
    """Designs of one step whose words all occur in a question."""
    numbers = [int(text) for text in re.findall(r"\d+", question)]
    if len(numbers) != 2:
        return
    named = [n for n in NAMES if re.search(rf"\b{n}\b", question)] or [NAMES[0]]
    relatives = [f for f in FRIENDS if re.search(rf"\b{f}\b", question)] or [FRIENDS[0]]
    goods = [g for g in GOODS if g in question] or [GOODS[0]]
    link = next((li for li in LINKS if li and f". {li}" in question), "")
    for index, setting in enumerate(SCENARIOS):
        for thing, (noun, extra) in enumerate(setting.things):
            if not (noun in question or noun == "dollars"):
                continue
            for opening, sentence in enumerate(setting.openings):
                told = re.escape(
                    sentence.format(a="#", name=named[0], obj=noun, extra=extra, his="@")
                ).replace("@", r"\w+")
                if not re.match(told.replace(r"\#", r"\d+"), question):
                    continue
                for operator in "+-*/":
                    pool = phrases(index, operator, last=True)
                    answers = range(len(setting.family.answers[operator]))
                    for phrase, answer, ending in product(
                        range(len(pool)), answers, range(len(setting.all_endings))
                    ):
                        step = Step(operator, phrase, numbers[1], link, answer)
                        yield Design(
                            index, thing, named[0], relatives[0], relatives[0], goods[0],
                            opening, numbers[0], (step,), ending,
                        )  # fmt: skip


def test_tellable_numbers_are_those_of_a_slow_search() -> None:
    def slow(running: int, operators: str) -> bool:
        if not operators:
            return True
        return any(
            slow(int(result), operators[1:])
            for told in range(2, 31)
            if told <= 12 or operators[0] in "+-"
            if (result := evaluate(running, operators[0], told)).denominator == 1
            and 2 <= result <= 30
        )

    for running, operators in product((2, 7, 15, 24, 30), ("+", "/", "*/", "-*", "//")):
        assert bool(tellable(plain(operators), 30)[running]) == slow(running, operators)


def test_numbers_that_cannot_be_told_move_to_the_nearest() -> None:
    assert nearest_numbers(9, plain("+/"), (3, 4), 30) == (3, 4)
    assert nearest_numbers(9, plain("+/"), (4, 4), 30) == (3, 4)
    assert nearest_numbers(9, plain("+/"), (5, 3), 30) == (5, 2)
    assert nearest_numbers(9, plain("+/"), (4, 4), 30, keep=0) is None
    assert nearest_numbers(9, plain("*"), (4,), 30, keep=0) is None


def test_the_nearest_number_is_the_smaller_of_two() -> None:
    for numbers, wished in product([(2,), (2, 6), (3, 4, 9, 11)], range(13)):
        expected = min(numbers, key=lambda number: (abs(number - wished), number))
        assert nearest(numbers, wished) == expected
