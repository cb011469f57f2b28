"""Controls of the SAE bank: what is frozen stays, and what is made is what it says."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from saeflow.config.dictionaries import FIXED_CONTROLS
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.fixed import fixed_bank
from saeflow.saes.gradients import reconstruction_gradients
from saeflow.saes.quality import bank_quality
from saeflow.saes.storage import load_bank, save_bank
from saeflow.saes.train import initial_weights, keep_near, site_bytes, train_bank
from tests.unit.test_saes_bank import CUDA, cuda_only, sites_of
from tests.unit.test_saes_storage import assert_same
from tests.unit.test_saes_storage import sae_lens as sae_lens  # a fixture
from tests.unit.test_saes_train import SMALL, assert_close, assert_equal, planted

FROZEN = {"frozen_decoder": "W_dec", "frozen_encoder": "W_enc"}
TRAINED = (*FROZEN, "soft_frozen_decoder")


def small(control: Any, **changes: Any) -> Recipe:
    return dataclasses.replace(SMALL, control=control, **changes)


def starts(sites: tuple[Site, ...], d_in: int, recipe: Recipe, seed: int) -> dict[str, Any]:
    each = [initial_weights(site, d_in, recipe.d_sae, seed) for site in sites]
    return {name: torch.cat([weights[name] for weights in each]) for name in each[0]}


def train(control: Any, seed: int = 4, backend: Any = "auto", **changes: Any) -> Bank:
    x = planted(5, rows=150, d_in=20)
    recipe = small(control, **changes)
    return train_bank(x, sites_of(5), recipe, seed=seed, device="cpu", backend=backend)


def cosines(bank: Bank, seed: int = 4) -> torch.Tensor:
    start = starts(bank.sites, bank.d_in, bank.recipe, seed)["W_dec"].double()
    return torch.cosine_similarity(bank.W_dec.double(), start, dim=-1)


def values_of(bank: Bank, x: torch.Tensor, metric: str) -> list[float]:
    return [each.value for each in bank_quality(bank, x, device="cpu") if each.metric == metric]


def autograd_reference(
    x: torch.Tensor, site: Site, recipe: Recipe, seed: int
) -> dict[str, torch.Tensor]:
    """One SAE with torch's own layers, the frozen part without gradient, the soft one turned back."""
    from saeflow.seeds import torch_generator

    start = {k: v[0] for k, v in initial_weights(site, x.shape[1], recipe.d_sae, seed).items()}
    weights = {k: v.clone().requires_grad_() for k, v in start.items()}
    free = [each for name, each in weights.items() if name != FROZEN.get(recipe.control or "")]
    adam = torch.optim.Adam(free, lr=recipe.learning_rate, fused=False)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(x), generator=torch_generator(seed, "bank", "order", epoch))
        for batch in (x[part] for part in order.split(recipe.batch_size)):
            pre = batch @ weights["W_enc"] + weights["b_enc"]
            chosen = pre.abs().topk(recipe.k, dim=-1).indices
            kept = torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
            loss = (kept @ weights["W_dec"] + weights["b_dec"] - batch).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            if recipe.control == "soft_frozen_decoder":
                for row, first in zip(weights["W_dec"].data, start["W_dec"], strict=True):
                    row.copy_(turned_back(row, first))
    return {name: each.detach() for name, each in weights.items()}


def turned_back(row: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Found by bisection: the nearest mixture of row and start that is inside the cone."""
    unit, target = row / row.norm(), start / start.norm()
    if float(unit @ target) >= 0.8:
        return row
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        mixed = (1 - middle) * unit + middle * target
        low, high = (low, middle) if mixed @ target >= 0.8 * mixed.norm() else (middle, high)
    mixed = (1 - high) * unit + high * target
    return mixed / mixed.norm() * row.norm()


@pytest.mark.parametrize("control", FROZEN)
def test_the_frozen_part_is_its_start_to_the_bit_and_the_rest_moves(control):
    bank = train(control)
    start = starts(bank.sites, 20, bank.recipe, seed=4)
    for name, each in bank.weights.items():
        if name == FROZEN[control]:
            assert torch.equal(each, start[name])
        else:
            moved = (each - start[name]).abs().flatten(1).amax(1)
            assert (moved > 1e-3).all(), name


def test_soft_frozen_rows_stay_in_the_cone_whose_edge_they_reach():
    free, soft, hard = (
        train(control, learning_rate=3e-2)
        for control in (None, "soft_frozen_decoder", "frozen_decoder")
    )
    assert cosines(free).min() < 0.5, "without the constraint rows leave the cone"
    assert cosines(soft).min() >= 0.8 - 1e-5
    assert (cosines(soft) < 0.8 + 1e-4).float().mean() > 0.2, "the constraint binds"
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        for other in (free, hard):
            if name != "W_dec" or other is free:
                assert not torch.allclose(soft.weights[name], other.weights[name], atol=1e-3)
    assert (1 - cosines(hard)).abs().max() < 1e-6
    assert cosines(soft).mean() < 0.95
    assert (soft.W_dec.norm(dim=-1) - 1).abs().max() > 0.1, "lengths are free"


def test_soft_frozen_is_plain_training_as_long_as_no_row_leaves():
    free, soft = (train(control, learning_rate=1e-4) for control in (None, "soft_frozen_decoder"))
    assert cosines(free).min() > 0.8
    for name, each in free.weights.items():
        assert torch.equal(each, soft.weights[name])


def test_a_row_is_turned_to_the_edge_and_keeps_its_length():
    generator = torch.Generator().manual_seed(0)
    start = torch.nn.functional.normalize(torch.randn(2, 30, 7, generator=generator), dim=-1)
    rows = start + torch.rand(2, 30, 1, generator=generator) * torch.randn(
        2, 30, 7, generator=generator
    )
    rows[0, 0] = 0
    rows[0, 1] = -2 * start[0, 1]  # no plane to turn in: any direction inside will do
    before = rows.clone()
    keep_near(rows, start)
    for row, old, first in zip(
        rows.flatten(0, 1), before.flatten(0, 1), start.flatten(0, 1), strict=True
    ):
        if old.norm() and torch.cosine_similarity(old, first, dim=0) > -0.999:
            torch.testing.assert_close(row, turned_back(old, first), atol=1e-5, rtol=1e-5)
    assert torch.equal(rows[0, 0], torch.zeros(7))
    assert torch.cosine_similarity(rows[0, 1], start[0, 1], dim=0) > 0.8
    inside = torch.cosine_similarity(before, start, dim=-1) > 0.8
    assert torch.equal(rows[inside], before[inside])
    assert 10 < int(inside.sum()) < 50


@pytest.mark.parametrize("backend", ["batched", "looped"])
@pytest.mark.parametrize("control", TRAINED)
def test_back_ends_equal_a_plain_loop_with_a_frozen_part(control, backend):
    bank = train(control, backend=backend, learning_rate=1e-2, epochs=3)
    x = planted(5, rows=150, d_in=20)
    for place in (0, 3):
        expected = autograd_reference(x[place], bank.sites[place], bank.recipe, seed=4)
        for name, each in bank.weights.items():
            torch.testing.assert_close(each[place], expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("control", TRAINED)
def test_back_ends_agree_and_waves_do_not_matter(control, monkeypatch):
    looped = train(control, backend="looped")
    assert_close(train(control, backend="batched"), looped, 1e-5)
    monkeypatch.setattr(
        "saeflow.saes.train.WAVE_BYTES", 2 * site_bytes(150, 20, small(control)) + 1
    )
    assert_equal(train(control, backend="looped"), looped)


@pytest.mark.parametrize("control", [*TRAINED, *FIXED_CONTROLS])
@pytest.mark.parametrize("d_in", [20, 32])
def test_a_control_is_the_same_to_the_bit_whatever_is_beside_it_and_whatever_the_threads(
    d_in, control
):
    sites, x = sites_of(6), planted(6, rows=100, d_in=d_in)
    recipe = small(control, k=9, d_sae=d_in if control in FIXED_CONTROLS else 48)

    def make(places: list[int]) -> Bank:
        chosen = [sites[place] for place in places]
        if control in FIXED_CONTROLS:
            return fixed_bank(x[places], chosen, recipe, seed=1)
        return train_bank(x[places], chosen, recipe, seed=1, device="cpu")

    together = make(list(range(6)))
    assert_equal(make([4]), together.select([sites[4]]))
    assert_equal(make([5, 1, 0]), together.select([sites[5], sites[1], sites[0]]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        assert_equal(make(list(range(6))), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("control", FROZEN)
def test_gradients_leave_out_what_is_frozen(control):
    weights = starts(sites_of(2), 20, SMALL, seed=0)
    x = planted(2, 30, 20)
    everything = reconstruction_gradients(weights, x, SMALL)
    found = reconstruction_gradients(weights, x, small(control))
    assert set(everything) - set(found) == {FROZEN[control]}
    for name, each in found.items():
        assert torch.equal(each, everything[name])


def test_learning_less_reconstructs_worse():
    x = planted(2, rows=1200, d_in=32)
    fvu = {}
    for control in (None, *TRAINED):
        recipe = Recipe("abstopk", 96, 8, control, epochs=20, batch_size=64, learning_rate=3e-3)
        bank = train_bank(x[:, :1000], sites_of(2), recipe, seed=0, device="cpu")
        fvu[control] = max(values_of(bank, x[:, 1000:], "fvu"))
    assert fvu[None] < fvu["soft_frozen_decoder"] < fvu["frozen_decoder"] < 1
    assert fvu[None] < fvu["frozen_encoder"] < 1


def principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal directions, rows, by NumPy's SVD."""
    mean = x.astype(np.float64).mean(0)
    return mean, np.linalg.svd(x - mean, full_matrices=False)[2]


def correlated(n_sites: int = 2, rows: int = 400, d_in: int = 12) -> torch.Tensor:
    """Variances that differ by dimension, mixed, with an offset."""
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(n_sites, d_in, d_in, generator=generator)
    scale = torch.linspace(3, 0.2, d_in)
    x = (torch.randn(n_sites, rows, d_in, generator=generator) * scale) @ mixing
    return x + 20 * torch.randn(n_sites, 1, d_in, generator=generator)


def fixed(control: Any, x: torch.Tensor, k: int, seed: int = 0) -> Bank:
    recipe = Recipe("abstopk", x.shape[2], k, control)
    return fixed_bank(x, sites_of(x.shape[0]), recipe, seed=seed)


def test_pca_finds_the_directions_of_an_svd_with_their_largest_component_positive():
    x = correlated()
    bank = fixed("pca", x, k=12)
    for place in range(2):
        mean, directions = principal(x[place].numpy())
        found = bank.W_dec[place].numpy()
        np.testing.assert_allclose(np.abs((found * directions).sum(1)), 1, atol=1e-5)
        largest = np.abs(found).argmax(1)
        assert (found[np.arange(12), largest] > 0).all()
        np.testing.assert_allclose(bank.b_dec[place].numpy(), mean, rtol=1e-6)
        coordinates = bank.encode(x)[place].numpy()
        np.testing.assert_allclose(coordinates.mean(0), 0, atol=1e-3)
        spread = coordinates.std(0)
        assert (np.diff(spread) < 0).all(), "largest variance first"


@pytest.mark.parametrize("rows", [400, 5])
def test_pca_reconstructs_everything_with_all_latents(rows):
    x = correlated(rows=rows)
    bank = fixed("pca", x, k=12)
    torch.testing.assert_close(bank.decode(bank.encode(x)), x, atol=1e-4, rtol=1e-5)
    gram = bank.W_dec.double() @ bank.W_dec.double().mT
    torch.testing.assert_close(gram, torch.eye(12).double().expand(2, 12, 12), atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_pca_explains_what_a_numpy_svd_explains_with_the_same_latents(k):
    x = correlated()
    found = values_of(fixed("pca", x, k), x, "fvu")
    for place in range(2):
        mean, directions = principal(x[place].numpy())
        centred = x[place].numpy().astype(np.float64) - mean
        coordinates = centred @ directions.T
        dropped = np.sort(coordinates**2, axis=1)[:, : 12 - k].sum()
        first_k = (coordinates[:, k:] ** 2).sum()
        total = (centred**2).sum()
        assert found[place] == pytest.approx(dropped / total, rel=1e-4)
        assert found[place] <= first_k / total, "the k largest of each row, not the first k of all"


def test_pca_learns_from_the_rows_it_is_given_alone_and_from_no_seed():
    x = correlated()
    half = fixed("pca", x[:, :200], k=4)
    assert not torch.allclose(half.W_enc, fixed("pca", x, k=4).W_enc, atol=1e-3)
    assert torch.equal(half.W_enc, fixed("pca", x[:, :200], k=4, seed=9).W_enc)
    torch.testing.assert_close(half.b_dec, x[:, :200].mean(1))


def test_random_rotations_are_orthogonal_and_differ_between_sites_and_seeds():
    x = correlated(n_sites=3)
    bank = fixed("random_rotation", x, k=12, seed=1)
    identity = torch.eye(12).double().expand(3, 12, 12)
    gram = bank.W_enc.double() @ bank.W_enc.double().mT
    torch.testing.assert_close(gram, identity, atol=1e-6, rtol=0)
    assert torch.equal(bank.W_dec, bank.W_enc.mT)
    assert not bank.b_enc.any()
    assert not bank.b_dec.any()
    torch.testing.assert_close(bank.decode(bank.encode(x)), x, atol=1e-4, rtol=1e-5)
    again, other = (fixed("random_rotation", 2 * x, k=12, seed=seed) for seed in (1, 2))
    assert torch.equal(again.W_enc, bank.W_enc), "activations do not matter"
    different = [bank.W_enc[0], bank.W_enc[1], bank.W_enc[2], *other.W_enc]
    for number, one in enumerate(different):
        for two in different[:number]:
            assert (one - two).abs().max() > 0.3


def test_random_rotations_are_uniform():
    x = torch.zeros(400, 1, 4)
    matrices = fixed("random_rotation", x, k=4).W_enc.double()
    # Of a Haar matrix each entry has mean 0 and variance 1/4, and the trace has mean 0, variance 1.
    assert matrices.mean(0).abs().max() < 5 * 0.5 / 20
    torch.testing.assert_close(
        matrices.square().mean(0), torch.full((4, 4), 0.25).double(), atol=0.07, rtol=0
    )
    traces = matrices.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(traces.mean()) < 5 / 20
    assert abs(traces.square().mean() - 1) < 0.4
    assert 150 < int((torch.linalg.det(matrices) > 0).sum()) < 250, "reflections as often"


@pytest.mark.parametrize("control", [*TRAINED, *FIXED_CONTROLS])
def test_a_saved_control_comes_back_and_sae_lens_computes_the_same(sae_lens, tmp_path, control):
    x = planted(2, rows=60, d_in=20)
    if control in FIXED_CONTROLS:
        bank = fixed(control, x, k=7, seed=3)
    else:
        recipe = small(control, epochs=2)
        bank = train_bank(x, sites_of(2), recipe, seed=3, device="cpu")
    save_bank(bank, tmp_path)
    assert_same(load_bank(tmp_path), bank)
    assert load_bank(tmp_path).recipe.control == control
    features = bank.encode(x)
    decoded = bank.decode(features)
    for place, site in enumerate(bank.sites):
        theirs = sae_lens.SAE.load_from_disk(tmp_path / site.name)
        assert theirs.cfg.metadata.saeflow["control"] == control
        torch.testing.assert_close(theirs.encode(x[place]), features[place], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs(x[place]), decoded[place], atol=1e-5, rtol=1e-5)


@cuda_only
@pytest.mark.parametrize("control", TRAINED)
def test_cuda_trains_controls_as_the_cpu_does(control):
    sites, x = sites_of(5), planted(5, rows=150, d_in=20)
    recipe = small(control, learning_rate=1e-3)
    expected = train_bank(x, sites, recipe, seed=4, device="cpu")
    found = train_bank(x, sites, recipe, seed=4, device=CUDA)
    assert_close(found, expected, 1e-3)
    if control in FROZEN:
        assert torch.equal(found.weights[FROZEN[control]], expected.weights[FROZEN[control]])
