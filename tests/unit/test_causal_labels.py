"""Labels of features, found on one half of the problems and told for the other."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from saeflow.artifacts.catalog import FEATURES
from saeflow.artifacts.features import LayerTable
from saeflow.config.hierarchy import SpecialistTests
from saeflow.config.runs import ExactSettings
from saeflow.datasets.sources import cot_token_table
from saeflow.saes.bank import Site
from saeflow.studies.hierarchy.causal import followed
from saeflow.studies.hierarchy.effects import Labels

TESTS = SpecialistTests(
    targets=("operators", "operands"), tests=ExactSettings(min_active=20, min_support=10)
)
N, LAYERS, STEPS, D_SAE = 240, (1, 3), (0, 2), 4
FIRST, SECOND = np.arange(0, N, 2), np.arange(1, N, 2)
TIMES, LATER, NUMBER, ONCE, NOISE = (
    (Site(1, 2), 0), (Site(3, 0), 1), (Site(3, 2), 3), (Site(1, 0), 2), (Site(1, 0), 0),
)  # fmt: skip
"""Features that follow ``*``; ``/`` on the second half; the number 41; 77, which only the first has."""


def answers() -> list[str]:
    """Two calculations per problem, of random operators and numbers."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(N):
        signs, values = rng.choice(list("+-*/"), 2), rng.integers(2, 30, 4)
        if rng.random() < 0.4:
            values[0] = 41
        if number % 2 == 0 and rng.random() < 0.4:
            values[2] = 77
        made.append(
            f"<<{values[0]}{signs[0]}{values[1]}=5>> <<{values[2]}{signs[1]}{values[3]}=6>>"
        )
    return made


ANSWERS = answers()
TOKENS = cot_token_table(
    pa.table(
        {
            "problem": np.arange(N, dtype=np.int32),
            "question": [""] * N,
            "answer": ANSWERS,
            "analysed": [True] * N,
        }
    )
)


def having(pattern: str) -> np.ndarray:
    return np.array([re.search(pattern, answer) is not None for answer in ANSWERS])


def layer_table(layer: int, steps: tuple[int, ...], values: np.ndarray) -> LayerTable:
    """The long table of a layer's activations by problem, step and feature, as the workflow has it."""
    problem, step, feature = np.nonzero(values)
    columns = {
        "problem": problem,
        "layer": np.full(len(problem), layer),
        "step": np.array(steps)[step],
        "feature": feature,
        "value": values[problem, step, feature],
    }
    schema = FEATURES.schema()
    arrays = [pa.array(columns[name]).cast(schema.field(name).type) for name in schema.names]
    return LayerTable(layer, steps, values.shape[2], pa.table(arrays, schema=schema))


def layer_tables() -> list[LayerTable]:
    """Activations with the planted features, all others firing at random."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(N, len(LAYERS), len(STEPS), D_SAE))
    values *= rng.random(values.shape) < 0.3
    wrong = rng.random((4, N)) < 0.05
    second = np.isin(np.arange(N), SECOND)
    planted = {
        TIMES: having(r"\*") ^ wrong[0],
        # Below 0 as much as above: either half of a feature may follow.
        NUMBER: -1.0 * (having(r"\b41[-+*/]") ^ wrong[1]),
        ONCE: having(r"\b77[-+*/]") ^ wrong[2],
        LATER: np.where(second, having("/") ^ wrong[3], rng.random(N) < 0.5),
    }
    for (site, feature), fires in planted.items():
        values[:, LAYERS.index(site.layer), STEPS.index(site.step), feature] = fires
    return [layer_table(layer, STEPS, values[:, place]) for place, layer in enumerate(LAYERS)]


LAYER_TABLES = layer_tables()
WANTED = [TIMES, LATER, NUMBER, ONCE, NOISE]


def labels(
    chosen: np.ndarray, reported: np.ndarray, wanted: list[tuple[Site, int]] = WANTED
) -> Labels:
    return followed(LAYER_TABLES, TOKENS, chosen, reported, wanted, TESTS)


def test_labels_are_found_on_the_first_half_and_told_for_the_second() -> None:
    found = labels(FIRST, SECOND)
    assert {feature: each.label for feature, each in found.items()} == {
        TIMES: "operators: *",
        NUMBER: "operands: 41",
        ONCE: "operands: 77",
    }
    for feature, pattern in ((TIMES, r"\*"), (NUMBER, r"\b41[-+*/]")):
        present = found[feature].present
        assert set(present.tolist()) == set(SECOND[having(pattern)[SECOND]].tolist())
        assert 0 < len(present) < len(SECOND)
    # No reported problem has it.
    assert having("77")[FIRST].any()
    assert not len(found[ONCE].present)


def test_what_a_feature_does_on_the_reported_half_names_nothing() -> None:
    assert LATER not in labels(FIRST, SECOND)
    # It is there to be found.
    assert labels(SECOND, FIRST)[LATER].label == "operators: /"


def test_the_best_of_several_labels_is_told_whatever_else_is_asked() -> None:
    whole = labels(FIRST, SECOND)
    alone = labels(FIRST, SECOND, [TIMES])
    assert alone[TIMES].label == whole[TIMES].label
    assert (alone[TIMES].present == whole[TIMES].present).all()
    assert labels(FIRST, SECOND, []) == {}
    turned = labels(FIRST, SECOND, WANTED[::-1])
    assert {name: each.label for name, each in turned.items()} == {
        name: each.label for name, each in whole.items()
    }
