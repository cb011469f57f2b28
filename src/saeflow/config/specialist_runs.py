"""What the study of specialists runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from saeflow.config.models import HubModel
from saeflow.config.root import Config, resolve_model
from saeflow.config.runs import TokenRun
from saeflow.config.token_banks import TokenBank, banks_of, run_contradictions, runs_in_order

KEY = "studies.specialists.published.models"
STUDIED = {
    "gpt2": "gpt2",
    "openai-community/gpt2": "gpt2",
    "google/gemma-2-9b": "gemma-2-9b",
}
"""The study's own models, by their repositories."""


def specialist_models(config: Config) -> dict[str, TokenRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    return runs_in_order(config, _runs(config))


def specialist_banks(config: Config) -> list[TokenBank]:
    """Banks of the study, model by model."""
    return banks_of(specialist_models(config))


def studied_weights(config: Config, model: str) -> str:
    """Which of the study's models a model has the weights of; empty for none of them."""
    settings, control = resolve_model(config, model)
    if control is not None or not isinstance(settings, HubModel):
        return ""
    return STUDIED.get(settings.repo, "")


def trained_pair(config: Config) -> tuple[str, str] | None:
    """First two models of the study that are no untrained control; None where there are fewer."""
    trained = [name for name in specialist_models(config) if resolve_model(config, name)[1] is None]
    return (trained[0], trained[1]) if len(trained) > 1 else None


def specialist_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    yield from run_contradictions(config, KEY, _runs(config), hooks=["resid_post", "resid_pre"])
    study = config.studies.specialists
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


def _runs(config: Config) -> Mapping[str, TokenRun]:
    study = config.studies.specialists
    return {} if study is None else study.published.models
