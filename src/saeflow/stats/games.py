"""Which units do the work together: values of a cooperative game over subsets of units.

Units are players, and the outcome of a subset is what happens on a prompt when these units act and the
others do not. Subsets are planned first, so that a model can run them in batches; values are computed
from the outcomes afterwards. Both values are linear in outcomes, so every prompt has its own, whose
mean can be resampled over prompts.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.resampling import Clusters, cluster_averages, wilson_of_shares


class Walks(NamedTuple):
    """Sampled walks from subset to subset, one unit after the other added or taken away.

    Attributes
    ----------
    path : numpy.ndarray of int64, shape (walks, units + 1)
        Which subset of the plan is met at each stop. Walks 2i and 2i + 1 start alike and go through
        the units in opposite orders.
    order : numpy.ndarray of int64, shape (walks, units)
        Which unit changes with each step.
    """

    path: Int[np.ndarray, "walks stops"]
    order: Int[np.ndarray, "walks units"]


class Plan(NamedTuple):
    """Subsets to evaluate, without repeats, and how values follow from them.

    Attributes
    ----------
    masks : numpy.ndarray of bool, shape (subsets, units)
        Which units act; by size, the empty set first and all units last.
    shapley, banzhaf : Walks or None
        Walks that were sampled; None where every subset is evaluated.
    """

    masks: Bool[np.ndarray, "subsets units"]
    shapley: Walks | None
    banzhaf: Walks | None


class Values(NamedTuple):
    """What each unit adds.

    Attributes
    ----------
    per_prompt : numpy.ndarray of float64, shape (units, prompts)
        Their mean over prompts is the unit's value.
    sampling_error : numpy.ndarray of float64, shape (units,)
        Standard error of that mean that comes from sampling subsets, prompts held fixed: 0 where all
        were evaluated, NaN where there is only one pair of walks.
    """

    per_prompt: Float[np.ndarray, "units prompts"]
    sampling_error: Float[np.ndarray, " units"]


class GameValues(NamedTuple):
    """Both values of a game."""

    shapley: Values
    banzhaf: Values


class SizeRates(NamedTuple):
    """How often subsets of each size succeed.

    Attributes
    ----------
    size : numpy.ndarray of int64, shape (sizes,)
        Units in the subset.
    subsets : numpy.ndarray of int64, shape (sizes,)
        Evaluated subsets of that size.
    rate : numpy.ndarray of float64, shape (sizes,)
        Mean over clusters of prompts of the share of subsets and prompts that succeed.
    low, high : numpy.ndarray of float64, shape (sizes,)
        Wilson's 95 % interval over clusters of prompts; see `wilson_of_shares`.
    n : int
        Clusters of prompts.
    """

    size: Int[np.ndarray, " sizes"]
    subsets: Int[np.ndarray, " sizes"]
    rate: Float[np.ndarray, " sizes"]
    low: Float[np.ndarray, " sizes"]
    high: Float[np.ndarray, " sizes"]
    n: int


def plan_game(n_units: int, *, exhaustive: int = 8, orders: int = 24, seed: int = 0) -> Plan:
    """Choose the subsets from which `game_values` computes Shapley's and Banzhaf's values.

    Up to `exhaustive` units every subset is taken. Of more units walks are sampled. One for Shapley's
    value adds all units to the empty set in random order (Castro, Gómez and Tejada, 2009). One for
    Banzhaf's starts from a subset drawn at random and changes every unit once, in random order; at
    each step the other units are still a subset drawn at random. Each walk is followed by one in the
    opposite order, where each unit meets the others' complement, which cancels the effects of pairs.

    Parameters
    ----------
    n_units : int
        Units.
    exhaustive : int
        Most units of which every subset is taken.
    orders : int
        Walks for each of both values, rounded up to an even number. With each about one subset per
        unit is to be evaluated.
    seed : int
        Seed of the walks.

    Raises
    ------
    SaeflowError
        If there is no unit or no walk.
    """
    if n_units < 1 or orders < 1:
        raise SaeflowError(
            f"{n_units} units and {orders} orders are given; expected one or more of each."
        )
    if n_units <= exhaustive:
        return Plan(_every_subset(n_units), None, None)
    generator = numpy_generator(seed, "stats", "games", n_units)
    count = (orders + 1) // 2
    none = np.zeros((count, n_units), bool)
    drawn = generator.random((count, n_units)) < 0.5
    stops, order = zip(*(_walk(starts, generator) for starts in (none, drawn)), strict=True)
    masks, place = np.unique(np.concatenate(stops), axis=0, return_inverse=True)
    by_size = np.argsort(masks.sum(1), kind="stable")
    rank = np.empty(len(masks), np.int64)
    rank[by_size] = np.arange(len(masks))
    paths = rank[place].reshape(2, 2 * count, n_units + 1)
    shapley, banzhaf = (Walks(*walks) for walks in zip(paths, order, strict=True))
    return Plan(masks[by_size], shapley, banzhaf)


def game_values(plan: Plan, outcomes: Float[np.ndarray, "subsets prompts"]) -> GameValues:
    """Values of every unit on every prompt.

    Shapley's value is what a unit adds to those before it, averaged over all orders of units, so that
    values sum to the outcome of all units minus that of none, exactly so for a sample of orders, too.
    Banzhaf's is what it adds to any subset of the others, averaged over subsets, which all count alike.

    Parameters
    ----------
    plan : Plan
        As `plan_game` gives it.
    outcomes : numpy.ndarray of float, shape (subsets, prompts)
        Such as 1 for success and 0 for failure, row by row for `plan.masks`.

    Raises
    ------
    SaeflowError
        If there is not one row per planned subset.
    """
    outcomes = outcomes.astype(np.float64)
    _same_length(plan.masks, outcomes)
    if plan.shapley is None or plan.banzhaf is None:
        n_units = plan.masks.shape[1]
        # How much it counts what a unit adds to 0, 1, ... others.
        shapley = np.array([1 / (n_units * comb(n_units - 1, others)) for others in range(n_units)])
        banzhaf = np.full(n_units, 0.5 ** (n_units - 1))
        return GameValues(*(_exact(plan.masks, outcomes, each) for each in (shapley, banzhaf)))
    return GameValues(
        *(_sampled(plan.masks, outcomes, each) for each in (plan.shapley, plan.banzhaf))
    )


def success_by_size(
    masks: Bool[np.ndarray, "subsets units"],
    success: Bool[np.ndarray, "rows prompts"],
    clusters: Clusters = None,
) -> SizeRates:
    """How often subsets of each size succeed, with intervals over prompts.

    A cluster of prompts counts once, with its share of successes over all evaluated subsets of the
    size and all its prompts. Subsets of a plan are a fair sample of their size.

    Parameters
    ----------
    masks : numpy.ndarray of bool, shape (subsets, units)
        Which units act.
    success : numpy.ndarray of bool, shape (subsets, prompts)
        What comes of it.
    clusters : sequence of hashable or None
        What each prompt is of, such as one pair of numbers in two orders.

    Raises
    ------
    SaeflowError
        If there is not one row of successes per subset.
    """
    _same_length(masks, success)
    sizes, place, subsets = np.unique(masks.sum(1), return_inverse=True, return_counts=True)
    shares = np.stack([success[place == each].mean(0) for each in range(len(sizes))])
    averages = cluster_averages(shares.T, clusters)
    low, high = np.array([wilson_of_shares(each) for each in averages.T]).T
    return SizeRates(sizes, subsets, averages.mean(0), low, high, len(averages))


def _every_subset(n_units: int) -> Bool[np.ndarray, "subsets units"]:
    numbers = np.arange(2**n_units)
    masks = (numbers[:, None] >> np.arange(n_units)) % 2 == 1
    by_size: Bool[np.ndarray, "subsets units"] = masks[np.argsort(masks.sum(1), kind="stable")]
    return by_size


def _walk(
    starts: Bool[np.ndarray, "pairs units"], generator: np.random.Generator
) -> tuple[Bool[np.ndarray, "subsets units"], Int[np.ndarray, "walks units"]]:
    """Subsets met by walks from each start, one in a random order and one in the opposite one."""
    pairs, n_units = starts.shape
    order = generator.permuted(np.tile(np.arange(n_units), (pairs, 1)), axis=1)
    both = np.stack([order, order[:, ::-1]], axis=1).reshape(2 * pairs, n_units)
    steps = np.arange(n_units + 1)[None, :, None]
    changed = np.argsort(both, axis=1)[:, None, :] < steps
    met = np.repeat(starts, 2, axis=0)[:, None, :] ^ changed
    return met.reshape(-1, n_units), both


def _exact(
    masks: Bool[np.ndarray, "subsets units"],
    outcomes: Float[np.ndarray, "subsets prompts"],
    weights: Float[np.ndarray, " others"],
) -> Values:
    sizes = masks.sum(1)
    # No unit is outside the full set, none inside the empty one: their weights are never used.
    padded = np.append(weights, 0.0)
    signed = np.where(masks, padded[sizes - 1][:, None], -padded[sizes][:, None])
    return Values(signed.T @ outcomes, np.zeros(masks.shape[1]))


def _sampled(
    masks: Bool[np.ndarray, "subsets units"],
    outcomes: Float[np.ndarray, "subsets prompts"],
    walks: Walks,
) -> Values:
    added = masks[walks.path[:, 1:], walks.order]
    steps = np.diff(outcomes[walks.path], axis=1) * np.where(added, 1.0, -1.0)[:, :, None]
    by_unit = np.empty_like(steps)
    by_unit[np.arange(len(steps))[:, None], walks.order] = steps
    # Walks in opposite orders depend on each other; pairs of them do not.
    pairs = by_unit.reshape(-1, 2, *by_unit.shape[1:]).mean(1)
    means = pairs.mean(2)
    spread = means.std(0, ddof=1) if len(means) > 1 else np.full(means.shape[1], np.nan)
    return Values(pairs.mean(0), spread / np.sqrt(len(means)))


def _same_length(
    masks: Bool[np.ndarray, "subsets units"], outcomes: Shaped[np.ndarray, "rows prompts"]
) -> None:
    if len(masks) != len(outcomes):
        raise SaeflowError(
            f"There are outcomes of {len(outcomes)} subsets; expected those of {len(masks)}."
        )
