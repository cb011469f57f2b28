"""From a model and a corpus to wide SAEs that a study reads (`saeflow.saes.wide.streamed`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from saeflow.artifacts.catalog import QUALITY
from saeflow.artifacts.provenance import Provenance, package_version
from saeflow.artifacts.scaling_training import SCALING_TRAINING
from saeflow.artifacts.tables import read_table
from saeflow.config.dictionaries import DictionarySettings
from saeflow.errors import SaeflowError
from saeflow.models.activation_stream import ActivationStream
from saeflow.models.codi import CodiModel
from saeflow.saes.bank import EVERY_TOKEN, Site
from saeflow.saes.encoding import open_bank
from saeflow.saes.wide import streamed, train
from saeflow.saes.wide.streamed import StreamedBank, Wanted, train_streamed
from tests.sentences import check_sentence
from tests.small_models import small_model
from tests.unit.corpora import write_corpus

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS, BATCH, LAYER = 12, 20, 1
STREAM: dict[str, Any] = {
    "tokens": STEPS * BATCH,
    "batch_size": BATCH,
    "buffer_tokens": 60,
    "start_batches": 2,
    "learning_rate": 3e-3,
    "contexts": {"packing": "documents", "length": 16},
}
RECIPE = {"dataset": "own", "hook": "resid_post", "layers": [LAYER], "d_sae": 24, "k": 3}


def wanted(name: str, seed: int, stream: dict[str, Any] | None = None, **changes: Any) -> Wanted:
    block = {**RECIPE, **changes, "stream": {**STREAM, **(stream or {})}}
    return Wanted(name, seed, DictionarySettings.model_validate(block))


ALL = [
    wanted("wide", 1),
    wanted("wide", 0),
    wanted("frozen", 0, control="frozen_decoder"),
    wanted("published", 0, {"architecture": "relu", "l1": "published"}),
]


@pytest.fixture(scope="module")
def model(one_thread: None) -> CodiModel:
    return small_model("llama")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.parquet"
    return write_corpus(path, [f"Text {n} is short." for n in range(9)], ["held out"] * 3)


class Trained(NamedTuple):
    banks: list[StreamedBank]
    state: Path


@pytest.fixture(scope="module")
def whole(model: CodiModel, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    state = tmp_path_factory.mktemp("whole") / "bank.training"
    return Trained(train_streamed(model, texts, ALL, batch_size=4, state=state), state)


def assert_same(found: list[StreamedBank], expected: list[StreamedBank]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.wanted == two.wanted
        assert one.training.equals(two.training)
        assert one.bank.quality == two.bank.quality
        for name, weights in one.bank.bank.weights.items():
            assert torch.equal(weights, two.bank.bank.weights[name])


def test_banks_come_in_the_order_in_which_they_are_wanted(whole: Trained) -> None:
    assert [each.wanted for each in whole.banks] == ALL
    assert [each.bank.control for each in whole.banks] == ["none", "none", "frozen_decoder", "none"]
    for each in whole.banks:
        assert each.bank.bank.sites == (Site(LAYER, EVERY_TOKEN),)
        assert each.bank.bank.recipe.hook == "resid_post"
        assert each.bank.bank.d_sae == 24
    one, other = (each.bank.bank.W_enc for each in whole.banks[:2])
    assert not torch.equal(one, other)


def test_the_last_stretch_of_training_is_a_banks_quality(whole: Trained) -> None:
    for each in whole.banks:
        rows = each.training.to_pylist()
        assert {(row["dictionary"], row["seed"]) for row in rows} == {each.wanted[:2]}
        assert {row["step"] for row in rows} == set(range(1, STEPS + 1))
        assert all(row["tokens"] == BATCH * row["step"] for row in rows)
        last = {row["metric"]: row["value"] for row in rows if row["step"] == STEPS}
        quality = {row.metric: row.value for split, row in each.bank.quality}
        assert quality.keys() == last.keys() >= {"l0", "fvu", "dead_share"}
        shown = {name: value for name, value in quality.items() if value == value}
        assert shown == {name: value for name, value in last.items() if value is not None}
        assert {split for split, _ in each.bank.quality} == {"train"}
        assert {row.n for _, row in each.bank.quality} == {BATCH}
    assert next(row["value"] for row in whole.banks[0].training.to_pylist()
                if row["metric"] == "l0") <= 3  # fmt: skip


def test_what_is_written_can_be_read(whole: Trained, tmp_path: Path) -> None:
    each = whole.banks[2]
    each.write(tmp_path, Provenance("c"))
    bank = open_bank(tmp_path)
    # Safetensors keep values to the bit.
    for name, weights in each.bank.bank.weights.items():
        assert torch.equal(bank.weights[name], weights)
    table = read_table(tmp_path / "training.parquet", SCALING_TRAINING)
    # As it is written, sorted by its keys.
    order = [(name, "ascending") for name in SCALING_TRAINING.keys]
    assert table.to_pylist() == each.training.sort_by(order).to_pylist()
    assert set(table["control"].to_pylist()) == {"frozen_decoder"}
    quality = read_table(tmp_path / "quality.parquet", QUALITY).to_pylist()
    assert {(row["dictionary"], row["seed"], row["layer"]) for row in quality} == {
        ("frozen", 0, LAYER)
    }


def test_an_sae_does_not_depend_on_those_beside_it(
    model: CodiModel, texts: Path, whole: Trained, tmp_path: Path
) -> None:
    alone = train_streamed(model, texts, ALL[2:3], batch_size=4, state=tmp_path / "s")
    assert_same(alone, whole.banks[2:3])


def test_cached_activations_train_the_same(
    model: CodiModel, texts: Path, whole: Trained, tmp_path: Path
) -> None:
    cached = [wanted(each.dictionary, each.seed, {"cached": True}) for each in ALL[:2]]
    state = tmp_path / "state"
    found = train_streamed(model, texts, cached, batch_size=4, state=state)
    (inside,) = state.iterdir()
    assert any((inside / "activations").rglob("*.parquet"))
    for one, two in zip(found, whole.banks[:2], strict=True):
        assert torch.equal(one.bank.bank.W_enc, two.bank.bank.W_enc)


def stopped_at(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], None]:
    """Checkpoints as often as may be, and a kill at a step; what takes the kill away."""
    taken = {"n": 0}
    whole = ActivationStream.next_batch

    def next_batch(self: ActivationStream, rows: int) -> torch.Tensor:
        taken["n"] += 1
        if taken["n"] == step:
            raise KeyboardInterrupt
        return whole(self, rows)

    monkeypatch.setattr(ActivationStream, "next_batch", next_batch)
    return lambda: monkeypatch.setattr(ActivationStream, "next_batch", whole)


OFTEN = 1e-9
"""Minutes, after which the next checkpoint is due whenever it is asked."""


def test_a_killed_training_goes_on_from_its_checkpoint(
    model: CodiModel,
    texts: Path,
    whole: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = tmp_path / "bank.training"
    alive = stopped_at(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        train_streamed(
            model, texts, ALL, batch_size=4, state=state, checkpoint_minutes=OFTEN, code="a"
        )
    alive()
    (inside,) = state.iterdir()
    assert sorted(each.name for each in (inside / "checkpoints").iterdir()) == [
        "step000000007", "step000000008"
    ]  # fmt: skip
    restored = []
    real = train._Training.restore

    def restore(self: Any, checkpoint: Any) -> None:
        restored.append(checkpoint.step)
        real(self, checkpoint)

    monkeypatch.setattr(train._Training, "restore", restore)
    # How often checkpoints are written decides nothing, so that the checkpoint serves.
    found = train_streamed(model, texts, ALL, batch_size=4, state=state, code="a")
    assert restored == [8]
    assert_same(found, whole.banks)


@pytest.mark.parametrize("change", ["code", "corpus", "contexts", "versions"])
def test_what_other_code_or_texts_left_is_not_gone_on_with(
    model: CodiModel,
    texts: Path,
    whole: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    state = tmp_path / "bank.training"
    alive = stopped_at(monkeypatch, 9)
    given, code, some = texts, "old", ALL
    if change == "corpus":
        given = write_corpus(tmp_path / "t.parquet", [f"Other {n} texts." for n in range(9)])
        code = ""
    if change == "contexts":
        shorter = {**STREAM["contexts"], "length": 8}
        some = [wanted("wide", 1, {"contexts": shorter})]
        code = ""
    if change == "versions":
        code = ""
        monkeypatch.setattr(streamed, "package_version", lambda name: f"an older {name}")
    with pytest.raises(KeyboardInterrupt):
        train_streamed(
            model, given, some, batch_size=4, state=state, checkpoint_minutes=OFTEN, code=code
        )
    alive()
    monkeypatch.setattr(streamed, "package_version", package_version)
    found = train_streamed(model, texts, ALL, batch_size=4, state=state)
    assert len(list(state.iterdir())) == 2
    assert_same(found, whole.banks)


def test_a_disk_without_room_for_the_cache_is_told_before_anything_is_computed(
    model: CodiModel, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        streamed.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 0, 9)
    )
    monkeypatch.setattr(ActivationStream, "next_batch", None)
    state = tmp_path / "state"
    cached = [wanted("wide", 0, {"cached": True})]
    with pytest.raises(SaeflowError) as caught:
        train_streamed(model, texts, cached, batch_size=4, state=state)
    check_sentence(caught.value, "stream.cached needs about ", " GB more below ", "cached: false.")
    # What is cached already needs no more room.
    (folder,) = state.iterdir()
    (folder / "activations").mkdir()
    (folder / "activations/group0.parquet").write_bytes(bytes(10**6))
    with pytest.raises(TypeError):
        train_streamed(model, texts, cached, batch_size=4, state=state)
    # Without a cache, a full disk is none of its business.
    with pytest.raises(TypeError):
        train_streamed(model, texts, ALL[:1], batch_size=4, state=state)


def test_a_layer_that_the_model_lacks_is_told(
    model: CodiModel, texts: Path, tmp_path: Path
) -> None:
    with pytest.raises(SaeflowError) as caught:
        train_streamed(
            model, texts, [wanted("wide", 0, layers=[3])], batch_size=4, state=tmp_path / "state"
        )
    check_sentence(caught.value, "3")


def test_only_texts_that_train_are_read(model: CodiModel, whole: Trained, tmp_path: Path) -> None:
    again = write_corpus(tmp_path / "t.parquet", [f"Text {n} is short." for n in range(9)])
    found = train_streamed(model, again, ALL[:1], batch_size=4, state=tmp_path / "state")
    assert_same(found, whole.banks[:1])


def test_an_edited_recipe_begins_anew_beside_what_was_left(
    model: CodiModel, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"

    def folders(**changes: object) -> set[str]:
        train_streamed(model, texts, [wanted("wide", 0, changes)], batch_size=4, state=state)
        return {each.name for each in state.iterdir()}

    first = folders()
    assert folders(checkpoint_minutes=3.0, saes_per_job=1) == first
    assert len(folders(learning_rate=0.5)) == 2
    # The first recipe finds its own checkpoint again.
    assert len(folders()) == 2
