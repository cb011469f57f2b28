"""Levels of features planted on the real balanced problems, compared within stories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from saeflow.config.datasets import BalancedDataset
from saeflow.config.hierarchy import LevelSettings
from saeflow.datasets.balanced import story_numbers
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.hierarchy.levels import Joint, find_levels
from saeflow.studies.hierarchy.variables import JOINT, NONE, PARTS, ClassVariable, class_variables

CPU = torch.device("cpu")
SETTINGS = LevelSettings()
OPERATORS = "+-*/"
EACH = 40
NOISE = 400


class Design(NamedTuple):
    """Balanced problems: their variables, the label of each by variable, and their stories."""

    variables: list[ClassVariable]
    labels: dict[str, np.ndarray]
    stories: np.ndarray


@pytest.fixture(scope="module")
def design() -> Design:
    problems = load_problems(BalancedDataset(source="balanced")).table
    stories = story_numbers(problems["problem_id"].to_pylist())
    variables = class_variables(cot_token_table(problems), np.arange(len(stories)))
    labels = {each.name: np.array(each.labels)[each.classes] for each in variables}
    return Design(variables, labels, stories)


def firing(rng: np.random.Generator, on: np.ndarray, often: float, rarely: float) -> np.ndarray:
    """A feature that fires with one probability where its label is, and with another elsewhere."""
    return rng.random(len(on)) < np.where(on, often, rarely)


def some(rng: np.random.Generator, labels: np.ndarray, share: float) -> np.ndarray:
    """Where a label is one of a random share of them."""
    names = np.unique(labels)
    return np.isin(labels, rng.choice(names, round(share * len(names)), replace=False))


def planted(design: Design, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """What features follow, and where they fire."""
    rng, labels = np.random.default_rng(seed), design.labels
    first, value, joint = (labels[name] for name in (*PARTS, JOINT))
    for number in range(EACH):
        one = first == OPERATORS[number % 4]
        yield "first, strong", firing(rng, one, 0.9, 0.05)
        yield "first, weak", firing(rng, one, 0.4, 0.2)
        yield "value, strong", firing(rng, value == np.unique(value)[number % 8], 0.9, 0.05)
        yield "value, weak", firing(rng, some(rng, value, 0.5), 0.7, 0.2)
        yield "both, one cell", firing(rng, joint == np.unique(joint)[number % 32], 0.9, 0.05)
        yield "both, many cells", firing(rng, some(rng, joint, 0.35), 0.6, 0.2)
        yield "sequence", firing(rng, some(rng, labels["sequence"], 0.35), 0.6, 0.2)
    for _ in range(NOISE):
        yield "noise", firing(rng, np.ones(len(first), bool), rng.uniform(0.05, 0.6), 0)


@pytest.fixture(scope="module", params=[0, 1])
def found(request: Any, design: Design) -> dict[str, list[str]]:
    """Levels by what features follow."""
    kinds, columns = zip(*planted(design, request.param), strict=True)
    values = np.stack(columns, axis=1).astype(np.float32)
    place = np.arange(len(kinds))
    bank = BankFeatures(place * 0, place * 0, place, values)
    levels = find_levels(bank, design.variables, SETTINGS, CPU, design.stories)
    assert levels.tested.all()
    names: dict[str, list[str]] = {}
    for kind, level in zip(kinds, levels.level, strict=True):
        names.setdefault(kind, []).append(levels.names[level])
    return names


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        ("first, strong", "first_operator"),
        ("first, weak", "first_operator"),
        ("value, strong", "value"),
        ("value, weak", "value"),
        ("both, one cell", JOINT),
        ("both, many cells", JOINT),
        ("sequence", "sequence"),
    ],
)
def test_features_have_the_level_that_they_follow(
    found: dict[str, list[str]], kind: str, level: str
) -> None:
    assert found[kind].count(level) >= 0.95 * EACH


def test_what_knows_a_part_alone_is_not_said_to_know_both(found: dict[str, list[str]]) -> None:
    for kind in ("first, strong", "first, weak", "value, strong", "value, weak"):
        assert found[kind].count(JOINT) == 0
    for kind in ("first, strong", "first, weak"):
        assert found[kind].count("sequence") == 0


def test_noise_has_few_of_all_levels(found: dict[str, list[str]]) -> None:
    named = sum(len(levels) - levels.count(NONE) for levels in found.values())
    false = NOISE - found["noise"].count(NONE)
    # Of each level at most 5 %, estimated from above; the rest is what numbers this small vary by.
    assert false <= 0.05 * named + 3 * np.sqrt(0.05 * named)


def checked(design: Design, values: np.ndarray, order: np.ndarray, limit: float) -> list[str]:
    """Levels of features that were all given the joint one, each level at the same threshold."""
    names = [each.name for each in design.variables]
    classes = np.stack([each.classes for each in design.variables])
    joint = Joint(values.astype(np.float32), names, classes, SETTINGS, CPU, design.stories, None)
    level = np.full(values.shape[1], names.index(JOINT))
    joint.check(level, np.full(len(names), limit), order)
    return [[*names, NONE][place] for place in level]


def test_the_joint_level_is_kept_by_what_knows_each_part_beyond_the_other(design: Design) -> None:
    rng, first, value = np.random.default_rng(0), design.labels[PARTS[0]], design.labels[PARTS[1]]
    story = some(rng, design.stories, 0.5)
    kinds = {
        "both": lambda: 0.1 + 0.4 * (first == "*") + 0.4 * some(rng, value, 0.5),
        "first_operator": lambda: 0.1 + 0.8 * ((first == "*") & story),
        "value": lambda: 0.1 + 0.8 * ((value == "8") & story),
        NONE: lambda: 0.1 + 0.8 * story,
    }
    here = np.arange(len(first))
    # As it is, and in a permutation of the problems.
    for order in (here, rng.permutation(len(first))):
        for kind, chance in kinds.items():
            values = np.stack([rng.random(len(first)) < chance() for _ in range(EACH)], axis=1)
            levels = checked(design, values[order], order, 0.02)
            kept = levels.count(JOINT) / EACH
            assert kept > 0.9 if kind == "both" else kept < 0.1
            if kind in PARTS:
                assert levels.count(kind) > 0.8 * EACH


def test_permutations_are_held_to_both_parts_too(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    noise = np.stack(
        [firing(rng, np.ones(len(design.stories), bool), 0.3, 0) for _ in range(300)], 1
    )
    place = np.arange(noise.shape[1])
    bank = BankFeatures(place * 0, place * 0, place, noise.astype(np.float32))
    settings = LevelSettings(permutations=19, false_share=0.5)

    def joint_levels() -> np.ndarray:
        found = find_levels(bank, design.variables, settings, CPU, design.stories)
        return (found.null_level == found.names.index(JOINT)).sum(1)

    checked = joint_levels()
    monkeypatch.setattr(Joint, "check", lambda *_: None)
    unchecked = joint_levels()
    assert (checked <= unchecked).all()
    assert 0 < checked.sum() < unchecked.sum()
