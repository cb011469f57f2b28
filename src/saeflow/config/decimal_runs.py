"""What the study of the decimal bug runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from saeflow.config.decimal_bug import DecimalRun
from saeflow.config.models import HubModel
from saeflow.config.root import Config, resolve_model
from saeflow.config.token_banks import token_bank_contradictions
from saeflow.errors import nearest

KEY = "studies.decimal_bug.published.models"
STUDIED = "meta-llama/Llama-3.1-8B-Instruct"
"""The study's own model."""


class DecimalBank(NamedTuple):
    """A bank that the study reads."""

    model: str
    dictionary: str
    seed: int


def decimal_models(config: Config) -> dict[str, DecimalRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    study = config.studies.decimal_bug
    runs = {} if study is None else study.published.models
    return {name: runs[name] for name in config.models if name in runs}


def decimal_banks(config: Config) -> list[DecimalBank]:
    """Banks of the study, model by model."""
    return [
        DecimalBank(model, dictionary, seed)
        for model, run in decimal_models(config).items()
        for dictionary in run.dictionaries
        for seed in run.seeds
    ]


def is_the_studys(config: Config, model: str) -> bool:
    """Whether a model has the weights that the study is about."""
    settings, control = resolve_model(config, model)
    return control is None and isinstance(settings, HubModel) and settings.repo == STUDIED


def decimal_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    study = config.studies.decimal_bug
    for name in {} if study is None else study.published.models:
        if name not in config.models:
            yield f"{KEY}.{name} names no model of the models block{nearest(name, config.models)}"
    for model, run in decimal_models(config).items():
        yield from token_bank_contradictions(
            config, f"{KEY}.{model}", model, run.dictionaries, hooks=["mlp_out"]
        )
