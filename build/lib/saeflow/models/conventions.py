"""What "layer l" means: three readings of the same forward pass (methods/1, section 2.1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

LayerConvention = Literal["block_output", "hidden_states_after", "hidden_states_before"]


class HookedLayer(NamedTuple):
    """Where an activation is read: a hook and the block it belongs to."""

    hook: str
    layer: int


def hooked_layers(convention: LayerConvention, n_layers: int) -> list[HookedLayer]:
    """Hook and block behind each layer number.

    Parameters
    ----------
    convention : {"block_output", "hidden_states_after", "hidden_states_before"}
        ``block_output`` is ours: the output of block l, before the final norm.
        ``hidden_states_after`` is the Llama study's: it reads ``hidden_states[l + 1]``, whose last
        entry is *after* the final norm. ``hidden_states_before`` is the GPT-2 study's: it reads
        ``hidden_states[l]``, so layer 0 is the embedding and the last block is missing.
    n_layers : int
        Number of blocks.

    Returns
    -------
    list of HookedLayer
        One per layer number, from 0.
    """
    blocks = [HookedLayer("resid_post", layer) for layer in range(n_layers)]
    if convention == "hidden_states_after":
        return [*blocks[:-1], HookedLayer("final_norm", 0)]
    if convention == "hidden_states_before":
        return [HookedLayer("embed", 0), *blocks[:-1]]
    return blocks
