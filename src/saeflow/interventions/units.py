"""What is patched together: heads, groups of heads, blocks of coordinates, whole modules.

The study of the decimal bug cut what attention writes *behind* W_O into as many blocks as there are
heads and called these heads; each mixes all heads (methods/4, section 5.6.1). Here they are named
for what they are, and the heads are where heads are: in front of W_O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.models.hooks import hooked_module

KINDS = ("head", "kv_group", "block", "attn_out", "mlp_out", "resid_post")
_HOOKS = {"head": "attn_z", "kv_group": "attn_z", "block": "attn_out"}


@dataclass(frozen=True)
class Units:
    """Units of one kind in every block of a model: equal parts of what a hook carries.

    Attributes
    ----------
    kind : str
        ``head``: query heads; ``kv_group``: query heads that share keys and values; ``block``: as
        many blocks of coordinates of what attention writes as there are query heads; ``attn_out``,
        ``mlp_out``, ``resid_post``: the whole module, one unit.
    hook : str
        Where they are (`saeflow.models.hooks.TOKEN_HOOKS`).
    n_units : int
        How many there are.
    width : int
        Of what the hook carries.
    """

    kind: str
    hook: str
    n_units: int
    width: int

    def mask(self, units: Sequence[int] | None = None) -> Bool[Tensor, " width"]:
        """Coordinates of some units.

        Parameters
        ----------
        units : sequence of int, optional
            Which, from 0; None: all.

        Raises
        ------
        SaeflowError
            If none is named, one is named twice or there is no such unit.
        """
        chosen = list(range(self.n_units) if units is None else units)
        known = len(chosen) and min(chosen) >= 0 and max(chosen) < self.n_units
        if not known or len(set(chosen)) < len(chosen):
            raise SaeflowError(
                f"the units {chosen} of the kind {self.kind} were asked for; expected different "
                f"ones of 0 to {self.n_units - 1}."
            )
        marks = torch.zeros(self.n_units, dtype=torch.bool)
        marks[chosen] = True
        return marks.repeat_interleave(self.width // self.n_units)


def units_of(model: PreTrainedModel, kind: str) -> Units:
    """Units of a kind.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of one of `saeflow.models.families.FAMILIES`.
    kind : str
        See `Units`.

    Raises
    ------
    SaeflowError
        If there is no such kind, the model lacks the module, or the width or the heads cannot be
        cut into equal parts.
    """
    if kind not in KINDS:
        raise SaeflowError(f"there are no units of the kind {kind!r}; expected one of {KINDS}.")
    config, name = model.config, type(model).__name__
    width, heads = int(config.hidden_size), int(config.num_attention_heads)
    if kind not in _HOOKS:
        return Units(kind, kind, 1, width)
    hook = _HOOKS[kind]
    if hook == "attn_z":
        width = _n_inputs(hooked_module(model, hook, 0))
    if width % heads:
        raise SaeflowError(
            f"{name} has {heads} query heads and {width} coordinates at the hook {hook}; expected "
            "as many coordinates for each."
        )
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    if heads % groups:
        raise SaeflowError(
            f"{name} has {heads} query heads and {groups} heads of keys and values; expected as "
            "many query heads for each."
        )
    return Units(kind, hook, groups if kind == "kv_group" else heads, width)


def _n_inputs(projection: nn.Module) -> int:
    """Inputs of a linear map; the GPT-2 family keeps its weights the other way round."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    return int(projection.get_parameter("weight").shape[0])
