"""Where released SAEs may read, and the places that are easily taken for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.released.tokens import FIRST
from saeflow.models.capture import cut_batches
from saeflow.models.conventions import HookedLayer, same_between_blocks
from saeflow.models.hooks import TokenTap, hooked_module
from saeflow.models.language_model import LanguageModel

_BATCH = 32
"""Most texts that a model reads at once."""


def own_place(hook: str, layer: int) -> HookedLayer:
    """Place of an SAE; the input of a block is the output of the one before it."""
    return same_between_blocks(HookedLayer(hook, layer))


def neighbours(hook: str, layer: int, n_layers: int) -> list[HookedLayer]:
    """Places that are easily taken for a hook of a block, the likeliest first.

    They are one block off, the other side of the block, and what its parts add.
    """
    before, behind = _between(layer), _between(layer + 1)
    inside = [HookedLayer("mlp_out", layer), HookedLayer("attn_out", layer)]
    if hook == "resid_pre":
        found = [behind, *_edges(layer - 1, n_layers), *inside]
    elif hook == "resid_post":
        found = [before, *_edges(layer + 2, n_layers), *inside]
    else:
        off = [HookedLayer(hook, each) for each in (layer - 1, layer + 1)]
        found = [each for each in off if 0 <= each.layer < n_layers]
        found += [behind, before, *inside]
        found += [HookedLayer("attn_z", layer)] if hook == "attn_out" else []
    if layer == n_layers - 1 and hook.startswith("resid"):
        found.append(HookedLayer("final_norm", 0))  # the last of Hugging Face's hidden states
    own = own_place(hook, layer)
    return [each for each in dict.fromkeys(found) if each != own]


def place_name(place: HookedLayer, like: str) -> str:
    """Place in the words of the configuration, those of a residual stream as an SAE's own hook."""
    if place.hook == "final_norm":
        return "final_norm"
    if like == "resid_pre" and place.hook in ("resid_post", "embed"):
        layer = 0 if place.hook == "embed" else place.layer + 1
        return f"resid_pre of block {layer}"
    if place.hook == "embed":
        return "resid_pre of block 0"
    return f"{place.hook} of block {place.layer}"


def _between(edge: int) -> HookedLayer:
    """Residual stream at an edge of blocks: 0 before the first, 1 behind it."""
    return same_between_blocks(HookedLayer("resid_pre", edge))


def _edges(edge: int, n_layers: int) -> list[HookedLayer]:
    return [_between(edge)] if 0 <= edge <= n_layers else []


@torch.no_grad()
def read_places(
    model: LanguageModel, rows: Sequence[Sequence[int]], places: Iterable[HookedLayer]
) -> dict[HookedLayer, Float[Tensor, "tokens d_in"]]:
    """Activations of all counted tokens at several places, in one pass.

    Parameters
    ----------
    model : LanguageModel
        The model.
    rows : sequence of sequence of int
        Token ids of each text; its first `FIRST` positions are left out.
    places : iterable of HookedLayer
        Each of them once or several times.

    Returns
    -------
    dict of HookedLayer to torch.Tensor of shape (tokens, d_in)
        Float32, on the CPU; the same tokens in the same order at every place.

    Raises
    ------
    SaeflowError
        If the model has no module at a place.
    """
    sites: dict[str, list[int]] = {}
    for hook, layer in sorted(set(places)):
        sites.setdefault(hook, []).append(layer)
    parts: dict[HookedLayer, list[Tensor]] = {}
    lengths = torch.tensor([len(row) for row in rows]).numpy()
    for batch in cut_batches(lengths, _BATCH):
        ids, mask = model.pad([list(rows[row]) for row in batch], left_pad=False)
        counted = mask.bool()
        counted[:, :FIRST] = False
        tap = TokenTap(model.language_model, sites, counted.flatten().nonzero()[:, 0])
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        with tap.until_enough():
            model.language_model.base_model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
            )
        for hook, layers in sites.items():
            for place, x in zip(layers, tap.kept[hook], strict=True):
                parts.setdefault(HookedLayer(hook, place), []).append(x.cpu())
    return {place: torch.cat(found) for place, found in parts.items()}


def has_place(model: LanguageModel, place: HookedLayer) -> bool:
    """Whether a model has a module at a place."""
    try:
        hooked_module(model.language_model, *place)
    except SaeflowError:
        return False
    return True
