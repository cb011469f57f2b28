import dataclasses

import numpy as np
import pytest
import torch

from saeflow.config.dictionaries import DictionarySettings
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.encode import encode_long
from saeflow.saes.fixed import fixed_bank
from saeflow.saes.selection import active_mask, largest_mask

CUDA = torch.device("cuda")
cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sites_of(n: int) -> tuple[Site, ...]:
    """Sites of layers with three steps each."""
    return tuple(Site(*divmod(number, 3)) for number in range(n))


def random_bank(architecture: str, k: int, d_in: int, d_sae: int, n_sites: int = 3) -> Bank:
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / 4

    return Bank(
        Recipe(architecture, d_sae, k),
        sites_of(n_sites),
        draw(n_sites, d_in, d_sae),
        draw(n_sites, d_sae),
        draw(n_sites, d_sae, d_in),
        draw(n_sites, d_in),
        draw(n_sites, d_sae) if architecture == "jumprelu" else None,
    )


def raw_neurons(n_sites: int, d_in: int, k: int) -> Bank:
    recipe = Recipe("abstopk", d_in, k, control="raw_neurons")
    return fixed_bank(torch.zeros(n_sites, 1, d_in), sites_of(n_sites), recipe, seed=0)


def naive_features(bank: Bank, x: torch.Tensor) -> np.ndarray:
    """Row by row with NumPy's sort."""
    pre = np.einsum("srd,sdf->srf", x.double().numpy(), bank.W_enc.double().numpy())
    pre = pre + bank.b_enc.double().numpy()[:, None]
    score = np.abs(pre) if bank.recipe.architecture == "abstopk" else pre
    features = np.zeros_like(pre)
    for site in range(pre.shape[0]):
        for row in range(pre.shape[1]):
            chosen = np.argsort(score[site, row])[-bank.recipe.k :]
            features[site, row, chosen] = pre[site, row, chosen]
    return features if bank.recipe.architecture == "abstopk" else np.maximum(features, 0)


@pytest.mark.parametrize("architecture", ["abstopk", "topk"])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_encode_and_decode_follow_the_formula(architecture, k):
    bank = random_bank(architecture, k=k, d_in=24, d_sae=40)
    x = torch.randn(3, 50, 24)
    features = bank.encode(x)
    expected = naive_features(bank, x)
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-5)
    reconstruction = expected @ bank.W_dec.double().numpy() + bank.b_dec.double().numpy()[:, None]
    np.testing.assert_allclose(bank.decode(features).numpy(), reconstruction, atol=1e-5)


def test_abstopk_keeps_signs_and_topk_drops_negatives():
    pre = torch.tensor([[[0.5, -3.0, 1.0, -2.0, 0.1]]])
    assert active_mask(pre, "abstopk", 2)[0, 0].tolist() == [False, True, False, True, False]
    assert active_mask(pre, "topk", 2)[0, 0].tolist() == [True, False, True, False, False]
    assert active_mask(pre, "topk", 4)[0, 0].tolist() == [True, False, True, False, True]
    assert active_mask(pre, "abstopk", 5).all()
    assert not active_mask(-pre.abs(), "topk", 3).any()
    assert active_mask(pre, "standard", 5)[0, 0].tolist() == [True, False, True, False, True]
    threshold = torch.tensor([[0.0, -9.0, 2.0, 0.0, 9.0]])
    found = active_mask(pre, "jumprelu", 5, threshold)[0, 0].tolist()
    assert found == [True, False, float(pre[0, 0, 2]) > 2, False, False]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_ties_keep_exactly_k_and_agree_with_torch_topk(k):
    scores = torch.tensor([[[1.0, 1, 1, 1, 1, 1, 1, 1], [0, 2, 2, 2, 1, 0, 0, 5]]])
    mask = largest_mask(scores, k)
    assert mask.sum(-1).tolist() == [[k, k]]
    kept = torch.zeros_like(mask).scatter_(-1, scores.topk(k, sorted=False).indices, True)
    assert scores[mask].sum() == scores[kept].sum()
    assert torch.equal(scores[0, 1], torch.tensor([0.0, 2, 2, 2, 1, 0, 0, 5])), "input changed"


def test_encode_accepts_half_precision():
    bank = random_bank("abstopk", k=5, d_in=24, d_sae=40)
    x = torch.randn(3, 10, 24).to(torch.bfloat16)
    assert torch.equal(bank.encode(x), bank.encode(x.float()))


def test_select_keeps_the_order_asked_for():
    bank = random_bank("abstopk", k=5, d_in=24, d_sae=40)
    chosen = bank.select([bank.sites[2], bank.sites[0]])
    assert chosen.sites == (bank.sites[2], bank.sites[0])
    assert torch.equal(chosen.W_dec, bank.W_dec[[2, 0]])
    x = torch.randn(2, 10, 24)
    both = bank.encode(torch.stack([x[1], torch.zeros(10, 24), x[0]]))
    torch.testing.assert_close(chosen.encode(x), both[[2, 0]])
    with pytest.raises(SaeflowError, match="no SAE for layer9_step0; expected one of layer0_step0"):
        bank.select([Site(9, 0)])


def test_site_name():
    assert Site(3, 5).name == "layer3_step5"


def test_recipe_from_settings():
    settings = DictionarySettings(dataset="gsm8k", d_sae=64, k=9)
    recipe = Recipe.from_settings(settings, d_in=32)
    assert (recipe.d_sae, recipe.k, recipe.epochs, recipe.batch_size) == (64, 9, 25, 256)
    assert recipe.learning_rate == 1e-3
    raw = DictionarySettings(dataset="gsm8k", d_sae=None, k=9, control="raw_neurons")
    assert Recipe.from_settings(raw, d_in=32).d_sae == 32
    with pytest.raises(
        SaeflowError, match=r"k is 9, but there are 8 latents of raw_neurons .* from 1 to 8\.$"
    ):
        Recipe.from_settings(raw, d_in=8)


def test_k_must_fit():
    with pytest.raises(SaeflowError, match=r"k is 11, but there are 10 latents \(d_sae\)"):
        Recipe("abstopk", d_sae=10, k=11)
    with pytest.raises(SaeflowError, match="k is 0"):
        Recipe("abstopk", d_sae=10, k=0)


def test_raw_neurons_are_the_largest_coordinates():
    bank = raw_neurons(2, 16, k=3)
    x = torch.randn(2, 20, 16)
    features = bank.encode(x)
    assert (features != 0).sum(-1).eq(3).all()
    assert torch.equal(features[features != 0], x[features != 0])
    assert torch.equal(bank.decode(features), features)
    everything = raw_neurons(2, 16, k=16)
    assert torch.equal(everything.decode(everything.encode(x)), x)


def test_fixed_bank_refuses_other_recipes():
    x, sites = torch.zeros(1, 5, 8), sites_of(1)
    for control in (None, "frozen_encoder"):
        with pytest.raises(
            SaeflowError, match=rf"control is {control!r}; expected one of 'random_"
        ):
            fixed_bank(x, sites, Recipe("abstopk", 8, 3, control=control), seed=0)
    raw = Recipe("abstopk", 16, 3, control="raw_neurons")
    with pytest.raises(SaeflowError, match=r"d_sae is 16.*expected the 8 dimensions"):
        fixed_bank(x, sites, raw, seed=0)
    with pytest.raises(SaeflowError, match=r"activations at layer0_step0 hold values that are not"):
        fixed_bank(x / 0, sites, dataclasses.replace(raw, d_sae=8), seed=0)
    with pytest.raises(SaeflowError, match=r"activations of 1 sites came with 2 different"):
        fixed_bank(x, sites_of(2), dataclasses.replace(raw, d_sae=8), seed=0)


@pytest.mark.parametrize("block_rows", [7, 4096])
def test_encode_long_lists_what_is_not_zero(block_rows):
    bank = random_bank("topk", k=30, d_in=24, d_sae=40).select([Site(0, 1)])
    x = torch.randn(50, 24)
    rows, latents, values = encode_long(bank, x, block_rows=block_rows)
    dense = bank.encode(x.unsqueeze(0))[0].numpy()
    expected = np.nonzero(dense)
    assert (rows.dtype, latents.dtype, values.dtype) == (np.int64, np.int32, np.float32)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(latents, expected[1])
    np.testing.assert_allclose(values, dense[expected], atol=1e-6)
    assert len(values) < 50 * 30, "ReLU leaves some of the selected ones at 0"


def test_encode_long_of_zeros_is_empty():
    bank = raw_neurons(1, 6, k=2)
    for x in (torch.zeros(4, 6), torch.zeros(0, 6)):
        rows, latents, values = encode_long(bank, x)
        assert len(rows) == len(latents) == len(values) == 0


@cuda_only
def test_cuda_encodes_as_the_cpu_does():
    bank = random_bank("abstopk", k=9, d_in=24, d_sae=40)
    x = torch.randn(3, 200, 24)
    features = bank.encode(x)
    on_cuda = bank.to(CUDA)
    there = on_cuda.encode(x.to(CUDA))
    # A latent whose pre-activation ties with the k-th within rounding may differ.
    same = (there.cpu() != 0) == (features != 0)
    assert same.float().mean() > 0.999
    torch.testing.assert_close(there.cpu()[same], features[same], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        on_cuda.decode(there).cpu(), bank.decode(there.cpu()), atol=1e-4, rtol=1e-4
    )
