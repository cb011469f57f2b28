"""From hidden states after the final norm to logits."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel


def unembed(
    model: PreTrainedModel, hidden: Float[Tensor, "... d_in"]
) -> Float[Tensor, "... vocabulary"]:
    """Logits as the model's own forward pass gives them, soft-capped where its family does that.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    hidden : torch.Tensor of shape (..., d_in)
        Hidden states after the final norm.

    Returns
    -------
    torch.Tensor of shape (..., vocabulary)
        In the precision of `hidden`.
    """
    logits: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap
