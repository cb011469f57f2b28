"""The published rules on the real GSM8K validation split: what random problems give (methods/2, 3.7)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from saeflow.config.datasets import SplitSettings
from saeflow.config.hierarchy import SpecialistSettings
from saeflow.datasets.gsm8k import read_problems
from saeflow.datasets.selection import published_split
from saeflow.datasets.tokens import calculation_tokens
from saeflow.studies.hierarchy.patterns import (
    VALUES,
    Patterns,
    calculation_text,
    substring_patterns,
)
from saeflow.studies.hierarchy.specialised import random_sets, specialisation
from tests.unit.test_gsm8k_data import OPERATOR_SETS, SUBSTRING_AND_TOKEN

# Per cent of sets of so many random validation problems that the rule calls specialised.
SIZES = (1, 2, 3, 4, 5, 6, 8)
PUBLISHED = (97.4, 10.9, 6.6, 11.6, 2.5, 2.4, 1.2)
UNTIED = (43.0, 3.8, 3.5, 3.1, 0.8, 1.9, 0.6)
STATED_DRAWS = 2000
"""Sets that the stated figures are taken to be drawn from; methods/2 does not say."""
DRAWS = 20_000

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def answers(gsm8k_data: Path) -> list[list[str]]:
    """Calculations of the 1,495 validation problems."""
    problems = read_problems(gsm8k_data / "train.jsonl")
    _, validation = published_split(len(problems), SplitSettings(train_share=0.8, seed=42))
    return [problems[number].calculations for number in validation]


@pytest.fixture(scope="module")
def patterns(answers: list[list[str]]) -> Patterns:
    return substring_patterns([" | ".join(calculations) for calculations in answers])


def rates(patterns: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Shares by the published rule and with ties counted, shape (2, sizes)."""
    settings = SpecialistSettings(null_draws=DRAWS)
    return np.array(list(random_sets(patterns, np.array(sizes), 100, settings).values()))


def deviations(found: np.ndarray) -> np.ndarray:
    """Distance from the stated figures, beyond rounding, in standard errors of both simulations."""
    stated = np.array([PUBLISHED, UNTIED]) / 100
    own_draws = np.where(np.array(SIZES) == 1, np.inf, DRAWS)
    error = np.sqrt(found * (1 - found) * (1 / STATED_DRAWS + 1 / own_draws))
    beyond: np.ndarray = np.maximum(np.abs(found - stated) - 0.0005, 0) / error
    return beyond


def test_random_problems_are_called_specialised_as_often_as_stated(patterns: Patterns) -> None:
    found = rates(patterns.specialists, SIZES)
    distance = deviations(found)
    assert (distance < 4).all(), (100 * found).round(2)
    assert (distance**2).sum() < chi2.ppf(0.999, distance.size)


@pytest.mark.parametrize("columns", [slice(0, 4), slice(4, 9)], ids=["operations", "values"])
def test_one_of_the_two_rules_alone_does_not_give_the_stated_rates(
    patterns: Patterns, columns: slice
) -> None:
    part = np.zeros_like(patterns.specialists)
    part[:, columns] = patterns.specialists[:, columns]
    assert deviations(rates(part, SIZES)).max() > 10


def test_one_problem_is_specialised_unless_it_shows_no_pattern(patterns: Patterns) -> None:
    shown = patterns.specialists
    expected = np.count_nonzero(shown.any(1)) / len(shown)
    assert rates(shown, (1,))[0, 0] == pytest.approx(expected, abs=1e-12)
    assert round(100 * expected, 1) == 97.3


def test_chance_falls_with_the_number_of_problems_but_not_to_zero_at_ten(
    patterns: Patterns,
) -> None:
    published, untied = rates(patterns.specialists, (10, 11, 20, 50, 100))
    assert published[0] < 0.0035
    # Eleven problems pass more easily than ten: 2 of 11 is less than 20 %, 2 of 10 is not.
    assert 0.012 < published[1] < 0.022
    assert published[2] < 0.001
    assert (published[3:] == 0).all()
    assert (untied <= published).all()


def test_substrings_find_more_numbers_than_tokens(
    answers: list[list[str]], patterns: Patterns
) -> None:
    tokens = [{token for each in part for token in calculation_tokens(each)} for part in answers]
    for place, value in enumerate(VALUES):
        exact = sum(str(value) in each for each in tokens)
        found = int(patterns.values[:, place].sum())
        assert (found, exact) == SUBSTRING_AND_TOKEN[str(value)]


def test_operators_and_their_sets_are_those_of_the_validation_split(patterns: Patterns) -> None:
    assert patterns.operations.shape == (1495, 4)
    assert patterns.operations.sum(0).tolist() == [821, 681, 1084, 701]
    names = np.array(list("+-*/"))
    assert Counter("".join(names[row]) for row in patterns.operations) == OPERATOR_SETS


def test_four_problems_that_add_and_multiply_make_an_addition_feature(
    answers: list[list[str]], patterns: Patterns
) -> None:
    both = np.flatnonzero(
        (patterns.operations == [True, False, True, False]).all(1) & ~patterns.values.any(1)
    )[:4]
    counts = patterns.specialists[both].sum(0, keepdims=True)
    assert counts[0, :4].tolist() == [4, 0, 4, 0]
    found = specialisation(counts, np.array([4]), SpecialistSettings())
    assert found.kind(0) == "operation-specialised"
    assert found.name(0) == "addition"
    untied = specialisation(counts, np.array([4]), SpecialistSettings(), ties_count=True)
    assert untied.kind(0) == "general"
    assert untied.name(0) is None


def test_calculations_are_joined_as_the_study_joins_them(gsm8k_data: Path) -> None:
    problem = read_problems(gsm8k_data / "train.jsonl", limit=1)[0]
    assert calculation_text(problem) == "48/2=24 | 48+24=72"
