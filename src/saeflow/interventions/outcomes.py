"""What an intervention on thoughts did, problem by problem; what reads it needs no model."""

from __future__ import annotations

from dataclasses import dataclass, fields

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """What an intervention did, beside the run without it, problem by problem.

    Attributes
    ----------
    problems : torch.Tensor of int, shape (rows,)
        Numbers of the problems in the run.
    log_probability : torch.Tensor of shape (rows,)
        Change of the right answer's log-probability, in nats.
    kl : torch.Tensor of shape (rows,)
        Kullback-Leibler divergence of the answer's first token, from without to with, in nats.
    cosine : torch.Tensor of shape (rows,)
        Cosine of the latent behind the first edited step with what it was.
    changed : torch.Tensor of bool, shape (rows,)
        Whether the greedy answer is another text.
    correct : torch.Tensor of int, shape (rows,)
        Change of being right: -1, 0 or 1.
    right_before : torch.Tensor of bool, shape (rows,)
        Whether the answer without the intervention is right.
    """

    problems: Int[Tensor, " rows"]
    log_probability: Float[Tensor, " rows"]
    kl: Float[Tensor, " rows"]
    cosine: Float[Tensor, " rows"]
    changed: Bool[Tensor, " rows"]
    correct: Int[Tensor, " rows"]
    right_before: Bool[Tensor, " rows"]

    def rows(self, part: slice) -> Outcome:
        """Outcome of some of the rows."""
        return Outcome(*(getattr(self, each.name)[part] for each in fields(self)))
