"""What the calibrated mode runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from saeflow.config.datasets import GeneratedDataset
from saeflow.config.dictionaries import DictionaryControl
from saeflow.config.models import FreshModel, UntrainedControl
from saeflow.config.root import Config, resolve_dictionary, resolve_model
from saeflow.config.studies import Gsm8kRun
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


def calibrated_models(config: Config) -> dict[str, Gsm8kRun]:
    """What is calibrated of each model, in the order of the block `models`."""
    study = config.studies.gsm8k
    if study.calibrated is None:
        return {}
    runs = study.published.models if study.calibrated.models is None else study.calibrated.models
    return {name: runs[name] for name in config.models if name in runs}


def control_dictionaries(config: Config, dictionary: str) -> list[str]:
    """Names of the control dictionaries of a dictionary that the calibrated mode reads.

    One without SAEs on an analysed layer has nothing to stand beside, so it is left out.
    """
    calibrated = config.studies.gsm8k.calibrated
    wanted = () if calibrated is None else calibrated.controls
    return [
        name
        for name, block in config.dictionaries.items()
        if isinstance(block, DictionaryControl)
        and block.of == dictionary
        and (wanted == "all" or name in wanted)
        and analysed_layers(config, name)
    ]


def named_controls(config: Config, dictionary: str) -> dict[str, str]:
    """Control dictionaries of a dictionary by what they control for; two of a kind by their names."""
    names = control_dictionaries(config, dictionary)
    kinds = [resolve_dictionary(config, name).control or name for name in names]
    return {
        kind if kinds.count(kind) == 1 else name: name
        for kind, name in zip(kinds, names, strict=True)
    }


def calibrated_banks(config: Config) -> Iterator[Bank]:
    """Banks of the calibrated mode: those of each run, and of trained models the controls'."""
    calibrated = config.studies.gsm8k.calibrated
    for model, run in calibrated_models(config).items():
        for dataset in run.datasets:
            for name in run.dictionaries:
                for seed in run.seeds:
                    yield Bank(model, dataset, name, seed, name)
        if calibrated is None or isinstance(config.models[model], UntrainedControl):
            continue
        for dataset in run.datasets:
            for name in run.dictionaries:
                for control in control_dictionaries(config, name):
                    for seed in calibrated.control_seeds:
                        yield Bank(model, dataset, control, seed, name)


def held_out_problems(
    config: Config, dictionary: str, dataset: str
) -> Literal["validation", "analysed"]:
    """Problems of a data set that trained no SAE: its validation split, or all that are analysed."""
    same = resolve_dictionary(config, dictionary).dataset == dataset
    return "validation" if same else "analysed"


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
    controls = [k for k, v in config.dictionaries.items() if isinstance(v, DictionaryControl)]
    for name in calibrated.controls if calibrated.controls != "all" else ():
        if name not in controls:
            yield (
                f"studies.gsm8k.calibrated.controls holds {name!r}, which is no control of a "
                f"dictionary{nearest(name, controls)}"
            )
    for bank in calibrated_banks(config):
        settings, _ = resolve_model(config, bank.model)
        if isinstance(settings, FreshModel):
            yield from bank_layer_contradictions(config, bank.model, settings.num_hidden_layers)
        dataset = config.datasets[bank.dataset]
        if (
            isinstance(dataset, GeneratedDataset)
            and not dataset.n_validation
            and held_out_problems(config, bank.dictionary, bank.dataset) == "validation"
        ):
            yield (
                f"datasets.{bank.dataset}.n_validation is 0, so no problem is held out for the "
                "calibrated mode; expected some, or studies.gsm8k.calibrated: null."
            )
        if not analysed_layers(config, bank.dictionary):
            yield (
                f"dictionaries.{bank.dictionary}.layers holds none of the analysed layers "
                f"{list(config.studies.gsm8k.published.layers)}; expected one of them."
            )
        recipe = resolve_dictionary(config, bank.dictionary)
        if recipe.dataset == bank.dataset and recipe.rows == "all":
            yield (
                f"dictionaries.{bank.of}.rows is 'all', so no problem of {bank.dataset!r} is held "
                "out for the calibrated mode; expected 'train', or studies.gsm8k.calibrated: null."
            )


def bank_layer_contradictions(config: Config, model: str, n_layers: int) -> Iterator[str]:
    """Sentences about layers that a dictionary names and the model does not have."""
    studied = config.studies.gsm8k.published.models
    names = list(studied[model].dictionaries) if model in studied else []
    names += [bank.dictionary for bank in calibrated_banks(config) if bank.model == model]
    for name in dict.fromkeys(names):
        layers = resolve_dictionary(config, name).layers
        for layer in () if isinstance(layers, str) else layers:
            if layer >= n_layers:
                yield (
                    f"dictionaries.{name}.layers holds {layer}, but model {model!r} has the layers "
                    f"0 to {n_layers - 1}."
                )
