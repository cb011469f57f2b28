"""Adam on some rows of a tensor, with moments that belong to the caller."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam


def adam_update(
    weight: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    mean: Float[Tensor, "*shape"],
    square: Float[Tensor, "*shape"],
    *,
    step: int,
    learning_rate: float,
) -> None:
    """Update a weight and its moments in place, as `torch.optim.Adam` does with its defaults.

    Views of some rows may be given: every number is updated by itself. So the gradient of all
    latents need not exist at once, and that of some is used while it is still in the cache.

    Parameters
    ----------
    weight, gradient, mean, square : torch.Tensor of one shape and device, float32
        What is updated, by what, and its moments.
    step : int
        Which update this is, counted from 1.
    learning_rate : float
        Of this update.
    """
    adam(
        [weight],
        [gradient],
        [mean],
        [square],
        [],
        [torch.full((), step - 1.0, device=weight.device)],  # adam counts it up itself
        fused=weight.device.type in ("cpu", "cuda"),
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )
