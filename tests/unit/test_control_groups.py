"""Which control banks come from one job."""

from __future__ import annotations

from typing import Any

from saeflow.config.calibration import Bank
from saeflow.config.control_groups import calibrated_groups, encoded_groups, trained_groups
from saeflow.config.root import Config, parse_config
from tests.configs import GONE, changed

PUBLISHED = "studies.gsm8k.published.models"
HIERARCHY = "studies.hierarchy"
KINDS = ["frozen_decoder", "frozen_encoder", "pca", "random_rotation", "raw_neurons"]
CONTROLS = sorted([*KINDS, "soft_frozen_decoder"])
LLAMA, GPT2 = ([f"{model}_{kind}" for kind in CONTROLS] for model in ("llama", "gpt2"))


def config(changes: dict[str, Any]) -> Config:
    return parse_config(changed(changes))


def names(groups: dict[str, list[Bank]]) -> dict[str, list[str]]:
    return {name: [bank.dictionary for bank in group] for name, group in groups.items()}


def test_controls_of_one_dictionary_come_together() -> None:
    default = config({})
    trained, encoded = trained_groups(default), encoded_groups(default)
    assert names(trained) == {"gpt2_gpt2_k150_seed0": GPT2, "llama_llama_k100_seed0": LLAMA}
    assert trained["gpt2_gpt2_k150_seed0"][0] == Bank(
        "gpt2", "generated", "gpt2_frozen_decoder", 0, "gpt2_k150"
    )
    # The hierarchy study reads those on all layers, on its balanced problems, too.
    assert names(encoded) == {
        "gpt2_balanced_gpt2_k150_seed0": ["gpt2_frozen_decoder"],
        "gpt2_generated_gpt2_k150_seed0": GPT2,
        "llama_balanced_llama_k100_seed0": ["llama_frozen_decoder"],
        "llama_generated_llama_k100_seed0": LLAMA,
    }
    assert {bank.dataset for bank in encoded["llama_balanced_llama_k100_seed0"]} == {"balanced"}
    assert names(calibrated_groups(default)) == {
        "gpt2_generated_gpt2_k150_seed0": GPT2,
        "llama_generated_llama_k100_seed0": LLAMA,
    }


def test_only_what_a_study_reads_of_a_seed_is_grouped() -> None:
    more = config({f"{HIERARCHY}.published.models.llama.seeds": [0, 1]})
    assert names(trained_groups(more))["llama_llama_k100_seed1"] == ["llama_frozen_decoder"]
    assert names(trained_groups(more))["llama_llama_k100_seed0"] == LLAMA


def test_a_control_that_is_studied_by_itself_stays_with_the_others() -> None:
    studied = config(
        {
            f"{PUBLISHED}.llama.dictionaries": ["llama_k100", "llama_pca"],
            f"{PUBLISHED}.llama.seeds": [0, 1],
        }
    )
    found = names(trained_groups(studied))
    assert found["llama_llama_k100_seed0"] == LLAMA
    assert found["llama_llama_k100_seed1"] == ["llama_pca"]
    assert "llama_generated_llama_k100_seed1" in encoded_groups(studied)
    # But it has permutations of its own to be calibrated against.
    beside = [name for name in LLAMA if name != "llama_pca"]
    assert names(calibrated_groups(studied))["llama_generated_llama_k100_seed0"] == beside
    assert "llama_generated_llama_k100_seed1" not in calibrated_groups(studied)


def test_a_control_of_tokens_is_trained_and_encodes_nothing() -> None:
    tokens = {"dataset": "texts", "hook": "mlp_out"}
    found = config(
        {
            "datasets.texts": {"source": "mixture"},
            "dictionaries.mlp": tokens,
            "dictionaries.mlp_pca": {"of": "mlp", "control": "pca", "k": 8},
            "studies.decimal_bug": {
                "published": {"models": {"llama": {"dictionaries": ["mlp", "mlp_pca"]}}}
            },
        }
    )
    (bank,) = trained_groups(found)["llama_mlp_seed0"]
    assert bank == Bank("llama", "texts", "mlp_pca", 0, "mlp")
    assert encoded_groups(found) == encoded_groups(config({}))


def test_without_controls_there_are_no_groups() -> None:
    none = config({f"dictionaries.{name}": GONE for name in (*LLAMA, *GPT2)})
    assert trained_groups(none) == encoded_groups(none) == calibrated_groups(none) == {}
    unread = config({"studies.gsm8k.calibrated": None, HIERARCHY: None})
    assert trained_groups(unread) == encoded_groups(unread) == calibrated_groups(unread) == {}


def test_names_are_different_identifiers() -> None:
    recipe = {"dataset": "generated", "d_sae": 64, "k": 8}
    changes: dict[str, Any] = {HIERARCHY: None}
    for number, name in enumerate(("my.own", "my-own")):
        changes[f"dictionaries/{name}"] = recipe
        changes[f"dictionaries/pca{number}"] = {"of": name, "control": "pca"}
    changes[f"{PUBLISHED}.llama.dictionaries"] = ["my.own", "my-own"]
    groups = names(trained_groups(config(changes)))
    assert groups == {
        "gpt2_gpt2_k150_seed0": GPT2,
        "llama_my_own_seed0_1": ["pca0"],
        "llama_my_own_seed0_2": ["pca1"],
    }
    assert all(name.isidentifier() for name in groups)
