import math

import numpy as np
import pytest
import torch

from saeflow.saes.quality import bank_quality, site_quality
from tests.unit.test_saes_bank import CUDA, cuda_only, random_bank, raw_neurons


def expected_quality(x: np.ndarray, features: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    x, decoded = x.astype(np.float64), decoded.astype(np.float64)
    error, l0 = x - decoded, (features != 0).sum(1)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(decoded, axis=1)
    return {
        "explained_variance": 1 - error.var() / x.var(),
        "fvu": (error**2).sum() / ((x - x.mean(0)) ** 2).sum(),
        "mse": (error**2).mean(),
        "l0_mean": l0.mean(),
        "l0_std": l0.std(),
        "dead_share": (features == 0).all(0).mean(),
        "cosine": ((x * decoded).sum(1) / norms).mean(),
    }


@pytest.mark.parametrize("architecture", ["abstopk", "topk"])
@pytest.mark.parametrize("block_rows", [16, 2048])
def test_quality_equals_plain_formulas(architecture, block_rows):
    generator = torch.Generator().manual_seed(2)
    bank = random_bank(architecture, k=30 if architecture == "topk" else 3, d_in=24, d_sae=40)
    offset = 50 * torch.randn(24, generator=generator)  # large fixed dimensions, as in models
    x = torch.randn(3, 61, 24, generator=generator) + offset
    features = bank.encode(x)
    decoded = bank.decode(features)
    found = bank_quality(bank, x, device="cpu", block_rows=block_rows)
    assert [each.site for each in found] == [site for site in bank.sites for _ in range(7)]
    assert {each.n for each in found} == {61}
    for place, site in enumerate(bank.sites):
        values = {each.metric: each.value for each in found if each.site == site}
        expected = expected_quality(
            x[place].numpy(), features[place].numpy(), decoded[place].numpy()
        )
        assert values == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert any(each.value > 0 for each in found if each.metric == "dead_share")


def test_fixed_offsets_inflate_explained_variance_but_not_fvu():
    bank = raw_neurons(1, 8, k=4)
    offset = torch.tensor([100.0, -100, 100, -100, 0, 0, 0, 0])
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) + offset
    values = site_quality(bank, x)
    assert values["explained_variance"] > 0.999
    assert values["fvu"] == pytest.approx(0.5, abs=0.05), "half of the noise is lost"
    assert values["dead_share"] == 0.5


def test_identity_reconstructs_everything():
    bank = raw_neurons(1, 8, k=8)
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)).to(torch.float16)
    values = site_quality(bank, x)
    assert (values["explained_variance"], values["fvu"], values["mse"]) == (1, 0, 0)
    assert (values["l0_mean"], values["l0_std"], values["dead_share"]) == (8, 0, 0)
    assert values["cosine"] == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e8])
def test_equal_entries_have_no_variance_to_explain(value):
    bank = random_bank("abstopk", k=5, d_in=24, d_sae=40, n_sites=1)
    values = site_quality(bank, torch.full((33, 24), value))
    assert math.isnan(values["explained_variance"])
    assert math.isnan(values["fvu"])
    assert math.isfinite(values["mse"])


def test_equal_rows_leave_fvu_undefined_alone():
    bank = random_bank("abstopk", k=5, d_in=24, d_sae=40, n_sites=1)
    row = torch.randn(1, 24, generator=torch.Generator().manual_seed(0))
    for rows in (1, 33):
        values = site_quality(bank, row.repeat(rows, 1))
        assert math.isnan(values["fvu"])
        assert math.isfinite(values["explained_variance"])


def test_zero_rows_have_cosine_zero():
    bank = raw_neurons(1, 8, k=8)
    x = torch.cat([torch.zeros(1, 8), torch.ones(1, 8)])
    assert site_quality(bank, x)["cosine"] == pytest.approx(0.5)


@cuda_only
def test_cuda_measures_as_the_cpu_does():
    bank = random_bank("abstopk", k=9, d_in=24, d_sae=40)
    x = torch.randn(3, 500, 24, generator=torch.Generator().manual_seed(0))
    here = bank_quality(bank, x, device="cpu")
    there = bank_quality(bank, x, device=CUDA)
    for one, other in zip(here, there, strict=True):
        assert one.metric == other.metric
        assert other.value == pytest.approx(one.value, rel=1e-3, abs=1e-5)
