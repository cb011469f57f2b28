"""Layers at the same relative depth of models that have different numbers of blocks."""

from __future__ import annotations

from collections.abc import Sequence

from saeflow.models.conventions import LayerConvention, hooked_layers

CONVENTION: LayerConvention = "block_output"
"""The same for all models, unlike the studies' own (methods/1, section 2.1)."""


def layers_at(depths: Sequence[float], n_blocks: int) -> dict[float, int]:
    """Layer at each relative depth, ascending; a depth of 1 is the last block's output.

    Parameters
    ----------
    depths : sequence of float
        Above 0, up to 1.
    n_blocks : int
        Number of blocks of the model.

    Returns
    -------
    dict of float to int
        Layer, as the convention ``block_output`` counts.
    """
    n_layers = len(hooked_layers(CONVENTION, n_blocks))
    return {depth: max(0, round(depth * n_layers) - 1) for depth in sorted({*depths})}
