"""Published measure of what a feature does: how a reconstruction changes without it (methods/2, 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.config.hierarchy import ImpactSettings
from saeflow.saes.bank import Bank

HIGH, MEDIUM, LOW = "HIGH", "MEDIUM", "LOW"


class Impact(NamedTuple):
    """Change of the reconstructions when a feature is set to zero, in the unit of the activations.

    Attributes
    ----------
    mean : numpy.ndarray of float64, shape (features,)
        Mean absolute change over all rows and dimensions.
    largest : numpy.ndarray of float64, shape (features,)
        Largest absolute change.
    mean_l2 : numpy.ndarray of float64, shape (features,)
        Mean over all rows of the change's length.
    """

    mean: Float[np.ndarray, " features"]
    largest: Float[np.ndarray, " features"]
    mean_l2: Float[np.ndarray, " features"]


def ablation_impact(
    sae: Bank, x: Float[Tensor, "rows d_in"], features: Int[np.ndarray, " features"]
) -> Impact:
    """Encode, ablate one feature at a time, decode, and compare the reconstructions.

    No model runs. Rows on which a feature is zero are not decoded again: nothing changes there.

    Parameters
    ----------
    sae : Bank
        Bank of one site.
    x : torch.Tensor of shape (rows, d_in)
        Activations of that site, on any device.
    features : numpy.ndarray of int, shape (features,)
        Which features.

    Returns
    -------
    Impact
        In the order of `features`.
    """
    values = sae.encode(x.to(sae.device).unsqueeze(0))
    before = sae.decode(values)
    found = np.zeros((3, len(features)))
    for place, feature in enumerate(features.tolist()):
        rows = values[0, :, feature].nonzero()[:, 0]
        if not len(rows):
            continue
        ablated = values[:, rows]
        ablated[..., feature] = 0.0
        change = (before[0, rows] - sae.decode(ablated)[0]).double()
        found[0, place] = change.abs().sum().item() / x.numel()
        found[1, place] = change.abs().max().item()
        found[2, place] = change.norm(dim=1).sum().item() / len(x)
    return Impact(*found)


def impact_level(mean: float, settings: ImpactSettings) -> str:
    """HIGH, MEDIUM or LOW by the published thresholds."""
    if mean > settings.high:
        return HIGH
    return MEDIUM if mean > settings.medium else LOW
