"""Random features that matter as much as those that are ablated, by the size of what they add."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

NEAREST = 3
"""A partner is drawn from so many features of the most similar size."""


def matched_features(
    sizes: Float[np.ndarray, "problems features"],
    removed: Bool[np.ndarray, "problems features"],
    excluded: Bool[np.ndarray, " features"],
    generator: np.random.Generator,
) -> Bool[np.ndarray, "problems features"]:
    """Choose, for each active feature of a problem that is removed, another one of similar size.

    Parameters
    ----------
    sizes : numpy.ndarray of float, shape (problems, features)
        Length of what each feature adds to the reconstruction; 0 where it is silent.
    removed : numpy.ndarray of bool, shape (problems, features)
        What is removed.
    excluded : numpy.ndarray of bool, shape (features,)
        Features that are never chosen.
    generator : numpy.random.Generator
        Draws among the nearest.

    Returns
    -------
    numpy.ndarray of bool, shape (problems, features)
        As many per problem as are active and removed; fewer where no more are active, and none where
        nothing else is: such a problem has no control.
    """
    chosen = np.zeros_like(removed)
    for row, (size, gone) in enumerate(zip(sizes, removed, strict=True)):
        pool = np.flatnonzero((size > 0) & ~excluded & ~gone)
        targets = size[gone & (size > 0)]
        free = size[pool].astype(np.float64)
        for target in generator.permutation(targets)[: len(pool)]:
            distance = np.abs(free - target)
            nearest = np.argsort(distance, kind="stable")[:NEAREST]
            nearest = nearest[np.isfinite(distance[nearest])]
            place = int(generator.choice(nearest))
            chosen[row, pool[place]] = True
            free[place] = np.inf
    return chosen
