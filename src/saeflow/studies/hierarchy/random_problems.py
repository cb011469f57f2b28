"""What a published rule says of random problems: how often each of its outcomes comes up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.hierarchy import SpecialistSettings
from saeflow.seeds import numpy_generator

Judge = Callable[
    [Int[np.ndarray, "sets patterns"], Int[np.ndarray, " sets"]],
    Bool[np.ndarray, "outcomes sets"],
]
"""Gets how many problems of each set show each pattern, and all of them; says what a rule finds."""


def random_outcomes(
    judge: Judge,
    outcomes: int,
    patterns: Bool[np.ndarray, "problems patterns"],
    sizes: Int[np.ndarray, " features"],
    settings: SpecialistSettings,
    stage: str,
) -> Float[np.ndarray, "outcomes features"]:
    """Chance of each outcome of a rule if a feature's samples were as many random problems.

    Parameters
    ----------
    judge : callable
        The rule.
    outcomes : int
        How many outcomes it has.
    patterns : numpy.ndarray of bool, shape (problems, patterns)
        Which problem shows which pattern.
    sizes : numpy.ndarray of int, shape (features,)
        Samples of each feature.
    settings : SpecialistSettings
        How many sets are drawn of each size, and the seed; sets of one problem are enumerated.
    stage : str
        What the sets are drawn for; part of the seed.

    Returns
    -------
    numpy.ndarray of float64, shape (outcomes, features)
        From 0 to 1.
    """
    different, place = np.unique(sizes, return_inverse=True)
    # Problems that show the same patterns are interchangeable: how many of each kind a random set
    # holds is all that is drawn.
    kinds, members = np.unique(patterns, axis=0, return_counts=True)
    rates = np.zeros((outcomes, len(different)))
    for column, size in enumerate(different.tolist()):
        counts, weight = kinds.astype(np.int64), members
        if size != 1:
            generator = numpy_generator(settings.null_seed, "hierarchy", stage, size)
            drawn = generator.multivariate_hypergeometric(
                members, size, settings.null_draws, method="count"
            )
            # Counts are exact as floats, and multiplied far faster than integers.
            counts = (drawn.astype(np.float64) @ kinds.astype(np.float64)).astype(np.int64)
            weight = np.ones(settings.null_draws, np.int64)
        found = judge(counts, np.full(len(counts), size))
        rates[:, column] = (found @ weight) / weight.sum()
    return rates[:, place]
