"""From a released SAE to one that reads activations as Hugging Face models carry them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saeflow.config.dictionaries import TokenHook
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.released.loading import ReleasedSAE
from saeflow.saes.storage import ARCHITECTURES, LIMITED


def folded_release(released: ReleasedSAE, site: Site, hook: TokenHook, *, centred: bool) -> Bank:
    """Bank of one SAE whose features of plain activations are the release's of its own.

    A release may read activations without their mean over dimensions (``x - mean(x)``, what
    TransformerLens' centred weights carry): with C = I - 11ᵀ/d, ``(Cx - b_dec) W_enc + b_enc`` is
    ``x (C W_enc) + (b_enc - b_dec W_enc)``. Features and reconstruction stay the same; the
    reconstruction is that of the centred activation. Of topk with rescaled activations the decoder
    norms are folded, as SAELens folds them; else they stay as released.

    Parameters
    ----------
    released : ReleasedSAE
        As SAELens reads it; its weights are used up.
    site : Site
        What it reads.
    hook : str
        Where that is in the block.
    centred : bool
        Whether its activations are centred.

    Returns
    -------
    Bank
        On the CPU, float32.

    Raises
    ------
    SaeflowError
        If its kind is not supported or depends on each activation's own scale.
    """
    sae = released.sae
    config = sae.cfg
    architecture = config.architecture()
    _check_kind(released, architecture)
    if getattr(config, "rescale_acts_by_decoder_norm", False):
        sae.fold_W_dec_norm()
    state: dict[str, Tensor] = {name: each.detach() for name, each in sae.state_dict().items()}
    W_enc, b_enc = state["W_enc"].float(), state["b_enc"].double()
    if config.apply_b_dec_to_input:
        # Row by row in double precision, not all of W_enc at once: that would take twice its memory.
        shift = torch.zeros_like(b_enc)
        for bias, row in zip(state["b_dec"].double(), W_enc, strict=True):
            shift += bias * row
        b_enc = b_enc - shift
    if centred:
        W_enc = W_enc - W_enc.mean(0, dtype=torch.float64).float()
    weights = [W_enc, b_enc.float(), state["W_dec"].float(), state["b_dec"].float()]
    if architecture == "jumprelu":
        weights.append(state["threshold"].float())
    k = int(config.k) if architecture in LIMITED else config.d_sae
    recipe = Recipe(architecture, int(config.d_sae), k, hook=hook)
    return Bank(recipe, (site,), *(each.contiguous().unsqueeze(0) for each in weights))


def _check_kind(released: ReleasedSAE, architecture: str) -> None:
    config: Any = released.sae.cfg
    what = f"{released.sae_id!r} of {released.release}"
    if architecture not in ARCHITECTURES:
        raise SaeflowError(
            f"{what} has the architecture {architecture}; expected one of {', '.join(ARCHITECTURES)} "
            "(batchtopk, too, is released as jumprelu)."
        )
    if config.normalize_activations != "none":
        why = (
            "without a factor for it in SAELens' registry"
            if config.normalize_activations == "expected_average_only_in"
            else "whose factor differs from token to token"
        )
        raise SaeflowError(
            f"{what} normalises activations by {config.normalize_activations}, {why}, which no weights "
            "can hold; expected an SAE with none, or with a fixed factor."
        )
    found = {*released.sae.state_dict()} - {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}
    if found:
        raise SaeflowError(
            f"{what} has the weights {', '.join(sorted(found))}, too; expected W_enc, b_enc, W_dec and "
            "b_dec, and of jumprelu threshold."
        )
