"""Labels that features are tested against, beside Python's own reading of calculations."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from saeflow.artifacts.catalog import ANSWERS, COT_TOKENS, PROBLEMS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import GeneratedDataset, PathDataset, SubsetSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.errors import SaeflowError
from saeflow.studies.gsm8k.association import token_matrix
from saeflow.studies.gsm8k.targets import Target, target_labels

NAMES = ("token", "operator", "operand", "magnitude", "n_steps", "correct", "decoded")
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "/"}
MADE_UP = [
    ("<<12+3-1=14>> <<14*2=28>>", 28.0),
    ("nothing is calculated", -120.0),
    ("<<71+-3=68>> <<(-17)+43=26>> <<5=5>>", 9.5),
    ("<<-14+-8+1=-21>>", -0.25),
    ("<<(4+5)-3=6>> <<.5*12=6.0>> <<3.*2=6>>", 0.0),
    ("<<560//10=56>> <<1+1=2=5-3>>", 1000.0),
    ("<<28/7>>", 10.0),
]


def tables_of(rows: list[tuple[str, float]]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Problems, tokens and answers; every third answer is right, thoughts say where they are."""
    count = len(rows)
    problems = {
        "problem": np.arange(count, dtype=np.int32),
        "question": [""] * count,
        "answer": [text for text, _ in rows],
        "gold": [gold for _, gold in rows],
        "n_steps": pa.array([len(Problem("", text).calculations) for text, _ in rows], pa.int16()),
        "analysed": [True] * count,
    }
    return pa.table(problems), cot_token_table(pa.table(problems)), answers_of(count)


def answers_of(count: int) -> pa.Table:
    columns = {
        "problem": np.arange(count, dtype=np.int32),
        "correct": [number % 3 == 1 for number in range(count)],
        "decoded": [[f" {number % 2}", "same", f"{number // 2}"] for number in range(count)],
    }
    return pa.table(columns)


def seen_by(target: Target) -> list[list[str]]:
    """Labels of each problem, in the target's order."""
    return [[target.labels[column] for column in np.flatnonzero(row)] for row in target.present]


def all_rows(count: int) -> np.ndarray:
    return np.arange(count)


def one(name: str, rows: list[tuple[str, float]]) -> list[list[str]]:
    (target,) = target_labels([name], *tables_of(rows), all_rows(len(rows)))
    assert (target.name, target.step) == (name, None)
    return seen_by(target)


def python_reads(calculation: str) -> tuple[set[str], set[float]]:
    """Binary operators and numbers left of the first "=", as Python's grammar has them."""
    left = re.sub(r"(?<!\d)\.", "", calculation.split("=")[0].strip())
    left = re.sub(r"(?<![\d.])0+(?=\d)", "", left)
    nodes = list(ast.walk(ast.parse(left, mode="eval")))
    operators = {SIGNS[type(node.op)] for node in nodes if isinstance(node, ast.BinOp)}
    return operators, {float(node.value) for node in nodes if isinstance(node, ast.Constant)}


def test_operators_are_those_between_operands() -> None:
    assert one("operator", MADE_UP) == [
        ["step 1: +", "step 1: -", "step 2: *"],
        [],
        ["step 1: +", "step 2: +"],
        ["step 1: +"],
        ["step 1: +", "step 1: -", "step 2: *", "step 3: *"],
        ["step 2: +", "step 1: /"],
        ["step 1: /"],
    ]


def test_operands_stand_left_of_the_equals_sign() -> None:
    assert one("operand", MADE_UP) == [
        ["step 1: 12", "step 1: 3", "step 1: 1", "step 2: 14", "step 2: 2"],
        [],
        ["step 1: 3", "step 1: 71", "step 2: 17", "step 2: 43", "step 3: 5"],
        ["step 1: 1", "step 1: 14", "step 1: 8"],
        ["step 1: 3", "step 1: 4", "step 1: 5", "step 2: 5", "step 2: 12", "step 3: 3.", "step 3: 2"],
        ["step 1: 560", "step 1: 10", "step 2: 1"],
        ["step 1: 28", "step 1: 7"],
    ]  # fmt: skip


def test_results_are_sorted_by_decade_sign_and_fraction() -> None:
    found = one("magnitude", [*MADE_UP, *(("", gold) for gold in (9.999, 99.0, -100.5, 1e22))])
    assert found == [
        ["result 10 to 99"],
        ["result 100 to 999", "negative result"],
        ["result 0 to 9", "fractional result"],
        ["negative result", "result 0 to 9", "fractional result"],
        ["result 0 to 9"],
        ["result 1000 to 9999"],
        ["result 10 to 99"],
        ["result 0 to 9", "fractional result"],
        ["result 10 to 99"],
        ["result 100 to 999", "negative result", "fractional result"],
        [f"result 1{'0' * 22} to {'9' * 23}"],
    ]


def test_steps_and_right_answers_are_those_of_the_tables() -> None:
    assert one("n_steps", MADE_UP) == [
        [f"{n} step{'' if n == 1 else 's'}"] for n in (2, 0, 3, 1, 3, 2, 1)
    ]
    right = ["answered right"]
    assert one("correct", MADE_UP) == [[], right, [], [], right, [], []]


def test_each_thought_has_a_target_of_its_own() -> None:
    problems, tokens, answers = tables_of(MADE_UP)
    found = target_labels(["decoded"], problems, tokens, answers, all_rows(len(MADE_UP)))
    assert [(each.name, each.step) for each in found] == [("decoded", step) for step in range(3)]
    told = answers["decoded"].to_pylist()
    for step, target in enumerate(found):
        assert seen_by(target) == [[row[step]] for row in told]
    assert [each.labels for each in found] == [[" 0", " 1"], ["same"], ["0", "1", "2", "3"]]


def test_nobody_right_leaves_no_label() -> None:
    problems, tokens, answers = tables_of(MADE_UP[:1])
    (target,) = target_labels(["correct"], problems, tokens, answers, all_rows(1))
    assert (target.labels, target.present.shape) == ([], (1, 0))


@pytest.fixture(scope="module")
def generated() -> tuple[pa.Table, pa.Table]:
    settings = GeneratedDataset(source="generated", n_train=150, n_validation=50, seed=3)
    problems = load_problems(settings).table
    return problems, cot_token_table(problems)


def agree_with_python(problems: pa.Table, operator: Target, operand: Target) -> int:
    """Compare every problem with what Python reads; how many calculations there were."""
    count = 0
    seen = zip(problems["answer"].to_pylist(), seen_by(operator), seen_by(operand), strict=True)
    for answer, operators, operands in seen:
        expected_operators, expected_operands = set(), set()
        for step, calculation in enumerate(Problem("", answer).calculations, start=1):
            signs, numbers = python_reads(calculation)
            expected_operators |= {f"step {step}: {sign}" for sign in signs}
            expected_operands |= {(step, number) for number in numbers}
            count += 1
        assert set(operators) == expected_operators, answer
        pairs = {tuple(label.removeprefix("step ").split(": ")) for label in operands}
        assert {(int(step), float(number)) for step, number in pairs} == expected_operands, answer
    return count


def test_python_reads_the_same_operators_and_operands(generated: Any) -> None:
    problems, tokens = generated
    for table, cut in ((problems, tokens), tables_of(MADE_UP)[:2]):
        count = len(table)
        found = target_labels(
            ["operator", "operand"], table, cut, answers_of(count), all_rows(count)
        )
        assert agree_with_python(table, *found) >= 11


def written(table: pa.Table, artifact: Any, folder: Path) -> pa.Table:
    path = folder / f"{artifact.name}.parquet"
    write_table(table, path, artifact, Provenance("c"))
    return read_table(path, artifact)


def test_other_problems_change_nothing(generated: Any, tmp_path: Path) -> None:
    problems, tokens = generated
    count = len(problems)
    text = pa.array(["1"] * count)
    answers = answers_of(count).append_column("text", text)
    answers = answers.append_column("predicted", problems["gold"])
    answers = answers.append_column("gold", problems["gold"])
    whole = (
        written(problems, PROBLEMS, tmp_path),
        written(tokens, COT_TOKENS, tmp_path),
        written(answers, ANSWERS, tmp_path),
    )
    numbers = np.flatnonzero(np.array(problems["split"].to_pylist()) == "validation")
    parts = [
        table.filter(pc.is_in(table["problem"], pa.array(numbers, pa.int32()))) for table in whole
    ]
    found = target_labels(NAMES, *whole, numbers)
    alone = target_labels(NAMES, *parts, numbers)
    assert [each.name for each in found] == [*NAMES, "decoded", "decoded"]
    for target, same in zip(found, alone, strict=True):
        assert (target.name, target.labels, target.step) == (same.name, same.labels, same.step)
        np.testing.assert_array_equal(target.present, same.present)
        assert target.present.shape == (50, len(target.labels))
        assert target.present.flags["C_CONTIGUOUS"]
        assert target.present.any(0).all()
        assert (np.diff(target.present.argmax(0)) >= 0).all(), "in first-seen order"
        assert len(set(target.labels)) == len(target.labels)
    matrix = token_matrix(tokens, numbers)
    assert found[0].labels == matrix.tokens
    np.testing.assert_array_equal(found[0].present, matrix.present)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda p, a: ("shape", p, a), "'shape' is no target; expected one of token, operator, "),
        (lambda p, a: ("token", p[:5], a), "the problems hold 5 of 7 evaluated problems"),
        (lambda p, a: ("token", p, a[1:]), "the answers hold 6 of 7 evaluated problems"),
    ],
)
def test_what_is_missing_is_told(change: Callable[..., Any], sentence: str) -> None:
    problems, tokens, answers = tables_of(MADE_UP)
    name, problems, answers = change(problems, answers)
    with pytest.raises(SaeflowError, match=sentence):
        target_labels(["n_steps", name], problems, tokens, answers, all_rows(len(MADE_UP)))


@pytest.mark.data
def test_published_problems_have_the_operators_that_python_reads(gsm8k_data: Path) -> None:
    subset = SubsetSettings(kind="published", n=1000)
    path = str(gsm8k_data / "train.jsonl")
    # The last of the published problems is train_1898.
    settings = PathDataset(source="path", path=path, id_prefix="train_", subset=subset, limit=1899)
    table = load_problems(settings).table
    tokens, chosen = cot_token_table(table), table.filter(table["analysed"])
    numbers = chosen["problem"].to_numpy()
    token, operator, operand, n_steps, magnitude = target_labels(
        ["token", "operator", "operand", "n_steps", "magnitude"],
        table, tokens, answers_of(len(table)), numbers,
    )  # fmt: skip
    assert (len(token.labels), len(numbers)) == (628, 1000)
    assert agree_with_python(chosen, operator, operand) == 3182
    steps = Counter(f"{n} step{'s' * (n != 1)}" for n in chosen["n_steps"].to_pylist())
    assert dict(zip(n_steps.labels, n_steps.present.sum(0).tolist(), strict=True)) == steps
    assert (n_steps.present.sum(1) == 1).all()
    decades = [label.startswith("result") for label in magnitude.labels]
    assert (magnitude.present[:, decades].sum(1) == 1).all()
    only_sign = {}
    for sign in "+-*/":
        anywhere = token.present[:, token.labels.index(sign)]
        union = operator.present[:, [label.endswith(sign) for label in operator.labels]].any(1)
        assert (anywhere | ~union).all()
        only_sign[sign] = int((anywhere & ~union).sum())
    # One problem has no plus but that of "+7=7"; every minus sign stands beside a subtraction.
    assert only_sign == {"+": 1, "-": 0, "*": 0, "/": 0}
