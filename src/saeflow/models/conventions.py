"""What "layer l" means: three readings of the same forward pass (methods/1, section 2.1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from saeflow.errors import SaeflowError

BLOCK_HOOKS = ("resid_post", "resid_pre", "mlp_out", "attn_out", "attn_z")
"""Hooks that every block has; the last three are inside it (`saeflow.models.hooks.TOKEN_HOOKS`)."""

LayerConvention = Literal["block_output", "hidden_states_after", "hidden_states_before"]


class HookedLayer(NamedTuple):
    """Where an activation is read: a hook and the block it belongs to."""

    hook: str
    layer: int


def same_between_blocks(place: HookedLayer) -> HookedLayer:
    """The same place under the name that interventions know it by.

    What enters a block (``resid_pre``) is what the block before it gave, or the embedding.
    """
    if place.hook != "resid_pre":
        return place
    return HookedLayer("resid_post", place.layer - 1) if place.layer else HookedLayer("embed", 0)


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


def check_place(hook: str, layer: int, n_layers: int, *, inside: bool = False) -> None:
    """Refuse a place that no model of so many blocks has.

    Parameters
    ----------
    hook : str
        One of `saeflow.models.hooks.HOOKS` or, if `inside`, of `saeflow.models.hooks.TOKEN_HOOKS`.
    layer : int
        Block of the hooks that blocks have (`BLOCK_HOOKS`); 0 for the other hooks.
    n_layers : int
        Number of blocks.
    inside : bool
        Whether all hooks of blocks can be used. Interventions that go on from the edge of a block
        cannot use those inside it, and know each edge by one name (`same_between_blocks`).

    Raises
    ------
    SaeflowError
        If the hook is unknown, cannot be used or has no such layer.
    """
    known = BLOCK_HOOKS if inside else BLOCK_HOOKS[:1]
    expected = f"{', '.join(known)} 0 to {n_layers - 1}, embed 0 or final_norm 0"
    if hook == "resid_pre" and not inside:
        raise SaeflowError(f"the hook {hook!r} goes by another name here; expected {expected}.")
    if hook in BLOCK_HOOKS and hook not in known:
        raise SaeflowError(f"the hook {hook!r} is inside a block; expected {expected}.")
    last = {"embed": 0, "final_norm": 0}.get(hook, n_layers - 1 if hook in known else -1)
    if not 0 <= layer <= last:
        raise SaeflowError(f"there is no layer {layer} of the hook {hook!r}; expected {expected}.")
