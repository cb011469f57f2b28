"""Models of a configuration that are fetched from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator

from saeflow.config.calibration import bank_layer_contradictions
from saeflow.config.decimal_runs import decimal_banks
from saeflow.config.models import HubModel, UntrainedControl
from saeflow.config.root import Config, layer_contradictions, named_layer_contradictions
from saeflow.config.scaling_runs import wide_layer_contradictions
from saeflow.config.specialist_runs import specialist_banks


def hub_models(config: Config) -> list[str]:
    """Names of the models that are fetched from the hub."""
    return [name for name, block in config.models.items() if isinstance(block, HubModel)]


def fetched_as(config: Config, name: str) -> str | None:
    """Name under which the files of a model are fetched; None of one that is not from the hub.

    Parameters
    ----------
    config : Config
        The validated configuration.
    name : str
        Name of a model or of an untrained control, which shares the files of its model.
    """
    block = config.models[name]
    base = block.of if isinstance(block, UntrainedControl) else name
    return base if isinstance(config.models[base], HubModel) else None


def layers_not_there(config: Config, name: str, n_layers: int) -> Iterator[str]:
    """Sentences about layers that a study names and a model of so many blocks does not have."""
    for check in (layer_contradictions, bank_layer_contradictions, wide_layer_contradictions):
        yield from check(config, name, n_layers)
    for bank in (*decimal_banks(config), *specialist_banks(config)):
        if bank.model == name:
            yield from named_layer_contradictions(config, bank.dictionary, name, n_layers)


def fetched_layer_contradictions(config: Config, base: str, n_layers: int) -> Iterator[str]:
    """The same about everything that shares the files of a fetched model, untrained controls too."""
    for name in config.models:
        if fetched_as(config, name) == base:
            yield from layers_not_there(config, name, n_layers)
