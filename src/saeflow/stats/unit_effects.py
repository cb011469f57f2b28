"""Which units change which features more than other units do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import adjusted
from saeflow.stats.resampling import Clusters, cluster_averages


class UnitEffects(NamedTuple):
    """Effects of units on features.

    Attributes
    ----------
    effect : numpy.ndarray of float64, shape (units, features)
        Mean over clusters of prompts.
    p_value : numpy.ndarray of float64, shape (units, features)
        See `unit_effects`.
    q_value : numpy.ndarray of float64, shape (units, features)
        Adjusted over all units and features by Benjamini and Hochberg.
    n : int
        Clusters of prompts.
    """

    effect: Float[np.ndarray, "units features"]
    p_value: Float[np.ndarray, "units features"]
    q_value: Float[np.ndarray, "units features"]
    n: int


def unit_effects(
    effects: Float[np.ndarray, "prompts units features"],
    clusters: Clusters = None,
    *,
    permutations: int = 999,
    seed: int = 0,
) -> UnitEffects:
    """Test whether a unit does more to a feature than units drawn at random, prompt by prompt.

    If units are alike, labels of units can be permuted within each cluster of prompts, and a unit's
    mean effect is as large, in size, as that of a unit drawn anew for each cluster. What such draws give
    is the same for all units, so one set of draws serves them all. Flipped signs would ask whether a
    unit does anything, which any damage to an activation does.

    Parameters
    ----------
    effects : numpy.ndarray of float, shape (prompts, units, features)
        Such as the change of the feature when the unit is ablated.
    clusters : sequence of hashable or None
        What each prompt is of; a cluster counts once.
    permutations : int
        Draws; the observed effect is counted as one more, so that no p-value is 0.
    seed : int
        Seed of the draws.

    Raises
    ------
    SaeflowError
        If there is only one unit, which leaves nothing to compare, or an effect is not a number.
    """
    if effects.shape[1] < 2:
        raise SaeflowError(f"Effects of {effects.shape[1]} units are given; expected two or more.")
    if not np.isfinite(effects).all():
        raise SaeflowError("An effect is not a number; expected one for each unit and feature.")
    averages = cluster_averages(effects, clusters)
    effect = averages.mean(0)
    n, n_units, _ = averages.shape
    generator = numpy_generator(seed, "stats", "unit effects", n, n_units)
    rows = np.arange(n)
    size = np.abs(effect)
    # Equal sums in another order differ in their last bits.
    reached = size - 1e-9 * np.abs(averages).mean(0)
    as_large = np.zeros(effect.shape, np.int64)
    for _ in range(permutations):
        drawn = averages[rows, generator.integers(n_units, size=n)].mean(0)
        as_large += np.abs(drawn) >= reached
    p_value = (as_large + 1) / (permutations + 1)
    q_value = adjusted(p_value.ravel(), p_value.size).reshape(p_value.shape)
    return UnitEffects(effect, p_value, q_value, n)
