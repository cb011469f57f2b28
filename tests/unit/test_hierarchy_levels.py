"""Levels of planted features, and of features that follow nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import binom

from saeflow.artifacts.hierarchy import HIERARCHY, LEVELS
from saeflow.config.datasets import GeneratedDataset
from saeflow.config.hierarchy import VARIABLES, LevelSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.stats.information import within
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.hierarchy.bins import BIN_LABELS
from saeflow.studies.hierarchy.levels import SCORE_EDGES, Levels, find_levels, level_table
from saeflow.studies.hierarchy.variables import ClassVariable, class_variables

CPU = torch.device("cpu")
RUN = {"dataset": "made_up", "dictionary": "d", "seed": 0, "mode": "calibrated"}
SETTINGS = LevelSettings(permutations=20)


def variables_of(answers: list[str], chosen: list[int] | None = None) -> dict[str, list[str]]:
    """Label of each problem by variable."""
    columns = {
        "problem": np.arange(len(answers), dtype=np.int32),
        "question": [""] * len(answers),
        "answer": answers,
        "analysed": [True] * len(answers),
    }
    problems = pa.table(columns)
    numbers = np.arange(len(answers)) if chosen is None else np.array(chosen)
    found = class_variables(cot_token_table(problems), numbers)
    for variable in found:
        assert sorted(set(variable.classes.tolist())) == list(range(len(variable.labels)))
        assert variable.labels == sorted(set(variable.labels))
    return {each.name: [each.labels[place] for place in each.classes] for each in found}


def test_variables_are_read_token_by_token() -> None:
    found = variables_of(
        [
            "<<12+3-1=14>> <<14*2=28>>",
            "nothing is calculated",
            "<<71+-3=68>> <<(-17)+43=26>> <<5=5>>",
            "<<-14+-8+1=-21>>",
            "<<5=5>> <<(4+5)-3=6>> <<1+1=2=5-3>>",
            "<<3.0*.5=1.5>>",
            "<<2*50=100>> <<50/50=1>>",
            "<<50/2=25>>",
            "<<5+=5>> <<7-2=5>>",
        ]
    )
    assert list(found) == list(VARIABLES)
    assert found == {
        "operators": ["* + -", "none", "+", "+", "+ -", "*", "* /", "/", "+ -"],
        "first_operator": ["+", "none", "+", "+", "none", "*", "*", "/", "none"],
        "sequence": ["+ - *", "none", "+ +", "+ +", "+ - +", "*", "* /", "/", "+ -"],
        "value": ["3", "none", "3", "8", "none", "5", "50", "2", "none"],
        "operator_value": ["+ 3", "none", "+ 3", "+ 8", "none", "* 5", "* 50", "/ 2", "none"],
    }


def test_nobody_calculating_is_one_class() -> None:
    found = variables_of(["<<1+1=2>>", "", "no"], [1, 2])
    assert found == {name: ["none", "none"] for name in VARIABLES}


def test_generated_problems_have_the_classes_of_their_text() -> None:
    settings = GeneratedDataset(source="generated", n_train=150, n_validation=50, seed=3)
    answers = load_problems(settings).table["answer"].to_pylist()
    chosen = list(range(40, 200, 2))
    expected: dict[str, list[str]] = {name: [] for name in VARIABLES}
    for number in chosen:
        pairs = [
            re.findall(r"(?<=\d)([-+*/])(\d+\.?\d*)", each.split("=")[0])
            for each in Problem("", answers[number]).calculations
        ]
        signs = [sign for each in pairs for sign, _ in each]
        expected["operators"].append(" ".join(sorted(set(signs))))
        expected["first_operator"].append(signs[0])
        expected["sequence"].append(" ".join(signs))
        expected["value"].append(pairs[0][0][1])
        expected["operator_value"].append(" ".join(pairs[0][0]))
    assert variables_of(answers, chosen) == expected
    assert len(set(expected["sequence"])) > len(set(expected["operators"])) > 3


def made_up_variables(generator: np.random.Generator, n: int = 400) -> list[ClassVariable]:
    """Variables of problems of one to three calculations with one of eight values."""
    labels: dict[str, list[str]] = {name: [] for name in VARIABLES}
    for _ in range(n):
        signs = generator.choice(list("+-*/"), generator.integers(1, 4)).tolist()
        value = str(generator.integers(8))
        labels["operators"].append(" ".join(sorted(set(signs))))
        labels["first_operator"].append(signs[0])
        labels["sequence"].append(" ".join(signs))
        labels["value"].append(value)
        labels["operator_value"].append(f"{signs[0]} {value}")
    found = []
    for name in VARIABLES:
        names, classes = np.unique(labels[name], return_inverse=True)
        found.append(ClassVariable(name, names.tolist(), classes))
    return found


def planted(
    generator: np.random.Generator, variables: list[ClassVariable], each: int, noise: float
) -> tuple[np.ndarray, list[str]]:
    """Features with one state per class of a variable, but for a share of problems; which it is."""
    columns, followed = [], []
    for variable in variables:
        for _ in range(each):
            states = generator.integers(-1, 2, len(variable.labels))[variable.classes]
            lost = generator.random(len(states)) < noise
            states[lost] = generator.permutation(states)[lost]
            columns.append(states * (0.1 + generator.random(len(states))))
            followed.append(variable.name)
    return np.stack(columns, 1).astype(np.float32), followed


def noisy(generator: np.random.Generator, n: int, count: int) -> np.ndarray:
    """Features that fire at random, more or less often, on either side."""
    rate = generator.uniform(0.08, 0.6, count)
    fires = generator.random((n, count)) < rate
    return (fires * generator.normal(size=(n, count))).astype(np.float32)


def bank_of(values: np.ndarray) -> BankFeatures:
    """Features spread over two layers of two steps."""
    number = np.arange(values.shape[1])
    return BankFeatures(number % 2 * 3, number // 2 % 2, number // 4, values)


def names_of(found: Levels) -> list[str]:
    return [found.names[place] for place in found.level]


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_planted_features_get_the_level_that_they_follow(noise: float) -> None:
    generator = np.random.default_rng(0)
    variables = made_up_variables(generator)
    values, followed = planted(generator, variables, 30, noise)
    found = find_levels(bank_of(values), variables, SETTINGS, CPU)
    assert found.tested.all()
    right = np.array(names_of(found)) == np.array(followed)
    assert (right.reshape(len(VARIABLES), 30).mean(1) >= 0.9).all()


def test_chance_gives_no_more_than_its_share_of_levels() -> None:
    shares, recovered, followers = [], [], 15 * len(VARIABLES)
    for number in range(20):
        generator = np.random.default_rng(number)
        variables = made_up_variables(generator)
        values, _ = planted(generator, variables, 15, 0.6)
        everything = np.concatenate([values, noisy(generator, 400, 300)], axis=1)
        settings = LevelSettings(permutations=20, seed=number)
        found = find_levels(bank_of(everything), variables, settings, CPU)
        has_level = np.zeros(followers + 300, bool)
        has_level[found.tested] = found.level < len(VARIABLES)
        shares.append(has_level[followers:].sum() / has_level.sum())
        recovered.append(has_level[:followers].mean())
    error = np.std(shares, ddof=1) / np.sqrt(20)
    assert np.mean(shares) <= 0.05 + 2 * error
    # The threshold is no stricter than asked for.
    assert np.mean(shares) >= 0.02
    assert np.mean(recovered) > 0.7


def test_noise_alone_has_no_more_levels_than_its_permutations() -> None:
    banks, permutations = 50, 9
    above, gaps = 0, []
    for number in range(banks):
        generator = np.random.default_rng(number)
        variables = made_up_variables(generator, 200)
        # With half of all levels false, many banks have some, and permutations differ in number.
        settings = LevelSettings(permutations=permutations, seed=number, false_share=0.5)
        bank = bank_of(noisy(generator, 200, 200))
        found = find_levels(bank, variables, settings, CPU)
        assert np.median(found.score) < 0.02
        for place in range(len(VARIABLES)):
            own, null = (found.level == place).sum(), (found.null_level == place).sum(1)
            above += own > null.max()
            gaps.append(own - null.mean())
    # Of a measurement and its permutations, each is the largest equally often.
    assert 0 < above <= binom.ppf(0.999, banks * len(VARIABLES), 1 / (permutations + 1))
    per_bank = np.reshape(gaps, (banks, -1)).sum(1)
    assert abs(per_bank.mean()) < 3 * per_bank.std(ddof=1) / np.sqrt(banks)


def test_a_feature_that_always_fires_is_told_by_its_sign() -> None:
    generator = np.random.default_rng(1)
    variables = made_up_variables(generator)
    values, _ = planted(generator, variables, 10, 0.1)
    plus = np.char.find(np.array(variables[0].labels)[variables[0].classes], "+") >= 0
    signed = np.where(plus, 1, -1).astype(np.float32)[:, None]
    everything = np.concatenate([values, signed, np.abs(signed)], axis=1)
    found = find_levels(bank_of(everything), variables, SETTINGS, CPU)
    assert names_of(found)[-2:] == ["operators", "none"]
    assert found.score[-1] == 0


@pytest.fixture(scope="module")
def case() -> tuple[BankFeatures, list[ClassVariable]]:
    """50 planted features, 60 that follow nothing, some too rare, and 2 that never fire."""
    generator = np.random.default_rng(7)
    variables = made_up_variables(generator)
    rare = noisy(generator, 400, 10) * (generator.random((400, 10)) < 0.03)
    never = np.zeros((400, 2), np.float32)
    parts = [planted(generator, variables, 10, 0.4)[0], noisy(generator, 400, 50)]
    return bank_of(np.concatenate([*parts, rare.astype(np.float32), never], axis=1)), variables


def test_table_holds_the_features_that_fire_often_enough(case: Any) -> None:
    bank, variables = case
    table, rows = level_table(bank, variables, SETTINGS, RUN, CPU)
    assert table.schema.equals(LEVELS.schema())
    frame = table.to_pandas()
    n_active = (bank.values != 0).sum(0)
    assert 0 < (n_active < 20).sum() < 20
    assert frame["n_active"].tolist() == n_active[n_active >= 20].tolist()
    assert not frame.duplicated(list(LEVELS.keys)).any()
    adjusted = frame[[f"adjusted.{name}" for name in VARIABLES]].to_numpy()
    np.testing.assert_array_equal(frame["score"], adjusted.max(1))
    named = frame["level"] != "none"
    best = np.array(VARIABLES)[adjusted.argmax(1)]
    assert frame["level"][named].tolist() == best[named].tolist()
    for name in VARIABLES:
        of_it = frame[best == name]
        scores = of_it["score"].groupby(of_it["level"] == name)
        assert scores.min()[True] > scores.max()[False]
    for name in VARIABLES:
        above = frame[f"adjusted.{name}"] > 0
        assert (above == (frame[f"mi.{name}"] > frame[f"null.{name}"])).mean() > 0.99
    tested = {(row["layer"], row["step"]): row for row in rows if row["metric"] == "n_tested"}
    sites = frame.groupby(["layer", "step"]).size().to_dict()
    assert {key: tested[key]["value"] for key in sites} == sites


def test_counts_stand_beside_those_of_permutations(case: Any) -> None:
    bank, variables = case
    _, rows = level_table(bank, variables, SETTINGS, RUN, CPU)
    table = pa.Table.from_pylist(rows, HIERARCHY.schema())
    assert not table.to_pandas().duplicated(list(HIERARCHY.keys)).any()
    found = find_levels(bank, variables, SETTINGS, CPU)
    whole = {
        (row["group"], row["metric"], row["control"]): row
        for row in rows
        if row["layer"] is None and row["step"] is None
    }
    names, chance = [*VARIABLES, "none"], 0.0
    for place, name in enumerate(names):
        own = whole["all", f"n_level.{name}", "none"]
        assert own["value"] == names_of(found).count(name)
        per_permutation = (found.null_level == place).sum(1)
        permuted = whole["all", f"n_level.{name}", "permuted"]
        assert permuted["value"] == pytest.approx(per_permutation.mean())
        assert (permuted["ci_low"], permuted["ci_high"]) == (
            per_permutation.min(),
            per_permutation.max(),
        )
        assert (permuted["interval"], permuted["n"]) == ("permutation_range", 20)
        share = whole["all", f"share_level.{name}", "permuted"]
        assert share["value"] == pytest.approx(permuted["value"] / own["n"])
        if name != "none":
            chance += permuted["value"]
            threshold = whole["all", f"score_threshold.{name}", "none"]["value"]
            assert threshold == found.score[found.level == place].min()
    assert 0 < chance < whole["all", "n_level.none", "none"]["value"]
    for control in ("none", "permuted"):
        bins = [whole["all", f"n_score.{edge:g}", control]["value"] for edge in SCORE_EDGES]
        assert sum(bins) == pytest.approx(own["n"])
    by_bin = [whole[group, "n_tested", "none"] for group in BIN_LABELS]
    assert sum(row["value"] for row in by_bin) == own["n"]
    assert all(row["value"] == 0 for row in by_bin[: BIN_LABELS.index("20-49")])
    upper = whole["all", "score_quantile.90", "none"]["value"]
    assert upper > 3 * whole["all", "score_quantile.90", "permuted"]["ci_high"]


def test_places_add_up(case: Any) -> None:
    bank, variables = case
    _, rows = level_table(bank, variables, SETTINGS, RUN, CPU)
    for metric in ("n_tested", *(f"n_level.{name}" for name in VARIABLES)):
        for control in ("none",) if metric == "n_tested" else ("none", "permuted"):
            values: dict[tuple[bool, bool], float] = {}
            for row in rows:
                if (row["metric"], row["control"], row["group"]) == (metric, control, "all"):
                    place = (row["layer"] is None, row["step"] is None)
                    values[place] = values.get(place, 0) + row["value"]
            assert len(values) == 4
            assert list(values.values()) == pytest.approx([values[True, True]] * 4)


def test_the_same_twice_and_other_permutations_with_another_seed(case: Any) -> None:
    bank, variables = case
    table, rows = level_table(bank, variables, SETTINGS, RUN, CPU)
    again, same_rows = level_table(bank, variables, SETTINGS, RUN, CPU)
    assert table.equals(again)
    assert rows == same_rows
    other, other_rows = level_table(
        bank, variables, LevelSettings(permutations=20, seed=1), RUN, CPU
    )
    assert other.drop_columns("level").equals(table.drop_columns("level"))
    assert other_rows != rows


def test_problems_in_another_order_have_the_same_scores(case: Any) -> None:
    bank, variables = case
    order = np.random.default_rng(0).permutation(400)
    moved = [ClassVariable(each.name, each.labels, each.classes[order]) for each in variables]
    there = BankFeatures(bank.layer, bank.step, bank.index, bank.values[order])
    table, _ = level_table(bank, variables, SETTINGS, RUN, CPU)
    other, _ = level_table(there, moved, SETTINGS, RUN, CPU)
    assert other.drop_columns("level").equals(table.drop_columns("level"))
    same = np.array(other["level"].to_pylist()) == np.array(table["level"].to_pylist())
    assert same.mean() > 0.9


def test_a_bank_without_a_feature_that_fires_has_no_level() -> None:
    variables = made_up_variables(np.random.default_rng(0), 60)
    silent = bank_of(np.zeros((60, 8), np.float32))
    table, rows = level_table(silent, variables, SETTINGS, RUN, CPU)
    assert len(table) == 0
    thresholds = [row["value"] for row in rows if row["metric"].startswith("score_threshold")]
    assert thresholds == [None] * len(VARIABLES)
    assert {row["value"] for row in rows if row["metric"] == "n_tested"} == {0}
    assert pa.Table.from_pylist(rows, HIERARCHY.schema()).num_rows == len(rows)


def stories(seed: int, count: int = 12) -> tuple[np.ndarray, list[ClassVariable]]:
    """Stories of 32 problems: every operator with 8 values, and an operator of the story's own."""
    generator = np.random.default_rng(seed)
    first, value = np.repeat(np.tile(np.arange(4), count), 8), np.tile(np.arange(8), 4 * count)
    groups = np.repeat(np.arange(count), 32)
    own = generator.integers(0, 4, count)[groups]
    known = {
        "operators": [str(frozenset(pair)) for pair in zip(first, own, strict=True)],
        "first_operator": first.tolist(),
        "sequence": list(zip(first, own, strict=True)),
        "value": value.tolist(),
        "operator_value": list(zip(first, value, strict=True)),
    }
    variables = []
    for name in VARIABLES:
        labels = list(dict.fromkeys(known[name]))
        classes = np.array([labels.index(each) for each in known[name]])
        variables.append(ClassVariable(name, [str(each) for each in labels], classes))
    return groups, variables


def test_what_is_known_of_a_story_is_no_level_within_stories() -> None:
    groups, variables = stories(0)
    generator = np.random.default_rng(1)
    chosen = generator.random((40, groups.max() + 1)) < 0.4
    of_story = chosen[:, groups].T & (generator.random((len(groups), 40)) < 0.8)
    codes = variables[VARIABLES.index("value")].classes
    of_value = np.stack([codes == number % 8 for number in range(16)], axis=1)
    of_value &= generator.random(of_value.shape) < 0.9
    values = np.concatenate([of_story, of_value], axis=1).astype(np.float32)
    apart = find_levels(bank_of(values), variables, SETTINGS, CPU)
    within = find_levels(bank_of(values), variables, SETTINGS, CPU, groups)
    named = np.array(names_of(apart)[: of_story.shape[1]])
    assert (named == "sequence").mean() > 0.5
    assert (np.array(names_of(within)[: of_story.shape[1]]) == "none").mean() > 0.9
    assert (np.array(names_of(within)[of_story.shape[1] :]) == "value").mean() > 0.9


def test_examples_change_places_within_their_group_only() -> None:
    groups, _ = stories(0)
    order = within(groups, np.random.default_rng(0))
    assert sorted(order) == list(range(len(groups)))
    assert (groups[order] == groups).all()
    assert (order != np.arange(len(groups))).mean() > 0.9
