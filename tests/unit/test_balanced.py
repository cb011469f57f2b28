from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from saeflow.config.calibration import _has_both_splits, _source
from saeflow.config.datasets import BalancedDataset
from saeflow.config.root import parse_config
from saeflow.datasets.balanced import (
    OPERATOR_NAMES,
    BalancedProblem,
    balanced_problems,
    story_numbers,
    swap_partners,
    whole_stories,
)
from saeflow.datasets.composed import (
    LINKS,
    Design,
)
from saeflow.datasets.generated import generate_problems, is_held_out, split_of
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.datasets.tellable import scales
from saeflow.datasets.tokens import calculation_tokens
from saeflow.errors import SaeflowError
from tests.configs import changed

VALUES = (2, 3, 4, 5, 6, 8, 10, 12)
BLOCK = BalancedDataset(source="balanced", stories=2)
NEXT = dict(zip("+-*/", "-*/+", strict=True))


def block(**changes: Any) -> BalancedDataset:
    return BalancedDataset.model_validate({"source": "balanced", "stories": 2, **changes})


@pytest.fixture(scope="module")
def cells() -> list[BalancedProblem]:
    return balanced_problems(BLOCK)


def calculations(answer: str) -> list[tuple[int, str, int, int]]:
    found = []
    for text in Problem("", answer).calculations:
        left, operator, right, equals, result = calculation_tokens(text)
        assert equals == "="
        found.append((int(left), operator, int(right), int(result)))
    return found


def evaluate(left: int, operator: str, right: int) -> Fraction:
    if operator == "/":
        return Fraction(left, right)
    return Fraction({"+": left + right, "-": left - right, "*": left * right}[operator])


def check_sound(answer: str, n_steps: int, max_number: int) -> None:
    worked = calculations(answer)
    assert len(worked) == n_steps
    for left, operator, right, result in worked:
        assert evaluate(left, operator, right) == result
        assert all(2 <= number <= max_number for number in (left, right, result))
    for (*_, result), (left, _, right, _) in pairwise(worked):
        assert result in (left, right)
    assert answer.splitlines()[-1] == f"#### {worked[-1][3]}"


def test_operator_value_and_length_occur_in_equal_numbers(cells: list[BalancedProblem]) -> None:
    counts = Counter()
    for cell in cells:
        worked = calculations(cell.problem.answer)
        counts[worked[0][1], worked[0][2], len(worked)] += 1
    assert counts == dict.fromkeys(product("+-*/", VALUES, (1, 2, 3)), 2)


def test_the_first_calculation_is_the_one_that_the_id_names(cells: list[BalancedProblem]) -> None:
    for place, cell in enumerate(cells):
        _, operator, value, _ = calculations(cell.problem.answer)[0]
        assert (operator, value) == (cell.operator, cell.value)
        story = place // (4 * len(VALUES))
        assert cell.problem_id == f"balanced_{story}_{OPERATOR_NAMES[operator]}_{value}"


def test_every_calculation_is_true_and_told(cells: list[BalancedProblem]) -> None:
    for cell in cells:
        check_sound(cell.problem.answer, len(cell.design.steps), 100)
        told = [int(text) for text in re.findall(r"\d+", cell.problem.question)]
        assert sorted(told) == sorted([cell.design.first, *(s.told for s in cell.design.steps)])


def test_later_operators_are_as_even_as_the_number_of_stories_allows() -> None:
    made = balanced_problems(BalancedDataset(source="balanced", steps=(2, 3), values=(2, 5)))
    per_story = made[:: 4 * 2]
    for n_steps, place in ((2, 1), (3, 1), (3, 2)):
        later = Counter(
            each.design.steps[place].operator
            for each in per_story
            if len(each.design.steps) == n_steps
        )
        assert sorted(later.values()) == [2, 2, 3, 3]


def test_no_question_can_be_one_that_trains_an_sae(cells: list[BalancedProblem]) -> None:
    questions = {cell.problem.question for cell in cells}
    assert len(questions) == len(cells)
    assert {split_of(0, question) for question in questions} == {"validation"}
    assert {cell.problem.split for cell in cells} == {"validation"}
    training = generate_problems(n_train=2000, n_validation=0, seed=0, max_number=100)
    assert questions.isdisjoint(each.question for each in training)


def test_held_out_combinations_are_marked(cells: list[BalancedProblem]) -> None:
    for cell in cells:
        worked = calculations(cell.problem.answer)
        held_out = any(is_held_out(0, o, Decimal(a), Decimal(b)) for a, o, b, _ in worked)
        assert cell.problem.held_out_pair == held_out
    assert 0 < sum(cell.problem.held_out_pair for cell in cells) < len(cells)


def test_the_same_seed_gives_the_same_problems_and_another_one_others(
    cells: list[BalancedProblem],
) -> None:
    assert balanced_problems(BLOCK) == cells
    other = balanced_problems(block(seed=1, steps=(1,)))
    assert {e.problem.question for e in other}.isdisjoint(c.problem.question for c in cells)
    assert {split_of(1, each.problem.question) for each in other} == {"validation"}


def test_more_stories_of_a_length_only_append() -> None:
    few, more = (balanced_problems(block(stories=n, steps=(2,))) for n in (2, 5))
    assert more[: len(few)] == few


def without_free_words(question: str) -> str:
    """A question without connectors, numbers, or the name that may stand for a pronoun."""
    for link in sorted(filter(None, LINKS), key=len, reverse=True):
        question = question.replace(link, "")
    question = re.sub(r"\d+", "#", question)
    return ". ".join(s[:1].upper() + s[1:] for s in question.split(". "))


def test_partners_of_another_value_tell_the_same_story(cells: list[BalancedProblem]) -> None:
    partners = swap_partners([cell.problem_id for cell in cells])["value"]
    following = dict(zip(VALUES, [*VALUES[1:], VALUES[0]], strict=True))
    for cell, row in zip(cells, partners, strict=True):
        other = cells[row]
        assert (other.story, other.operator) == (cell.story, cell.operator)
        assert other.value == following[cell.value] != cell.value
        one, two = (without_free_words(each.problem.question) for each in (cell, other))
        assert one == two
        assert shape(cell.design) == shape(other.design)


def test_partners_of_another_operator_differ_in_the_first_step_alone(
    cells: list[BalancedProblem],
) -> None:
    partners = swap_partners([cell.problem_id for cell in cells])["operator"]
    for cell, row in zip(cells, partners, strict=True):
        other = cells[row]
        assert (other.story, other.value) == (cell.story, cell.value)
        assert other.operator == NEXT[cell.operator]
        (first, *one), (second, *two) = shape(cell.design)[1], shape(other.design)[1]
        assert (first[0], second[0]) == (cell.operator, other.operator)
        assert one == two
        assert shape(cell.design)[0] == shape(other.design)[0]


def shape(design: Design) -> tuple[Design, list[tuple[str, int, int]]]:
    """The words of a design, and its steps without numbers and connectors."""
    steps = [(step.operator, step.phrase, step.sentence) for step in design.steps]
    return replace(design, first=0, steps=()), steps


def test_first_amounts_differ_only_where_arithmetic_demands_it(
    cells: list[BalancedProblem],
) -> None:
    amounts: dict[tuple[int, str], set[int]] = {}
    shared = set()
    for cell in cells:
        later = "".join(step.operator for step in cell.design.steps[1:])
        scale = cell.design.first // (cell.value if cell.operator == "/" else 1)
        pair = "+-" if cell.operator in "+-" else "*/"
        amounts.setdefault((cell.story, pair), set()).add(scale)
        possible = [set(scales(o, v, later, 100)) for o, v in product(pair, VALUES)]
        if set.intersection(*possible):
            shared.add((cell.story, pair))
    assert len(shared) >= 10
    assert all(len(amounts[each]) == 1 for each in shared)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["generated_3", "generated_4"], "'generated_3' is no id of a balanced problem"),
        (["balanced_0_add_2", "balanced_0_modulo_2"], "'balanced_0_modulo_2' is no id"),
        (["balanced_add_2"], "'balanced_add_2' is no id"),
        (["balanced_0_add_2", "balanced_0_add_2"], "'balanced_0_add_2' occurs twice"),
        (["balanced_0_add_2", "balanced_1_add_3"], "no partner with another value"),
        (["balanced_0_add_2", "balanced_0_add_3"], "no partner with another operator"),
    ],
)
def test_ids_without_partners_are_told(ids: list[str], message: str) -> None:
    with pytest.raises(SaeflowError, match=message):
        swap_partners(ids)


def test_partners_are_found_in_any_order_of_rows(cells: list[BalancedProblem]) -> None:
    ids = [cell.problem_id for cell in cells]
    order = np.random.default_rng(0).permutation(len(ids))
    straight, mixed = swap_partners(ids), swap_partners([ids[row] for row in order])
    for kind in ("value", "operator"):
        assert straight[kind].dtype == np.int64
        assert [ids[order[row]] for row in mixed[kind]] == [ids[straight[kind][r]] for r in order]


def test_whole_stories_are_spread_over_all_of_them(cells: list[BalancedProblem]) -> None:
    ids = [cell.problem_id for cell in cells]
    story = story_numbers(ids)
    known = np.unique(story)
    for count in (1, 2, 3, len(known), len(known) + 5):
        rows = whole_stories(ids, count)
        chosen = np.unique(story[rows])
        assert rows.tolist() == np.flatnonzero(np.isin(story, chosen)).tolist()
        assert len(chosen) == min(count, len(known))
        if count > 1:
            assert {known[0], known[-1]} <= {*chosen}
            assert np.diff(np.searchsorted(known, chosen)).max() <= len(known) // (count - 1) + 1


def test_balanced_problems_load_as_a_data_set() -> None:
    settings = block(steps=(1, 3), values=(2, 3), id_prefix="b")
    loaded, again = load_problems(settings), load_problems(settings)
    table = loaded.table
    assert table.equals(again.table)
    assert loaded.revision == again.revision
    assert table["problem_id"].to_pylist()[:2] == ["b0_add_2", "b0_add_3"]
    assert table["split"].to_pylist() == ["validation"] * 32
    assert Counter(table["n_steps"].to_pylist()) == {1: 16, 3: 16}
    assert all(table["analysed"].to_pylist())
    assert table["held_out_pair"].null_count == 0
    assert len(set(cot_token_table(table)["problem"].to_pylist())) == 32


def test_a_balanced_block_of_the_configuration_is_known() -> None:
    values = changed({"datasets.balanced": {"source": "balanced", "seed": 3}})
    dataset = parse_config(values).datasets["balanced"]
    assert isinstance(dataset, BalancedDataset)
    assert not _has_both_splits(dataset)
    assert _source(dataset) == ("balanced", "3")


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"values": [2, 0]}, "datasets.balanced"), ({"steps": []}, "datasets.balanced.steps")],
)
def test_impossible_blocks_are_told_in_one_sentence(changes: dict[str, Any], key: str) -> None:
    values = changed({"datasets.balanced": {"source": "balanced", **changes}})
    with pytest.raises(SaeflowError) as caught:
        parse_config(values)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": (2, 0)}, "values holds 0; expected 2 to 12"),
        ({"values": (2, 13)}, "values holds 13; expected 2 to 12"),
        ({"values": (2, 12), "max_number": 23}, "values holds 12, but twice that is above"),
        ({"values": (2, 3, 2)}, "values names one number twice"),
        ({"values": (2,)}, "at least 2"),
        ({"steps": ()}, "at least 1"),
        ({"steps": (1, 5)}, "steps holds 5; expected 1 to 4"),
        ({"steps": (0,)}, "steps holds 0; expected 1 to 4"),
        ({"steps": (2, 2)}, "steps names one number twice"),
        ({"stories": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_blocks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        block(**changes)


def test_numbers_too_small_for_a_length_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saeflow.datasets.balanced.scales", lambda *_: ())
    with pytest.raises(SaeflowError, match=r"no problem of 3 steps can be told .* than 40"):
        balanced_problems(block(steps=(3,), max_number=40))


def test_running_out_of_stories_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saeflow.datasets.balanced._ATTEMPTS", 2)
    monkeypatch.setattr("saeflow.datasets.balanced.VALIDATION", "nowhere")
    with pytest.raises(SaeflowError, match="only 0 of 2 balanced stories of length 1 were found"):
        balanced_problems(block(steps=(1,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"max_number": 24, "steps": (1,)},
        {"steps": (4,), "values": (3, 12)},
        {"max_number": 130, "values": (3, 12)},
    ],
)
def test_blocks_at_their_limits_are_filled(changes: dict[str, Any]) -> None:
    settings = block(stories=1, **changes)
    made = balanced_problems(settings)
    assert len(made) == 4 * len(settings.values) * len(settings.steps)
    for each in made:
        check_sound(each.problem.answer, len(each.design.steps), settings.max_number)
