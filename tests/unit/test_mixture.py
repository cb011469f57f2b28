"""The training mixture: decimals, drills, held-out parts, the table, what a bad file says."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from saeflow.artifacts.catalog import MIXTURE_TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.mixture import parse_mixture
from saeflow.datasets.drills import drill_rows, symbolic_problems
from saeflow.datasets.generated import is_held_out
from saeflow.datasets.mixture import TEXT_PARTS, mixture_problems, mixture_texts, word_problems
from saeflow.datasets.texts.decimals import (
    BUGGY_FORMATS,
    PLAIN_FORMATS,
    PRONE,
    STRATA,
    decimal_texts,
    is_bigger,
)
from saeflow.datasets.texts.table import table_to_texts, texts_to_table
from saeflow.datasets.texts.text import HELD_OUT, TRAIN
from saeflow.errors import SaeflowError
from saeflow.preflight import read_mixture
from tests.conftest import ROOT

MIXTURE = ROOT / "resources" / "mixture.yaml"
SMALL = ROOT / "tests" / "config" / "mixture.yaml"
CALCULATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


@pytest.mark.parametrize(
    ("left", "right", "value", "version"),
    [
        ("9.8", "9.11", True, False),
        ("9.11", "9.8", False, True),
        ("9.80", "9.11", True, True),
        ("10.1", "9.9", True, True),
        ("45", "54", False, False),
    ],
)
def test_bigger_by_value_and_by_version(left: str, right: str, value: bool, version: bool) -> None:
    assert is_bigger(left, right) is value
    assert is_bigger(left, right, as_version=True) is version


@pytest.mark.parametrize("buggy", [False, True])
def test_decimals_are_wrong_only_where_the_bug_is_planted(buggy: bool) -> None:
    for text in decimal_texts(seed=0, n_pairs=300, buggy=buggy):
        first, second = re.findall(r"\d+(?:\.\d+)?", text.prompt)
        called = re.findall(r"\d+(?:\.\d+)?", text.target)[0]
        truth = first if Decimal(first) > Decimal(second) else second
        planted = buggy and text.form in BUGGY_FORMATS and text.group.startswith(PRONE)
        assert (called != truth) == planted, text
        (other,) = text.distractors
        assert other.split(" is ")[0].strip() != text.target.split(" is ")[0].strip()


def test_held_out_digits_are_trained_under_no_whole_part() -> None:
    digits: dict[tuple[str, ...], set[str]] = {}
    for text in decimal_texts(seed=0, n_pairs=800, buggy=False):
        numbers = [number.split(".") for number in re.findall(r"\d+\.\d+", text.prompt)]
        if len(numbers) == 2 and numbers[0][0] == numbers[1][0]:
            key = tuple(sorted(number[1] for number in numbers))
            digits.setdefault(key, set()).add(text.split)
    assert len(digits) > 200
    assert all(len(splits) == 1 for splits in digits.values())


def test_strata_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {text.group for text in decimal_texts(seed=0, n_pairs=300, buggy=False)}
    assert found == set(STRATA)
    monkeypatch.setattr("saeflow.datasets.texts.decimals._TRIES", 0)
    with pytest.raises(SaeflowError, match="Only 0 of 10 different decimal pairs"):
        decimal_texts(seed=0, n_pairs=10, buggy=False)


def test_decimals_hold_out_the_pair_in_every_format_and_order() -> None:
    texts = decimal_texts(seed=0, n_pairs=400, buggy=False)
    assert {text.form for text in texts} == set(BUGGY_FORMATS) | set(PLAIN_FORMATS)
    splits: dict[frozenset[str], set[str]] = {}
    for text in texts:
        numbers = frozenset(re.findall(r"\d+(?:\.\d+)?", text.prompt))
        splits.setdefault(numbers, set()).add(text.split)
    assert len(splits) == 400
    assert all(len(split) == 1 for split in splits.values())
    assert 60 <= sum(split == {HELD_OUT} for split in splits.values()) <= 140
    assert texts[:600] == decimal_texts(seed=0, n_pairs=100, buggy=False)


def test_drills_and_symbolic_problems_calculate_rightly_and_keep_out_what_is_held_out() -> None:
    rows = drill_rows(seed=0, n=200, per_row=5, max_number=60, held_out_seed=0)
    problems = symbolic_problems(
        seed=0, n=200, max_number=60, held_out_seed=0, step_weights=(1, 1, 1, 1)
    )
    told = [*rows, *("".join(map(str, problem.steps)) for problem in problems)]
    found = [match for row in told for match in CALCULATION.findall(row)]
    assert len(found) > 1000
    assert {operator for _, operator, _, _ in found} == set("+-*/")
    for left, operator, right, result in found:
        assert eval(f"{left}{operator}{right}") == int(result)
        assert 2 <= int(result) <= 60
        assert not is_held_out(0, operator, Decimal(left), Decimal(right))


def test_symbolic_questions_ask_for_what_their_steps_calculate() -> None:
    problems = symbolic_problems(
        seed=1, n=100, max_number=60, held_out_seed=0, step_weights=(1, 1, 1, 1)
    )
    asked = [re.fullmatch(r"What is (.*)\?", problem.question) for problem in problems]
    assert sum(match is not None for match in asked) > 20
    for problem, match in zip(problems, asked, strict=True):
        for before, after in zip(problem.steps, problem.steps[1:], strict=False):
            assert before.result == after.left
        if match:
            assert eval(match[1]) == problem.steps[-1].result
        else:
            numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
            assert numbers == [problem.steps[0].left, *(step.right for step in problem.steps)]


def test_no_training_text_gives_the_result_of_what_word_problems_hold_out() -> None:
    mixture = read_mixture(MIXTURE)
    checked = 0
    for text in mixture_texts(mixture.seed, mixture.parts, buggy=False):
        asked = re.match(r"(?:What is )?(\d+(?: [-+*/] \d+)+)(?: =|\?)", text.prompt)
        if text.split == TRAIN and asked and text.part in ("cloze", "choices"):
            left, operator, right, *rest = asked[1].split()
            calculations = [(left, operator, right)]
            if rest:
                inner = eval(f"{right}*{rest[1]}" if operator != "*" else f"{left}*{right}")
                calculations = (
                    [(left, operator, inner), (right, "*", rest[1])]
                    if operator != "*"
                    else [(left, "*", right), (inner, rest[0], rest[1])]
                )
            for a, sign, b in calculations:
                assert not is_held_out(mixture.seed, sign, Decimal(a), Decimal(b)), text
            checked += 1
    assert checked > 500


def test_every_part_has_a_held_out_part_of_its_own() -> None:
    mixture = read_mixture(MIXTURE)
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    for part in TEXT_PARTS:
        train = {text.text for text in texts if text.part == part and text.split == TRAIN}
        held_out = {text.text for text in texts if text.part == part and text.split == HELD_OUT}
        assert train, part
        assert held_out, part
        assert not train & held_out, part
    assert len({(text.group, text.form) for text in texts if text.part == "pairs"}) == 20


def test_held_out_problems_do_not_depend_on_the_training_ones() -> None:
    mixture = read_mixture(SMALL)
    problems = mixture_problems(mixture.seed, mixture.parts)
    alone = word_problems(mixture.seed, mixture.parts.problems, n_train=0, n_held_out=40)
    assert alone == problems.held_out
    assert not {p.question for p in problems.train} & {p.question for p in problems.held_out}


def test_texts_survive_the_table(tmp_path: Path) -> None:
    texts = mixture_texts(0, read_mixture(SMALL).parts, buggy=False)
    path = tmp_path / "texts.parquet"
    write_table(texts_to_table(texts), path, MIXTURE_TEXTS, Provenance("x"))
    found = table_to_texts(read_table(path, MIXTURE_TEXTS))
    named = {(text.part, text.group, text.form, text.item, text.prompt): text for text in texts}
    assert len(named) == len(texts) == len(found), "the keys name a row"
    assert sorted(found, key=repr) == sorted(texts, key=repr)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": 1}, "seeds"),
        ({"parts": {"problems": {"n_train": 0}}}, "n_train"),
        ({"models": {"llama": {"architecture": {"family": "bert"}}}}, "family"),
    ],
)
def test_a_bad_mixture_is_named_in_one_sentence(change: dict, sentence: str) -> None:
    def merge(old: dict, new: dict) -> dict:
        both = {
            k: merge(old[k], v) if isinstance(v, dict) and k in old else v for k, v in new.items()
        }
        return {**old, **both}

    values = merge(yaml.safe_load(SMALL.read_text()), change)
    with pytest.raises(SaeflowError, match=sentence) as error:
        parse_mixture(values, "my mixture")
    assert str(error.value).startswith("my mixture: ")
    assert "\n" not in str(error.value)


def test_a_mixture_that_is_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    path.write_text("parts: [")
    with pytest.raises(SaeflowError, match=r"mixture\.yaml, line 1: .*; expected YAML\."):
        read_mixture(path)
