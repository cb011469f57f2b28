"""What the study of specialists runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from saeflow.config.models import HubModel
from saeflow.config.root import Config, resolve_model
from saeflow.config.specialists import SpecialistRun
from saeflow.config.token_banks import token_bank_contradictions
from saeflow.errors import nearest

KEY = "studies.specialists.published.models"
STUDIED = {
    "gpt2": "gpt2",
    "openai-community/gpt2": "gpt2",
    "google/gemma-2-9b": "gemma-2-9b",
}
"""The study's own models, by their repositories."""


class SpecialistBank(NamedTuple):
    """A bank that the study reads."""

    model: str
    dictionary: str
    seed: int


def specialist_models(config: Config) -> dict[str, SpecialistRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    study = config.studies.specialists
    runs = {} if study is None else study.published.models
    return {name: runs[name] for name in config.models if name in runs}


def specialist_banks(config: Config) -> list[SpecialistBank]:
    """Banks of the study, model by model."""
    return [
        SpecialistBank(model, dictionary, seed)
        for model, run in specialist_models(config).items()
        for dictionary in run.dictionaries
        for seed in run.seeds
    ]


def studied_weights(config: Config, model: str) -> str:
    """Which of the study's models a model has the weights of; empty for none of them."""
    settings, control = resolve_model(config, model)
    if control is not None or not isinstance(settings, HubModel):
        return ""
    return STUDIED.get(settings.repo, "")


def specialist_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    study = config.studies.specialists
    for name in {} if study is None else study.published.models:
        if name not in config.models:
            yield f"{KEY}.{name} names no model of the models block{nearest(name, config.models)}"
    for model, run in specialist_models(config).items():
        yield from token_bank_contradictions(
            config, f"{KEY}.{model}", model, run.dictionaries, hooks=["resid_post"]
        )
    if study is None:
        return
    pooled = {*study.calibrated.pooling.poolings}
    for key, wanted in (
        ("calibrated.tasks.pooling", {study.calibrated.tasks.pooling}),
        ("alignment.poolings", {*study.alignment.poolings}),
    ):
        for name in sorted(wanted - pooled):
            yield (
                f"studies.specialists.{key} holds {name!r}, by which "
                "studies.specialists.calibrated.pooling.poolings does not pool; expected one of "
                f"{', '.join(study.calibrated.pooling.poolings)}."
            )
