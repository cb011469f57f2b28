"""What the study of wide SAEs runs, worked out from the whole configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

from saeflow.config.datasets import TextFile, TextHub
from saeflow.config.decimal_runs import decimal_banks
from saeflow.config.dictionaries import DictionarySettings, TokenHook
from saeflow.config.models import FreshModel, HubModel
from saeflow.config.root import (
    Config,
    holds_texts,
    named_layer_contradictions,
    resolve_dictionary,
    resolve_model,
)
from saeflow.config.runs import TokenRun
from saeflow.config.scaling_search import GroupPrompts, PromptFiles
from saeflow.config.specialist_runs import specialist_banks
from saeflow.config.streams import SHARED
from saeflow.config.token_banks import TokenBank, banks_of, run_contradictions, runs_in_order
from saeflow.errors import nearest

KEY = "studies.scaling.published.models"
STUDIED = "meta-llama/Llama-3.2-3B"
"""The study's own model, by its repository."""


class WideGroup(NamedTuple):
    """SAEs that one job trains on one stream.

    Attributes
    ----------
    model, dataset : str
        Whose activations, on which texts.
    banks : list of TokenBank
        The SAEs, in the order of the configuration.
    """

    model: str
    dataset: str
    banks: list[TokenBank]


def scaling_models(config: Config) -> dict[str, TokenRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    return runs_in_order(config, _runs(config))


def scaling_banks(config: Config) -> list[TokenBank]:
    """Banks of the study, model by model, the main one of each first."""
    return banks_of(scaling_models(config))


def main_bank(config: Config, model: str) -> TokenBank:
    """The SAE that is searched, steered with and explained."""
    run = scaling_models(config)[model]
    return TokenBank(model, run.dictionaries[0], run.seeds[0])


def trained_models(config: Config) -> list[str]:
    """Models of the study that are no untrained control."""
    return [name for name in scaling_models(config) if resolve_model(config, name)[1] is None]


def search_controls(config: Config, model: str) -> dict[str, TokenBank]:
    """SAEs whose best features stand beside those of a model's main one, by what they control for.

    Returns
    -------
    dict of str to TokenBank
        ``untrained``: the same dictionary and seed of its untrained control; and the model's control
        dictionaries of the main one. Only what the study reads anyway.
    """
    main, runs = main_bank(config, model), scaling_models(config)
    found: dict[str, TokenBank] = {}
    for name, run in runs.items():
        _, control = resolve_model(config, name)
        if control is not None and control.of == model and main.dictionary in run.dictionaries:
            found.setdefault("untrained", TokenBank(name, main.dictionary, run.seeds[0]))
    for dictionary in runs[model].dictionaries:
        block = config.dictionaries[dictionary]
        if getattr(block, "of", None) == main.dictionary:
            control_name = resolve_dictionary(config, dictionary).control
            found.setdefault(str(control_name), TokenBank(model, dictionary, main.seed))
    return found


def wide_groups(config: Config) -> dict[str, WideGroup]:
    """Banks of any study that are trained on streams, as jobs train them.

    Returns
    -------
    dict of str to WideGroup
        By a name that can be part of an identifier. A group shares model, stream and
        ``saes_per_job``.
    """
    read = [*scaling_banks(config), *decimal_banks(config), *specialist_banks(config)]
    streams: dict[str, list[TokenBank]] = {}
    for bank in dict.fromkeys(TokenBank(*each) for each in read):
        recipe = resolve_dictionary(config, bank.dictionary)
        if recipe.stream is not None:
            streams.setdefault(f"{bank.model}/{_stream_of(recipe)}", []).append(bank)
    groups: dict[str, WideGroup] = {}
    for banks in streams.values():
        recipe = resolve_dictionary(config, banks[0].dictionary)
        assert recipe.stream is not None
        size = recipe.stream.saes_per_job or len(banks)
        for first in range(0, len(banks), size):
            name = re.sub(r"\W", "_", f"{banks[0].model}_{recipe.dataset}")
            place = sum(each.startswith(f"{name}_") for each in groups)
            groups[f"{name}_{place}"] = WideGroup(
                banks[0].model, recipe.dataset, banks[first : first + size]
            )
    return groups


def studied_weights(config: Config, model: str) -> bool:
    """Whether a model has the weights of the study's own."""
    settings, control = resolve_model(config, model)
    return control is None and isinstance(settings, HubModel) and settings.repo == STUDIED


def prompt_files(config: Config) -> dict[str, str]:
    """Files of prompts that are searched by or continued, by their dotted keys."""
    study = config.studies.scaling
    if study is None:
        return {}
    steering = study.calibrated.steering
    own = None if steering is None else steering.prompt_file
    sets = study.calibrated.search.sets
    return ({} if own is None else {"studies.scaling.calibrated.steering.prompt_file": own}) | {
        f"studies.scaling.calibrated.search.sets.{name}.{side}": path
        for name, block in sets.items()
        if isinstance(block, PromptFiles)
        for side, path in (("positive", block.positive), ("negative", block.negative))
        if path is not None
    }


def prompt_datasets(config: Config) -> list[str]:
    """Data sets whose texts are prompts of the search, sorted."""
    study = config.studies.scaling
    sets = {} if study is None else study.calibrated.search.sets
    return sorted({each.dataset for each in sets.values() if isinstance(each, GroupPrompts)})


def scaling_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    yield from run_contradictions(config, KEY, _runs(config), hooks=get_args(TokenHook))
    for model, run in scaling_models(config).items():
        recipes = {name: resolve_dictionary(config, name) for name in run.dictionaries}
        for name, recipe in recipes.items():
            if recipe.released is not None:
                yield (
                    f"{KEY}.{model}.dictionaries holds {name!r}, whose SAEs are released; expected one "
                    "with a block stream, for the study is also about training."
                )
            elif recipe.stream is None:
                yield (
                    f"{KEY}.{model}.dictionaries holds {name!r}, which is trained on captured "
                    "activations; expected one with a block stream."
                )
        first, *others = recipes
        for name in others:
            if _place(recipes[name]) != _place(recipes[first]):
                yield (
                    f"{KEY}.{model}.dictionaries holds {first!r} and {name!r}, which read "
                    f"{_told(recipes[first])} and {_told(recipes[name])}; expected SAEs of one place "
                    "and data set."
                )
        if recipes[first].control is not None:
            yield (
                f"{KEY}.{model}.dictionaries begins with {first!r}, which is a control; expected a "
                "dictionary without control first."
            )
        settings, _ = resolve_model(config, model)
        if isinstance(settings, FreshModel):
            yield from wide_layer_contradictions(config, model, settings.num_hidden_layers)
    study = config.studies.scaling
    if study is not None and study.calibrated.steering is not None and not prompt_datasets(config):
        yield (
            "studies.scaling.calibrated.steering needs topics, but studies.scaling.calibrated.search."
            "sets holds no set with source: groups; expected one, or steering: null."
        )
    for name in prompt_datasets(config):
        if name not in config.datasets:
            yield (
                f"studies.scaling.calibrated.search.sets names the data set {name!r}, which does not "
                f"exist{nearest(name, config.datasets)}"
            )
        if not holds_texts(config, name):
            yield (
                f"studies.scaling.calibrated.search.sets names the data set {name!r}, which holds "
                "problems; expected one of texts."
            )
        block = config.datasets[name]
        if isinstance(block, TextFile | TextHub) and block.group is None:
            yield (
                f"datasets.{name}.group is null, but studies.scaling.calibrated.search.sets takes "
                f"groups of texts from {name!r}; expected the column or key that names them."
            )


def wide_layer_contradictions(config: Config, model: str, n_layers: int) -> Iterator[str]:
    """Sentences about layers that the study reads or steers at and a model of so many does not have."""
    run = scaling_models(config).get(model)
    for name in () if run is None else run.dictionaries:
        yield from named_layer_contradictions(config, name, model, n_layers)
    study = config.studies.scaling
    steering = None if study is None else study.calibrated.steering
    if steering is None or model not in trained_models(config):
        return
    name = main_bank(config, model).dictionary
    recipe = resolve_dictionary(config, name)
    behind = recipe.hook == "resid_pre" or (
        recipe.hook == "resid_post" and recipe.layers != (n_layers - 1,)
    )
    if "block_output" in steering.published.bugs and not behind:
        yield (
            "studies.scaling.calibrated.steering.published.bugs holds 'block_output', which adds behind "
            f"the next block, but of model {model!r} no block reads what {name!r} does: {_told(recipe)}; "
            "expected resid_pre, resid_post before the last block, or bugs without it."
        )


def _runs(config: Config) -> Mapping[str, TokenRun]:
    study = config.studies.scaling
    return {} if study is None else study.published.models


def _stream_of(recipe: DictionarySettings) -> str:
    assert recipe.stream is not None
    shared = recipe.stream.model_dump_json(include=set(SHARED))
    return f"{_place(recipe)} {shared}"


def _place(recipe: DictionarySettings) -> tuple[str, TokenHook | None, object]:
    return recipe.dataset, recipe.hook, recipe.layers


def _told(recipe: DictionarySettings) -> str:
    layer = recipe.layers[0] if not isinstance(recipe.layers, str) else recipe.layers
    return f"{recipe.hook} of layer {layer} on {recipe.dataset!r}"
