"""Hooks under the names that other tools give them: TransformerLens' and those of modules.

Releases of SAEs name where they read in either way.
"""

from __future__ import annotations

import re

from transformers import PreTrainedModel

from saeflow.errors import SaeflowError, nearest
from saeflow.models.conventions import BLOCK_HOOKS, HookedLayer
from saeflow.models.hooks import BEFORE, hooked_module, transformer_blocks

_IN_BLOCK = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_post": "resid_post",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
}
_REFUSED = {
    "hook_resid_mid": "is the residual stream between attention and MLP, which is the output of no "
    "module",
    "hook_embed": "is the embedding without positions, which only some models add",
    "ln_final.hook_normalized": "is before or behind the weights of the final norm, depending on the "
    "norm",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


def from_transformer_lens(name: str, n_layers: int | None = None) -> HookedLayer:
    """Hook and block behind a hook name of TransformerLens.

    ``attn.hook_z`` has a dimension of heads and one of their coordinates there; here both are one.

    Parameters
    ----------
    name : str
        Such as ``blocks.6.hook_resid_pre``.
    n_layers : int, optional
        Blocks of the model, if it is known.

    Returns
    -------
    HookedLayer
        Hook (`saeflow.models.hooks.TOKEN_HOOKS`) and block.

    Raises
    ------
    SaeflowError
        If there is no such hook, none that equals it, or no such block.
    """
    found = _BLOCK.fullmatch(name)
    layer, inside = (int(found[1]), found[2]) if found else (0, name)
    if inside in _REFUSED:
        raise SaeflowError(
            f"the hook {name!r} {_REFUSED[inside]}; expected {_either(layer)}, where SAEs are read."
        )
    if found is None or inside not in _IN_BLOCK:
        known = [f"blocks.{layer}.{each}" for each in _IN_BLOCK]
        raise SaeflowError(f"{name!r} is no hook that SAEs are read at{nearest(name, known)}")
    if n_layers is not None and layer >= n_layers:
        raise SaeflowError(
            f"the hook {name!r} is of block {layer}, but the model has {n_layers}; expected "
            f"blocks.0.{inside} to blocks.{n_layers - 1}.{inside}."
        )
    return HookedLayer(_IN_BLOCK[inside], layer)


def to_transformer_lens(place: HookedLayer) -> str:
    """Name that TransformerLens gives a hook of a block.

    Raises
    ------
    SaeflowError
        If the hook is of no block.
    """
    names = {hook: name for name, hook in _IN_BLOCK.items()}
    if place.hook not in names:
        raise SaeflowError(f"{place.hook!r} is no hook of a block{nearest(place.hook, names)}")
    return f"blocks.{place.layer}.{names[place.hook]}"


def from_module_path(model: PreTrainedModel, name: str) -> HookedLayer:
    """Hook whose value is the output of a module, as SAELens' HookedProxyLM reads it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model.
    name : str
        Path of the module, such as ``transformer.h.5`` or ``model.layers.5.mlp``; what the model
        puts before all of them (``model.``) may be missing.

    Returns
    -------
    HookedLayer
        Hook and block.

    Raises
    ------
    SaeflowError
        If no hook is the output of that module, such as of Gemma-2's MLP, which a norm follows.
    """
    paths = {module: path for path, module in model.named_modules()}
    places: dict[str, HookedLayer] = {}
    for hook in BLOCK_HOOKS:
        for layer in range(len(transformer_blocks(model)) if hook not in BEFORE else 0):
            path = paths[hooked_module(model, hook, layer)]
            places[path] = HookedLayer(hook, layer)
    for path in (name, f"{model.base_model_prefix}.{name}"):
        if path in places:
            return places[path]
    raise SaeflowError(
        f"{name!r} is no module of {type(model).__name__} whose output SAEs are read at"
        f"{nearest(name, places)}"
    )


def _either(layer: int) -> str:
    *names, last = (f"blocks.{layer}.{each}" for each in _IN_BLOCK)
    return f"{', '.join(names)} or {last}"
