"""Which features fire alike, and which write alike.

The study sums cosines over files, so that they reach the number of files (methods/5, 6.7). Here products
are summed over all tokens and divided once, which gives the correlation itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.saes.wide.reading import FeatureSums, TokenBlock
from saeflow.saes.wide.redundancy import unit_rows
from saeflow.saes.wide.top_examples import places_of

PAIRS = 2**20
"""Products, or similarities, that are held at a time."""


class Neighbours(NamedTuple):
    """Rows of a table, by feature and rank.

    Attributes
    ----------
    feature, rank, other : Tensor of int64, shape (rows,)
        The feature, the place of its neighbour, from 0, and the neighbour.
    similarity : Tensor of float64, shape (rows,)
        Theirs, largest first; of equal ones the smaller neighbour comes first.
    """

    feature: Int[Tensor, " rows"]
    rank: Int[Tensor, " rows"]
    other: Int[Tensor, " rows"]
    similarity: Float[Tensor, " rows"]


class Coactivations:
    """Correlation of chosen features with all, over every token of a corpus, zeros included.

    Memory is one float64 per chosen feature and latent. Choosing all of a wide SAE takes much, choosing
    them in several parts takes several passes.

    Parameters
    ----------
    features : Tensor of int64, shape (features,)
        Different latents, on the blocks' device.
    d_sae : int
        Latents.
    """

    def __init__(self, features: Int[Tensor, " features"], d_sae: int) -> None:
        self.features = features
        self._place = places_of(features, d_sae)
        self._products = torch.zeros(
            (len(features), d_sae), dtype=torch.float64, device=features.device
        )

    def add(self, block: TokenBlock) -> None:
        """Add the products of all values of each token."""
        place = self._place[block.latents]
        entry = (place >= 0).nonzero()[:, 0]
        if not len(entry):
            return
        counts = torch.bincount(block.rows, minlength=len(block.token))
        starts = counts.cumsum(0) - counts
        pairs = counts[block.rows[entry]]
        # As many entries at a time as give about so many products.
        part = (pairs.cumsum(0) - pairs) // PAIRS
        for own in torch.split(entry, torch.bincount(part).tolist()):
            if len(own):
                self._add_pairs(block, own, counts[block.rows[own]], starts[block.rows[own]])

    def _add_pairs(self, block: TokenBlock, own: Tensor, counts: Tensor, starts: Tensor) -> None:
        first = torch.repeat_interleave(counts)
        within = torch.arange(len(first), device=own.device) - (counts.cumsum(0) - counts)[first]
        other = starts[first] + within
        values = block.values.double()
        self._products.view(-1).index_add_(
            0,
            self._place[block.latents[own]][first] * self._products.shape[1] + block.latents[other],
            values[own][first] * values[other],
        )

    def correlation(self, sums: FeatureSums) -> Float[Tensor, "features d_sae"]:
        """Pearson correlation; 0 where one of both does not vary.

        Parameters
        ----------
        sums : FeatureSums
            Over the same blocks.
        """
        n = max(1, sums.tokens)
        mean = sums.total / n
        variance = sums.squares / n - mean.square()
        # A value that is the same on every token leaves rounding behind.
        varies = variance > 1e-12 * sums.squares / n
        scale = torch.where(varies, variance.clamp(min=0), torch.inf).rsqrt()
        found = self._products / n - mean[self.features][:, None] * mean
        scaled: Tensor = found * scale[self.features][:, None] * scale
        return scaled.clamp(-1, 1)


def nearest(
    similarity: Float[Tensor, "features others"],
    features: Int[Tensor, " features"],
    n: int,
) -> Neighbours:
    """The n most similar other features of each.

    Parameters
    ----------
    similarity : Tensor of float64, shape (features, others)
        Larger is nearer; of chosen features with all.
    features : Tensor of int64, shape (features,)
        Which latent each row is of; no feature is its own neighbour.
    n : int
        Neighbours, fewer where there are fewer others.

    Raises
    ------
    SaeflowError
        If less than no neighbour is asked for.
    """
    if n < 0:
        raise SaeflowError(f"{n} neighbours are asked for; expected 0 or more.")
    others = similarity.shape[1]
    n = min(n, others - 1)
    rows = [
        _nearest(part, own, n)
        for part, own in zip(
            torch.split(similarity, max(1, PAIRS // others)),
            torch.split(features, max(1, PAIRS // others)),
            strict=True,
        )
    ]
    return Neighbours(*(torch.cat(each) for each in zip(*rows, strict=True)))


def _nearest(similarity: Tensor, features: Tensor, n: int) -> Neighbours:
    hidden = similarity.clone()
    hidden[torch.arange(len(features), device=features.device), features] = -torch.inf
    if not n or not len(features):
        none = features[:0]
        return Neighbours(none, none, none, similarity.flatten()[:0])
    last = hidden.topk(n, 1).values[:, -1:]
    # Where several have the last similarity, the smaller ones are taken.
    above, equal = hidden > last, hidden == last
    room = n - above.sum(1, keepdim=True)
    kept = above | (equal & (equal.cumsum(1) <= room))
    other = kept.nonzero()[:, 1].view(len(features), n)
    values = hidden.gather(1, other)
    order = values.argsort(dim=1, descending=True, stable=True)
    rank = torch.arange(n, device=features.device).expand(len(features), -1)
    return Neighbours(
        features[:, None].expand(-1, n).flatten(),
        rank.flatten(),
        other.gather(1, order).flatten(),
        values.gather(1, order).flatten(),
    )


def decoder_neighbours(
    directions: Float[Tensor, "d_sae d_in"], features: Int[Tensor, " features"], n: int
) -> Neighbours:
    """The n features whose decoder directions have the largest cosine with each.

    Parameters
    ----------
    directions : Tensor of shape (d_sae, d_in)
        Decoder; rows of zeros have the cosine 0 with all.
    features, n
        As of `nearest`.
    """
    unit = unit_rows(directions)
    parts = [
        nearest(unit[part] @ unit.T, part, n)
        for part in torch.split(features, max(1, PAIRS // len(directions)))
    ]
    return Neighbours(*(torch.cat(each) for each in zip(*parts, strict=True)))
