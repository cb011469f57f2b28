"""What the study of the decimal bug runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from saeflow.config.models import HubModel
from saeflow.config.root import Config, resolve_model
from saeflow.config.runs import TokenRun
from saeflow.config.token_banks import TokenBank, banks_of, run_contradictions, runs_in_order

KEY = "studies.decimal_bug.published.models"
STUDIED = "meta-llama/Llama-3.1-8B-Instruct"
"""The study's own model."""


def decimal_models(config: Config) -> dict[str, TokenRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    return runs_in_order(config, _runs(config))


def decimal_banks(config: Config) -> list[TokenBank]:
    """Banks of the study, model by model."""
    return banks_of(decimal_models(config))


def is_the_studys(config: Config, model: str) -> bool:
    """Whether a model has the weights that the study is about."""
    settings, control = resolve_model(config, model)
    return control is None and isinstance(settings, HubModel) and settings.repo == STUDIED


def decimal_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    yield from run_contradictions(config, KEY, _runs(config), hooks=["mlp_out"])


def _runs(config: Config) -> Mapping[str, TokenRun]:
    study = config.studies.decimal_bug
    return {} if study is None else study.published.models
