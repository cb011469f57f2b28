"""Answers that are drawn, not the likeliest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """Tokens drawn by the model's probabilities, the same whatever is in a batch beside them.

    Attributes
    ----------
    temperature : float
        Divides the logits.
    uniform : torch.Tensor of shape (rows, new), float64
        A number from 0 to 1 for each row and new token: where it falls among the running sums of
        the probabilities.
    """

    temperature: float
    uniform: Float[Tensor, "rows new"]

    def draw(self, logits: Float[Tensor, "rows tokens"], number: int) -> Int[Tensor, " rows"]:
        """Draw the new token of a number, counted from 0."""
        scaled = logits.double()
        if self.temperature != 1:
            scaled = scaled / self.temperature
        sums = scaled.softmax(-1).cumsum(-1)
        # The last sum may fall short of 1 by rounding, which must not name a token too many.
        wanted = self.uniform[:, number, None].to(sums.device) * sums[:, -1:]
        drawn: Tensor = torch.searchsorted(sums, wanted, right=True)[:, 0]
        return drawn.clamp(max=logits.shape[1] - 1)
