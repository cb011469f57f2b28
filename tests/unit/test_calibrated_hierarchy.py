"""The calibrated parts of a bank that need no model, put together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.hierarchy import COACTIVATION, HIERARCHY, LEVELS, MODULES, SPECIALISTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.hierarchy import (
    VARIABLES,
    HierarchyCalibrated,
    LevelSettings,
    ModuleSettings,
    SpecialistTests,
)
from saeflow.config.runs import ExactSettings
from saeflow.datasets.gsm8k import Problem
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.studies.hierarchy.calibrated import (
    CalibratedTables,
    Problems,
    calibrated_hierarchy,
)
from tests.unit.test_causal_labels import layer_table

CPU = torch.device("cpu")
RUN = {"dataset": "made", "dictionary": "d", "seed": 3, "mode": "calibrated"}
LAYERS, STEPS, D_SAE = (0, 2), (1, 3), 5
SETTINGS = HierarchyCalibrated(
    balanced="even",
    levels=LevelSettings(permutations=10),
    specialists=SpecialistTests(
        targets=("operators", "sequence"),
        tests=ExactSettings(min_active=8, min_support=6),
        permutations=19,
    ),
    modules=ModuleSettings(permutations=4, min_size=2),
    sweep=None,
    causal=None,
)
FIRST = (2, 3)
"""Site that has the planted features: 0 and 1 follow ``*``, feature 2 the first right operand."""


class Made(NamedTuple):
    """Problems and their activations, by running number of all problems of the data set."""

    problems: Problems
    values: np.ndarray
    texts: list[list[str]]


def made(table: pa.Table, numbers: np.ndarray, seed: int) -> Made:
    """Planted activations on all problems, of which some are to be read."""
    rng = np.random.default_rng(seed)
    worked = zip(table["question"].to_pylist(), table["answer"].to_pylist(), strict=True)
    texts = [Problem(*each).calculations for each in worked]
    values = rng.normal(size=(len(texts), len(LAYERS), len(STEPS), D_SAE))
    values *= rng.random(values.shape) < 0.3
    times = np.array(["*" in "".join(each) for each in texts])
    right = np.array([int(re.findall(r"[-+*/](\d+)=", each[0])[0]) for each in texts])
    site = values[:, LAYERS.index(FIRST[0]), STEPS.index(FIRST[1])]
    for feature in (0, 1):
        site[:, feature] = times ^ (rng.random(len(texts)) < 0.03)
    site[:, 2] = np.where(right % 3 == 0, 1.0, np.where(right % 3 == 1, -1.0, 0.0))
    tables = [layer_table(layer, STEPS, values[:, place]) for place, layer in enumerate(LAYERS)]
    return Made(Problems(tables, cot_token_table(table), numbers), values, texts)


@pytest.fixture(scope="module")
def held_out() -> Made:
    settings = GeneratedDataset(
        source="generated", n_train=60, n_validation=140, seed=2, decimal_share=0.0
    )
    table = load_problems(settings).table
    numbers = table["problem"].to_numpy()[np.array(table["split"].to_pylist()) == "validation"]
    return made(table, numbers, 1)


@pytest.fixture(scope="module")
def balanced() -> Made:
    settings = BalancedDataset(
        source="balanced", stories=4, steps=(1, 2), values=(2, 3, 4, 5), max_number=60
    )
    table = load_problems(settings).table
    # All but the last story.
    return made(table, table["problem"].to_numpy()[:-16], 4)


def tables_of(one: Made, other: Made) -> CalibratedTables:
    return calibrated_hierarchy(one.problems, other.problems, SETTINGS, RUN, CPU)


@pytest.fixture(scope="module")
def found(held_out: Made, balanced: Made) -> CalibratedTables:
    return tables_of(held_out, balanced)


def test_every_table_is_its_artifact(found: CalibratedTables, tmp_path: Path) -> None:
    artifacts = (SPECIALISTS, COACTIVATION, MODULES, LEVELS, HIERARCHY)
    for table, artifact in zip(found, artifacts, strict=True):
        path = tmp_path / f"{artifact.name}.parquet"
        write_table(table, path, artifact, Provenance("c"))
        frame = read_table(path, artifact).to_pandas()
        assert len(frame)
        assert not frame.duplicated(list(artifact.keys)).any()
        for name, value in RUN.items():
            assert (frame[name] == value).all()


def active(case: Made) -> pd.Series:
    """On how many of the read problems each feature is not zero, by layer, step and feature."""
    counts = np.count_nonzero(case.values[case.problems.numbers], axis=0)
    index = pd.MultiIndex.from_product([LAYERS, STEPS, range(D_SAE)])
    return pd.Series(counts.ravel(), index)


def test_specialists_and_modules_are_of_held_out_problems(
    found: CalibratedTables, held_out: Made
) -> None:
    times = np.array(["*" in "".join(held_out.texts[n]) for n in held_out.problems.numbers])
    rows = found.specialists.to_pandas()
    own = rows[(rows.label == "*") & (rows.feature < 2) & (rows.layer == 2) & (rows.step == 3)]
    assert list(own.feature) == [0, 1]
    for row in own.itertuples():
        assert row.a + row.c == times.sum()
        assert row.a + row.b + row.c + row.d == len(times)
    pairs = found.coactivation.to_pandas()
    counts = active(held_out)
    for row in pairs.itertuples():
        assert row.n_active == counts[row.layer, row.step, row.feature]
        assert row.other_n_active == counts[row.layer, row.step, row.other_feature]
    # A module's operator is what its members are specialists for.
    (module,) = found.modules.to_pylist()
    assert (module["layer"], module["step"]) == FIRST
    assert (module["features"], module["operator"], module["n_following"]) == ([0, 1], "*", 2)


def test_levels_are_of_balanced_problems(found: CalibratedTables, balanced: Made) -> None:
    rows = found.levels.to_pandas().set_index(["layer", "step", "feature"])
    counts = active(balanced)
    assert rows.n_active.to_dict() == {key: counts[key] for key in rows.index}
    assert set(rows.index) == set(counts.index[counts >= SETTINGS.levels.min_active])
    assert rows.level[(*FIRST, 2)] == "value"
    assert rows.level[(*FIRST, 0)] in ("operators", "first_operator")


def test_the_summary_holds_all_three_parts(found: CalibratedTables, held_out: Made) -> None:
    rows = found.summary.to_pandas()
    whole = rows[rows.layer.isna() & rows.step.isna() & (rows.control == "none")]
    values = whole[whole.group == "all"].set_index("metric").value
    specialists = found.specialists.to_pandas()
    of_operators = specialists[specialists.target == "operators"]
    distinct = of_operators.groupby(["layer", "step", "feature"]).ngroups
    assert values["n_specialists.operators"] == distinct
    assert values["n_features"] == np.count_nonzero(active(held_out))
    assert values["n_modules"] == len(found.modules)
    levels = found.levels.to_pandas().level
    for name in VARIABLES:
        assert values[f"n_level.{name}"] == (levels == name).sum()


def test_the_two_sets_of_problems_are_not_mixed_up(
    found: CalibratedTables, held_out: Made, balanced: Made
) -> None:
    turned = tables_of(balanced, held_out)
    assert not turned.specialists.equals(found.specialists)
    assert not turned.levels.equals(found.levels)
    # Other held-out problems change nothing about levels, other balanced ones nothing else.
    fewer = held_out.problems._replace(numbers=held_out.problems.numbers[:100])
    others = tables_of(held_out._replace(problems=fewer), balanced)
    assert others.levels.equals(found.levels)
    assert not others.specialists.equals(found.specialists)
    less = balanced.problems._replace(numbers=balanced.problems.numbers[:40])
    others = tables_of(held_out, balanced._replace(problems=less))
    assert not others.levels.equals(found.levels)
    for name in ("specialists", "coactivation", "modules"):
        assert getattr(others, name).equals(getattr(found, name))
