"""What the hierarchy study runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator

from saeflow.config.calibration import (
    Bank,
    bank_layer_contradictions,
    held_out_problems,
    overlap_contradictions,
)
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.models import FreshModel, UntrainedControl
from saeflow.config.root import Config, resolve_dictionary, resolve_model
from saeflow.config.runs import BankRun
from saeflow.errors import nearest

KEY = "studies.hierarchy"


def hierarchy_models(config: Config) -> dict[str, BankRun]:
    """What is analysed of each model, in the order of the block `models`; empty without the study."""
    study = config.studies.hierarchy
    runs = {} if study is None else study.published.models
    return {name: runs[name] for name in config.models if name in runs}


def hierarchy_banks(config: Config) -> list[Bank]:
    """Banks of the study, model by model."""
    return [
        Bank(model, dataset, dictionary, seed, dictionary)
        for model, run in hierarchy_models(config).items()
        for dataset in run.datasets
        for dictionary in run.dictionaries
        for seed in run.seeds
    ]


def balanced_dataset(config: Config) -> str | None:
    """Name of the balanced problems; None where nothing is calibrated."""
    study = config.studies.hierarchy
    return None if study is None or study.calibrated is None else study.calibrated.balanced


def is_untrained(config: Config, model: str) -> bool:
    """Whether a model is the untrained control of another."""
    return isinstance(config.models[model], UntrainedControl)


def hierarchy_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the study cannot run."""
    yield from _balanced_contradictions(config)
    for bank in hierarchy_banks(config):
        settings, _ = resolve_model(config, bank.model)
        if isinstance(settings, FreshModel):
            yield from bank_layer_contradictions(config, bank.model, settings.num_hidden_layers)
        yield from overlap_contradictions(config, bank)
        yield from _held_out_contradictions(config, bank)
        yield from _sweep_contradictions(config, bank)


def _balanced_contradictions(config: Config) -> Iterator[str]:
    name = balanced_dataset(config)
    if name is None:
        return
    known = [k for k, v in config.datasets.items() if isinstance(v, BalancedDataset)]
    balanced = config.datasets.get(name)
    if not isinstance(balanced, BalancedDataset):
        yield (
            f"{KEY}.calibrated.balanced is {name!r}, which is no data set with source: balanced"
            f"{nearest(name, known)}"
        )
        return
    for bank in hierarchy_banks(config):
        recipe = resolve_dictionary(config, bank.dictionary)
        trained_on = config.datasets[recipe.dataset]
        if isinstance(trained_on, GeneratedDataset) and trained_on.seed != balanced.seed:
            yield (
                f"datasets.{name}.seed is {balanced.seed}, but datasets.{recipe.dataset}, on which "
                f"dictionaries.{bank.dictionary} is trained, has the seed {trained_on.seed}; only "
                "with the same seed are no problems shared."
            )


def _held_out_contradictions(config: Config, bank: Bank) -> Iterator[str]:
    if held_out_problems(config, bank.dictionary, bank.dataset) == "analysed":
        return
    if resolve_dictionary(config, bank.dictionary).rows == "all":
        yield (
            f"dictionaries.{bank.dictionary}.rows is 'all', so no problem of {bank.dataset!r} "
            f"is held out for the hierarchy study; expected 'train', or {KEY}: null."
        )
    dataset = config.datasets[bank.dataset]
    if isinstance(dataset, GeneratedDataset) and not dataset.n_validation:
        yield (
            f"datasets.{bank.dataset}.n_validation is 0, so no problem is held out for the "
            f"hierarchy study; expected some, or {KEY}: null."
        )


def _sweep_contradictions(config: Config, bank: Bank) -> Iterator[str]:
    """Sentences about the sweep over k, which is of trained models, on data that trains the bank."""
    study = config.studies.hierarchy
    sweep = study and study.calibrated and study.calibrated.sweep
    recipe = resolve_dictionary(config, bank.dictionary)
    if not sweep or is_untrained(config, bank.model) or recipe.dataset != bank.dataset:
        return
    key = f"{KEY}.calibrated.sweep"
    last = resolve_model(config, bank.model)[0].thoughts.latents
    if sweep.step > last:
        yield (
            f"{key}.step is {sweep.step}, but model {bank.model!r} has the thought steps 0 to {last}."
        )
    if recipe.d_sae is None:
        yield (
            f"dictionaries.{bank.dictionary} is the control {recipe.control}, which is not trained, "
            f"so that it cannot be with another k; expected one that is, or {key}: null."
        )
    elif min(sweep.k) >= recipe.d_sae:
        yield (
            f"{key}.k holds {', '.join(map(str, sweep.k))}, but dictionaries.{bank.dictionary} has "
            f"{recipe.d_sae} latents (d_sae); expected a smaller k."
        )
