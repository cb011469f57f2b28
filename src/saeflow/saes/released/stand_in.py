"""Stand-in for `saeflow.models.hook_names`, until that is there."""

from __future__ import annotations

import re

from saeflow.errors import SaeflowError, nearest
from saeflow.models.conventions import HookedLayer

_NAMES = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_post": "resid_post",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
}


def from_transformer_lens(name: str) -> HookedLayer:
    """Hook and block behind TransformerLens' name of a place."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if match is None or match[2] not in _NAMES:
        known = [f"blocks.{match[1] if match else 0}.{each}" for each in _NAMES]
        raise SaeflowError(f"{name!r} is no hook that is read here{nearest(name, known)}")
    return HookedLayer(_NAMES[match[2]], int(match[1]))
