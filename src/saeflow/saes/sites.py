"""Activations of a bank's sites, read from a capture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.artifacts.captures import count_layers, read_layer
from saeflow.models.conventions import LayerConvention, hooked_layers
from saeflow.saes.bank import Site


def bank_sites(capture: Path, convention: LayerConvention, steps: Sequence[int]) -> list[Site]:
    """Sites of a bank: every layer of the model and every step of the recipe.

    Parameters
    ----------
    capture : Path
        Folder of a capture.
    convention : LayerConvention
        What "layer l" means.
    steps : sequence of int
        Thought steps.

    Returns
    -------
    list of Site
        Layer by layer.
    """
    layers = range(len(hooked_layers(convention, count_layers(capture))))
    return [Site(layer, step) for layer in layers for step in steps]


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
