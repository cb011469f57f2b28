"""The study's sanity checks (methods/2, section 3.4), beside what numpy makes of the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saeflow.interventions.edits import Change, ablate
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.studies.hierarchy import sanity
from saeflow.studies.hierarchy.sanity import Sanity, check_sanity, sanity_numbers
from tests.published_hierarchy import Row, Study, small_study

D_IN, D_SAE, K = 6, 8, 3
GOOD = Sanity(rows=100, swapped=0.0, n_never_active=2, ablated=1e-7, error=3.0, error_of_mean=12.0)


def small_bank() -> Bank:
    """An SAE of which the last two latents hardly ever fire."""
    rng = torch.Generator().manual_seed(0)
    encoder = torch.randn((1, D_IN, D_SAE), generator=rng)
    encoder[..., -2:] = 0.0
    encoder[:, 0, -2:] = 1e-3
    parts = ((1, D_SAE), (1, D_SAE, D_IN), (1, D_IN))
    rest = (torch.randn(shape, generator=rng) for shape in parts)
    b_enc, decoder, b_dec = rest
    return Bank(Recipe("abstopk", D_SAE, K), (Site(0, 0),), encoder, 0 * b_enc, decoder, b_dec)


def rows(count: int) -> torch.Tensor:
    x = torch.randn((count, D_IN), generator=torch.Generator().manual_seed(1))
    # Beyond the first 100, all latents fire and nothing is reconstructed.
    x[100:] *= 1e4
    x[100:, 1:] = 0.0
    return x


def test_errors_are_those_of_the_first_hundred_rows() -> None:
    bank, x = small_bank(), rows(130)
    found = check_sanity(bank, x)
    first = x[:100].double().numpy()
    values = first @ bank.W_enc[0].double().numpy()
    least = np.sort(np.abs(values), axis=1)[:, -K, None]
    values[np.abs(values) < least] = 0.0
    rebuilt = values @ bank.W_dec[0].double().numpy() + bank.b_dec[0].double().numpy()
    assert found.rows == 100
    assert found.error == pytest.approx(np.mean((rebuilt - first) ** 2), rel=1e-5)
    assert found.error_of_mean == pytest.approx(first.var(axis=0).mean())
    assert found.n_never_active == 2
    assert found.swapped == found.ablated == 0.0
    assert check_sanity(bank, x[:7]).rows == 7
    assert check_sanity(bank, x[100:]).error > 1e4


def test_an_edit_that_does_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(feature: int, other: int) -> Change:
        return ablate([feature, other])

    monkeypatch.setattr(sanity, "exchange", lost)
    found = check_sanity(small_bank(), rows(50))
    assert found.swapped > 0.1
    assert not found.passes(0.0)
    monkeypatch.setattr(sanity, "ablate", lambda features: ablate(range(D_SAE)))
    assert (check_sanity(small_bank(), rows(50)).ablated or 0.0) > 0.1


def test_each_check_can_fail_alone_and_a_missing_one_passes() -> None:
    assert GOOD.passes(GOOD.error)
    assert GOOD._replace(n_never_active=0, ablated=None).passes(3.0)
    assert not GOOD.passes(10.0)
    assert not GOOD._replace(swapped=1e-5).passes(3.0)
    assert not GOOD._replace(ablated=2e-5).passes(3.0)


def test_numbers_of_several_sites_are_the_largest_change_and_mean_error() -> None:
    sites = [
        GOOD,
        GOOD._replace(swapped=2e-5, ablated=None, n_never_active=0),
        GOOD._replace(error=9.0, error_of_mean=9.0),
    ]
    found = {
        (each.metric.removeprefix("sanity."), each.control): (each.value, each.n)
        for each in sanity_numbers(sites)
    }
    assert found == {
        ("swap_with_itself", "none"): (2e-5, 3),
        ("never_active", "none"): (1e-7, 4),
        ("reconstruction_mse", "none"): (5.0, 300),
        ("reconstruction_mse", "mean"): (11.0, 300),
        ("passes", "none"): (pytest.approx(2 / 3), 3),
        ("passes", "mean"): (pytest.approx(1 / 3), 3),
    }


def test_numbers_of_no_site_are_null() -> None:
    assert {(each.value, each.n) for each in sanity_numbers([])} == {(None, 0)}
    without = list(sanity_numbers([GOOD._replace(n_never_active=0, ablated=None)]))[1]
    assert (without.metric, without.value, without.n) == ("sanity.never_active", None, 0)


@pytest.fixture(scope="module")
def study() -> Study:
    return small_study(0)


def test_summary_has_the_checks_of_every_place(study: Study) -> None:
    table = study.tables.summary.to_pylist()

    def at(layer: int | None, step: int | None) -> dict[tuple[str, str], Row]:
        return {
            (row["metric"], row["control"]): row
            for row in table
            if (row["layer"], row["step"]) == (layer, step) and row["metric"].startswith("sanity.")
        }

    checks = {
        site: check_sanity(study.bank.select([site]), study.x[site][study.numbers])
        for site in study.bank.sites
    }
    for site, check in checks.items():
        rows = at(*site)
        assert len(rows) == 6
        assert rows["sanity.reconstruction_mse", "none"]["value"] == check.error
        assert rows["sanity.reconstruction_mse", "mean"]["value"] == check.error_of_mean
        assert rows["sanity.passes", "none"]["value"] == check.passes(check.error)
        assert rows["sanity.never_active", "none"]["n"] == check.n_never_active > 0
    for layer, step in ((None, None), (1, None), (None, 2)):
        chosen = [
            check
            for site, check in checks.items()
            if layer in (None, site.layer) and step in (None, site.step)
        ]
        row = at(layer, step)["sanity.reconstruction_mse", "none"]
        assert row["value"] == pytest.approx(sum(each.error for each in chosen) / len(chosen))
        assert row["n"] == sum(each.rows for each in chosen)
        assert {row["group"] for row in at(layer, step).values()} == {"all"}
