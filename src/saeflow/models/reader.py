"""One growing forward pass with explicit masks and positions."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class Reader:
    """Cache, mask and positions of a batch; what a row gives does not depend on its padding.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    mask : torch.Tensor of shape (batch, length)
        1 at real tokens of what will be read first, 0 at padding on either side.
    """

    def __init__(self, model: PreTrainedModel, mask: Int[Tensor, "batch length"]) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self.mask = mask.clone()
        self._read = 0

    def fork(self) -> Reader:
        """Return a second reader that goes on from here; neither sees what the other reads."""
        other = Reader(self._model, self.mask)
        for index, layer in enumerate(self._cache.layers):
            other._cache.update(layer.keys, layer.values, index)
        other._read = self._read
        return other

    def read(
        self,
        embeddings: Float[Tensor, "batch new d_in"],
        mask: Int[Tensor, "batch new"] | None = None,
        *,
        hidden_states: bool = False,
    ) -> Any:
        """Read embeddings behind what was read.

        Parameters
        ----------
        embeddings : torch.Tensor of shape (batch, new, d_in)
            Input of the first block but for positions.
        mask : torch.Tensor of shape (batch, new), optional
            Which of them are real; by default all, but for what the first mask already covers.
        hidden_states : bool
            Whether to return the hidden states of every layer.

        Returns
        -------
        transformers.modeling_outputs.BaseModelOutputWithPast
            ``last_hidden_state`` is after the final norm.
        """
        grow = self._read + embeddings.shape[1] - self.mask.shape[1]
        if grow > 0:
            new = self.mask.new_ones(len(self.mask), grow) if mask is None else mask
            self.mask = torch.cat([self.mask, new], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)[:, self._read :]
        output = self._model.base_model(
            inputs_embeds=embeddings,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            output_hidden_states=hidden_states,
        )
        self._read += embeddings.shape[1]
        return output
