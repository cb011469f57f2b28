"""Families of causal language models, and what their modules are called.

Nothing asks which family a model is of: each module is looked for under the names that any of them
gives it, so that another family with the same names needs no entry.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

FAMILIES = ("gpt2", "llama", "gemma2", "qwen2", "qwen3", "gpt_neox")
"""``model_type`` of the configurations whose hooks are held against TransformerLens'."""
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")
"""Names of the norm between the last block and the output embedding."""
_ATTENTION = ("self_attn", "attn", "attention")
_PROJECTION = ("o_proj", "c_proj", "dense")
_MLP = ("mlp",)
_AFTER_MLP = ("post_feedforward_layernorm",)
_AFTER_ATTENTION = ("post_attention_layernorm",)


def norms_what_it_writes(block: nn.Module) -> bool:
    """Whether what attention and MLP give passes a norm before it joins the residual stream.

    Gemma-2 does so. ``post_attention_layernorm`` alone says nothing: elsewhere it is the name of
    the norm that the MLP reads through.
    """
    return _named(block, _AFTER_MLP) is not None


def names_inside(block: nn.Module, hook: str) -> tuple[Sequence[str], ...]:
    """Names that the module of a hook inside a block may have, from the outside in.

    Parameters
    ----------
    block : torch.nn.Module
        Its names tell whether norms follow attention and MLP.
    hook : {"mlp_out", "attn_out", "attn_z"}
        ``mlp_out`` and ``attn_out`` are the output of their module, ``attn_z`` the input.
    """
    if hook == "attn_z":
        return _ATTENTION, _PROJECTION
    if norms_what_it_writes(block):
        return (_AFTER_MLP if hook == "mlp_out" else _AFTER_ATTENTION,)
    return (_MLP if hook == "mlp_out" else _ATTENTION,)


def module_named(module: nn.Module, names: Sequence[Sequence[str]]) -> nn.Module | None:
    """Module under the first name that there is on each level; None where there is none."""
    found: nn.Module | None = module
    for each in names:
        found = None if found is None else _named(found, each)
    return found


def _named(module: nn.Module, names: Sequence[str]) -> nn.Module | None:
    found = (getattr(module, name, None) for name in names)
    return next((each for each in found if isinstance(each, nn.Module)), None)
