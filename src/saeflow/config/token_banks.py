"""Banks that read tokens of texts: what is captured for them, and which a study cannot use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from saeflow.config.dictionaries import DictionarySettings, TokenHook
from saeflow.config.models import FreshModel
from saeflow.config.root import (
    Config,
    named_layer_contradictions,
    resolve_dictionary,
    resolve_model,
)
from saeflow.config.runs import TokenRun
from saeflow.errors import nearest


def token_dictionaries(config: Config) -> list[str]:
    """Names of the dictionaries whose SAEs read tokens of texts."""
    return [name for name in config.dictionaries if resolve_dictionary(config, name).hook]


def captured_hooks(config: Config, dataset: str) -> list[TokenHook]:
    """Hooks at which dictionaries read captures of a data set of texts, sorted; one pass captures all."""
    recipes = [resolve_dictionary(config, name) for name in token_dictionaries(config)]
    return sorted(
        {
            recipe.hook
            for recipe in recipes
            if recipe.dataset == dataset and recipe.hook and _is_captured(recipe)
        }
    )


def released_dictionaries(config: Config) -> list[str]:
    """Names of the dictionaries whose SAEs others trained."""
    return [name for name in config.dictionaries if resolve_dictionary(config, name).released]


def _is_captured(recipe: DictionarySettings) -> bool:
    return recipe.stream is None and recipe.released is None


class TokenBank(NamedTuple):
    """A bank that a study of texts reads."""

    model: str
    dictionary: str
    seed: int


def runs_in_order(config: Config, runs: Mapping[str, TokenRun]) -> dict[str, TokenRun]:
    """What a study analyses of each model, in the order of the block `models`."""
    return {name: runs[name] for name in config.models if name in runs}


def banks_of(runs: Mapping[str, TokenRun]) -> list[TokenBank]:
    """Banks of a study, model by model."""
    return [
        TokenBank(model, dictionary, seed)
        for model, run in runs.items()
        for dictionary in run.dictionaries
        for seed in run.seeds
    ]


def run_contradictions(
    config: Config, key: str, runs: Mapping[str, TokenRun], *, hooks: Sequence[TokenHook]
) -> Iterator[str]:
    """Sentences about models and dictionaries that a study of texts names and cannot read.

    Parameters
    ----------
    config : Config
        The validated configuration.
    key : str
        Dotted key of the block that names the models.
    runs : mapping of str to TokenRun
        By model.
    hooks : sequence of str
        Where the study reads.

    Yields
    ------
    str
        One sentence each; the first is to be raised, the others may follow from it.
    """
    for name in runs:
        if name not in config.models:
            yield f"{key}.{name} names no model of the models block{nearest(name, config.models)}"
    for model, run in runs_in_order(config, runs).items():
        yield from token_bank_contradictions(
            config, f"{key}.{model}", model, run.dictionaries, hooks=hooks
        )
        for name in released_dictionaries(config):
            if name in run.dictionaries and tuple(run.seeds) != (0,):
                yield (
                    f"{key}.{model}.seeds is {list(run.seeds)}, but {name!r} among its dictionaries is "
                    "released, of which there is the seed 0 alone; expected [0]."
                )


def token_bank_contradictions(
    config: Config,
    key: str,
    model: str,
    dictionaries: Sequence[str],
    *,
    hooks: Sequence[TokenHook],
) -> Iterator[str]:
    """Sentences about dictionaries that a study of tokens names and cannot read.

    Parameters
    ----------
    config : Config
        The validated configuration.
    key : str
        Dotted key of the block that names them, which has the key ``dictionaries``.
    model : str
        Name of the model whose tokens are read.
    dictionaries : sequence of str
        What is named.
    hooks : sequence of str
        Where the study reads.

    Yields
    ------
    str
        One sentence each; the first is to be raised, the others may follow from it.
    """
    known = token_dictionaries(config)
    for name in dictionaries:
        if name not in config.dictionaries:
            yield (
                f"{key}.dictionaries holds {name!r}, which is no dictionary"
                f"{nearest(name, known or config.dictionaries)}"
            )
        recipe = resolve_dictionary(config, name)
        if recipe.hook is None:
            yield (
                f"{key}.dictionaries holds {name!r}, whose SAEs read latent thoughts; expected one "
                f"with hook: {' or '.join(hooks)}."
            )
        elif recipe.hook not in hooks:
            yield (
                f"{key}.dictionaries holds {name!r}, whose SAEs read the hook {recipe.hook}; "
                f"expected one with hook: {' or '.join(hooks)}."
            )
        settings, _ = resolve_model(config, model)
        if isinstance(settings, FreshModel):
            yield from named_layer_contradictions(config, name, model, settings.num_hidden_layers)
            if recipe.d_sae is None and recipe.k > settings.hidden_size:
                yield (
                    f"dictionaries.{name}.k is {recipe.k}, but {recipe.control} has one latent per "
                    f"dimension and model {model!r} has {settings.hidden_size}."
                )
