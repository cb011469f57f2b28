"""Everything about a wide SAE that training changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from saeflow.saes.wide.recipe import WideRecipe, input_factor
from saeflow.seeds import torch_generator

TRAINED = ("W_enc", "b_enc", "W_dec", "b_dec")
MEDIAN_STEPS = 100
MEDIAN_TOLERANCE = 1e-6


@dataclass
class WideState:
    """Weights, Adam's moments and counters of one SAE, all on one device.

    W_enc lies row per latent, as W_dec does, so that what concerns a few latents is a few rows.

    Attributes
    ----------
    weights : dict of str to torch.Tensor, float32
        W_enc and W_dec of shape (d_sae, d_in), b_enc of (d_sae,), b_dec of (d_in,).
    mean, square : dict of str to torch.Tensor, float32
        Adam's moments of the weights, by the same names and shapes.
    idle : torch.Tensor of shape (d_sae,), int64
        Tokens since a latent was last active.
    threshold : torch.Tensor of shape (), float64
        Running mean of the least active value of a batch, in the unit of the scaled activations.
    factor : torch.Tensor of shape (), float64
        What activations are multiplied by before anything else.
    steps : int
        Updates so far.
    """

    weights: dict[str, Tensor]
    mean: dict[str, Tensor]
    square: dict[str, Tensor]
    idle: Int64[Tensor, " d_sae"]
    threshold: Float64[Tensor, ""]
    factor: Float64[Tensor, ""]
    steps: int = 0

    @property
    def finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(each.isfinite().all()) for each in self.weights.values())


def initial_state(
    recipe: WideRecipe, first: Float[Tensor, "rows d_in"], device: torch.device
) -> WideState:
    """State before the first update.

    The encoder starts as PyTorch's linear layer, drawn on the CPU from the recipe's seed; the decoder
    is its transpose, rows of both made of length 1 (Gao et al., 2024, appendix A.1). b_enc starts at 0
    and b_dec at the centre of the first batches. The published SAE instead starts at PyTorch's defaults,
    untied, as the study's does.

    Parameters
    ----------
    recipe : WideRecipe
        What to make.
    first : torch.Tensor of shape (rows, d_in), float32
        The first batches of activations as they are, which give the scale and the centre.
    device : torch.device
        Where the state shall be.

    Returns
    -------
    WideState
        Moments 0, no latent idle.
    """
    d_in = first.shape[1]
    centre = start_of(first, "zero" if recipe.published else recipe.settings.start)
    scale = recipe.settings.scale
    if scale is None:
        # Equal activations have no scale; any will do.
        scale = float((first - centre).double().square().sum(1).mean().sqrt()) or 1.0
    factor = input_factor(d_in, scale)
    weights = _drawn(recipe, d_in)
    if not recipe.published:
        weights["b_dec"] = (centre * factor).cpu()
    weights = {name: weights[name].to(device) for name in TRAINED}
    return WideState(
        weights,
        {name: torch.zeros_like(each) for name, each in weights.items()},
        {name: torch.zeros_like(each) for name, each in weights.items()},
        torch.zeros(recipe.d_sae, dtype=torch.int64, device=device),
        torch.zeros((), dtype=torch.float64, device=device),
        torch.tensor(factor, dtype=torch.float64, device=device),
    )


def _drawn(recipe: WideRecipe, d_in: int) -> dict[str, Tensor]:
    generator = torch_generator(recipe.seed, "wide", "init")

    def uniform(*shape: int, inputs: int) -> Tensor:
        bound = 1 / math.sqrt(inputs)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    W_enc = uniform(recipe.d_sae, d_in, inputs=d_in)
    if not recipe.published:
        torch.nn.functional.normalize(W_enc, dim=1, out=W_enc)
        return {"W_enc": W_enc, "b_enc": torch.zeros(recipe.d_sae), "W_dec": W_enc.clone()}
    return {
        "W_enc": W_enc,
        "b_enc": uniform(recipe.d_sae, inputs=d_in),
        "W_dec": uniform(recipe.d_sae, d_in, inputs=recipe.d_sae),
        "b_dec": uniform(d_in, inputs=recipe.d_sae),
    }


def start_of(x: Float[Tensor, "rows d_in"], kind: str) -> Float[Tensor, " d_in"]:
    """Centre of rows: ``mean``, ``geometric_median`` or ``zero``.

    The geometric median, from which the sum of distances to the rows is least, is found by
    Weiszfeld's iteration from the mean; unlike it, a few far rows hardly move it.

    Parameters
    ----------
    x : torch.Tensor of shape (rows, d_in), float32
        At least one row.
    kind : str
        Which.

    Returns
    -------
    torch.Tensor of shape (d_in,), float32
        In the unit of x.
    """
    if kind == "zero":
        return torch.zeros_like(x[0])
    centre = x.double().mean(0)
    for _ in range(MEDIAN_STEPS if kind == "geometric_median" else 0):
        # Where the centre meets a row, that row's pull is not defined; a floor keeps it finite.
        nearness = 1 / (x - centre).norm(dim=1).clamp(min=1e-12)
        moved = nearness @ x.double() / nearness.sum()
        apart = float((moved - centre).norm() / moved.norm().clamp(min=1e-12))
        centre = moved
        if apart < MEDIAN_TOLERANCE:
            break
    return centre.float()
