"""Operators of modules, each tested as one unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom, false_discovery_control, fisher_exact, hypergeom

from saeflow.artifacts.hierarchy import SPECIALISTS
from saeflow.config.hierarchy import ModuleSettings
from saeflow.config.runs import ExactSettings
from saeflow.seeds import numpy_generator
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.gsm8k.targets import Target
from saeflow.studies.hierarchy.module_operators import OperatorTest, significant_draws
from saeflow.studies.hierarchy.modules import module_tables

RUN = {"dataset": "made", "dictionary": "d", "seed": 3, "mode": "calibrated"}
TESTS = ExactSettings(min_active=8)
SIGNS = ["-", "+", "*", "/"]
PROBLEMS = 200


def fisher(one: np.ndarray, other: np.ndarray) -> float:
    """One-sided p-value of two sets of problems."""
    cells = [[(a & b).sum() for b in (other, ~other)] for a in (one, ~one)]
    return float(fisher_exact(cells, alternative="greater").pvalue)


def operators(generator: np.random.Generator) -> Target:
    """Operators in random problems."""
    return Target("operators", SIGNS, generator.random((PROBLEMS, 4)) < [0.5, 0.3, 0.7, 0.1], None)


def patterns(generator: np.random.Generator, count: int) -> np.ndarray:
    """Where modules are on, at random."""
    return generator.random((PROBLEMS, count)) < generator.uniform(0.1, 0.6, count)


def copies(generator: np.random.Generator, pattern: np.ndarray, count: int) -> np.ndarray:
    """Features that fire as a pattern does, but for few problems."""
    return pattern[:, None] ^ (generator.random((len(pattern), count)) < 0.02)


def bank_of(active: np.ndarray) -> BankFeatures:
    nowhere = np.zeros(active.shape[1], int)
    return BankFeatures(nowhere, nowhere, np.arange(len(nowhere)), active.astype(np.float32))


@pytest.mark.parametrize("correction", ["benjamini_hochberg", "benjamini_yekutieli"])
def test_a_module_is_tested_as_fisher_would(correction: str) -> None:
    generator = np.random.default_rng(0)
    labels, on = operators(generator), patterns(generator, 9)
    on[:, 0] = labels.present[:, 2] & (generator.random(PROBLEMS) < 0.4)
    on[:, 4], on[:, 5] = False, True
    tests = TESTS.model_copy(update={"correction": correction})
    found = OperatorTest(on, labels, tests).followed()
    p_values, tested = [], [0, 1, 2, 3, 6, 7, 8]
    for module in tested:
        slow = {sign: fisher(on[:, module], labels.present[:, n]) for n, sign in enumerate(SIGNS)}
        assert found.operator[module] == min(slow, key=lambda sign: slow[sign])
        p_values.append(min(1.0, 4 * min(slow.values())))
    q_values = false_discovery_control(p_values, method="by" if "yekutieli" in correction else "bh")
    assert found.p_value[tested] == pytest.approx(p_values)
    assert found.q_value[tested] == pytest.approx(q_values)
    assert found.operator[4] == found.operator[5] == "none"
    assert np.isnan([found.p_value[4:6], found.q_value[4:6]]).all()


def test_operators_that_are_rare_or_everywhere_are_no_choice() -> None:
    generator = np.random.default_rng(1)
    labels, on = operators(generator), patterns(generator, 5)
    everywhere = np.ones(PROBLEMS, bool)
    rare = np.arange(PROBLEMS) < TESTS.min_support - 1
    present = np.column_stack([labels.present, everywhere, rare])
    more = Target("operators", [*SIGNS, "(", ")"], present, None)
    both = [OperatorTest(on, each, TESTS).followed() for each in (labels, more)]
    assert both[0].operator == both[1].operator
    np.testing.assert_array_equal(both[0].p_value, both[1].p_value)
    nothing = Target("operators", ["("], everywhere[:, None], None)
    found = OperatorTest(on, nothing, TESTS).followed()
    assert found.operator == ["none"] * 5
    assert np.isnan(found.p_value).all()


def test_of_equals_the_operator_is_the_first_by_name() -> None:
    generator = np.random.default_rng(2)
    present = np.repeat(generator.random((PROBLEMS, 1)) < 0.5, 4, axis=1)
    found = OperatorTest(
        patterns(generator, 6), Target("o", SIGNS, present, None), TESTS
    ).followed()
    assert found.operator == ["*"] * 6


def test_copies_of_one_chance_association_are_no_evidence() -> None:
    generator = np.random.default_rng(3)
    labels = operators(generator)
    # Of patterns that have nothing to do with operators, one that happens to go with one.
    while not 1e-3 < fisher(pattern := patterns(generator, 1)[:, 0], labels.present[:, 1]) < 5e-3:
        pass
    active = np.concatenate([copies(generator, pattern, 12), patterns(generator, 48)], axis=1)
    rows = [{"layer": 0, "step": 0, "feature": each} for each in range(12)]
    frame = pd.DataFrame(rows).assign(target="operators", label="+", carried=False)
    specialists = pa.Table.from_pandas(frame, preserve_index=False)
    _, modules, _ = module_tables(
        bank_of(active), specialists, labels, ModuleSettings(permutations=2), TESTS, RUN
    )
    (row,) = modules.to_pylist()
    assert row["features"] == list(range(12))
    assert (row["operator"], row["n_following"]) == ("+", 12)
    assert row["n_following_expected"] == pytest.approx(12 * 12 / 60)
    assert 1e-3 < row["p_value"] < 0.05
    # What independent followers would make of it.
    assert hypergeom.sf(11, 60, 12, 12) < 1e-11


def test_p_values_are_no_smaller_than_chance_where_labels_say_nothing() -> None:
    p_values: list[float] = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        blocks = [copies(generator, each, 4) for each in patterns(generator, 6).T]
        _, modules, _ = module_tables(
            bank_of(np.concatenate(blocks, axis=1)),
            SPECIALISTS.schema().empty_table(),
            operators(generator),
            ModuleSettings(permutations=2),
            TESTS,
            RUN,
        )
        assert 5 <= len(modules) <= 6
        p_values += modules["p_value"].to_pylist()
    for level in (0.02, 0.05, 0.1, 0.2, 0.5):
        below = sum(each <= level for each in p_values)
        assert below <= binom.ppf(0.999, len(p_values), level)
        # Nor is a test so strict that it finds nothing.
        assert below >= 0.2 * level * len(p_values)


def test_permutations_are_the_whole_procedure_with_the_labels_moved() -> None:
    generator = np.random.default_rng(4)
    labels, on = operators(generator), patterns(generator, 30)
    on[:, :10] &= labels.present[:, [0]] | (generator.random((PROBLEMS, 10)) < 0.5)
    settings, level = ModuleSettings(permutations=40, seed=7), 0.3
    found = significant_draws(OperatorTest(on, labels, TESTS), settings, level)
    assert found.shape == (41, 30)
    for number in (-1, 0, 1, 39):
        moved = np.arange(PROBLEMS)
        if number >= 0:
            moved = numpy_generator(7, "hierarchy", "module operators", number).permutation(moved)
        there = Target("operators", SIGNS, labels.present[moved], None)
        again = OperatorTest(on, there, TESTS).followed()
        np.testing.assert_array_equal(found[number + 1], again.q_value <= level)
    assert found[0].sum() >= 5
    # With nothing to find, a rate of false discoveries is how often there is any.
    assert 1 <= found[1:].any(1).sum() <= binom.ppf(0.999, 40, level)
