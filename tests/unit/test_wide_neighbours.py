"""Neighbours, redundancy and maps of features against NumPy, planted twins and random directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness

from saeflow.errors import SaeflowError
from saeflow.saes.wide import neighbours, redundancy
from saeflow.saes.wide.maps import neighbour_map, principal_map
from saeflow.saes.wide.neighbours import Coactivations, Neighbours, decoder_neighbours, nearest
from saeflow.saes.wide.reading import FeatureSums
from saeflow.saes.wide.redundancy import (
    largest_cosines,
    random_directions,
    returning,
    share_at_least,
    unit_rows,
)
from tests.sentences import check_sentence
from tests.unit.test_wide_reading import SIZES, fed
from tests.wide_blocks import random_corpus

pytestmark = pytest.mark.usefixtures("one_thread")
D_SAE = 6


def directions(n: int, d_in: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 10**6),
    sizes=SIZES,
    signed=st.booleans(),
    documents=st.integers(1, 9),
    pairs=st.sampled_from([1, 7, 2**20]),
)
def test_correlations_are_those_of_numpy(
    seed: int, sizes: list[int], signed: bool, documents: int, pairs: int
) -> None:
    corpus = random_corpus(seed, documents=documents, signed=signed)
    chosen = torch.tensor([2, 5, 0, 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "PAIRS", pairs)
        made = fed(Coactivations(chosen, D_SAE), corpus.blocks(sizes))
    sums = fed(FeatureSums(D_SAE), corpus.blocks(sizes))
    found = made.correlation(sums).numpy()
    x = corpus.latents[~corpus.begin].astype(np.float64)
    varies = np.ptp(x, axis=0) > 0 if len(x) else np.zeros(D_SAE, bool)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.corrcoef(x.T) if len(x) > 1 else np.zeros((D_SAE, D_SAE))
    expected = np.where(varies[:, None] & varies, expected, 0)
    np.testing.assert_allclose(found, expected[chosen.numpy()], atol=1e-9)


@given(seed=st.integers(0, 10**6), n=st.integers(0, 8), pairs=st.sampled_from([1, 20, 2**20]))
def test_nearest_are_those_of_a_sort(seed: int, n: int, pairs: int) -> None:
    generator = np.random.default_rng(seed)
    similarity = generator.integers(-2, 3, (4, 7)) / 2
    features = generator.permutation(7)[:4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "PAIRS", pairs)
        found = nearest(torch.from_numpy(similarity), torch.from_numpy(features), n)
    expected = []
    for row, feature in enumerate(features.tolist()):
        others = [each for each in range(7) if each != feature]
        others.sort(key=lambda other, row=row: (-similarity[row, other], other))
        expected += [
            (feature, rank, other, similarity[row, other]) for rank, other in enumerate(others[:n])
        ]
    assert list(zip(*(each.tolist() for each in found), strict=True)) == expected


def test_less_than_no_neighbour() -> None:
    with pytest.raises(SaeflowError) as error:
        nearest(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), -1)
    check_sentence(error.value, "-1 neighbours")


def first_of(found: Neighbours, feature: int) -> tuple[int, float]:
    row = ((found.feature == feature) & (found.rank == 0)).nonzero()[0, 0]
    return int(found.other[row]), float(found.similarity[row])


def test_a_planted_twin_is_found_by_all() -> None:
    """Feature 3 writes and fires as feature 1 does, twice as strongly."""
    rows = directions(6)
    rows[3] = 2 * rows[1]
    found = largest_cosines(rows)
    assert found.other[[1, 3]].tolist() == [3, 1]
    assert found.value[[1, 3]].tolist() == pytest.approx([1, 1])
    assert share_at_least(found.value, 0.9) == pytest.approx(2 / 6)
    near = decoder_neighbours(rows, torch.tensor([3, 1]), 2)
    assert first_of(near, 3) == (1, pytest.approx(1))
    assert first_of(near, 1) == (3, pytest.approx(1))
    corpus = random_corpus(4, documents=40)
    corpus.latents[:, 3] = 2 * corpus.latents[:, 1]
    chosen = torch.arange(D_SAE)
    made = fed(Coactivations(chosen, D_SAE), corpus.documents(7))
    near = nearest(made.correlation(fed(FeatureSums(D_SAE), corpus.documents())), chosen, 3)
    assert first_of(near, 3) == (1, pytest.approx(1))
    assert first_of(near, 1) == (3, pytest.approx(1))
    assert first_of(near, 0)[1] < 0.5


@pytest.mark.parametrize("cosines", [1, 50, 2**23])
def test_largest_cosines_are_those_of_all(cosines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redundancy, "COSINES", cosines)
    rows = directions(30, 4)
    rows[7] = 0
    unit = rows.double().numpy()
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
    expected = unit @ unit.T - 3 * np.eye(30)
    found = largest_cosines(rows)
    np.testing.assert_allclose(found.value.numpy(), expected.max(1), atol=1e-12)
    assert (expected[np.arange(30), found.other.numpy()] == expected.max(1)).sum() >= 29


def test_one_direction_has_no_other() -> None:
    found = largest_cosines(directions(1))
    assert math.isnan(float(found.value[0]))
    assert found.other.tolist() == [-1]
    assert len(largest_cosines(directions(0)).value) == 0
    assert share_at_least(found.value, 0.9) == 0
    assert math.isnan(share_at_least(found.value[:0], 0.9))


@pytest.mark.parametrize("cosines", [1, 50, 2**23])
def test_features_of_a_permuted_seed_return(cosines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of four return; of random ones in as many dimensions none does."""
    monkeypatch.setattr(redundancy, "COSINES", cosines)
    first, order = (
        directions(40, 32),
        torch.randperm(40, generator=torch.Generator().manual_seed(1)),
    )
    second = (first + 0.1 * directions(40, 32, 2))[order]
    second[order >= 30] = directions(10, 32, 3)
    found = returning(first, second)
    assert found.mutual_share(0.7) == found.matched_share(0.7) == 0.75
    assert found.matches is not None
    kept = found.mutual >= 0.7
    assert torch.equal(order[found.partner[kept]], torch.arange(40)[kept])
    assert found.matches.second[:30].tolist() == found.partner[:30].tolist()
    chance = returning(first, random_directions(40, 32, 0).float())
    assert chance.mutual_share(0.7) == chance.matched_share(0.7) == 0
    monkeypatch.setattr(redundancy, "HUNGARIAN", 39)
    wide = returning(first, second)
    assert wide.matches is None
    assert math.isnan(wide.matched_share(0.7))
    assert torch.equal(wide.partner, found.partner)


def test_seeds_of_other_widths_can_be_paired() -> None:
    first = directions(9)
    found = returning(first, first[:4])
    assert found.partner[:4].tolist() == [0, 1, 2, 3]
    assert found.mutual_share(0.99) == pytest.approx(4 / 9) == found.matched_share(0.99)
    for bad in (directions(0), directions(3, 5)):
        with pytest.raises(SaeflowError) as error:
            returning(first, bad)
        check_sentence(error.value, "(9, 16)", "same dimensions")


def test_random_directions_follow_from_their_names() -> None:
    assert torch.equal(random_directions(3, 4, 1), random_directions(3, 4, 1))
    assert not torch.equal(random_directions(3, 4, 1), random_directions(3, 4, 2))


def groups() -> tuple[torch.Tensor, torch.Tensor]:
    centres = directions(4, 32)
    rows = centres.repeat_interleave(12, 0) + 0.4 * directions(48, 32, 1)
    return rows, torch.arange(4).repeat_interleave(12)


def test_groups_of_directions_lie_together() -> None:
    rows, group = groups()
    points = neighbour_map(rows, perplexity=8.0)
    assert points.shape == (48, 2)
    assert torch.isfinite(points).all()
    apart = torch.cdist(points, points).fill_diagonal_(torch.inf)
    assert (group[apart.argmin(1)] == group).all()
    assert torch.equal(points, neighbour_map(4 * rows, perplexity=8.0)), "lengths do not count"


def test_a_map_keeps_more_neighbours_than_a_projection() -> None:
    rows = directions(20, 64).repeat_interleave(10, 0) + 0.5 * directions(200, 64, 1)
    kept = [
        trustworthiness(unit_rows(rows).numpy(), each(rows).numpy(), n_neighbors=5)
        for each in (neighbour_map, principal_map)
    ]
    assert kept[0] > 0.95 > 0.9 > kept[1]


def test_principal_map_keeps_the_largest_distances() -> None:
    angle = torch.linspace(0, 5, 7)
    rows = torch.stack([angle.cos(), angle.sin(), torch.zeros(7)], 1)
    points = principal_map(rows)
    torch.testing.assert_close(
        torch.cdist(points, points), torch.cdist(rows, rows).double(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5])
def test_few_features_have_a_map(n: int) -> None:
    for rows in (directions(n), torch.ones(n, 16), directions(n, 1)):
        points = neighbour_map(rows)
        assert points.shape == (n, 2)
        assert torch.isfinite(points).all()
