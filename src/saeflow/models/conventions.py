"""What "layer l" means: three readings of the same forward pass (methods/1, section 2.1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from saeflow.errors import SaeflowError

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


def check_place(hook: str, layer: int, n_layers: int) -> None:
    """Refuse a place that no model of so many blocks has.

    Parameters
    ----------
    hook : str
        One of `saeflow.models.hooks.HOOKS`.
    layer : int
        Block of ``resid_post``; 0 for the other hooks.
    n_layers : int
        Number of blocks.

    Raises
    ------
    SaeflowError
        If the hook is unknown or has no such layer.
    """
    last = {"embed": 0, "resid_post": n_layers - 1, "final_norm": 0}.get(hook, -1)
    if not 0 <= layer <= last:
        raise SaeflowError(
            f"there is no layer {layer} of the hook {hook!r}; expected resid_post 0 to "
            f"{n_layers - 1}, embed 0 or final_norm 0."
        )
