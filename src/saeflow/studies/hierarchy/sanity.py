"""The study's checks that its interventions do what they say (methods/2, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.interventions.edits import Change, ablate, exchange
from saeflow.saes.bank import Bank
from saeflow.studies.hierarchy.bins import ALL
from saeflow.studies.hierarchy.rule_counts import Number

ROWS = 100
"""Activations that are checked, the first ones."""
UNCHANGED = 1e-5
"""A change of every dimension below this is none."""
LARGEST_ERROR = 10.0
"""A mean squared error below this is that of a reconstruction."""
MEAN = "mean"
"""Control: every reconstruction is the mean of the activations."""


class Sanity(NamedTuple):
    """What the checks of one site measure, in the unit of the activations.

    Attributes
    ----------
    rows : int
        Activations.
    swapped : float
        Largest absolute change of a reconstruction when the feature that fires most often is
        swapped with itself.
    n_never_active : int
        Features that fire on none of the rows.
    ablated : float or None
        Largest absolute change when all of them are ablated; None where there is none.
    error : float
        Mean squared error of the reconstructions.
    error_of_mean : float
        The same where each reconstruction is the mean of the rows.
    """

    rows: int
    swapped: float
    n_never_active: int
    ablated: float | None
    error: float
    error_of_mean: float

    def passes(self, error: float) -> bool:
        """Whether all checks pass with this mean squared error."""
        changes = (self.swapped, self.ablated or 0.0)
        return max(changes) < UNCHANGED and error < LARGEST_ERROR


def check_sanity(sae: Bank, x: Float[Tensor, "rows d_in"]) -> Sanity:
    """Swap, ablate and reconstruct at one site.

    Parameters
    ----------
    sae : Bank
        Bank of the site.
    x : torch.Tensor of shape (rows, d_in)
        Its activations, on any device; one or more.
    """
    x = x[:ROWS].to(sae.device)
    values = sae.encode(x[None])[0]
    before = sae.decode(values[None])[0]
    order = torch.arange(len(x), device=x.device)

    def largest_change(change: Change) -> float:
        after = sae.decode(change(values, order)[None])[0]
        return float((after - before).abs().max())

    n_active = values.count_nonzero(dim=0)
    commonest = int(n_active.argmax())
    never = (n_active == 0).nonzero()[:, 0].tolist()
    exact = x.double()
    return Sanity(
        len(x),
        largest_change(exchange(commonest, commonest)),
        len(never),
        largest_change(ablate(never)) if never else None,
        float((before.double() - exact).square().mean()),
        float((exact.mean(0) - exact).square().mean()),
    )


def sanity_numbers(checks: Sequence[Sanity]) -> Iterator[Number]:
    """Sum up the checks of some sites.

    Parameters
    ----------
    checks : sequence of Sanity
        One per site.

    Yields
    ------
    Number
        The largest change at any site when a feature is swapped with itself, and when features
        that never fire are ablated (n: such features); the mean over sites of the mean squared error
        (n: rows); the share of sites that pass. The latter two also for the control `MEAN`.
    """
    swapped = max((each.swapped for each in checks), default=None)
    yield Number(ALL, "sanity.swap_with_itself", swapped, len(checks))
    ablated = [each.ablated for each in checks if each.ablated is not None]
    n_never_active = sum(each.n_never_active for each in checks)
    yield Number(ALL, "sanity.never_active", max(ablated, default=None), n_never_active)
    for control, errors in (
        ("none", [each.error for each in checks]),
        (MEAN, [each.error_of_mean for each in checks]),
    ):
        passed = [each.passes(error) for each, error in zip(checks, errors, strict=True)]
        n_rows = sum(each.rows for each in checks)
        error, share = (float(np.mean(all_of)) if checks else None for all_of in (errors, passed))
        yield Number(ALL, "sanity.reconstruction_mse", error, n_rows, control)
        yield Number(ALL, "sanity.passes", share, len(checks), control)
