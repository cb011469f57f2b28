"""What the hierarchy study runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from saeflow.config.calibration import (
    Bank,
    bank_layer_contradictions,
    banks_of,
    controls_by_kind,
    controls_of,
    latent_contradictions,
    overlap_contradictions,
    unknown_controls,
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
    """Banks of the study, model by model: those of each run, and of trained models the controls'.

    Of a control only specialists, levels and modules are counted.
    """
    return banks_of(
        config,
        hierarchy_models(config),
        lambda dictionary: hierarchy_controls(config, dictionary),
    )


def hierarchy_controls(config: Config, dictionary: str) -> list[str]:
    """Names of the control dictionaries of a dictionary that the study reads."""
    study = config.studies.hierarchy
    if study is None or study.calibrated is None:
        return []
    wanted = study.calibrated.controls
    return [
        name
        for name in controls_of(config, dictionary)
        if (_has_its_sites(config, name) if wanted == "all_sites" else name in wanted)
    ]


def compared_models(config: Config) -> list[dict[str, Any]]:
    """Each trained model of the study with what stands beside it.

    Returns
    -------
    list of dict
        ``model``; ``untrained``: names of the untrained models of its shape; ``controls``: by studied
        dictionary, its control dictionaries by what they control for.
    """
    runs = hierarchy_models(config)
    return [
        {
            "model": model,
            "untrained": [
                name for name in runs if getattr(config.models[name], "of", None) == model
            ],
            "controls": {
                name: controls_by_kind(config, hierarchy_controls(config, name))
                for name in run.dictionaries
            },
        }
        for model, run in runs.items()
        if not is_untrained(config, model)
    ]


def _has_its_sites(config: Config, control: str) -> bool:
    """Whether a control has the layers of the dictionary that it is of; steps are always shared."""
    own, base = (
        resolve_dictionary(config, name).layers
        for name in (control, getattr(config.dictionaries[control], "of", control))
    )
    return own == base if isinstance(own, str) or isinstance(base, str) else set(own) == set(base)


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
    yield from _control_contradictions(config)
    for bank in hierarchy_banks(config):
        settings, _ = resolve_model(config, bank.model)
        if isinstance(settings, FreshModel):
            yield from bank_layer_contradictions(config, bank.model, settings.num_hidden_layers)
            yield from latent_contradictions(config, bank, settings.hidden_size)
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


def _control_contradictions(config: Config) -> Iterator[str]:
    """Sentences about control dictionaries that have nothing to stand beside."""
    study = config.studies.hierarchy
    if study is None or study.calibrated is None or study.calibrated.controls == "all_sites":
        return
    key, names = f"{KEY}.calibrated", study.calibrated.controls
    yield from unknown_controls(config, key, names)
    studied = {
        dictionary
        for model, run in hierarchy_models(config).items()
        if not is_untrained(config, model)
        for dictionary in run.dictionaries
    }
    for name in names:
        base = getattr(config.dictionaries.get(name), "of", None)
        if base is None:
            continue
        if base not in studied:
            yield (
                f"{key}.controls holds {name!r}, a control of {base!r}, which is no dictionary of a "
                f"trained model in {KEY}.published.models; expected a control of one that is."
            )
        elif not _has_its_sites(config, name):
            yield (
                f"{key}.controls holds {name!r}, whose layers are not those of {base!r}, so that their "
                "counts cannot stand side by side; expected a control with the same layers."
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
        if bank.control:
            continue
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
    if not sweep or bank.control or is_untrained(config, bank.model):
        return
    if recipe.dataset != bank.dataset:
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
