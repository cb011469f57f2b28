"""The auxiliary loss, in which dead latents explain what the others leave (Gao et al., 2024, A.2)."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.saes.wide.products import product


class Revival:
    """Gradients of the auxiliary loss of one batch.

    Of a token, the `k` dead latents with the largest pre-activations explain the error of the main
    reconstruction, which counts as given: the loss is the mean squared error of that, times a
    coefficient. It pulls dead latents to directions that are missing. Dead latents alone are computed,
    2 d_in operations each way for each token.

    Parameters
    ----------
    weights : dict of str to torch.Tensor
        Of the SAE, before the update.
    dead : torch.Tensor of shape (dead,), int64
        Dead latents, ascending.
    k : int
        How many explain a token together, all if there are fewer.
    coefficient : float
        Weight of the loss.
    half : bool
        Whether to multiply matrices in bfloat16.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        dead: Int[Tensor, " dead"],
        k: int,
        coefficient: float,
        half: bool,
    ) -> None:
        self.dead, self.k, self.half = dead, min(k, len(dead)), half
        self.coefficient = coefficient
        self.W_enc, self.W_dec = weights["W_enc"][dead], weights["W_dec"][dead]
        self.b_enc = weights["b_enc"][dead]

    def explain(
        self,
        pool: Executor,
        parts: Sequence[slice],
        inputs: Float[Tensor, "rows d_in"],
        gradient: Float[Tensor, "rows d_in"],
        unit: float,
    ) -> Float[Tensor, ""]:
        """Compute the loss and what its gradients are made of.

        Parameters
        ----------
        pool : Executor
            Where parts of the batch are computed.
        parts : sequence of slice
            Rows that are computed together.
        inputs : torch.Tensor of shape (rows, d_in), float32
            What the encoder reads.
        gradient : torch.Tensor of shape (rows, d_in), float32
            Error of the main reconstruction, times `unit`.
        unit : float
            2 / (rows · d_in).

        Returns
        -------
        torch.Tensor of shape (), float64
            The loss.
        """
        self.inputs, shape = inputs, (len(inputs), len(self.dead))
        self.features, self.back = inputs.new_empty(shape), inputs.new_empty(shape)
        self.gradient = torch.empty_like(inputs)

        def part_of(rows: slice) -> Tensor:
            pre = product(inputs[rows], self.W_enc.T, self.half).add_(self.b_enc)
            best = pre.topk(self.k, dim=1, sorted=False)
            features = self.features[rows].zero_()
            features.scatter_(1, best.indices, best.values.relu_())
            # What is to be explained is the negative of the error.
            left = product(features, self.W_dec, self.half) + gradient[rows] / unit
            self.gradient[rows] = left * (unit * self.coefficient)
            back = product(self.gradient[rows], self.W_dec.T, self.half)
            torch.mul(back, features > 0, out=self.back[rows])
            return left.double().square().sum()

        squared = torch.stack(list(pool.map(part_of, parts))).sum()
        return squared * (self.coefficient * unit / 2)

    def add_to(self, gradients: dict[str, Tensor], start: int, stop: int) -> None:
        """Add the gradients of the dead among latents `start` to `stop`, in place."""
        ends = torch.tensor([start, stop], device=self.dead.device)
        first, last = torch.searchsorted(self.dead, ends).tolist()
        if first == last:
            return
        here, rows = slice(first, last), self.dead[first:last] - start
        back, features = self.back[:, here], self.features[:, here]
        gradients["b_enc"][rows] += back.sum(0)
        if "W_enc" in gradients:
            gradients["W_enc"][rows] += product(back.T, self.inputs, self.half)
        if "W_dec" in gradients:
            gradients["W_dec"][rows] += product(features.T, self.gradient, self.half)
