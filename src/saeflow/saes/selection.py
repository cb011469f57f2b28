"""Which latents of a row are active."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Architecture = Literal["abstopk", "topk", "jumprelu", "standard"]


def active_mask(
    pre: Float[Tensor, "sites rows d_sae"],
    architecture: Architecture,
    k: int,
    threshold: Float[Tensor, "sites d_sae"] | None = None,
) -> Bool[Tensor, "sites rows d_sae"]:
    """Latents that keep their pre-activation as their value; the others are 0.

    Parameters
    ----------
    pre : torch.Tensor of shape (sites, rows, d_sae), float32
        Pre-activations.
    architecture : {"abstopk", "topk", "jumprelu", "standard"}
        Largest by absolute value; largest and above 0; above the threshold and 0; above 0.
    k : int
        From 1 to d_sae; of abstopk and topk.
    threshold : torch.Tensor of shape (sites, d_sae), float32, optional
        Of jumprelu.

    Returns
    -------
    torch.Tensor of shape (sites, rows, d_sae), bool
        k per row for abstopk; of topk's k, those above 0.
    """
    if architecture == "standard":
        return pre > 0
    if architecture == "jumprelu":
        assert threshold is not None
        return (pre > threshold.unsqueeze(1)).logical_and_(pre > 0)
    if architecture == "abstopk":
        return largest_mask(pre.abs(), k)
    return largest_mask(pre, k).logical_and_(pre > 0)


def largest_mask(
    scores: Float[Tensor, "sites rows d_sae"], k: int
) -> Bool[Tensor, "sites rows d_sae"]:
    """Mark the k largest scores of each row, exactly k even among ties.

    Parameters
    ----------
    scores : torch.Tensor of shape (sites, rows, d_sae), float32
        On any device.
    k : int
        From 1 to d_sae.

    Returns
    -------
    torch.Tensor of shape (sites, rows, d_sae), bool
        True where kept.
    """
    if scores.device.type != "cpu":
        return _mark_by_topk(scores, k)
    # NumPy's vectorised partition finds the k-th largest faster than torch.topk the k largest
    # (256 rows of 512: 0.22 ms on one thread, 0.66 ms on two); a step takes 30 % less CPU time.
    place = scores.shape[-1] - k
    work = scores.numpy().copy()
    work.partition(place, axis=-1)
    mask = scores >= torch.from_numpy(work[..., place : place + 1])
    if np.count_nonzero(mask.numpy()) != mask.numel() // scores.shape[-1] * k:
        # Some rows tie at their k-th score: torch.topk decides there, as it does in SAELens.
        off = mask.sum(-1) != k
        mask[off] = _mark_by_topk(scores[off], k)
    return mask


def _mark_by_topk(scores: Float[Tensor, "*rows d_sae"], k: int) -> Bool[Tensor, "*rows d_sae"]:
    chosen = scores.topk(k, dim=-1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, chosen, True)
