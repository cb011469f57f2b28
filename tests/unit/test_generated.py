import hashlib
import json
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saeflow.datasets import generated
from saeflow.datasets.generated import (
    GeneratedProblem,
    generate_problems,
    is_held_out,
    to_jsonl_line,
)
from saeflow.datasets.wording import story, words

N_TRAIN, N_VALIDATION = 3000, 800
# Changes whenever a wording or a draw changes: then every set generated before is another one.
GOLDEN = "906a01dd34040d3213e1e2a8664a2438288c7a476fe12d116bb00035f8431fef"

NUMBER = r"(?:0|[1-9]\d*)(?:\.\d?[1-9])?"
ANNOTATION = re.compile(rf"({NUMBER})([-+*/])({NUMBER})=<<\1\2\3=({NUMBER})>>({NUMBER})(?![\d])")
ANY_NUMBER = re.compile(r"\d+(?:\.\d+)?")

Step = tuple[Fraction, str, Fraction, Fraction]


@pytest.fixture(scope="module")
def problems() -> list[GeneratedProblem]:
    return generate_problems(n_train=N_TRAIN, n_validation=N_VALIDATION, seed=0)


def of_split(problems: list[GeneratedProblem], split: str) -> list[GeneratedProblem]:
    return [problem for problem in problems if problem.split == split]


def steps_of(problem: GeneratedProblem) -> list[Step]:
    steps = []
    for left, operator, right, result, shown in ANNOTATION.findall(problem.answer):
        assert shown == result
        steps.append((Fraction(left), operator, Fraction(right), Fraction(result)))
    return steps


def evaluate(left: Fraction, operator: str, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


def decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def skeleton(question: str) -> str:
    known = {*words.HER_NAMES, *words.HIS_NAMES, *words.FRIENDS, *words.GOODS}
    for scenario in story.SCENARIOS:
        for noun, extra in scenario.things:
            known |= {noun, extra}
    longest_first = sorted(known - {""}, key=len, reverse=True)
    pattern = r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b"
    return re.sub(pattern, "_", ANY_NUMBER.sub("#", question))


def check_sound(problem: GeneratedProblem, max_number: int) -> None:
    steps = steps_of(problem)
    *lines, last = problem.answer.split("\n")
    assert len(lines) == len(steps) == problem.n_steps
    assert all(len(ANNOTATION.findall(line)) == 1 for line in lines)
    for left, operator, right, result in steps:
        assert evaluate(left, operator, right) == result
        assert all(0 <= value <= max_number for value in (left, right, result))
    assert last == f"#### {ANNOTATION.findall(problem.answer)[-1][3]}"


def test_same_arguments_give_the_same_problems():
    first, second = (generate_problems(n_train=100, n_validation=50, seed=2) for _ in range(2))
    assert first == second


def test_other_seeds_give_other_problems(problems):
    other = generate_problems(n_train=50, n_validation=0, seed=1)
    assert not {p.question for p in other} & {p.question for p in problems[:50]}


def test_golden_digest_of_the_first_problems(problems):
    lines = "\n".join(to_jsonl_line(problem) for problem in problems[:50])
    assert hashlib.sha256(lines.encode()).hexdigest() == GOLDEN


def test_asking_for_more_only_appends(problems):
    fewer = generate_problems(n_train=150, n_validation=80, seed=0)
    assert of_split(fewer, "train") == of_split(problems, "train")[:150]
    assert of_split(fewer, "validation") == of_split(problems, "validation")[:80]


def test_each_split_does_without_the_other(problems):
    alone = generate_problems(n_train=0, n_validation=100, seed=0)
    assert alone == of_split(problems, "validation")[:100]
    assert generate_problems(n_train=0, n_validation=0, seed=0) == []


def test_training_problems_come_first(problems):
    expected = ["train"] * N_TRAIN + ["validation"] * N_VALIDATION
    assert [problem.split for problem in problems] == expected


def test_every_annotation_is_true_and_the_last_one_is_the_answer(problems):
    for problem in problems:
        check_sound(problem, max_number=200)


def test_answers_hold_no_annotation_that_the_format_does_not_know(problems):
    for problem in problems:
        marks = [problem.answer.count(mark) for mark in ("<<", ">>")]
        assert marks == [problem.n_steps] * 2


def test_lines_are_sentences_and_the_last_line_is_the_result(problems):
    for problem in problems:
        *lines, last = problem.answer.split("\n")
        assert all(re.fullmatch(r"[A-Z].*\.", line) for line in lines), problem.answer
        assert re.fullmatch(rf"#### {NUMBER}", last)


def test_questions_are_well_formed_sentences(problems):
    for problem in problems:
        question = problem.question
        assert re.fullmatch(r"[A-Z\d][^{}<>#\n]*[.?]", question), question
        assert re.search(r"\?$|Find the number [^.?]*\.$", question), question
        assert not re.search(r"  | [.,?]|\.\.|\?\.|[a-z][.?] [a-z]", question), question


def test_numbers_are_written_plainly(problems):
    for problem in problems:
        for text in ANY_NUMBER.findall(problem.question + " " + problem.answer):
            assert re.fullmatch(NUMBER, text), problem


def test_nothing_is_counted_in_ones_or_noughts(problems):
    for problem in problems:
        told = problem.question + " " + problem.answer
        assert not {"0", "1"} & set(ANY_NUMBER.findall(told)), problem


def test_every_result_is_used_once_by_a_later_step(problems):
    for problem in problems:
        steps = steps_of(problem)
        waiting: list[Fraction] = []
        for left, _, right, result in steps:
            for operand in (left, right):
                if operand in waiting:
                    waiting.remove(operand)
            waiting.append(result)
        assert waiting == [steps[-1][3]], problem


def test_every_operand_is_told_or_computed_before(problems):
    for problem in problems:
        known = {Fraction(text) for text in ANY_NUMBER.findall(problem.question)}
        for left, _, right, result in steps_of(problem):
            assert {left, right} <= known, problem
            known.add(result)


def test_every_number_of_the_question_is_used(problems):
    for problem in problems:
        told = [Fraction(text) for text in ANY_NUMBER.findall(problem.question)]
        operands = [value for left, _, right, _ in steps_of(problem) for value in (left, right)]
        for value in told:
            assert value in operands, problem
        assert len(told) == problem.n_steps + 1


def test_no_question_occurs_twice(problems):
    assert len({problem.question for problem in problems}) == N_TRAIN + N_VALIDATION


def test_held_out_combinations_occur_in_validation_only_and_are_flagged(problems):
    for problem in problems:
        held_out = any(
            is_held_out(0, operator, decimal(left), decimal(right))
            for left, operator, right, _ in steps_of(problem)
        )
        assert problem.held_out_pair == held_out
        assert not (held_out and problem.split == "train"), problem


def test_validation_has_problems_with_and_without_held_out_combinations(problems):
    flagged = sum(problem.held_out_pair for problem in of_split(problems, "validation"))
    assert 0.1 * N_VALIDATION < flagged < 0.4 * N_VALIDATION


@pytest.mark.parametrize("operator", ["+", "-", "*", "/"])
def test_about_a_tenth_of_the_combinations_is_held_out(operator):
    numbers = [Decimal(number) for number in range(2, 82)]
    held_out = [is_held_out(0, operator, left, right) for left in numbers for right in numbers]
    assert 0.08 < sum(held_out) / len(held_out) < 0.12


@given(
    operator=st.sampled_from("+-*/"),
    left=st.decimals(min_value=0, max_value=500, places=2),
    right=st.decimals(min_value=0, max_value=500, places=2),
    seed=st.integers(min_value=0, max_value=10**6),
)
def test_held_out_depends_on_values_alone(operator, left, right, seed):
    expected = is_held_out(seed, operator, left, right)
    assert is_held_out(seed, operator, left.normalize(), right.normalize()) == expected
    if operator in "+*":
        assert is_held_out(seed, operator, right, left) == expected


def test_held_out_keeps_the_order_of_differences_and_quotients():
    pairs = [(Decimal(left), Decimal(right)) for left in range(2, 40) for right in range(2, left)]
    for operator in "-/":
        assert any(
            is_held_out(0, operator, a, b) != is_held_out(0, operator, b, a) for a, b in pairs
        )


def test_all_operators_and_step_counts_occur(problems):
    operators = [operator for problem in problems for _, operator, _, _ in steps_of(problem)]
    for operator in "+-*/":
        assert operators.count(operator) > 0.1 * len(operators)
    for n_steps in (1, 2, 3, 4):
        count = sum(problem.n_steps == n_steps for problem in problems)
        assert 0.22 < count / len(problems) < 0.28


def has_decimals(problem: GeneratedProblem) -> bool:
    return "." in "".join(ANY_NUMBER.findall(problem.answer))


def test_decimals_occur_in_their_share(problems):
    assert 0.17 < sum(map(has_decimals, problems)) / len(problems) < 0.23


@pytest.mark.parametrize("share", [0, 1])
def test_decimal_share_at_its_ends(share):
    chosen = generate_problems(n_train=100, n_validation=0, seed=3, decimal_share=share)
    assert {has_decimals(problem) for problem in chosen} == {bool(share)}


def test_step_weights_are_obeyed():
    chosen = generate_problems(n_train=100, n_validation=20, seed=3, step_weights=(0, 0.5, 0, 2))
    assert {problem.n_steps for problem in chosen} == {2, 4}


def test_wordings_vary(problems):
    assert len({skeleton(problem.question) for problem in problems[:900]}) >= 500
    one_step = {skeleton(p.question) for p in problems[:900] if p.n_steps == 1}
    assert len(one_step) >= 100


def test_every_scenario_has_three_phrasings_per_operator():
    assert len(story.SCENARIOS) >= 12
    for scenario in story.SCENARIOS:
        assert len(scenario.openings) >= 3
        for operator in "+-*/":
            assert len(scenario.steps_by_operator[operator]) >= 3
            assert any(pair.operator == operator for pair in scenario.pairs)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(min_value=0, max_value=10**9),
    max_number=st.sampled_from([20, 37, 50, 1000]),
    decimal_share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_problems_are_sound_for_any_settings(seed, max_number, decimal_share):
    chosen = generate_problems(
        n_train=8, n_validation=4, seed=seed, max_number=max_number, decimal_share=decimal_share
    )
    for problem in chosen:
        check_sound(problem, max_number)


def test_jsonl_line_reads_back():
    problem = GeneratedProblem("Zoë has 2 «pens».", "2+2=<<2+2=4>>4\n#### 4", "train", 1, False)
    line = to_jsonl_line(problem)
    assert "\n" not in line
    assert "Zoë" in line
    assert json.loads(line) == {"question": problem.question, "answer": problem.answer}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": -1}, "negative"),
        ({"n_validation": -1}, "negative"),
        ({"max_number": 19}, "max_number must be at least 20, not 19"),
        ({"step_weights": (0, 0, 0, 0)}, "not all zero"),
        ({"step_weights": (1, -1, 1, 1)}, "none negative"),
        ({"step_weights": (1, float("inf"), 1, 1)}, "step_weights"),
        ({"step_weights": (1, float("nan"), 1, 1)}, "step_weights"),
        ({"step_weights": (1, 1, 1)}, "four numbers"),
        ({"decimal_share": -0.1}, "decimal_share must lie between 0 and 1"),
        ({"decimal_share": 1.5}, "decimal_share must lie between 0 and 1"),
        ({"decimal_share": float("nan")}, "decimal_share must lie between 0 and 1"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        generate_problems(**{"n_train": 1, "n_validation": 1, "seed": 0, **changes})


@pytest.mark.parametrize("operator", ["", "%", "+-"])
def test_unknown_operators_are_refused(operator):
    with pytest.raises(ValueError, match="operator"):
        is_held_out(0, operator, Decimal(2), Decimal(3))


def test_running_out_of_questions_names_the_split_and_the_number_found(monkeypatch):
    monkeypatch.setattr(generated, "_MAX_ATTEMPTS", 200)
    # Every question is the same: only the first problem of a split can be found.
    monkeypatch.setattr(story.Story, "question", "How many?")
    split = generated.TRAIN if generated._hash("0/How many?") % 4 else generated.VALIDATION
    counts = {"n_train": 2, "n_validation": 0}
    if split == generated.VALIDATION:
        counts = {"n_train": 0, "n_validation": 2}
    with pytest.raises(ValueError, match=f"Only 1 of 2 different {split} problems were found"):
        generate_problems(**counts, seed=0)
