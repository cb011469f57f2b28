"""One growing forward pass with explicit masks and positions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.models.hooks import entering_at, final_norm, transformer_blocks


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
        # Without the configuration, by which layers with a window would forget what `fork` asks for.
        self._cache = DynamicCache()
        self.mask = mask.clone()
        self._read = 0
        self._first_block = 0

    @property
    def n_read(self) -> int:
        """Positions read so far, padding included."""
        return self._read

    def fork(
        self,
        length: int | None = None,
        rows: Int[Tensor, " rows"] | None = None,
        *,
        first_block: int = 0,
    ) -> Reader:
        """Return a second reader that goes on from here; neither sees what the other reads.

        Parameters
        ----------
        length : int, optional
            Let it have read the first so many positions only.
        rows : torch.Tensor of shape (rows,), optional
            Rows of the batch to go on with, in any order, some perhaps several times.
        first_block : int
            Blocks before it will not be computed again, so nothing of theirs is taken over; then
            nothing can be read behind what is resumed.
        """
        length = self._read if length is None else length
        mask = self.mask[:, :length]
        other = Reader(self._model, mask if rows is None else mask[rows])
        for index, layer in enumerate(self._cache.layers):
            if index < first_block:
                # A cache takes its length from its first layer, whatever that one holds.
                nothing = layer.keys.new_zeros(1, 1, length, 1)
                other._cache.update(nothing, nothing, index)
            else:
                other._cache.update(*_part(layer, slice(0, length), rows), index)
        other._read = length
        other._first_block = first_block
        return other

    def resume(
        self,
        hidden: Float[Tensor, "batch new d_in"],
        block: int,
        whole: Reader,
        rows: Int[Tensor, " batch"],
        *,
        wanted: Bool[Tensor, "batch new"] | None = None,
    ) -> Float[Tensor, "batch new d_in"]:
        """Read positions that another reader has read, computing only the blocks from one on.

        Parameters
        ----------
        hidden : torch.Tensor of shape (batch, new, d_in)
            Input of that block.
        block : int
            First block to compute. The number of blocks means that only the final norm is left
            to do, one more that nothing is.
        whole : Reader
            The reader that this one was forked from, which has read these positions, too. The
            blocks before saw the same there, so their keys and values are taken over.
        rows : torch.Tensor of shape (batch,)
            Rows of `whole` that this reader goes on with.
        wanted : torch.Tensor of bool, shape (batch, new), optional
            Where the result is wanted; None: everywhere.

        Returns
        -------
        torch.Tensor of shape (batch, new, d_in)
            Hidden states after the final norm.
        """
        seen = slice(self._read, self._read + hidden.shape[1])
        n_blocks = len(transformer_blocks(self._model))
        if block < n_blocks:
            with entering_at(self._model, block, hidden), _last_mlp_at(self._model, wanted):
                hidden = self.read(hidden, whole.mask[rows, seen]).last_hidden_state
        else:
            self.mask = whole.mask[rows, : seen.stop]
            self._read = seen.stop
            hidden = final_norm(self._model)(hidden) if block == n_blocks else hidden
        for index, layer in enumerate(whole._cache.layers[:block]):
            if index >= self._first_block:
                self._cache.update(*_part(layer, seen, rows), index)
        return hidden

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

        Raises
        ------
        SaeflowError
            If padding between tokens is in the way of a model whose attention has a window.
        """
        grow = self._read + embeddings.shape[1] - self.mask.shape[1]
        if grow > 0:
            new = self.mask.new_ones(len(self.mask), grow) if mask is None else mask
            self.mask = torch.cat([self.mask, new], dim=1)
        self._check_window()
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

    def _check_window(self) -> None:
        """A window counts places, so between a row's tokens there must be no padding."""
        config = self._model.config
        local = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        if not local or self.mask.shape[1] <= config.sliding_window:
            return
        places = self.mask.cumsum(1)
        between = (places > 0) & (places < places[:, -1:]) & (self.mask == 0)
        if bool(between.any()):
            raise SaeflowError(
                f"{type(self._model).__name__} looks {config.sliding_window} places back in some "
                "blocks, but padding stands between the tokens of a text; expected texts padded on "
                "the left, or no longer than that."
            )


@contextmanager
def _last_mlp_at(
    model: PreTrainedModel, wanted: Bool[Tensor, "batch new"] | None
) -> Iterator[None]:
    """Spare the last block's MLP, which no later position looks at, wherever it is not wanted."""
    mlp = getattr(transformer_blocks(model)[-1], "mlp", None)
    if wanted is None or mlp is None or bool(wanted.all()):
        yield
        return
    plain = mlp.forward

    def forward(hidden: Tensor) -> Tensor:
        written = torch.zeros_like(hidden)
        written[wanted] = plain(hidden[wanted][None])[0]
        return written

    # An attribute of the instance hides the method of the class until it is deleted.
    mlp.forward = forward
    try:
        yield
    finally:
        del mlp.forward


def _part(layer: Any, positions: slice, rows: Int[Tensor, " rows"] | None) -> tuple[Tensor, Tensor]:
    """Keys and values of some positions and rows of one layer of a cache."""
    keys, values = layer.keys[:, :, positions], layer.values[:, :, positions]
    return (keys, values) if rows is None else (keys[rows], values[rows])
