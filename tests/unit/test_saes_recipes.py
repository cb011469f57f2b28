"""Controls of the SAE bank as they are configured, and banks of some layers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from saeflow.artifacts.vectors import Vectors
from saeflow.config.base import Block, Name
from saeflow.config.dictionaries import (
    FIXED_CONTROLS,
    DictionaryChoice,
    DictionaryControl,
    DictionarySettings,
)
from saeflow.config.messages import first_sentence
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Recipe, Site
from saeflow.saes.sites import bank_sites
from saeflow.saes.training import train_from_capture
from tests.planted_captures import write_capture
from tests.unit.test_saes_controls import TRAINED
from tests.unit.test_saes_train import assert_equal, planted

LAYERS, STEPS, ROWS = 3, (0, 2), 40


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captured") / "capture"
    x = planted(LAYERS, ROWS * 3, 8, n_atoms=8).numpy()
    problem = np.repeat(np.arange(ROWS), 3).astype(np.int32)
    step = np.tile(np.arange(3), ROWS).astype(np.int16)
    sites = {
        hook: [Vectors(problem, step, each + (hook == "embed"), "float32") for each in x]
        for hook in ("resid_post", "embed")
    }
    return write_capture(folder, sites)


def problems() -> pa.Table:
    split = ["validation" if number % 4 == 0 else "train" for number in range(ROWS)]
    return pa.table({"problem": np.arange(ROWS, dtype=np.int32), "split": split})


def test_layers_restrict_the_sites(capture):
    assert bank_sites(capture, "block_output", STEPS, [2, 0]) == [
        Site(0, 0), Site(0, 2), Site(2, 0), Site(2, 2)
    ]  # fmt: skip
    everything = bank_sites(capture, "hidden_states_before", STEPS)
    assert {site.layer for site in everything} == {0, 1, 2}
    assert everything == bank_sites(capture, "hidden_states_before", STEPS, "all")
    for layers in ([3], [0, 3]):
        with pytest.raises(SaeflowError, match=r"layers hold 3, but .* has the layers 0 to 2\.$"):
            bank_sites(capture, "block_output", STEPS, layers)


@pytest.mark.parametrize("control", [None, *TRAINED, *FIXED_CONTROLS])
def test_a_control_of_one_layer_is_that_of_all_layers(capture, control):
    settings = DictionarySettings(
        dataset="x",
        control=control,
        d_sae=None if control in FIXED_CONTROLS else 24,
        k=3,
        steps=STEPS,
        training={"epochs": 2, "batch_size": 16},
    )
    device = torch.device("cpu")
    everything = train_from_capture(capture, problems(), settings, 5, device)
    one = settings.model_copy(update={"layers": (1,)})
    some = train_from_capture(capture, problems(), one, 5, device)
    assert some.bank.sites == (Site(1, 0), Site(1, 2))
    assert_equal(some.bank, everything.bank.select(some.bank.sites))
    assert (some.control, some.bank.recipe.control) == (control or "none", control)
    assert {split for split, _ in some.quality} == {"train", "validation", "all"}
    assert {metric.site for _, metric in some.quality} == set(some.bank.sites)


def test_pca_of_a_capture_learns_from_its_training_rows(capture):
    settings = DictionarySettings(dataset="x", control="pca", d_sae=None, k=8, steps=STEPS)
    for rows in ("train", "all"):
        chosen = settings.model_copy(update={"rows": rows})
        trained = train_from_capture(capture, problems(), chosen, 0, torch.device("cpu"))
        fvu = [m.value for split, m in trained.quality if m.metric == "fvu" and split == "all"]
        assert max(fvu) < 1e-8
        x = planted(LAYERS, ROWS * 3, 8, n_atoms=8).unflatten(1, (ROWS, 3))[:, :, list(STEPS)]
        mask = torch.arange(ROWS) % 4 != 0 if rows == "train" else torch.ones(ROWS).bool()
        means = x[:, mask].double().mean(1).flatten(0, 1).float()
        torch.testing.assert_close(trained.bank.b_dec, means)


class Root(Block):
    """As the whole configuration holds them."""

    dictionaries: dict[Name, DictionaryChoice]


BASE = {"dataset": "d", "d_sae": 64, "k": 9, "steps": [1], "layers": [0, 2]}


def parsed(**dictionaries: Any) -> dict[str, Any]:
    return dict(Root.model_validate({"dictionaries": {"base": BASE, **dictionaries}}).dictionaries)


def sentence(**dictionaries: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        parsed(**dictionaries)
    text = first_sentence(caught.value, Root)
    assert "\n" not in text
    return text


def test_a_control_shares_the_recipe_of_the_dictionary_it_is_of():
    blocks = parsed(c={"of": "base", "control": "frozen_decoder"})
    base, control = blocks["base"], blocks["c"]
    assert isinstance(base, DictionarySettings)
    assert isinstance(control, DictionaryControl)
    found = control.resolved(base)
    assert found == base.model_copy(update={"control": "frozen_decoder"})
    assert DictionarySettings.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize("control", [*TRAINED, *FIXED_CONTROLS])
def test_a_control_may_have_its_own_k_and_layers(control):
    blocks = parsed(c={"of": "base", "control": control, "k": 64, "layers": "all"})
    found = blocks["c"].resolved(blocks["base"])
    assert (found.control, found.k, found.layers, found.steps) == (control, 64, "all", (1,))
    assert found.d_sae == (None if control in FIXED_CONTROLS else 64)
    assert DictionarySettings.model_validate(found.model_dump(mode="json")) == found


def test_plain_form_of_a_control_validates_again_to_the_same():
    root = Root.model_validate(
        {"dictionaries": {"base": BASE, "c": {"of": "base", "control": "pca"}}}
    )
    assert Root.model_validate(root.model_dump(mode="json")) == root
    assert Root.model_validate({"dictionaries": dict(root.dictionaries)}) == root


def test_a_control_cannot_have_more_active_latents_than_there_are():
    for control in TRAINED:
        blocks = parsed(c={"of": "base", "control": control, "k": 65})
        with pytest.raises(
            ValueError, match=r"^k is 65, but 'base' has only 64 latents \(d_sae\)$"
        ):
            blocks["c"].resolved(blocks["base"])
    wide = parsed(c={"of": "base", "control": "pca", "k": 65})
    recipe = wide["c"].resolved(wide["base"])
    assert Recipe.from_settings(recipe, d_in=65).d_sae == 65
    with pytest.raises(SaeflowError, match=r"k is 65, but there are 32 latents of pca \(d_in\)"):
        Recipe.from_settings(recipe, d_in=32)


def test_a_control_of_a_control_is_refused():
    raw = {"dataset": "d", "d_sae": None, "k": 9, "control": "raw_neurons"}
    blocks = parsed(raw=raw, c={"of": "raw", "control": "pca"})
    with pytest.raises(ValueError, match=r"^of is 'raw', which is the control raw_neurons itself"):
        blocks["c"].resolved(blocks["raw"])


@pytest.mark.parametrize(
    ("block", "start"),
    [
        ({"of": "base", "control": "pcaa"}, "dictionaries.c.control is 'pcaa': expected 'fr"),
        ({"of": "base", "control": None}, "dictionaries.c.control is null: expected 'frozen"),
        ({**BASE, "control": "pcaa"}, "dictionaries.c.control is 'pcaa': expected 'frozen_"),
        ({"of": "base"}, "dictionaries.c.control is missing; expected an sae that"),
        ({"of": "base", "contrl": "pca"}, "dictionaries.c.contrl is no known key; did you mean 'con"),
        ({"off": "base", "control": "pca"}, "dictionaries.c.off is no known key; "),
        ({"of": "base", "control": "pca", "k": 0}, "dictionaries.c.k is 0: "),
        ({"of": "a b", "control": "pca"}, "dictionaries.c.of is 'a b': "),
        (
            {"of": "base", "control": "pca", "d_sae": 5},
            "dictionaries.c: d_sae is given, but a control shares it",
        ),
        ({"of": "base", "control": "pca", "layers": []}, "dictionaries.c.layers is []: no layer is "),
        ({"of": "base", "control": "pca", "layers": [-1]}, "dictionaries.c.layers is [-1]: layers mu"),
        ({**BASE, "layers": [1, 1]}, "dictionaries.c.layers is [1, 1]: layers must be different and"),
        ({**BASE, "layers": "al"}, "dictionaries.c.layers is 'al': expected 'all' or "),
        ({**BASE, "layers": ["x"]}, "dictionaries.c.layers.0 is 'x': "),
        ({**BASE, "k": 65}, "dictionaries.c: k is 65, but only 64 latents exist (d_sae)."),
        ({**BASE, "d_sae": None}, "dictionaries.c: d_sae is missing; only the controls random_rot"),
        (
            {**BASE, "control": "pca"},
            "dictionaries.c: d_sae is 64, but pca has as many latents as the model has dimensions; ",
        ),
        ({"dataset": "d", "training": {"epoch": 1}}, "dictionaries.c.training.epoch is no known key; "),
        ([1], "dictionaries.c is [1]: "),
    ],
)  # fmt: skip
def test_a_wrong_control_is_told_in_one_sentence_that_names_the_key(block, start):
    assert sentence(c=block).startswith(start)
