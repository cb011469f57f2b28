"""What the calibrated mode runs, worked out from the whole configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from saeflow.config.datasets import (
    BalancedDataset,
    DatasetSettings,
    GeneratedDataset,
    HubDataset,
    ProblemSettings,
    Texts,
)
from saeflow.config.dictionaries import DictionaryControl
from saeflow.config.held_out import held_out_contradictions
from saeflow.config.models import FreshModel, UntrainedControl
from saeflow.config.root import (
    Config,
    named_layer_contradictions,
    problem_dataset,
    resolve_dictionary,
    resolve_model,
)
from saeflow.config.runs import BankRun
from saeflow.errors import nearest


class Bank(NamedTuple):
    """A bank that is calibrated on a data set.

    Attributes
    ----------
    model, dataset, dictionary : str
        Names in the configuration.
    seed : int
        Seed of the SAEs.
    of : str
        For a control the dictionary that it is of, else the dictionary itself.
    """

    model: str
    dataset: str
    dictionary: str
    seed: int
    of: str

    @property
    def control(self) -> bool:
        """Whether it is the bank of a control dictionary."""
        return self.of != self.dictionary


def calibrated_models(config: Config) -> dict[str, BankRun]:
    """What is calibrated of each model, in the order of the block `models`."""
    study = config.studies.gsm8k
    if study.calibrated is None:
        return {}
    runs = study.published.models if study.calibrated.models is None else study.calibrated.models
    return {name: runs[name] for name in config.models if name in runs}


def controls_of(config: Config, dictionary: str) -> list[str]:
    """Names of all control dictionaries of a dictionary, in the order of their block."""
    return [
        name
        for name, block in config.dictionaries.items()
        if isinstance(block, DictionaryControl) and block.of == dictionary
    ]


def control_dictionaries(config: Config, dictionary: str) -> list[str]:
    """Names of the control dictionaries of a dictionary that the calibrated mode reads.

    One without SAEs on an analysed layer has nothing to stand beside, so it is left out.
    """
    calibrated = config.studies.gsm8k.calibrated
    wanted = () if calibrated is None else calibrated.controls
    return [
        name
        for name in controls_of(config, dictionary)
        if (wanted == "all" or name in wanted) and analysed_layers(config, name)
    ]


def named_controls(config: Config, dictionary: str) -> dict[str, str]:
    """Control dictionaries of a dictionary that the calibrated mode reads, by `controls_by_kind`."""
    return controls_by_kind(config, control_dictionaries(config, dictionary))


def controls_by_kind(config: Config, names: Sequence[str]) -> dict[str, str]:
    """Controls of one dictionary by what they control for; two of a kind by their names."""
    kinds = [resolve_dictionary(config, name).control or name for name in names]
    return {
        kind if kinds.count(kind) == 1 else name: name
        for kind, name in zip(kinds, names, strict=True)
    }


def calibrated_banks(config: Config) -> list[Bank]:
    """Banks of the calibrated mode: those of each run, and of trained models the controls'."""
    calibrated = config.studies.gsm8k.calibrated
    return banks_of(
        config,
        calibrated_models(config),
        lambda dictionary: control_dictionaries(config, dictionary),
        () if calibrated is None else calibrated.control_seeds,
    )


def banks_of(
    config: Config,
    runs: Mapping[str, BankRun],
    controls: Callable[[str], Sequence[str]],
    control_seeds: Sequence[int] | None = None,
) -> list[Bank]:
    """Banks of each run, and of trained models those of the controls of its dictionaries.

    Parameters
    ----------
    config : Config
        The whole configuration.
    runs : mapping of str to BankRun
        By model.
    controls : callable
        Names of the control dictionaries that stand beside a dictionary.
    control_seeds : sequence of int, optional
        Seeds of the controls' SAEs; by default those of the run.
    """
    banks: dict[tuple[str, str, str, int], Bank] = {}
    for bank in _banks(config, runs, controls, control_seeds):
        # A control that is also studied by itself is one bank.
        banks.setdefault((bank.model, bank.dataset, bank.dictionary, bank.seed), bank)
    return list(banks.values())


def published_only(config: Config, bank: Bank) -> bool:
    """Whether the published mode leaves a bank out, so that nothing else measures its rates."""
    run = config.studies.gsm8k.published.models.get(bank.model)
    return run is None or not (
        bank.dataset in run.datasets
        and bank.dictionary in run.dictionaries
        and bank.seed in run.seeds
    )


def calibrated_runs(config: Config, model: str) -> list[dict[str, Any]]:
    """Data set, dictionary and seed of a model's banks, controls left out."""
    names = ("dataset", "dictionary", "seed")
    return [
        {name: getattr(bank, name) for name in names}
        for bank in calibrated_banks(config)
        if bank.model == model and not bank.control
    ]


def compared_dictionaries(config: Config) -> list[dict[str, Any]]:
    """Each calibrated model that is no control, with its dictionaries and what stands beside them."""
    runs = calibrated_models(config)
    return [
        {
            "model": model,
            "dictionary": dictionary,
            "untrained": [
                name
                for name, other in runs.items()
                if getattr(config.models[name], "of", None) == model
                and dictionary in other.dictionaries
            ],
            "controls": named_controls(config, dictionary),
        }
        for model, run in runs.items()
        if not isinstance(config.models[model], UntrainedControl)
        for dictionary in run.dictionaries
    ]


def grid_datasets(config: Config, model: str) -> list[str]:
    """Data sets on which a model's sizes of SAEs are compared: those with both splits."""
    calibrated = config.studies.gsm8k.calibrated
    if calibrated is None or calibrated.capacity is None or model not in calibrated_models(config):
        return []
    if calibrated.capacity.datasets is not None:
        return sorted(calibrated.capacity.datasets)
    datasets = calibrated_models(config)[model].datasets
    return sorted(name for name in datasets if _has_both_splits(config.datasets[name]))


def _has_both_splits(dataset: DatasetSettings) -> bool:
    if isinstance(dataset, GeneratedDataset):
        return dataset.n_train > 0 and dataset.n_validation > 0
    if isinstance(dataset, BalancedDataset | Texts):
        return False
    return 0 < dataset.split.train_share < 1


def _banks(
    config: Config,
    runs: Mapping[str, BankRun],
    controls: Callable[[str], Sequence[str]],
    control_seeds: Sequence[int] | None,
) -> Iterator[Bank]:
    for model, run in runs.items():
        for dataset in run.datasets:
            for name in run.dictionaries:
                for seed in run.seeds:
                    yield Bank(model, dataset, name, seed, name)
        if isinstance(config.models[model], UntrainedControl):
            continue
        for dataset in run.datasets:
            for name in run.dictionaries:
                for control in controls(name):
                    for seed in run.seeds if control_seeds is None else control_seeds:
                        yield Bank(model, dataset, control, seed, name)


def analysed_layers(config: Config, dictionary: str) -> Literal["all"] | tuple[int, ...]:
    """Layers of a bank that the study analyses."""
    wanted = config.studies.gsm8k.published.layers
    held = resolve_dictionary(config, dictionary).layers
    if isinstance(wanted, str) or isinstance(held, str):
        return held if isinstance(wanted, str) else wanted
    return tuple(layer for layer in wanted if layer in held)


def calibration_contradictions(config: Config) -> Iterator[str]:
    """Sentences about what the calibrated mode cannot run."""
    calibrated = config.studies.gsm8k.calibrated
    if calibrated is None:
        return
    if calibrated.controls != "all":
        yield from unknown_controls(config, "studies.gsm8k.calibrated", calibrated.controls)
    grid = calibrated.capacity and calibrated.capacity.datasets
    for name in grid or ():
        if name not in config.datasets:
            yield (
                f"studies.gsm8k.calibrated.capacity.datasets holds {name!r}, which is no data set"
                f"{nearest(name, config.datasets)}"
            )
        elif not _has_both_splits(config.datasets[name]):
            yield (
                f"studies.gsm8k.calibrated.capacity.datasets holds {name!r}, which has not both "
                "train and validation problems; expected one that has."
            )
    for bank in calibrated_banks(config):
        settings, _ = resolve_model(config, bank.model)
        if isinstance(settings, FreshModel):
            yield from bank_layer_contradictions(config, bank.model, settings.num_hidden_layers)
            yield from latent_contradictions(config, bank, settings.hidden_size)
        yield from overlap_contradictions(config, bank)
        yield from held_out_contradictions(
            config,
            bank.dictionary,
            bank.dataset,
            reader="calibrated mode",
            key="studies.gsm8k.calibrated",
        )
        if not analysed_layers(config, bank.dictionary):
            yield (
                f"dictionaries.{bank.dictionary}.layers holds none of the analysed layers "
                f"{list(config.studies.gsm8k.published.layers)}; expected one of them."
            )


def latent_contradictions(config: Config, bank: Bank, hidden_size: int) -> Iterator[str]:
    """Sentences about a control that has fewer latents than are to be active."""
    recipe = resolve_dictionary(config, bank.dictionary)
    if recipe.d_sae is None and recipe.k > hidden_size:
        yield (
            f"dictionaries.{bank.dictionary}.k is {recipe.k}, but {recipe.control} has one "
            f"latent per dimension and model {bank.model!r} has {hidden_size}."
        )


def unknown_controls(config: Config, key: str, names: Sequence[str]) -> Iterator[str]:
    """Sentences about names in the list of controls of a block that are of no control."""
    known = [k for k, v in config.dictionaries.items() if isinstance(v, DictionaryControl)]
    for name in names:
        if name not in known:
            yield (
                f"{key}.controls holds {name!r}, which is no control of a "
                f"dictionary{nearest(name, known)}"
            )


def overlap_contradictions(config: Config, bank: Bank) -> Iterator[str]:
    """Sentences about a data set that may hold problems on which the SAEs were trained."""
    trained_on = resolve_dictionary(config, bank.dictionary).dataset
    if trained_on == bank.dataset:
        return
    one, other = (_source(problem_dataset(config, name)) for name in (bank.dataset, trained_on))
    if one == other:
        yield (
            f"datasets.{bank.dataset} is drawn from where datasets.{trained_on} is, on which "
            f"dictionaries.{bank.dictionary} is trained, so its problems are not held out; expected "
            "another file, or another seed of the generator."
        )


def _source(dataset: ProblemSettings) -> tuple[str, ...]:
    """Where a data set's problems come from, however many of them."""
    if isinstance(dataset, GeneratedDataset):
        return ("generated", str(dataset.seed))
    if isinstance(dataset, BalancedDataset):
        return ("balanced", str(dataset.seed))
    if isinstance(dataset, HubDataset):
        return ("hub", dataset.repo, dataset.file)
    return ("path", os.path.normpath(dataset.path))


def bank_layer_contradictions(config: Config, model: str, n_layers: int) -> Iterator[str]:
    """Sentences about layers that a dictionary of thoughts names and the model does not have."""
    studied = config.studies.gsm8k.published.models
    names = list(studied[model].dictionaries) if model in studied else []
    names += [bank.dictionary for bank in calibrated_banks(config) if bank.model == model]
    hierarchy = config.studies.hierarchy
    if hierarchy is not None and model in hierarchy.published.models:
        names += hierarchy.published.models[model].dictionaries
    for name in dict.fromkeys(names):
        yield from named_layer_contradictions(config, name, model, n_layers)
