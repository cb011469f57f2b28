"""Interventions by several jobs, or by one that is killed: the same tables, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.catalog import FEATURES
from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.hierarchy import MAXIMAL, SCREEN, TRIALS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.artifacts.units import Units
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.hierarchy import CausalSettings, SearchSettings
from saeflow.datasets.sources import load_problems
from saeflow.interventions.thoughts import ThoughtRun
from saeflow.shards import shard_range
from saeflow.studies.hierarchy import intervene as module
from saeflow.studies.hierarchy.intervene import (
    CHOOSING,
    REPORTING,
    Interventions,
    Study,
    intervene,
    intervene_shard,
)
from saeflow.studies.hierarchy.screening import Screening
from tests.unit.test_intervene import D_SAE, RUN, SITES, subject_of

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = CausalSettings(
    shortlist=1,
    set_size=3,
    dosed=1,
    doses=(4.0,),
    swapped=1,
    stories=1,
    maximal=1,
    sweeps=1,
    rows=64,
    search=SearchSettings(starts=2, climbs=1, max_number=20),
)
HERE = Provenance("made")


def fires(layer: int, numbers: np.ndarray) -> LayerTable:
    """Features that fire harder from problem to problem, for no forward pass but those under test."""
    steps = tuple(site.step for site in SITES if site.layer == layer)
    step, feature, problem = np.meshgrid(steps, np.arange(D_SAE), numbers, indexing="ij")
    columns = {
        "problem": problem.ravel(),
        "layer": np.full(problem.size, layer),
        "step": step.ravel(),
        "feature": feature.ravel(),
        "value": 1.0 + problem.ravel(),
    }
    return LayerTable(layer, steps, D_SAE, pa.table(columns).cast(FEATURES.schema()))


@pytest.fixture(scope="module")
def study() -> Study:
    torch.set_num_threads(1)
    generated = GeneratedDataset(
        source="generated", n_train=0, n_validation=44, step_weights=(1, 0, 0, 0), decimal_share=0
    )
    even = BalancedDataset(source="balanced", stories=1, steps=(1,), values=(2, 3))
    problems, balanced = load_problems(generated).table, load_problems(even).table
    numbers = problems["problem"].to_numpy()
    features = [fires(layer, numbers) for layer in (0, 1)]
    return Study(subject_of(8), problems, balanced, features, numbers, SETTINGS, RUN, "even")


@pytest.fixture(scope="module")
def whole(study: Study, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return written(intervene(study, Units()), tmp_path_factory.mktemp("whole"))


def written(found: Interventions, folder: Path) -> list[bytes]:
    for table, artifact in zip(found, (TRIALS, SCREEN, MAXIMAL), strict=True):
        assert len(table)
        write_table(table, folder / artifact.name, artifact, HERE)
    return [(folder / each.name).read_bytes() for each in (TRIALS, SCREEN, MAXIMAL)]


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("done again")


@pytest.mark.parametrize("count", [2, 3, 8])
def test_any_number_of_shards_gives_the_same_bytes(
    study: Study,
    whole: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    made: list[Path] = []
    for stage in (CHOOSING, REPORTING):
        earlier = list(made)
        for number in range(1, count + 1):
            item = f"{number}-of-{count}"
            units = Units(tmp_path / stage / item, "f", HERE, earlier, partial(shard_range, item))
            intervene_shard(study, units, stage)
            units.finish((), (), ())
            made.append(tmp_path / stage / item)
    names = [path.name for folder in made for path in folder.glob("*.parquet")]
    reported = [name for name in names if not name.startswith("screening0")]
    assert len(set(reported)) == len(reported) > 10
    # The last job thinks about no problem of a shard again.
    monkeypatch.setattr(ThoughtRun, "__init__", refuse)
    monkeypatch.setattr(module, "screen", refuse)
    units = Units(tmp_path / "trials", "f", HERE, made)
    found = intervene(study, units)
    assert written(found, tmp_path) == whole
    units.finish((), (), ())
    assert not (tmp_path / "trials.partial").exists()


class KilledError(Exception):
    """Stands for the end of a job."""


def killed_behind(count: int, run: Callable[..., None]) -> Callable[..., None]:
    left = [count]

    def thinks(self: ThoughtRun, *arguments: object, **named: object) -> None:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        run(self, *arguments, **named)

    return thinks


def test_a_killed_job_goes_on_behind_its_last_unit(
    study: Study, whole: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thinks = ThoughtRun.__init__
    counts = []
    for _ in range(9):
        monkeypatch.setattr(ThoughtRun, "__init__", killed_behind(3, thinks))
        try:
            found = intervene(study, Units(tmp_path / "trials", "f", HERE))
            break
        except KilledError:
            counts.append(len(list((tmp_path / "trials.partial").glob("*.parquet"))))
    assert len(counts) > 1
    assert counts == sorted(set(counts)), "a job that was killed made no unit"
    assert written(found, tmp_path) == whole


def test_units_of_features_that_were_picked_otherwise_are_not_taken(
    study: Study, whole: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, turned = module.screen, []

    def screen_elsewhere(*arguments: Any) -> Screening:
        found = screen(*arguments)
        if turned:
            return found
        turned.append(True)
        return replace(found, effect=-found.effect)

    made = []
    for item, screens in (("1-of-2", screen), ("2-of-2", screen_elsewhere)):
        monkeypatch.setattr(module, "screen", screens)
        units = Units(tmp_path / item, "f", HERE, portion=partial(shard_range, item))
        intervene_shard(study, units, CHOOSING)
        units.finish((), (), ())
        made.append(tmp_path / item)
    assert turned
    monkeypatch.setattr(module, "screen", screen)
    assert written(intervene(study, Units(tmp_path / "trials", "f", HERE, made)), tmp_path) == whole


def test_units_of_other_settings_are_not_read(study: Study, tmp_path: Path) -> None:
    small = replace(study, sets_only=True)
    kept = Units(tmp_path / "trials", "f", HERE)
    intervene(small, kept)
    before = {path.name for path in (tmp_path / "trials.partial").glob("*.parquet")}
    Units(tmp_path / "trials", "g", HERE)
    assert before
    assert not list((tmp_path / "trials.partial").glob("*.parquet"))
