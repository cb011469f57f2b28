import dataclasses
import math

import pytest
import torch
from torch import nn

from saeflow.errors import SaeflowError
from saeflow.saes import train
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.gradients import reconstruction_gradients
from saeflow.saes.quality import bank_quality
from saeflow.saes.train import choose_backend, initial_weights, site_bytes, train_bank
from saeflow.seeds import torch_generator
from tests.unit.test_saes_bank import CUDA, cuda_only, sites_of

CPU = torch.device("cpu")
SMALL = Recipe("abstopk", d_sae=48, k=9, epochs=6, batch_size=32, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "training left another number of threads"
    torch.set_num_threads(before)


def planted(n_sites: int, rows: int, d_in: int, n_atoms: int = 24, active: int = 3):
    """Sparse sums of a known dictionary, signed, with an offset per dimension."""
    generator = torch.Generator().manual_seed(3)
    atoms = torch.randn(n_sites, n_atoms, d_in, generator=generator)
    atoms /= atoms.norm(dim=-1, keepdim=True)
    codes = torch.randn(n_sites, rows, n_atoms, generator=generator)
    keep = torch.rand(n_sites, rows, n_atoms, generator=generator).topk(active).indices
    codes *= torch.zeros_like(codes).scatter_(-1, keep, 1.0)
    return codes @ atoms + 0.3 * torch.randn(n_sites, 1, d_in, generator=generator)


def reference(x: torch.Tensor, site: Site, recipe: Recipe, seed: int) -> dict[str, torch.Tensor]:
    """The published training of one SAE, written plainly with torch.nn and autograd."""
    rows, d_in = x.shape
    start = initial_weights(site, d_in, recipe.d_sae, seed)
    encoder, decoder = nn.Linear(d_in, recipe.d_sae), nn.Linear(recipe.d_sae, d_in)
    with torch.no_grad():
        encoder.weight.copy_(start["W_enc"][0].T)
        encoder.bias.copy_(start["b_enc"][0])
        decoder.weight.copy_(start["W_dec"][0].T)
        decoder.bias.copy_(start["b_dec"][0])
    adam = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=recipe.learning_rate, fused=False
    )
    for epoch in range(recipe.epochs):
        order = torch.randperm(rows, generator=torch_generator(seed, "bank", "order", epoch))
        for batch in (x[part] for part in order.split(recipe.batch_size)):
            pre = encoder(batch)
            score = pre.abs() if recipe.architecture == "abstopk" else pre
            chosen = score.topk(recipe.k, dim=-1).indices
            kept = torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
            if recipe.architecture == "topk":
                kept = kept.relu()
            loss = nn.functional.mse_loss(decoder(kept), batch)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return {
        "W_enc": encoder.weight.detach().T,
        "b_enc": encoder.bias.detach(),
        "W_dec": decoder.weight.detach().T,
        "b_dec": decoder.bias.detach(),
    }


def assert_equal(found: Bank, expected: Bank) -> None:
    assert (found.sites, found.recipe) == (expected.sites, expected.recipe)
    for name, each in found.weights.items():
        assert torch.equal(each, expected.weights[name]), name


def assert_close(found: Bank, expected: Bank, tolerance: float) -> None:
    for name, each in found.weights.items():
        torch.testing.assert_close(
            each.cpu(), expected.weights[name].cpu(), atol=tolerance, rtol=tolerance
        )


@pytest.mark.parametrize("backend", ["batched", "looped", "auto"])
@pytest.mark.parametrize("architecture", ["abstopk", "topk"])
def test_back_ends_equal_a_plain_loop(architecture, backend):
    recipe = dataclasses.replace(SMALL, architecture=architecture)
    sites, x = sites_of(5), planted(5, rows=150, d_in=20)
    bank = train_bank(x, sites, recipe, seed=4, device="cpu", backend=backend)
    for place, site in enumerate(sites):
        expected = reference(x[place], site, recipe, seed=4)
        for name, each in bank.weights.items():
            torch.testing.assert_close(each[place], expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["abstopk", "topk"])
def test_gradients_are_those_of_autograd(architecture):
    recipe = Recipe(architecture, d_sae=30, k=7)
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc": (4, 12, 30), "b_enc": (4, 30), "W_dec": (4, 30, 12), "b_dec": (4, 12)}
    weights = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }
    x = torch.randn(4, 25, 12, generator=generator, dtype=torch.float64)
    pre = x @ weights["W_enc"] + weights["b_enc"][:, None]
    chosen = (pre.abs() if architecture == "abstopk" else pre).topk(7).indices
    kept = torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
    kept = kept.relu() if architecture == "topk" else kept
    error = kept @ weights["W_dec"] + weights["b_dec"][:, None] - x
    error.square().mean((1, 2)).sum().backward()
    plain = {name: each.detach() for name, each in weights.items()}
    for name, found in reconstruction_gradients(plain, x, recipe).items():
        torch.testing.assert_close(found, weights[name].grad, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("backend", ["batched", "looped"])
def test_repeats_give_the_same_bits_whatever_the_threads(backend):
    sites, x = sites_of(6), planted(6, rows=100, d_in=20)
    banks = []
    for threads in (2, 2, 1):
        torch.set_num_threads(threads)
        banks.append(train_bank(x, sites, SMALL, seed=1, device="cpu", backend=backend))
    torch.set_num_threads(2)
    for other in banks[1:]:
        assert all(
            torch.equal(other.weights[name], each) for name, each in banks[0].weights.items()
        )
    different = train_bank(x, sites, SMALL, seed=2, device="cpu", backend=backend)
    assert not torch.allclose(different.W_enc, banks[0].W_enc)


def test_global_random_state_neither_matters_nor_changes():
    sites, x = sites_of(2), planted(2, rows=60, d_in=20)
    torch.manual_seed(1)
    first = train_bank(x, sites, SMALL, seed=1, device="cpu")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = train_bank(x, sites, SMALL, seed=1, device="cpu")
    assert torch.equal(first.W_enc, second.W_enc)
    assert torch.equal(state, torch.get_rng_state())


def test_a_site_does_not_depend_on_the_others():
    sites, x = sites_of(6), planted(6, rows=100, d_in=20)
    together = train_bank(x, sites, SMALL, seed=1, device="cpu")
    for place in (0, 4):
        alone = train_bank(x[place : place + 1], [sites[place]], SMALL, seed=1, device="cpu")
        assert_equal(alone, together.select([sites[place]]))


def test_waves_do_not_change_the_result(monkeypatch):
    sites, x = sites_of(6), planted(6, rows=100, d_in=20)
    whole = train_bank(x, sites, SMALL, seed=1, device="cpu", backend="batched")
    monkeypatch.setattr(train, "WAVE_BYTES", 2 * site_bytes(100, 20, SMALL) + 1)
    assert_close(train_bank(x, sites, SMALL, seed=1, device="cpu", backend="batched"), whole, 1e-5)
    monkeypatch.setattr(train, "WAVE_BYTES", 1)
    assert_close(train_bank(x, sites, SMALL, seed=1, device="cpu", backend="batched"), whole, 1e-5)


def test_initial_weights():
    start = initial_weights(Site(3, 2), d_in=400, d_sae=900, seed=5)
    for name, n_inputs in (("W_enc", 400), ("b_enc", 400), ("b_dec", 900)):
        bound = 1 / math.sqrt(n_inputs)
        assert start[name].abs().max() <= bound
        assert start[name].std() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        assert abs(start[name].mean()) < 0.1 * bound
    torch.testing.assert_close(start["W_dec"].norm(dim=-1), torch.ones(1, 900))
    spread = start["W_dec"].abs().amax(-1) / start["W_dec"].std(-1)
    assert spread.max() < 2, "uniform values end at 1.73 standard deviations"
    again = initial_weights(Site(3, 2), d_in=400, d_sae=900, seed=5)
    assert torch.equal(again["W_enc"], start["W_enc"])
    other = initial_weights(Site(2, 3), d_in=400, d_sae=900, seed=5)
    assert not torch.equal(other["W_enc"], start["W_enc"])


def test_decoder_is_not_normalised_again():
    bank = train_bank(planted(1, 150, 20), sites_of(1), SMALL, seed=0, device="cpu")
    assert (bank.W_dec.norm(dim=-1) - 1).abs().max() > 1e-3


def test_half_precision_trains_in_single():
    x = planted(2, rows=60, d_in=20).to(torch.bfloat16)
    half = train_bank(x, sites_of(2), SMALL, seed=1, device="cpu")
    single = train_bank(x.float(), sites_of(2), SMALL, seed=1, device="cpu")
    assert half.W_enc.dtype == torch.float32
    assert torch.equal(half.W_enc, single.W_enc)


def test_fewer_rows_than_a_batch_and_one_row():
    for rows in (1, 5):
        x = planted(2, rows, 20)
        bank = train_bank(x, sites_of(2), SMALL, seed=1, device="cpu")
        assert bank.W_enc.isfinite().all()


def test_all_latents_active():
    recipe = dataclasses.replace(SMALL, k=48)
    bank = train_bank(planted(2, 60, 20), sites_of(2), recipe, seed=1, device="cpu")
    assert (bank.encode(planted(2, 60, 20)) != 0).all()


# The planted codes are signed; topk needs two latents for what abstopk says with one.
@pytest.mark.parametrize(("architecture", "limit"), [("abstopk", 0.05), ("topk", 0.15)])
def test_a_planted_dictionary_is_learned(architecture, limit):
    sites, x = sites_of(2), planted(2, rows=1200, d_in=32)
    recipe = Recipe(architecture, d_sae=96, k=8, epochs=40, batch_size=64, learning_rate=3e-3)
    bank = train_bank(x[:, :1000], sites, recipe, seed=0, device="cpu")
    held_out = bank_quality(bank, x[:, 1000:], device="cpu")
    fvu = [each.value for each in held_out if each.metric == "fvu"]
    assert max(fvu) < limit
    start = dataclasses.replace(recipe, epochs=1, learning_rate=1e-9)
    untrained = bank_quality(
        train_bank(x, sites, start, seed=0, device="cpu"), x[:, 1000:], device="cpu"
    )
    assert min(each.value for each in untrained if each.metric == "fvu") > 0.5


def test_choose_backend():
    assert choose_backend(CPU, 128, 512, 100, 24) == "batched"
    assert choose_backend(CPU, 64, 64, 8, 96) == "batched"
    assert choose_backend(CPU, 768, 512, 100, 72) == "looped"
    assert choose_backend(CPU, 128, 512, 100, 1) == "looped"
    assert choose_backend(CPU, 120, 512, 100, 24) == "looped"
    assert choose_backend(CPU, 128, 500, 100, 24) == "looped"
    assert choose_backend(CUDA, 2048, 512, 100, 96) == "batched"


def test_errors():
    x, sites = planted(2, 20, 20), sites_of(2)
    with pytest.raises(SaeflowError, match="of 2 sites came with 1 different"):
        train_bank(x, sites[:1], SMALL, seed=0, device="cpu")
    with pytest.raises(SaeflowError, match="2 sites came with 1 different sites"):
        train_bank(x, [sites[0]] * 2, SMALL, seed=0, device="cpu")
    with pytest.raises(SaeflowError, match="there are 0 rows"):
        train_bank(x[:, :0], sites, SMALL, seed=0, device="cpu")
    raw = Recipe("abstopk", 20, 3, control="raw_neurons")
    with pytest.raises(SaeflowError, match="'raw_neurons', which is not trained"):
        train_bank(x, sites, raw, seed=0, device="cpu")
    broken = x.clone()
    broken[1, 3, 4] = float("inf")
    with pytest.raises(SaeflowError, match="activations at layer0_step1 hold values that are not"):
        train_bank(broken, sites, SMALL, seed=0, device="cpu")
    wild = dataclasses.replace(SMALL, learning_rate=1e30)
    with pytest.raises(SaeflowError, match=r"training\.learning_rate is 1e\+30.*layer0_step0"):
        train_bank(x, sites, wild, seed=0, device="cpu")


@cuda_only
@pytest.mark.parametrize("backend", ["batched", "looped"])
def test_cuda_trains_as_the_cpu_does(backend):
    sites, x = sites_of(5), planted(5, rows=150, d_in=20)
    expected = train_bank(x, sites, SMALL, seed=4, device="cpu")
    found = train_bank(x, sites, SMALL, seed=4, device=CUDA, backend=backend)
    assert found.device.type == "cpu"
    assert_close(found, expected, 1e-3)  # sums in another order, over 30 steps of Adam
    again = train_bank(x, sites, SMALL, seed=4, device=CUDA, backend=backend)
    assert torch.equal(found.W_enc, again.W_enc)
