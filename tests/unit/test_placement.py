from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.resources import Resources

from saeflow.placement import place_gpu_jobs

PROFILE = {"slurm_account": "mine", "slurm_partition": "cpu", "nodes": 1}
GPU = {"gpu_partition": "gpu", "gpu_model": "h200", "gpu_constraint": "big"}


def rule(name: str, default: dict[str, Any], **own: Any) -> SimpleNamespace:
    """As Snakemake defines one: the profile's defaults, then what the rule declares."""
    return SimpleNamespace(name=name, resources=Resources.from_mapping({**default, **own}))


def told(placed: SimpleNamespace) -> dict[str, Any]:
    """What jobs ask for; Snakemake leaves out what is None."""
    values = {name: value.value for name, value in placed.resources.items()}
    return {name: value for name, value in values.items() if value is not None}


def test_only_rules_with_a_gpu_get_what_is_said_of_gpus() -> None:
    rules = [rule("fit", PROFILE | GPU, gpu=1), rule("read", PROFILE | GPU)]
    place_gpu_jobs(rules, {})
    fit, read = map(told, rules)
    assert read == PROFILE
    assert fit == PROFILE | {
        "gpu": 1,
        "slurm_partition": "gpu",
        "gpu_model": "h200",
        "constraint": "big",
    }


def test_a_profile_that_says_nothing_of_gpus_changes_nothing() -> None:
    rules = [rule("fit", PROFILE, gpu=1), rule("read", {})]
    place_gpu_jobs(rules, {})
    assert [told(each) for each in rules] == [PROFILE | {"gpu": 1}, {}]


def test_what_set_resources_says_of_a_rule_wins() -> None:
    own = {"slurm_partition": "long", "gpu_model": "a100"}
    rules = [rule("fit", PROFILE | GPU, gpu=1, **own), rule("read", PROFILE | GPU, **own)]
    place_gpu_jobs(rules, {"fit": own, "read": own})
    fit, read = map(told, rules)
    assert (fit["slurm_partition"], fit["gpu_model"], fit["constraint"]) == ("long", "a100", "big")
    assert read == PROFILE | own


@pytest.mark.parametrize("asked", [1, "1"])
def test_without_gpu_no_rule_asks_for_one(asked: int | str) -> None:
    rules = [rule("fit", PROFILE | GPU | {"without_gpu": asked}, gpu=1)]
    place_gpu_jobs(rules, {})
    assert told(rules[0]) == PROFILE


def test_gres_replaces_the_gpu() -> None:
    # Both together, some clusters would give two.
    rules = [rule("fit", PROFILE | {"gpu_gres": "gpu:h200:1"}, gpu=1)]
    place_gpu_jobs(rules, {})
    assert told(rules[0]) == PROFILE | {"gres": "gpu:h200:1"}


def test_a_rule_that_was_told_to_take_no_gpu_is_none_of_them() -> None:
    rules = [rule("fit", PROFILE | GPU, gpu=0)]
    place_gpu_jobs(rules, {"fit": {"gpu": 0}})
    assert told(rules[0]) == PROFILE | {"gpu": 0}
