"""Latents of tokens without a table of all latents, where the architecture needs none."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.saes.bank import Bank
from saeflow.saes.encode import encode_long
from saeflow.saes.wide.strongest import strongest

_DENSE, _CACHED = 2**25, 2**20
"""Most pre-activations at a time, on a GPU and on a CPU, whose caches hold 4 MiB of them."""


def strongest_latents(
    sae: Bank, x: Float[Tensor, "rows d_in"]
) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Latents of a topk SAE that are not 0, without a table of all.

    Parameters
    ----------
    sae : Bank
        Of one site and the architecture topk.
    x : torch.Tensor of shape (rows, d_in)
        Activations, on the bank's device.

    Returns
    -------
    values : torch.Tensor of shape (rows, k), float32
        Of the k largest pre-activations, those below 0 as 0; in no order. Equal to `Bank.encode` but for
        which of equal pre-activations are taken.
    latents : torch.Tensor of shape (rows, k), int64
        Where they stand.
    """
    blocks = torch.split(x, max(1, (_DENSE if x.is_cuda else _CACHED) // sae.d_sae))
    found = [
        strongest(torch.addmm(sae.b_enc[0], block.float(), sae.W_enc[0]), sae.recipe.k)
        for block in blocks
    ]
    values, latents = (torch.cat(each) for each in zip(*found, strict=True))
    return values.clamp_(min=0), latents


def encode_tokens(
    sae: Bank, x: Float[Tensor, "rows d_in"]
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Latents that are not 0, listed on the device where they are found.

    Parameters
    ----------
    sae : Bank
        Of one site.
    x : torch.Tensor of shape (rows, d_in)
        Activations, on the bank's device.

    Returns
    -------
    rows : torch.Tensor of shape (n,), int64
        Row of x, ascending.
    latents : torch.Tensor of shape (n,), int64
        Latent, ascending within a row.
    values : torch.Tensor of shape (n,), float32
        Its value, never 0.
    """
    if sae.recipe.architecture == "topk":
        values, latents = strongest_latents(sae, x)
        latents, order = latents.sort(dim=1)
        values = values.gather(1, order)
        rows, places = values.nonzero(as_tuple=True)
        return rows, latents[rows, places], values[rows, places]
    rows, latents, values = (
        torch.from_numpy(each).to(x.device)
        for each in encode_long(sae, x, block_rows=max(1, _DENSE // sae.d_sae))
    )
    return rows, latents.long(), values
