"""What units add to the residual stream, and what the MLPs behind them write when one is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from saeflow.errors import SaeflowError
from saeflow.interventions.units import Units
from saeflow.interventions.writing import Edits
from saeflow.models.families import norms_what_it_writes
from saeflow.models.hooks import TokenTap, editing, entering_at, hooked_module, transformer_blocks


@torch.no_grad()
def unit_writes(
    model: PreTrainedModel, units: Units, layer: int, carried: Float[Tensor, "rows width"]
) -> Float[Tensor, "rows units d_model"]:
    """Part of each unit in what attention writes to the residual stream.

    A head writes its z times its rows of W_O, a group of heads the sum over its heads; with the
    bias of W_O, if there is one, all of them add up to ``attn_out``. A block of coordinates is its
    part of ``attn_out`` itself, so the bias is in it.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of one of `saeflow.models.families.FAMILIES`.
    units : Units
        Of the kind head, kv_group, block or attn_out.
    layer : int
        Block, from 0.
    carried : torch.Tensor of shape (rows, width)
        What tokens carry at the units' hook, or a difference or mean of it.

    Returns
    -------
    torch.Tensor of shape (rows, units, d_model), float32
        In the unit of the residual stream.

    Raises
    ------
    SaeflowError
        If the model lacks the module, or norms what its heads write, as Gemma-2 does.
    """
    masks = torch.stack([units.mask([unit]) for unit in range(units.n_units)])
    parts = carried.float()[:, None] * masks.to(carried.device)
    if units.hook != "attn_z":
        return parts
    if norms_what_it_writes(transformer_blocks(model)[layer]):
        raise SaeflowError(
            f"{type(model).__name__} norms what its heads write before it joins the residual stream, "
            "so it has no part for each; expected units of the kind block or attn_out."
        )
    projection = hooked_module(model, units.hook, layer)
    weight = torch.as_tensor(projection.weight).float()
    # A linear map keeps a row per output; the GPT-2 family keeps one per input.
    return parts @ (weight.T if hasattr(projection, "in_features") else weight)


def replacing(
    units: Units, unit: int, given: Float[Tensor, "rows length width"]
) -> Callable[[Tensor], Tensor]:
    """Edit of the units' hook that puts something else in place of one unit, at all tokens.

    Parameters
    ----------
    units : Units
        Of any kind.
    unit : int
        Which, from 0.
    given : torch.Tensor of shape (rows, length, width)
        What is put there; the other units' part is not looked at.

    Raises
    ------
    SaeflowError
        If there is no such unit.
    """
    mask = units.mask([unit]).to(given.device)
    return lambda hidden: torch.where(mask, given.to(hidden.dtype), hidden)


@torch.no_grad()
def last_mlp_outputs(
    model: PreTrainedModel,
    block: int,
    entering: Float[Tensor, "rows length d_model"],
    mask: Bool[Tensor, "rows length"],
    layers: Sequence[int],
    edits: Edits | None = None,
) -> Float[Tensor, "layers rows d_model"]:
    """Output of MLPs at each row's last token, computed from the input of an earlier block on.

    Blocks before it, and what follows the last MLP asked for, are not run.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Of one of `saeflow.models.families.FAMILIES`.
    block : int
        First block that is computed.
    entering : torch.Tensor of shape (rows, length, d_model)
        What it gets; rows begin at their first token and are padded behind their last.
    mask : torch.Tensor of bool, shape (rows, length)
        Which places are tokens.
    layers : sequence of int
        Different blocks whose MLPs are listened to; none is before `block`.
    edits : mapping, optional
        What is changed meanwhile, as for `saeflow.models.hooks.editing`.

    Returns
    -------
    torch.Tensor of shape (layers, rows, d_model), float32
        In the order of `layers`.

    Raises
    ------
    SaeflowError
        If a layer is before the block, or the model lacks a module.
    """
    if not layers or min(layers) < block:
        raise SaeflowError(
            f"the MLPs of the blocks {list(layers)} are to be read from block {block} on; expected "
            "some of it and later ones."
        )
    n_rows, length = mask.shape
    starts = torch.arange(n_rows, device=mask.device) * length
    tap = TokenTap(model, {"mlp_out": list(layers)}, starts + mask.sum(1) - 1)
    entering = entering.to(model.dtype)
    places = torch.arange(length, device=mask.device).expand(n_rows, -1)
    with entering_at(model, block, entering), editing(model, edits or {}), tap.until_enough():
        model.base_model(
            inputs_embeds=entering,
            attention_mask=mask.long(),
            position_ids=places,
            use_cache=False,
        )
    return tap.kept["mlp_out"]
