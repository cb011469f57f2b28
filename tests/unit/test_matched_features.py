"""Random features that stand beside ablated ones."""

from __future__ import annotations

import numpy as np
import pytest

from saeflow.studies.matched import NEAREST, matched_features


def active_sizes(seed: int, problems: int = 40, features: int = 60) -> np.ndarray:
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(0.2, 3.0, size=(problems, features))
    return sizes * (generator.random(sizes.shape) < 0.5)


@pytest.mark.parametrize("n_removed", [1, 8])
def test_each_removed_feature_has_a_partner_of_nearly_its_size(n_removed: int) -> None:
    sizes = active_sizes(0)
    excluded = np.zeros(60, bool)
    excluded[:n_removed] = True
    removed = np.broadcast_to(excluded, sizes.shape)
    chosen = matched_features(sizes, removed, excluded, np.random.default_rng(1))
    active = sizes > 0
    assert not (chosen & ~active).any()
    assert not chosen[:, excluded].any()
    assert (chosen.sum(1) == (removed & active).sum(1)).all()
    own, other = (sizes * removed).sum(1), (sizes * chosen).sum(1)
    # Sums of sizes are alike; random active features' would not be.
    busy = own > 0
    error = np.abs(other[busy] - own[busy]).mean() / own[busy].mean()
    assert error < 0.15
    if n_removed == 1:
        for row in np.flatnonzero(busy):
            pool = np.flatnonzero(active[row] & ~excluded)
            distance = np.abs(sizes[row, pool] - sizes[row, 0])
            nearest = pool[np.argsort(distance)[:NEAREST]]
            assert set(np.flatnonzero(chosen[row])) <= set(nearest)


def test_nothing_is_chosen_where_nothing_is_removed_or_nothing_else_is_active() -> None:
    sizes = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    excluded = np.array([True, False, False])
    removed = np.broadcast_to(excluded, sizes.shape)
    chosen = matched_features(sizes, removed, excluded, np.random.default_rng(0))
    assert chosen.tolist() == [[False] * 3, [False] * 3, [False, True, False]]


def test_partners_vary_with_the_seed_and_only_with_it() -> None:
    sizes = active_sizes(3)
    excluded = np.zeros(60, bool)
    excluded[5] = True
    removed = np.broadcast_to(excluded, sizes.shape)
    one, same, other = (
        matched_features(sizes, removed, excluded, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert (one == same).all()
    assert (one != other).any()
