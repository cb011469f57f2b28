"""Game values against the definition over all orders, their laws, and rates by size of subset."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from saeflow.errors import SaeflowError
from saeflow.stats.games import Plan, game_values, plan_game, success_by_size

SEEDS = st.integers(0, 2**32 - 1)


def outcomes_of(plan: Plan, seed: int, prompts: int = 3) -> np.ndarray:
    """Arbitrary outcomes, the same for a subset in whatever plan it stands."""
    powers = 2 ** np.arange(plan.masks.shape[1])
    return np.stack(
        [
            np.random.default_rng([seed, int(number)]).normal(size=prompts)
            for number in plan.masks @ powers
        ]
    )


def slow_values(plan: Plan, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapley over all orders, Banzhaf over all subsets of the others."""
    n = plan.masks.shape[1]
    outcome = {
        tuple(np.flatnonzero(mask)): row for mask, row in zip(plan.masks, outcomes, strict=True)
    }
    shapley, banzhaf = np.zeros((2, n, outcomes.shape[1]))
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        for place, unit in enumerate(order):
            before = tuple(sorted(order[:place]))
            shapley[unit] += outcome[tuple(sorted((*before, unit)))] - outcome[before]
    for unit in range(n):
        others = [each for each in range(n) if each != unit]
        for size in range(n):
            for some in itertools.combinations(others, size):
                banzhaf[unit] += outcome[tuple(sorted((*some, unit)))] - outcome[some]
    return shapley / len(orders), banzhaf / 2 ** (n - 1)


@given(st.integers(1, 5), SEEDS)
def test_exhaustive_values_equal_their_definitions(n_units: int, seed: int) -> None:
    plan = plan_game(n_units)
    assert len(plan.masks) == 2**n_units
    outcomes = outcomes_of(plan, seed)
    shapley, banzhaf = slow_values(plan, outcomes)
    found = game_values(plan, outcomes)
    np.testing.assert_allclose(found.shapley.per_prompt, shapley, atol=1e-12)
    np.testing.assert_allclose(found.banzhaf.per_prompt, banzhaf, atol=1e-12)
    assert not found.shapley.sampling_error.any()
    assert not found.banzhaf.sampling_error.any()


@given(st.integers(1, 12), st.integers(1, 9), SEEDS)
def test_shapley_values_share_out_the_whole(n_units: int, orders: int, seed: int) -> None:
    for exhaustive in (0, 12):
        plan = plan_game(n_units, exhaustive=exhaustive, orders=orders, seed=seed)
        outcomes = outcomes_of(plan, seed)
        found = game_values(plan, outcomes).shapley.per_prompt
        np.testing.assert_allclose(found.sum(0), outcomes[-1] - outcomes[0], atol=1e-9)


@given(st.integers(2, 12), SEEDS)
def test_a_unit_that_adds_nothing_has_no_value(n_units: int, seed: int) -> None:
    for exhaustive in (0, 12):
        plan = plan_game(n_units, exhaustive=exhaustive, orders=4, seed=seed)
        without = plan._replace(masks=np.where(np.arange(n_units) == 1, False, plan.masks))
        found = game_values(plan, outcomes_of(without, seed))
        for values in found:
            np.testing.assert_allclose(values.per_prompt[1], 0, atol=1e-12)
            assert np.abs(values.per_prompt[0]).max() > 0


@given(st.integers(2, 7), SEEDS)
def test_units_that_can_be_exchanged_have_equal_values(n_units: int, seed: int) -> None:
    plan = plan_game(n_units)
    alike = plan.masks.copy()
    alike[:, 0], alike[:, 1] = plan.masks[:, :2].any(1), plan.masks[:, :2].all(1)
    for values in game_values(plan, outcomes_of(plan._replace(masks=alike), seed)):
        np.testing.assert_allclose(values.per_prompt[0], values.per_prompt[1], atol=1e-12)


def test_values_of_a_majority_are_those_of_the_books() -> None:
    # Three votes, two needed, of which the first must be one: 4/6, 1/6, 1/6 and 3/4, 1/4, 1/4.
    plan = plan_game(3)
    wins = plan.masks[:, 0] & plan.masks[:, 1:].any(1)
    found = game_values(plan, wins[:, None].astype(float))
    np.testing.assert_allclose(found.shapley.per_prompt[:, 0], [2 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(found.banzhaf.per_prompt[:, 0], [3 / 4, 1 / 4, 1 / 4])


def three_way(masks: np.ndarray) -> np.ndarray:
    """Outcomes with effects of single units, pairs and triples."""
    signs = masks.astype(float)
    weights = np.random.default_rng(5).normal(size=masks.shape[1])
    single = signs @ weights
    return np.stack([single + single**2 + 0.3 * single**3, (single > 0).astype(float)], axis=1)


def test_sampled_values_are_right_on_average_and_as_uncertain_as_they_say() -> None:
    full = plan_game(9, exhaustive=9)
    exact = game_values(full, three_way(full.masks))
    found = []
    for seed in range(60):
        plan = plan_game(9, exhaustive=8, orders=40, seed=seed)
        found.append(game_values(plan, three_way(plan.masks)))
    for name in ("shapley", "banzhaf"):
        truth = getattr(exact, name).per_prompt
        sampled = np.stack([getattr(each, name).per_prompt for each in found])
        error = np.stack([getattr(each, name).sampling_error for each in found])
        spread = sampled.std(0, ddof=1)
        assert (np.abs(sampled.mean(0) - truth) < 4 * spread / np.sqrt(60) + 1e-12).all()
        of_mean = sampled.mean(2).std(0, ddof=1)
        said = np.sqrt((error**2).mean(0))
        np.testing.assert_allclose(said, of_mean, rtol=0.4)
        assert (said > 0).all()


def test_opposite_orders_cancel_effects_of_pairs() -> None:
    plan = plan_game(10, orders=2)
    weights = np.triu(np.random.default_rng(0).normal(size=(10, 10)))
    outcomes = np.einsum("si,ij,sj->s", plan.masks, weights, plan.masks)[:, None]
    pairs = np.triu(weights, 1)
    expected = np.diag(weights) + (pairs.sum(0) + pairs.sum(1)) / 2
    for values in game_values(plan, outcomes):
        np.testing.assert_allclose(values.per_prompt[:, 0], expected, atol=1e-12)
        assert np.isnan(values.sampling_error).all()  # one pair of walks


@given(st.integers(9, 40), st.integers(1, 30), SEEDS)
def test_planned_subsets_are_different_and_in_order(n_units: int, orders: int, seed: int) -> None:
    plan = plan_game(n_units, orders=orders, seed=seed)
    again = plan_game(n_units, orders=orders, seed=seed)
    np.testing.assert_array_equal(plan.masks, again.masks)
    assert len(np.unique(plan.masks, axis=0)) == len(plan.masks)
    sizes = plan.masks.sum(1)
    assert (np.diff(sizes) >= 0).all()
    assert sizes[0] == 0
    assert sizes[-1] == n_units
    walks = orders + orders % 2
    assert len(plan.masks) <= walks * 2 * n_units + 2
    assert plan.shapley is not None
    assert plan.banzhaf is not None
    np.testing.assert_array_equal(plan.masks[plan.shapley.path].sum(2)[:, 3], 3)
    for walks_of in (plan.shapley, plan.banzhaf):
        assert len(walks_of.order) == walks
        met = plan.masks[walks_of.path]
        changed = met[:, 1:] ^ met[:, :-1]
        np.testing.assert_array_equal(changed.sum(2), 1)
        np.testing.assert_array_equal(changed.argmax(2), walks_of.order)


def test_plans_differ_by_seed() -> None:
    one, other = (plan_game(9, seed=seed).masks for seed in (0, 1))
    assert one.shape != other.shape or (one != other).any()


def test_rates_by_size_count_a_prompt_once() -> None:
    plan = plan_game(3)
    success = np.zeros((8, 4), bool)
    success[plan.masks.sum(1) == 3] = True
    success[np.flatnonzero(plan.masks.sum(1) == 2)[0], :2] = True
    found = success_by_size(plan.masks, success)
    assert found.size.tolist() == [0, 1, 2, 3]
    assert found.subsets.tolist() == [1, 3, 3, 1]
    np.testing.assert_allclose(found.rate, [0, 0, 1 / 6, 1])
    assert found.n == 4
    # Two thirds of a prompt: between none and one.
    for place, (fewer, more) in enumerate(((0, 0), (0, 0), (0, 1), (4, 4))):
        low = binomtest(fewer, 4).proportion_ci(method="wilson").low
        high = binomtest(more, 4).proportion_ci(method="wilson").high
        assert found.low[place] == pytest.approx(low)
        assert found.high[place] == pytest.approx(high)


def test_rates_by_size_count_a_pair_in_two_orders_once() -> None:
    plan = plan_game(2)
    success = np.tile([True, True, False, False, True, False], (4, 1))
    found = success_by_size(plan.masks, success, ["a", "a", "b", "b", "c", "c"])
    assert found.n == 3
    np.testing.assert_allclose(found.rate, 0.5)
    assert found.low[0] == pytest.approx(binomtest(1, 3).proportion_ci(method="wilson").low)


def test_impossible_games_are_told_in_one_sentence() -> None:
    with pytest.raises(
        SaeflowError, match=r"^0 units and 24 orders are given; expected one or more"
    ):
        plan_game(0)
    with pytest.raises(
        SaeflowError, match=r"^There are outcomes of 3 subsets; expected those of 4\.$"
    ):
        game_values(plan_game(2), np.zeros((3, 1)))
    with pytest.raises(SaeflowError, match="outcomes of 3 subsets"):
        success_by_size(plan_game(2).masks, np.zeros((3, 1), bool))
