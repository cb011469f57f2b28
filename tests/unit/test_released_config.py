"""What the configuration may say about released SAEs, and what it may not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from saeflow.config.dictionaries import DictionarySettings
from saeflow.config.hub_runs import fetched_layer_contradictions
from saeflow.config.released import ReleasedSettings
from saeflow.config.root import named_paths, parse_config, resolve_dictionary
from saeflow.config.token_banks import captured_hooks, released_dictionaries
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import changed, default_values, merged, read_yaml
from tests.conftest import ROOT
from tests.sentences import check_sentence

JB = "dictionaries.jb"
RUN = "studies.specialists.published.models.llama"
GIVEN: dict[str, Any] = {
    "datasets.texts": {"source": "mixture", "parts": ["decimals", "pairs"]},
    JB: {
        "dataset": "texts",
        "hook": "resid_post",
        "layers": [1, 2],
        "released": {"release": "gpt2-small-res-jb", "sae_id": "blocks.{layer}.hook_resid_post"},
    },
    f"{RUN}.dictionaries": ["jb"],
    f"{RUN}.seeds": [0],
    "studies.scaling": None,
}


def test_a_release_is_read_like_any_dictionary_but_captures_nothing():
    config = parse_config(changed(copy.deepcopy(GIVEN)))
    check_paths(config, ROOT)
    recipe = resolve_dictionary(config, "jb")
    assert recipe.released is not None
    assert recipe.released.ids([1, 11])[11] == "blocks.11.hook_resid_post"
    assert recipe.released.revision == "main"
    assert released_dictionaries(config) == ["jb"]
    assert captured_hooks(config, "texts") == []
    # What a rule passes on as plain values is accepted again.
    assert DictionarySettings.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({f"{JB}.hook": None}, "released SAEs read tokens of texts, but hook is null"),
        (
            {f"{JB}.d_sae": 64},
            "d_sae is given beside released, whose SAEs are trained; leave it out.",
        ),
        ({f"{JB}.k": 8}, "k is given beside released"),
        ({f"{JB}.architecture": "topk"}, "architecture is given beside released"),
        ({f"{JB}.control": "frozen_decoder"}, "control is given beside released"),
        ({f"{JB}.training": {"epochs": 2}}, "training is given beside released"),
        ({f"{JB}.layers": [1], f"{JB}.stream": {}}, "stream is given beside released"),
        (
            {f"{JB}.released.sae_id": "blocks.1.hook_resid_post"},
            "dictionaries.jb: released.sae_id is 'blocks.1.hook_resid_post', one SAE, but layers "
            "names several; expected {layer} in it, or one layer.",
        ),
        (
            {f"{JB}.released.release": None},
            "dictionaries.jb.released: release and path are missing; expected one of them.",
        ),
        (
            {f"{JB}.released.path": "saes", f"{JB}.released.revision": "abc"},
            "dictionaries.jb.released: revision is 'abc', but a directory (path) has no revisions; "
            "leave it out.",
        ),
        (
            {f"{JB}.released.revison": "abc"},
            "dictionaries.jb.released.revison is no known key; did you mean 'revision'?",
        ),
        (
            {"dictionaries.pca": {"of": "jb", "control": "pca"}},
            "dictionaries.pca: of is 'jb', whose SAEs are released; expected a dictionary that is "
            "trained here.",
        ),
        (
            {f"{RUN}.seeds": [0, 1]},
            f"{RUN}.seeds is [0, 1], but 'jb' among its dictionaries is released, of which there is "
            "the seed 0 alone; expected [0].",
        ),
        (
            {f"{JB}.layers": [99]},
            "dictionaries.jb.layers holds 99, but model 'llama' has the layers",
        ),
        (
            {f"{JB}.released.path": "no/such"},
            "dictionaries.jb.released.path is 'no/such', which does not exist",
        ),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(SaeflowError) as error:
        check_paths(parse_config(changed(copy.deepcopy(GIVEN) | changes)), ROOT)
    check_sentence(error.value, expected)


def test_the_study_of_wide_saes_wants_trained_ones() -> None:
    values = changed(
        {
            JB: {**GIVEN[JB], "dataset": "documents", "layers": [1]},
            "studies.scaling.published.models": {"llama": {"dictionaries": ["jb"]}},
        }
    )
    with pytest.raises(
        SaeflowError, match="holds 'jb', whose SAEs are released; expected one with"
    ):
        check_paths(parse_config(values), ROOT)


def test_a_directory_is_a_named_path() -> None:
    block = {f"{JB}.released": {"path": "some/where", "sae_id": "layer{layer}"}}
    config = parse_config(changed(copy.deepcopy(GIVEN) | block))
    assert ("dictionaries.jb.released.path", "some/where") in [*named_paths(config)]
    assert ReleasedSettings(path="some/where", sae_id="layer{layer}").release is None


def test_layers_are_known_before_weights_are_fetched() -> None:
    preset = read_yaml(ROOT / "workflow/presets/gpt2_small.yaml")
    config = parse_config(merged(default_values(), preset))
    assert list(fetched_layer_contradictions(config, "gpt2_small", 12)) == []
    (sentence,) = fetched_layer_contradictions(config, "gpt2_small", 11)
    assert sentence.startswith("dictionaries.gpt2_small_res_jb.layers holds 11, but model")
