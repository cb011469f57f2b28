from __future__ import annotations

import random
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from jaxtyping import Float

from saeflow.datasets.composed import (
    LINKS,
    NAMES,
    Design,
    Step,
    compose,
    random_design,
    random_words,
)
from saeflow.datasets.search import Score, coordinate_options, greedy_search, n_coordinates
from saeflow.errors import SaeflowError

PLAIN = replace(
    random_words(random.Random(4), 0),
    name="Zoe",
    friend="aunt",
    rival="uncle",
    goods="mugs",
    first=50,
    steps=(Step("+", 0, 7), Step("-", 1, 6, "Then ")),
)


def question_of(design: Design) -> str:
    problem = compose(design)
    assert problem is not None
    return problem.question


def numbers_in(question: str) -> list[int]:
    return [int(text) for text in re.findall(r"\d+", question)]


def scored(rule: object) -> Score:
    def score(questions: list[str]) -> Float[np.ndarray, " questions"]:
        return np.array([rule(question) for question in questions], float)  # type: ignore[operator]

    return score


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_optimum_is_found_from_random_starts(seed: int) -> None:
    anybody = re.compile(rf"\b({'|'.join(NAMES)})\b")

    def planted(question: str) -> float:
        first, second, *_ = numbers_in(question)
        words = ("Kwame", "Next, ", "cousin")
        near = abs(first - 36) + abs(second - 9)
        told = sum(word in question for word in words)
        return told + 0.2 * bool(anybody.search(question)) - near / 100

    rng = random.Random(seed)
    start = [random_design(rng, 2) for _ in range(12)]
    assert max(planted(question_of(design)) for design in start) < 2.5
    found = greedy_search(start, scored(planted), 20, rng)
    assert found.value == planted(found.problem.question) == 3.2


def test_nothing_better_than_the_end_is_one_step_away() -> None:
    weights = {name: place % 7 for place, name in enumerate(NAMES)}

    def wanted(question: str) -> float:
        first, *_, last = numbers_in(question)
        named = [weight for name, weight in weights.items() if re.search(rf"\b{name}\b", question)]
        distance = abs(first - 61) + abs(last - 17)
        return max(named, default=0) - distance / 100 + 0.5 * ("Later, " in question)

    found = greedy_search([PLAIN], scored(wanted), 10, random.Random(1))
    numbers = numbers_in(found.problem.question)
    assert (numbers[0], numbers[-1]) == (61, 17)
    assert weights[found.design.name] == 6
    for options in coordinate_options(found.design):
        assert all(wanted(question_of(option)) <= found.value for option in options)


@pytest.mark.parametrize("seed", range(2))
def test_a_search_never_gets_worse_and_asks_each_question_once(seed: int) -> None:
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    given: dict[str, float] = {}

    def score(questions: list[str]) -> Float[np.ndarray, " questions"]:
        assert given.keys().isdisjoint(questions)
        values = noise.normal(size=len(questions))
        given.update(zip(questions, values.tolist(), strict=True))
        return values

    start = [random_design(rng, 2) for _ in range(3)]
    found = greedy_search(start, score, 2, rng, climbs=2)
    assert found.evaluations == len(given)
    assert found.value == given[found.problem.question] == found.trace[-1]
    assert found.value >= max(given[question_of(design)] for design in start)
    assert list(found.trace) == sorted(set(found.trace))
    assert found.problem == compose(found.design)


def test_without_sweeps_the_best_start_is_given() -> None:
    start = [random_design(random.Random(seed), 1) for seed in range(20)]
    values = [float(len(question_of(design))) for design in start]
    found = greedy_search(start, scored(len), 0, random.Random(0))
    assert found.value == max(values)
    assert found.trace == (max(values),)
    assert found.problem.question == question_of(start[int(np.argmax(values))])


def test_a_constant_score_ends_the_search_after_one_sweep() -> None:
    found = greedy_search([PLAIN], scored(lambda _: 1.0), 50, random.Random(0))
    assert found.design == PLAIN
    options = coordinate_options(PLAIN)
    assert found.evaluations == 1 + len({question_of(o) for each in options for o in each})


def test_the_same_seed_searches_alike() -> None:
    one, two = (greedy_search([PLAIN], scored(len), 2, random.Random(7), seed=2) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("seed", range(4))
def test_alternatives_change_one_coordinate_and_other_numbers_only_where_they_must(
    seed: int,
) -> None:
    design = random_design(random.Random(seed), 1 + seed % 3)
    options = coordinate_options(design)
    assert len(options) == n_coordinates(design) == 9 + 4 * len(design.steps)
    for coordinate, alternatives in enumerate(options):
        questions = {question_of(option) for option in alternatives}
        assert len(questions) == len(alternatives)
        assert question_of(design) not in questions
        for option in alternatives:
            alone = with_coordinate_of(option, design, coordinate)
            if coordinate > 0 and compose(alone) is not None:
                assert option == alone
            wordings = [replace_numbers(each) for each in (option, alone)]
            assert coordinate == 0 or wordings[0] == wordings[1]


WORDS = [field.name for field in fields(Design) if field.name != "steps"]  # in this order


def with_coordinate_of(option: Design, design: Design, coordinate: int) -> Design:
    """A design with nothing but one coordinate taken from another."""
    if coordinate < len(WORDS):
        return replace(design, **{WORDS[coordinate]: getattr(option, WORDS[coordinate])})
    place, kind = divmod(coordinate - len(WORDS), 4)
    taken = (("operator", "phrase", "sentence"), ("phrase",), ("told",), ("connector",))[kind]
    changes = {field: getattr(option.steps[place], field) for field in taken}
    steps = list(design.steps)
    steps[place] = replace(steps[place], **changes)
    return replace(design, steps=tuple(steps))


def replace_numbers(design: Design) -> Design:
    steps = tuple(replace(step, told=0) for step in design.steps)
    return replace(design, first=0, steps=steps)


def test_numbers_are_tried_in_full() -> None:
    options = coordinate_options(PLAIN)
    first = {option.first for option in options[7]}
    assert first == {*range(2, 99)} - {50}
    told = {option.steps[1].told for option in options[9 + 4 + 2]}
    assert told == {*range(2, 99)} - {6}
    connectors = {option.steps[1].connector for option in options[9 + 4 + 3]}
    assert connectors == {*LINKS} - {"Then "}
    assert {option.name for option in options[2]} == {*NAMES} - {"Zoe"}


def test_another_operator_tells_the_nearest_number_it_can() -> None:
    design = replace(PLAIN, steps=(Step("+", 0, 7),))
    options = coordinate_options(design)[9]
    found = {(option.steps[0].operator, option.first, option.steps[0].told) for option in options}
    assert found == {("-", 50, 7), ("*", 50, 2), ("/", 50, 5)}


def test_searches_that_cannot_start_are_told() -> None:
    impossible = replace(PLAIN, first=1)
    with pytest.raises(SaeflowError, match="none of 1 designs can be told"):
        greedy_search([impossible], scored(len), 1, random.Random(0))
    with pytest.raises(SaeflowError, match="0 of them finite, for 1 questions"):
        greedy_search([PLAIN], scored(lambda _: np.nan), 1, random.Random(0))
    with pytest.raises(SaeflowError, match="gave 0 values"):
        greedy_search([PLAIN], lambda _: np.zeros(0), 1, random.Random(0))


def test_a_length_that_numbers_cannot_fill_is_told() -> None:
    with pytest.raises(ValueError, match="No problem of 4 steps was found with numbers up to 2"):
        random_design(random.Random(0), 4, 2)
