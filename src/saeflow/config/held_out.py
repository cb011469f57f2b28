"""Which problems trained no SAE, and how many they are as far as the configuration tells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.root import Config, problem_dataset, resolve_dictionary


class KnownCount(NamedTuple):
    """How many problems are held out.

    Attributes
    ----------
    found : str
        What the configuration says, by its key.
    problems : int
        Held-out problems that follow from it.
    """

    found: str
    problems: int


def held_out_problems(
    config: Config, dictionary: str, dataset: str
) -> Literal["validation", "analysed"]:
    """Problems of a data set that trained no SAE: its validation split, or all that are analysed."""
    same = resolve_dictionary(config, dictionary).dataset == dataset
    return "validation" if same else "analysed"


def known_count(config: Config, dictionary: str, dataset: str) -> KnownCount | None:
    """Count the held-out problems; None where only the data tell, or where they are balanced.

    Parameters
    ----------
    config : Config
        The validated configuration.
    dictionary, dataset : str
        Names of the SAEs' recipe and of the data set that is studied.
    """
    block, key = problem_dataset(config, dataset), f"datasets.{dataset}"
    if isinstance(block, BalancedDataset):
        return None
    analysed = held_out_problems(config, dictionary, dataset) == "analysed"
    if analysed and block.subset.n is not None:
        return KnownCount(f"{key}.subset.n is {block.subset.n}", block.subset.n)
    if isinstance(block, GeneratedDataset):
        sizes = (block.n_train, block.n_validation)
        if analysed:
            named = f"{key}.n_train and n_validation are {sizes[0]} and {sizes[1]}"
            return KnownCount(named, sum(sizes))
        return KnownCount(f"{key}.n_validation is {sizes[1]}", sizes[1])
    if block.limit is None:
        return None
    trained_on = 0 if analysed else math.floor(block.split.train_share * block.limit)
    return KnownCount(f"{key}.limit is {block.limit}", block.limit - trained_on)


def held_out_contradictions(
    config: Config, dictionary: str, dataset: str, *, reader: str, key: str
) -> Iterator[str]:
    """Sentences about a data set none of whose problems is held out.

    Parameters
    ----------
    config : Config
        The validated configuration.
    dictionary, dataset : str
        Names of the SAEs' recipe and of the data set that is studied.
    reader : str
        What reads the held-out problems, in words.
    key : str
        Dotted key that turns it off by null.
    """
    if held_out_problems(config, dictionary, dataset) == "analysed":
        return
    recipe, block = resolve_dictionary(config, dictionary), config.datasets[dataset]
    if recipe.rows == "all":
        named = getattr(config.dictionaries[dictionary], "of", dictionary)
        yield (
            f"dictionaries.{named}.rows is 'all', so no problem of {dataset!r} is held out for the "
            f"{reader}; expected 'train', or {key}: null."
        )
    if isinstance(block, GeneratedDataset) and not block.n_validation:
        yield (
            f"datasets.{dataset}.n_validation is 0, so no problem is held out for the {reader}; "
            f"expected some, or {key}: null."
        )
