"""Ablations, patches and steering by several jobs: the same tables, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from saeflow.artifacts.decimal_bug import PATCHES
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.units import Units
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.config.models import PathModel
from saeflow.interventions.continuations import SteeredWriting
from saeflow.interventions.patching import PatchRun
from saeflow.models.loading import load_model
from saeflow.shards import shard_range
from saeflow.studies.decimal_bug import patching
from tests.unit.test_decimal_patching import PROMPTS, answers, small_word_model
from tests.unit.test_steering_study import SETTINGS, Planted

pytestmark = pytest.mark.usefixtures("one_thread")
COUNTS = [2, 3, 8]
HERE = Provenance("made")
PATCHING = PatchSettings(pairs=4, random_sets=1, donors=("same_pair_plain",))
SUBSETS = SubsetSettings(exhaustive=3, orders=2)

Job = Callable[[Units], pa.Table]


def shared(job: Job, count: int, folder: Path) -> list[Path]:
    """Folders of units of all shards."""
    for number in range(1, count + 1):
        item = f"{number}-of-{count}"
        units = Units(folder / item, "f", HERE, portion=partial(shard_range, item))
        job(units)
        units.finish((), (), ())
    return [folder / f"{number}-of-{count}" for number in range(1, count + 1)]


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("done again")


def patched(units: Units) -> pa.Table:
    return patching.patch(
        small_word_model("llama"),
        PROMPTS,
        answers(),
        PATCHING,
        SUBSETS,
        weights=(0.5,),
        max_new_tokens=2,
        units=units,
    )


@pytest.fixture(scope="module")
def patches() -> pa.Table:
    return patched(Units())


@pytest.mark.parametrize("count", COUNTS)
def test_patches(
    patches: pa.Table, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shared(patched, count, tmp_path)
    reported = [path.name for each in made for path in each.glob("report*")]
    assert len(set(reported)) == len(reported) > 5
    monkeypatch.setattr(PatchRun, "outcomes", refuse)
    assert patched(Units(tmp_path / "whole", "f", HERE, made)).equals(patches)


def test_a_layer_of_many_patches_is_cut(
    patches: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching, "TOGETHER", 8)
    made = shared(patched, 2, tmp_path)
    names = [name for name in PATCHES.keys if name not in ("form", "order", "item")]
    for path in (path for each in made for path in each.glob("report*")):
        assert len(read_table(path, PATCHES).group_by(names).aggregate([])) <= 8
    found = patched(Units(tmp_path / "whole", "f", HERE, made))
    assert found.equals(patched(Units()))
    same = [name for name in patches.column_names if name != "logit_difference"]
    keys = [(name, "ascending") for name in PATCHES.keys]
    assert found.select(same).sort_by(keys).equals(patches.select(same).sort_by(keys))


@pytest.fixture(scope="module")
def steered(root: Path) -> Job:
    model = load_model(PathModel(weights="path", path=str(root / "resources/models/llama")))
    planted = Planted(model)
    few = SETTINGS.model_copy(update={"batch_size": 8, "samples": 1, "max_new_tokens": 3})
    return lambda units: planted.written(few, units=units)


@pytest.mark.parametrize("count", COUNTS)
def test_steering(
    steered: Job, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = steered(Units())
    made = shared(steered, count, tmp_path)
    names = [path.name for each in made for path in each.glob("*.parquet")]
    assert len(set(names)) == len(names) > 8
    monkeypatch.setattr(SteeredWriting, "write", refuse)
    assert steered(Units(tmp_path / "whole", "f", HERE, made)).equals(expected)
