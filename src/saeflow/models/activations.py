"""GPT-2's activation function without eight passes over memory."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import NewGELUActivation

_BLOCK = 2**17
"""Numbers per thread: what is read and written of them stays in a processor's own cache."""


class BlockedGELU(NewGELUActivation):  # type: ignore[misc]  # transformers tells no types
    """`NewGELUActivation` bit by bit, some rows at a time.

    transformers writes the formula as eight operations, each of which reads and writes all of what
    an MLP carries: 1,024 x 3,072 x 4 bytes for 1,024 tokens of GPT-2 small, more than a processor's
    cache holds (`tests/benchmarks/extraction.py` measures what that costs). Where gradients are
    wanted, or on a GPU, whose launches cost more than its memory, the formula is as it was.
    """

    def forward(self, input: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Apply the function, element by element."""
        if input.is_cuda or (torch.is_grad_enabled() and input.requires_grad):
            whole: Tensor = super().forward(input)
            return whole
        flat = input.flatten()
        result = torch.empty_like(flat)
        size = _BLOCK * torch.get_num_threads()
        inner = torch.empty_like(flat[:size])
        for x, out in zip(torch.split(flat, size), torch.split(result, size), strict=True):
            bent = inner[: len(x)]
            torch.pow(x, 3.0, out=bent)
            bent.mul_(0.044715).add_(x).mul_(math.sqrt(2.0 / math.pi)).tanh_().add_(1.0)
            torch.mul(x, 0.5, out=out).mul_(bent)
        return result.view(input.shape)


def block_activations(model: nn.Module) -> None:
    """Replace every `NewGELUActivation` of a model, which gives what it gave.

    Parameters
    ----------
    model : torch.nn.Module
        Is changed; weights and their names stay.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is NewGELUActivation:
                setattr(parent, name, BlockedGELU())
