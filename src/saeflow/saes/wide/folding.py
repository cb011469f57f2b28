"""From a wide SAE in training to one that reads activations as they are."""

from __future__ import annotations

import torch

from saeflow.config.dictionaries import TokenHook
from saeflow.saes.bank import Bank, Site
from saeflow.saes.wide.recipe import WideRecipe
from saeflow.saes.wide.state import WideState


def folded(recipe: WideRecipe, state: WideState, site: Site, hook: TokenHook) -> Bank:
    """Bank of one SAE that gives the same reconstruction of unscaled activations.

    In training an activation is multiplied by a factor c and, but for the published form, b_dec is
    subtracted. Pre-activations and reconstruction are then c times what they are without, so that
    W_enc and W_dec stay, (b_enc - W_enc b_dec) / c stands for b_enc, and b_dec and the threshold are
    divided by c. Features are in the unit of the activations.

    Parameters
    ----------
    recipe : WideRecipe
        What the SAE is.
    state : WideState
        At the end of training, on any device.
    site : Site
        What it reads.
    hook : str
        Where that is in the block.

    Returns
    -------
    Bank
        On the CPU: architecture topk; jumprelu of batchtopk, with the running threshold, as SAELens
        saves it; standard of relu.
    """
    weights = {name: each.double().cpu() for name, each in state.weights.items()}
    factor = state.factor.cpu()
    b_enc = weights["b_enc"]
    if not recipe.published:
        b_enc = b_enc - weights["W_enc"] @ weights["b_dec"]
    threshold = None
    if recipe.architecture == "batchtopk":
        cut = (state.threshold.cpu() / factor).float()
        threshold = torch.ones(1, recipe.d_sae) * cut
    return Bank(
        recipe.saved(hook),
        (site,),
        state.weights["W_enc"].cpu().T.contiguous().unsqueeze(0),
        (b_enc / factor).float().unsqueeze(0),
        state.weights["W_dec"].cpu().clone().unsqueeze(0),
        (weights["b_dec"] / factor).float().unsqueeze(0),
        threshold,
    )
