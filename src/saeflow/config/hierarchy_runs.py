"""What the hierarchy study runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator

from saeflow.config.calibration import (
    Bank,
    bank_layer_contradictions,
    overlap_contradictions,
)
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.held_out import held_out_contradictions, known_count
from saeflow.config.models import FreshModel, UntrainedControl
from saeflow.config.root import Config, resolve_dictionary, resolve_model
from saeflow.config.runs import BankRun
from saeflow.errors import nearest

KEY = "studies.hierarchy"
FEWEST = 40
"""Held-out problems that interventions need.

A quarter or more picks features, which count from ten problems on.
"""


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
    yield from _studied_contradictions(config)
    for bank in hierarchy_banks(config):
        settings, _ = resolve_model(config, bank.model)
        if isinstance(settings, FreshModel):
            yield from bank_layer_contradictions(config, bank.model, settings.num_hidden_layers)
        yield from overlap_contradictions(config, bank)
        yield from held_out_contradictions(
            config, bank.dictionary, bank.dataset, reader="hierarchy study", key=KEY
        )
        yield from _sweep_contradictions(config, bank)
    yield from _causal_contradictions(config)


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


def _studied_contradictions(config: Config) -> Iterator[str]:
    for model, run in hierarchy_models(config).items():
        for name in run.datasets:
            if isinstance(config.datasets[name], BalancedDataset):
                yield (
                    f"{KEY}.published.models.{model}.datasets holds {name!r}, whose problems are "
                    f"balanced and belong in {KEY}.calibrated.balanced; expected another data set."
                )


def _causal_contradictions(config: Config) -> Iterator[str]:
    """Sentences about data on which interventions cannot be told apart, or not be judged."""
    study = config.studies.hierarchy
    if study is None or study.calibrated is None or study.calibrated.causal is None:
        return
    key = f"{KEY}.calibrated.causal"
    for model, run in hierarchy_models(config).items():
        if len(run.datasets) > 1:
            yield (
                f"{KEY}.published.models.{model}.datasets holds {', '.join(run.datasets)}, but values "
                "are swapped on the balanced problems, whose rows do not say for which of these; "
                f"expected one data set, or {key}: null."
            )
    for bank in hierarchy_banks(config):
        known = known_count(config, bank.dictionary, bank.dataset)
        if known is not None and known.problems < FEWEST:
            yield (
                f"{known.found}, so {known.problems} problems are held out, too few for interventions of "
                f"the hierarchy study; expected {FEWEST} or more held-out problems, or {key}: null."
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
