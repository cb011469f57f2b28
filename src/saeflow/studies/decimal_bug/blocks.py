"""Whether blocks of coordinates behind the output projection are heads (methods/4, section 5.6.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.interventions.units import units_of
from saeflow.models.hooks import hooked_module
from saeflow.models.language_model import LanguageModel
from saeflow.studies import rows
from saeflow.studies.rows import row

EQUAL = "equal_shares"
"""Control: what every head would give if all gave alike."""


def own_head_rows(model: LanguageModel) -> Iterator[dict[str, Any]]:
    """How much of what a block of coordinates writes comes through its own head's weights.

    Parameters
    ----------
    model : LanguageModel
        The model.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_BUG`, layer by layer and over all of them:
        the mean over blocks of the share of squared weights, so that it says nothing of single
        prompts.
    """
    found = [float(own_head_shares(model, layer).mean()) for layer in range(model.n_layers)]
    n_units = units_of(model.language_model, "block").n_units
    overall = sum(found) / len(found)
    for layer, value in ((None, overall), *enumerate(found)):
        key = {"part": "attribution", **rows.NO_BANK, "mode": rows.CALIBRATED, "layer": layer}
        named = {**key, "group": "block"}
        yield row(named, "share_of_own_head", value, n=n_units)
        yield row(named, "share_of_own_head", 1 / n_units, n=n_units, control=EQUAL)


@torch.no_grad()
def own_head_shares(model: LanguageModel, layer: int) -> Float[Tensor, " blocks"]:
    """Share of the squared weights into each block of coordinates that comes from its own head.

    Parameters
    ----------
    model : LanguageModel
        The model.
    layer : int
        Block of the model.
    """
    projection = hooked_module(model.language_model, "attn_z", layer)
    weight: Tensor = torch.as_tensor(projection.weight).float()
    # A linear layer keeps what it writes first; GPT-2's keeps what it reads first.
    written = weight if hasattr(projection, "in_features") else weight.T
    n_units = units_of(model.language_model, "block").n_units
    cut = written.reshape(n_units, -1, n_units, written.shape[1] // n_units)
    mass = cut.square().sum((1, 3))
    shares: Tensor = mass.diagonal() / mass.sum(1)
    return shares
