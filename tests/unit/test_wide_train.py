"""Training of wide SAEs: side by side, interrupted, folded, saved."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saeflow.config.streams import StreamSettings
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Site
from saeflow.saes.quality import site_quality
from saeflow.saes.storage import load_bank, save_bank
from saeflow.saes.wide.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from saeflow.saes.wide.recipe import WideRecipe
from saeflow.saes.wide.sae import WideSae
from saeflow.saes.wide.state import initial_state
from saeflow.saes.wide.train import TrainedWide, train_wide
from tests.wide_streams import MemoryStream, planted

pytestmark = pytest.mark.usefixtures("one_thread")
D_IN, STEPS, BATCH = 16, 12, 50
SITE = Site(2)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return planted(500, D_IN, 24, 3)[0] * 0.3


@pytest.fixture(scope="module")
def sae_lens():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformer_lens warns of itself
        import sae_lens
    return sae_lens


def settings(**changes: object) -> StreamSettings:
    base = {
        "tokens": STEPS * BATCH,
        "batch_size": BATCH,
        "learning_rate": 3e-3,
        "dead_after": 3 * BATCH,
        "checkpoint_minutes": 1,
        "start_batches": 2,
    }
    return StreamSettings(**base | changes)


RECIPES = {
    "topk": WideRecipe(96, 3, 0, settings=settings()),
    "other seed": WideRecipe(96, 3, 1, settings=settings()),
    "wide": WideRecipe(160, 5, 0, settings=settings(start="geometric_median")),
    "frozen": WideRecipe(96, 3, 0, "frozen_decoder", settings()),
    "batchtopk": WideRecipe(96, 3, 0, settings=settings(architecture="batchtopk")),
    "half": WideRecipe(96, 3, 0, settings=settings(autocast=True)),
    "fixed": WideRecipe(64, 1, 0, settings=settings(architecture="relu", l1_coefficient=0.05)),
    "published": WideRecipe(
        64, 1, 0, settings=settings(architecture="relu", l1="published", l1_coefficient=0.05)
    ),
}


class EveryStep:
    """A clock that a minute passes on whenever it is read."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 60
        return self.seconds


def train(
    x: Tensor,
    recipes: dict[str, WideRecipe],
    folder: Path | None = None,
    fails_at: int | None = None,
) -> TrainedWide:
    stream = MemoryStream(x, fails_at=fails_at)
    return train_wide(
        stream,
        recipes,
        site=SITE,
        hook="resid_post",
        checkpoint_folder=folder,
        device="cpu",
        clock=EveryStep(),
    )


@pytest.fixture(scope="module")
def whole(x) -> TrainedWide:
    return train(x, RECIPES)


def assert_equal(found: TrainedWide, expected: TrainedWide) -> None:
    assert list(found.banks) == list(expected.banks)
    for name, bank in found.banks.items():
        assert_same(bank, expected.banks[name])
    assert [row for row in found.rows if row.value == row.value] == [
        row for row in expected.rows if row.value == row.value
    ]


def assert_same(found: Bank, expected: Bank) -> None:
    assert (found.recipe, found.sites) == (expected.recipe, expected.sites)
    assert list(found.weights) == list(expected.weights)
    for name, each in found.weights.items():
        assert torch.equal(each, expected.weights[name]), name


def test_each_depends_on_itself_alone(x, whole):
    for name in ("topk", "batchtopk", "published"):
        alone = train(x, {"x": RECIPES[name]})
        assert_same(alone.banks["x"], whole.banks[name])
    assert not torch.equal(whole.banks["topk"].W_dec, whole.banks["other seed"].W_dec)


def test_threads_do_not_matter(x, whole):
    torch.set_num_threads(2)
    try:
        found = train(x, RECIPES)
    finally:
        torch.set_num_threads(1)
    assert_equal(found, whole)


def test_frozen_decoder_is_unchanged(x, whole):
    start = initial_state(RECIPES["frozen"], x, torch.device("cpu"))
    assert torch.equal(whole.banks["frozen"].W_dec[0], start.weights["W_dec"])
    assert whole.banks["frozen"].recipe.control == "frozen_decoder"
    assert not torch.equal(whole.banks["topk"].W_dec[0], start.weights["W_dec"])


def test_rows_say_how_it_went(whole):
    rows = [row for row in whole.rows if row.sae == "topk"]
    assert [row.step for row in rows if row.metric == "fvu"] == list(range(1, STEPS + 1))
    assert {row.tokens for row in rows} == {BATCH * step for step in range(1, STEPS + 1)}
    for name in RECIPES:
        fvu = [row.value for row in whole.rows if row.sae == name and row.metric == "fvu"]
        if name != "frozen":
            assert fvu[-1] < fvu[0]
    assert {row.metric for row in rows} == {"loss", "fvu", "l0", "dead_share"}
    assert all(row.value == 3 for row in rows if row.metric == "l0")


@pytest.mark.parametrize("fails_at", [1, 2, 3, 7, 11])
def test_an_interrupted_training_ends_as_a_whole_one(x, whole, tmp_path, fails_at):
    with pytest.raises(KeyboardInterrupt):
        train(x, RECIPES, tmp_path, fails_at)
    saved = sorted(path.name for path in tmp_path.iterdir())
    # While the batches that b_dec came from are not used up there is nothing to go on from.
    assert saved == [f"step{n:09d}" for n in range(max(2, fails_at - 1), fails_at + 1)]
    assert_equal(train(x, RECIPES, tmp_path), whole)


def test_twice_interrupted(x, whole, tmp_path):
    for fails_at in (5, 4):  # counted anew by each stream
        with pytest.raises(KeyboardInterrupt):
            train(x, RECIPES, tmp_path, fails_at)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step000000008", "step000000009"]
    assert_equal(train(x, RECIPES, tmp_path), whole)


@pytest.mark.parametrize("damage", ["flip", "cut", "json", "missing", "partial"])
def test_damaged_checkpoint_falls_back(x, whole, tmp_path, caplog, damage):
    with pytest.raises(KeyboardInterrupt):
        train(x, RECIPES, tmp_path, 6)
    last = tmp_path / "step000000006"
    weights = last / "sae0.safetensors"
    content = weights.read_bytes()
    if damage == "flip":
        weights.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "cut":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "json":
        (last / "checkpoint.json").write_text("{")
    elif damage == "missing":
        weights.unlink()
    else:
        last.rename(tmp_path / "step000000006.partial")
    with caplog.at_level(logging.WARNING, "saeflow"):
        kept = json.loads((tmp_path / "step000000005" / "checkpoint.json").read_text())
        found = load_checkpoint(tmp_path, kept["configuration"])
    assert found is not None
    assert found.step == 5
    assert ("is damaged" in caplog.text) == (damage != "partial")
    assert_equal(train(x, RECIPES, tmp_path), whole)


def test_damaged_checkpoints_do_not_push_out_whole_ones(tmp_path):
    def save(step):
        save_checkpoint(tmp_path, Checkpoint(step, {"a": {"W": torch.ones(2)}}, {}, []), {})

    def kept():
        return [path.name for path in sorted(tmp_path.iterdir())]

    for step in (5, 6):
        save(step)
        (tmp_path / f"step{step:09d}" / "checkpoint.json").write_text("{")
    assert load_checkpoint(tmp_path, {}) is None
    for step, names in ((1, [1]), (2, [1, 2]), (3, [2, 3])):
        save(step)
        assert kept() == [f"step{each:09d}" for each in names]
        found = load_checkpoint(tmp_path, {})
        assert found is not None
        assert found.step == step


def test_checkpoint_of_another_configuration_is_refused(x, tmp_path):
    recipes = {"a": RECIPES["topk"]}
    with pytest.raises(KeyboardInterrupt):
        train(x, recipes, tmp_path, 6)
    changed = settings(learning_rate=1e-3)
    with pytest.raises(SaeflowError) as error:
        train(x, {"a": replace(RECIPES["topk"], settings=changed)}, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'step000000006'} is a checkpoint of another configuration "
        "(saes.a.settings.learning_rate was 0.003 and is 0.001); expected one of this, or an empty "
        "folder to start anew."
    )
    with pytest.raises(SaeflowError, match=r"\(saes.b was None and is \{"):
        train(x, {"b": RECIPES["topk"]}, tmp_path)
    often = replace(RECIPES["topk"], settings=settings(checkpoint_minutes=7))
    train(x, {"a": often}, tmp_path)  # how often does not matter


def test_no_checkpoint_without_a_folder_or_before_time(x, tmp_path):
    train_wide(
        MemoryStream(x),
        {"a": RECIPES["topk"]},
        site=SITE,
        hook="mlp_out",
        checkpoint_folder=tmp_path,
        device="cpu",
    )
    assert list(tmp_path.iterdir()) == []


def reconstruction_in_training(recipe: WideRecipe, x: Tensor) -> tuple[WideSae, Tensor]:
    sae = WideSae(recipe, initial_state(recipe, x, torch.device("cpu")))
    sae.agree(x[:BATCH])
    for batch in MemoryStream(x).next_batch(10 * BATCH).split(BATCH):
        sae.step(batch)
    state, weights = sae.state, sae.state.weights
    scaled = x * state.factor.float()
    pre = (scaled if recipe.published else scaled - weights["b_dec"]) @ weights["W_enc"].T
    pre = pre + weights["b_enc"]
    if recipe.architecture == "topk":
        features = torch.zeros_like(pre).scatter(1, pre.topk(recipe.k).indices, 1.0) * pre.relu()
    elif recipe.architecture == "batchtopk":
        features = pre * (pre > state.threshold)
    else:
        features = pre.relu()
    return sae, (features @ weights["W_dec"] + weights["b_dec"]) / state.factor.float()


@pytest.mark.parametrize("name", ["topk", "batchtopk", "fixed", "published"])
def test_saved_sae_reads_activations_as_they_are(sae_lens, x, tmp_path, name):
    from saeflow.saes.wide.folding import folded

    recipe = RECIPES[name]
    sae, expected = reconstruction_in_training(recipe, x)
    bank = folded(recipe, sae.state, SITE, "resid_post")
    features = bank.encode(x.unsqueeze(0))
    torch.testing.assert_close(bank.decode(features)[0], expected, atol=1e-5, rtol=1e-4)
    save_bank(bank, tmp_path)
    assert_same(load_bank(tmp_path), bank)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / SITE.name)
    assert theirs.cfg.architecture() == {"topk": "topk", "batchtopk": "jumprelu"}.get(
        name, "standard"
    )
    torch.testing.assert_close(theirs.encode(x), features[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(theirs(x), expected, atol=1e-5, rtol=1e-4)


def test_trained_banks_are_what_was_trained(x, whole):
    expected = {"topk": ("topk", 3), "batchtopk": ("jumprelu", 3), "fixed": ("standard", 64)}
    for name, (architecture, k) in expected.items():
        recipe = whole.banks[name].recipe
        assert (recipe.architecture, recipe.k, recipe.hook) == (architecture, k, "resid_post")
        assert whole.banks[name].sites == (SITE,)
    last = {row.sae: row.value for row in whole.rows if row.metric == "fvu" and row.step == STEPS}
    quality = site_quality(whole.banks["topk"], x)
    assert quality["fvu"] == pytest.approx(last["topk"], rel=0.1)
    assert site_quality(whole.banks["batchtopk"], x)["l0_mean"] == pytest.approx(3, rel=0.25)


def test_diverged_weights_are_refused(x):
    wild = replace(RECIPES["topk"], settings=settings(learning_rate=1e38))
    with pytest.raises(SaeflowError, match=r"^stream.learning_rate of a is 1e\+38, with which its"):
        train(x, {"a": wild})


def test_bad_streams_are_refused(x):
    spoiled = x.clone()
    spoiled[7, 3] = float("inf")
    with pytest.raises(SaeflowError, match=r"^the stream gave activations that are not finite"):
        train(spoiled, {"a": RECIPES["topk"]})
    stream = MemoryStream(x)
    stream.next_batch = lambda rows: x[: rows - 1]  # type: ignore[method-assign]
    with pytest.raises(SaeflowError, match=r"of shape \[49, 16\]; expected \[50, 16\]"):
        train_wide(
            stream,
            {"a": RECIPES["topk"]},
            site=SITE,
            hook="resid_post",
            checkpoint_folder=None,
            device="cpu",
        )


def test_recipes_that_do_not_share_a_stream(x):
    with pytest.raises(SaeflowError, match="there is no wide SAE to train"):
        train(x, {})
    other = replace(RECIPES["topk"], settings=settings(batch_size=25))
    with pytest.raises(SaeflowError, match=r"stream.batch_size differs .* \(a 50, b 25\)"):
        train(x, {"a": RECIPES["topk"], "b": other})


def test_half_precision_streams_and_constant_ones(x):
    trained = train(x.half(), {"a": RECIPES["topk"]})
    assert trained.banks["a"].W_enc.dtype == torch.float32
    constant = train(torch.ones(60, D_IN), {"a": RECIPES["topk"], "b": RECIPES["batchtopk"]})
    ones = torch.ones(1, 4, D_IN)
    for bank in constant.banks.values():
        torch.testing.assert_close(bank.decode(bank.encode(ones)), ones, atol=0.05, rtol=0)
