"""Which control banks one job trains, encodes or calibrates: those of a dictionary, model and seed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

from saeflow.config.calibration import Bank, calibrated_banks
from saeflow.config.decimal_runs import decimal_banks
from saeflow.config.dictionaries import DictionaryControl
from saeflow.config.hierarchy_runs import balanced_dataset, hierarchy_banks
from saeflow.config.root import Config, resolve_dictionary
from saeflow.config.specialist_runs import specialist_banks


def trained_groups(config: Config) -> dict[str, list[Bank]]:
    """Control banks that studies read, as they are trained.

    Returns
    -------
    dict of str to list of Bank
        By a name that can be part of an identifier. A group holds the controls of one dictionary
        that share model and seed, sorted by name, each with the data set that trains it.
    """
    read = [(bank.model, bank.dictionary, bank.seed) for bank in _encoded(config)]
    read += [*decimal_banks(config), *specialist_banks(config)]
    recipes = ((*bank, resolve_dictionary(config, bank[1])) for bank in read)
    # What is trained on a stream is trained beside its dictionary (`saeflow.config.scaling_runs`).
    trained = (
        _bank(config, model, recipe.dataset, dictionary, seed)
        for model, dictionary, seed, recipe in recipes
        if recipe.stream is None
    )
    return _grouped(trained, "model", "of", "seed")


def encoded_groups(config: Config) -> dict[str, list[Bank]]:
    """Control banks of which studies read features, as they are encoded.

    Returns
    -------
    dict of str to list of Bank
        As of `trained_groups`, but with the data set that is encoded, which a group shares.
    """
    return _grouped(_encoded(config), "model", "dataset", "of", "seed")


def calibrated_groups(config: Config) -> dict[str, list[Bank]]:
    """Control banks that stand beside a dictionary in the calibrated mode.

    Returns
    -------
    dict of str to list of Bank
        As of `encoded_groups`. A control that is studied by itself is in none: it is calibrated
        against permutations of its own.
    """
    return _grouped(calibrated_banks(config), "model", "dataset", "of", "seed")


def _encoded(config: Config) -> Iterator[Bank]:
    for model, run in config.studies.gsm8k.published.models.items():
        for dataset, dictionary, seed in product(run.datasets, run.dictionaries, run.seeds):
            yield _bank(config, model, dataset, dictionary, seed)
    balanced = balanced_dataset(config)
    for bank in (*calibrated_banks(config), *hierarchy_banks(config)):
        yield _bank(config, bank.model, bank.dataset, bank.dictionary, bank.seed)
    if balanced is not None:
        for bank in hierarchy_banks(config):
            yield _bank(config, bank.model, balanced, bank.dictionary, bank.seed)


def _bank(config: Config, model: str, dataset: str, dictionary: str, seed: int) -> Bank:
    # A control that is studied by itself is still trained beside the others.
    block = config.dictionaries[dictionary]
    of = block.of if isinstance(block, DictionaryControl) else dictionary
    return Bank(model, dataset, dictionary, seed, of)


def _grouped(banks: Iterable[Bank], *shared: str) -> dict[str, list[Bank]]:
    groups: dict[tuple[object, ...], list[Bank]] = {}
    for bank in sorted({bank for bank in banks if bank.control}):
        groups.setdefault(tuple(getattr(bank, name) for name in shared), []).append(bank)
    names = [re.sub(r"\W", "_", "_".join(map(str, key[:-1]))) + f"_seed{key[-1]}" for key in groups]
    # Names of blocks may differ in a dot or a dash alone.
    unique = [
        name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)
    ]
    return dict(zip(unique, groups.values(), strict=True))
