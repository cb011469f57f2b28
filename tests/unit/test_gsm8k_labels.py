"""The published rule for labels, case by case (methods/1, sections 2.6 and 2.7)."""

from __future__ import annotations

import pytest

from saeflow.config.studies import LabelSettings
from saeflow.studies.gsm8k.labels import Label, label_feature, number_size

RULE = LabelSettings()


@pytest.mark.parametrize(
    ("token", "size"),
    [
        ("0", "zero"), ("0.0", "zero"), ("1", "one"), ("01", "one"), ("1.", "one"), ("2", "two"),
        ("0.5", "small"), ("1.5", "small"), ("3", "small"), ("10", "small"), ("10.5", "medium"),
        ("11", "medium"), ("100", "medium"), ("100.01", "large"), ("1000", "large"),
        ("1000.5", "very_large"), ("50000", "very_large"),
    ],
)  # fmt: skip
def test_number_size(token: str, size: str) -> None:
    assert number_size(token) == size


@pytest.mark.parametrize(
    ("tokens", "top", "name", "monosemantic"),
    [
        # 1. the top token is enriched five times or more
        (["210", "+"], 5.0, "number_210", True),
        (["+", "3"], 5.0, "operator_addition", True),
        (["-"], 9.0, "operator_subtraction", True),
        (["*"], 9.0, "operator_multiplication", True),
        (["/"], 9.0, "operator_division", True),
        (["="], 9.0, "operator_equals", True),
        (["("], 9.0, "operator_parentheses", True),
        ([")"], 9.0, "operator_parentheses", True),
        (["3."], 9.0, "number_3.", True),
        # 2. the top three share a category
        (["3", "5", "7"], 4.99, "numbers_small", True),
        (["3", "5", "70", "+"], 4.0, "numbers_mixed", True),
        (["1", "1.", "1.0"], 4.0, "numbers_one", True),
        (["+", "*", "-"], 4.0, "operators_addition_multiplication", True),
        # 3. the top two are an operator and a number, in either order
        (["+", "30"], 4.0, "addition_with_medium_numbers", True),
        (["30", "+"], 4.0, "addition_with_medium_numbers", True),
        (["(", "0", "7"], 4.0, "parentheses_with_zero_numbers", True),
        (["7", "/", "8", "9"], 2.0, "division_with_small_numbers", True),
        # 4. else the majority of the top five
        (["7"], 4.0, "polysemantic_numbers", False),
        (["+"], 4.0, "polysemantic_operators", False),
        (["7", "8"], 4.0, "polysemantic_numbers", False),
        (["7", "8", "+"], 4.0, "polysemantic_numbers", False),
        (["7", "8", "+", "-"], 4.0, "polysemantic_mixed", False),
        (["7", "8", "+", "-", "*"], 4.0, "polysemantic_operators", False),
        (["+", "-", "7", "8", "9"], 4.0, "polysemantic_numbers", False),
        (["+", "-", "7", "8", "*", "1", "2", "3"], 4.0, "polysemantic_operators", False),
    ],
)
def test_rule(tokens: list[str], top: float, name: str, monosemantic: bool) -> None:
    found = label_feature(tokens, top, RULE)
    assert (found.name, found.monosemantic) == (name, monosemantic)
    assert found.explanation


def test_threshold_is_configurable() -> None:
    assert label_feature(["7"], 4.0, LabelSettings(monosemantic_enrichment=4)).name == "number_7"
    assert not label_feature(["7"], 4.0, RULE).monosemantic


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("number_210", "number", True),
        ("numbers_mixed", "numbers", True),
        ("polysemantic_numbers", "polysemantic", True),
        ("addition_with_small_numbers", "addition", True),
        ("polysemantic_mixed", "polysemantic", False),
        ("operator_addition", "operator", False),
        ("operators_addition_division", "operators", False),
    ],
)
def test_type_and_number_quirk(name: str, kind: str, number: bool) -> None:
    label = Label(name, True, "")
    assert (label.type, label.number) == (kind, number)
