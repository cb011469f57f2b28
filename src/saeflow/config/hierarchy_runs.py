"""What the hierarchy study runs, worked out from the whole configuration."""

from __future__ import annotations

from collections.abc import Iterator

from saeflow.config.calibration import Bank
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.models import UntrainedControl
from saeflow.config.root import Config, resolve_dictionary
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
        if recipe.dataset == bank.dataset and recipe.rows == "all":
            yield (
                f"dictionaries.{bank.dictionary}.rows is 'all', so no problem of {bank.dataset!r} "
                "is held out for the hierarchy study; expected 'train', or studies.hierarchy: null."
            )
