"""Control dictionaries of the hierarchy study: which of them stand beside what."""

from __future__ import annotations

from typing import Any

from saeflow.config.hierarchy_runs import (
    compared_models,
    hierarchy_banks,
    hierarchy_contradictions,
)
from saeflow.config.root import parse_config
from tests.configs import changed, default_values

LLAMA = "studies.hierarchy.published.models.llama"
CALIBRATED = "studies.hierarchy.calibrated"
CONTROLS = f"{CALIBRATED}.controls"
UNCALIBRATED = {"studies.gsm8k.calibrated": None}
FROZEN = {
    "llama": ("llama", "llama_frozen_decoder", 0, "llama_k100"),
    "gpt2": ("gpt2", "gpt2_frozen_decoder", 0, "gpt2_k150"),
}


def control_banks(changes: dict[str, Any]) -> list[tuple[str, str, int, str]]:
    """Model, dictionary and seed of the banks of controls, and what they are of."""
    config = parse_config(changed(changes))
    assert list(hierarchy_contradictions(config)) == []
    return [
        (bank.model, bank.dictionary, bank.seed, bank.of)
        for bank in hierarchy_banks(config)
        if bank.control
    ]


def test_controls_with_all_sites_stand_beside_trained_banks_of_the_same_seed() -> None:
    # Those on one layer, and of untrained models, have none.
    assert control_banks({}) == list(FROZEN.values())
    assert control_banks({f"{LLAMA}.seeds": [2, 5]}) == [
        *((*FROZEN["llama"][:2], seed, "llama_k100") for seed in (2, 5)),
        FROZEN["gpt2"],
    ]
    everywhere = {"dictionaries.llama_pca.layers": None}
    assert control_banks(everywhere)[1] == ("llama", "llama_pca", 0, "llama_k100")
    # Sites are those of the dictionary, however they are written.
    some = {"dictionaries.llama_k100.layers": [3, 2], "dictionaries.llama_pca.layers": [2, 3]}
    assert [name for _, name, *_ in control_banks(some)] == [
        *("llama_frozen_decoder", "llama_pca", "gpt2_frozen_decoder")
    ]


def test_some_controls_or_none_can_be_asked_for() -> None:
    assert control_banks({CONTROLS: ["gpt2_frozen_decoder"]}) == [FROZEN["gpt2"]]
    assert control_banks({CONTROLS: []}) == []
    assert control_banks({**UNCALIBRATED, CALIBRATED: None}) == []
    assert control_banks({**UNCALIBRATED, CONTROLS: ["llama_frozen_decoder"]}) == [FROZEN["llama"]]


def test_a_control_that_is_studied_by_itself_is_one_bank() -> None:
    both = {f"{LLAMA}.dictionaries": ["llama_k100", "llama_frozen_decoder"]}
    assert control_banks(both) == [FROZEN["gpt2"]]
    (llama, _) = compared_models(parse_config(changed(both)))
    assert llama["controls"] == {
        "llama_k100": {"frozen_decoder": "llama_frozen_decoder"},
        "llama_frozen_decoder": {},
    }


def test_what_stands_beside_each_trained_model_is_told() -> None:
    assert compared_models(parse_config(default_values())) == [
        {
            "model": name,
            "untrained": [f"{name}_untrained"],
            "controls": {FROZEN[name][3]: {"frozen_decoder": FROZEN[name][1]}},
        }
        for name in ("llama", "gpt2")
    ]
