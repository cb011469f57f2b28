"""Activations of features as a long table: zeros are not stored."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from saeflow.saes.bank import Bank
from saeflow.saes.parallel import one_thread_each

Long = tuple[Int64[np.ndarray, " n"], Int32[np.ndarray, " n"], Float32[np.ndarray, " n"]]


def encode_long(sae: Bank, x: Float[Tensor, "rows d_in"], *, block_rows: int = 4096) -> Long:
    """Encode activations of one site and list what is not 0.

    A latent that is selected but whose value is exactly 0 counts as inactive, as in the study,
    where active means ``!= 0`` (methods/1, 2.5).

    Parameters
    ----------
    sae : Bank
        Bank of one site, on any device.
    x : torch.Tensor of shape (rows, d_in), float32, float16 or bfloat16
        Activations, on any device.
    block_rows : int
        Rows in memory at a time.

    Returns
    -------
    rows : numpy.ndarray of shape (n,), int64
        Row of x, ascending.
    latents : numpy.ndarray of shape (n,), int32
        Latent, ascending within a row.
    values : numpy.ndarray of shape (n,), float32
        Its value, never 0.
    """

    def encode_block(start: int) -> Long:
        block = x[start : start + block_rows].to(sae.device).unsqueeze(0)
        features = sae.encode(block)[0]
        row, latent = features.nonzero(as_tuple=True)
        value = features[row, latent].cpu().numpy()
        return row.cpu().numpy() + start, latent.cpu().numpy().astype(np.int32), value

    starts = range(0, max(1, x.shape[0]), block_rows)  # one empty block where there are no rows
    with one_thread_each(sae.device) as pool:
        rows, latents, values = zip(*pool.map(encode_block, starts), strict=True)
    return np.concatenate(rows), np.concatenate(latents), np.concatenate(values)
