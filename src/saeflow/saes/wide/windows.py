"""Tokens around chosen tokens of a block."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.saes.wide.reading import TokenBlock

NO_TOKEN = -1
"""In place of a token before or behind a document."""


class Windows(NamedTuple):
    """Tokens around examples, the example's own in the middle.

    Attributes
    ----------
    token : Tensor of int32, shape (examples, window)
        Ids; `NO_TOKEN` outside the document.
    activation : Tensor of float32, shape (examples, window)
        Of the example's feature; NaN outside the document and on what the tokenizer puts before it.
    """

    token: Int[Tensor, "examples window"]
    activation: Float[Tensor, "examples window"]


class Around:
    """Rows of a block around some of its rows, those of the same document alone."""

    def __init__(self, block: TokenBlock, rows: Int[Tensor, " examples"], context: int) -> None:
        offsets = torch.arange(-context, context + 1, device=rows.device)
        places = rows[:, None] + offsets
        inside = (places >= 0) & (places < len(block.document))
        places = places.clamp(0, max(0, len(block.document) - 1))
        if len(rows):
            inside &= block.document[places] == block.document[rows][:, None]
        self._places, self._inside = places, inside

    def tokens(self, block: TokenBlock) -> Int[Tensor, "examples window"]:
        """Their ids, int32."""
        if not len(self._places):
            return self._places.int()
        return block.token[self._places].masked_fill(~self._inside, NO_TOKEN).int()

    def silent(self, block: TokenBlock) -> Float[Tensor, "examples window"]:
        """0 on tokens that count, else NaN."""
        nothing = torch.zeros(self._places.shape, device=self._places.device)
        if not len(self._places):
            return nothing
        return nothing.masked_fill(~self._inside | block.begin[self._places], float("nan"))

    def activations(
        self, block: TokenBlock, latents: Int[Tensor, " examples"]
    ) -> Float[Tensor, "examples window"]:
        """Values of one latent per example, found by bisection among the block's values."""
        found = self.silent(block)
        if len(self._places):
            width = int(block.latents.max()) + 1
            keys = block.rows * width + block.latents
            wanted = self._places * width + latents[:, None]
            at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
            found += torch.where(keys[at] == wanted, block.values[at], 0.0)
        return found

    def fires(
        self, block: TokenBlock, place: Int[Tensor, " d_sae"], n: int
    ) -> Bool[Tensor, "examples features"]:
        """Which features are not 0 on some token of the window."""
        shape = len(self._places), n
        fires = torch.zeros(shape, dtype=torch.bool, device=self._places.device)
        if not len(fires):
            return fires
        # Only rows near an example: of all rows the table would be as large as dense activations.
        near, number = torch.unique(self._places, return_inverse=True)
        of_row = torch.full((len(block.document),), -1, device=near.device)
        of_row[near] = torch.arange(len(near), device=near.device)
        row, latent = of_row[block.rows], place[block.latents]
        wanted = (row >= 0) & (latent >= 0)
        table = torch.zeros((len(near), n), dtype=torch.bool, device=near.device)
        table[row[wanted], latent[wanted]] = True
        for offset in range(number.shape[1]):
            fires |= table[number[:, offset]] & self._inside[:, offset, None]
        return fires
