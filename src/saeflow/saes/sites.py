"""Activations of a bank's sites, read from a capture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.artifacts.captures import count_layers, read_layer
from saeflow.errors import SaeflowError
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.saes.bank import Site


def bank_sites(
    capture: Path,
    convention: LayerConvention,
    steps: Sequence[int],
    layers: Literal["all"] | Sequence[int] = "all",
) -> list[Site]:
    """Sites of a bank: each layer and step of the recipe.

    Parameters
    ----------
    capture : Path
        Folder of a capture.
    convention : LayerConvention
        What "layer l" means.
    steps : sequence of int
        Thought steps.
    layers : "all" or sequence of int
        Layer numbers, as the convention counts them.

    Returns
    -------
    list of Site
        Layer by layer, ascending.

    Raises
    ------
    SaeflowError
        If the model has no such layer.
    """
    n_layers = len(hooked_layers(convention, count_layers(capture)))
    return [
        Site(layer, step) for layer in _chosen_layers(capture, n_layers, layers) for step in steps
    ]


def token_sites(
    capture: Path, hook: str, layers: Literal["all"] | Sequence[int] = "all"
) -> list[Site]:
    """Sites of a bank of tokens: each block of the recipe.

    Parameters
    ----------
    capture : Path
        Folder of a capture of texts.
    hook : str
        Where tokens were read.
    layers : "all" or sequence of int
        Blocks.

    Returns
    -------
    list of Site
        Ascending.

    Raises
    ------
    SaeflowError
        If the capture lacks the hook, or the model the block.
    """
    chosen = _chosen_layers(capture, count_layers(capture, hook), layers)
    return [Site(layer) for layer in chosen]


def _chosen_layers(
    capture: Path, n_layers: int, layers: Literal["all"] | Sequence[int]
) -> Sequence[int]:
    known = range(n_layers)
    chosen = known if layers == "all" else sorted(layers)
    for layer in chosen:
        if layer not in known:
            raise SaeflowError(
                f"the dictionary's layers hold {layer}, but the model captured in {capture} has the "
                f"layers 0 to {known[-1]}."
            )
    return chosen


def read_sites(
    capture: Path,
    convention: LayerConvention,
    sites: Sequence[Site],
    problems: Int[np.ndarray, " rows"],
) -> Float[Tensor, "sites rows d_in"]:
    """Activations of sites on chosen problems.

    Parameters
    ----------
    capture : Path
        Folder of a capture.
    convention : LayerConvention
        What "layer l" means.
    sites : sequence of Site
        Layer by layer, the same steps in each.
    problems : numpy.ndarray of shape (rows,)
        Running numbers, ascending.

    Returns
    -------
    torch.Tensor of shape (sites, rows, d_in), float32
        In the order of `sites` and `problems`.
    """
    places = hooked_layers(convention, count_layers(capture))
    layers = list(dict.fromkeys(site.layer for site in sites))
    parts = []
    for layer in layers:
        steps = [site.step for site in sites if site.layer == layer]
        hook, block = places[layer]
        parts.append(torch.from_numpy(read_layer(capture, hook, block, steps, problems)))
    return torch.cat(parts)
