"""How many features write what another one writes, and how many come back under another seed.

Both are shown beside what as many random directions of as many dimensions give: in few dimensions any
two of many directions are close.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.seeds import torch_generator
from saeflow.stats.matching import Matches, best_matching

COSINES = 2**23
"""Cosines that are held at a time."""
HUNGARIAN = 8192
"""Most features of either seed that are paired by the Hungarian method; its time grows with the cube."""


class LargestCosine(NamedTuple):
    """Each direction's largest cosine with another one.

    Attributes
    ----------
    value : Tensor of float64, shape (directions,)
        NaN where there is no other.
    other : Tensor of int64, shape (directions,)
        Which one it is with; of equal ones the first. -1 where there is none.
    """

    value: Float[Tensor, " directions"]
    other: Int[Tensor, " directions"]


def unit_rows(directions: Float[Tensor, "directions d_in"]) -> Float[Tensor, "directions d_in"]:
    """Directions of length 1, float64; those of zeros stay so."""
    rows = directions.double()
    norms = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norms > 0, norms, 1.0)


def random_directions(n: int, d_in: int, *names: int | str) -> Float[Tensor, "n d_in"]:
    """Directions drawn uniformly, on the CPU; `names` are those of their generator."""
    generator = torch_generator(*names, "random_directions")
    return torch.randn(n, d_in, generator=generator, dtype=torch.float64)


def largest_cosines(directions: Float[Tensor, "directions d_in"]) -> LargestCosine:
    """Each direction's largest cosine with another, a block at a time.

    Parameters
    ----------
    directions : Tensor of shape (directions, d_in)
        Decoder rows, on any device.
    """
    unit = unit_rows(directions)
    n = len(unit)
    value = torch.full((n,), float("nan"), dtype=torch.float64, device=unit.device)
    other = torch.full((n,), -1, device=unit.device)
    if n < 2:
        return LargestCosine(value, other)
    for part in torch.split(torch.arange(n, device=unit.device), max(1, COSINES // n)):
        cosine = unit[part] @ unit.T
        cosine[torch.arange(len(part), device=part.device), part] = -torch.inf
        value[part], other[part] = cosine.max(1)
    return LargestCosine(value.clamp(-1, 1), other)


class Returning(NamedTuple):
    """How many features of one seed come back in another.

    Attributes
    ----------
    mutual : Tensor of float64, shape (features,)
        Cosine of each feature of the first seed with its partner, which is the nearest of the second
        seed and has it as its own nearest; NaN where there is no such.
    partner : Tensor of int64, shape (features,)
        Likewise; -1.
    matches : Matches or None
        Pairs with the largest sum of cosines; None where there are more than `HUNGARIAN` features.
    """

    mutual: Float[Tensor, " features"]
    partner: Int[Tensor, " features"]
    matches: Matches | None

    def mutual_share(self, least: float) -> float:
        """Share of the first seed's features whose mutual partner has at least this cosine."""
        return float((self.mutual >= least).double().mean())

    def matched_share(self, least: float) -> float:
        """The same of partners by the Hungarian method; NaN where it was not used."""
        if self.matches is None:
            return float("nan")
        return float((self.matches.similarity >= least).sum() / len(self.mutual))


def returning(
    first: Float[Tensor, "features d_in"], second: Float[Tensor, "others _"]
) -> Returning:
    """Pair the features of two seeds by their decoder directions.

    Features are paired one to one in two ways: mutual nearest ones, a block at a time for any width,
    and by the Hungarian method (`saeflow.stats.matching`) where it is affordable.

    Parameters
    ----------
    first, second : Tensor of shape (features, d_in)
        Decoder rows; those of features that never fire say nothing and should be left out.

    Raises
    ------
    SaeflowError
        If one has no features or they are of different dimensions.
    """
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        raise SaeflowError(
            f"the decoders have the shapes {tuple(first.shape)} and {tuple(second.shape)}; expected "
            "some features of the same dimensions."
        )
    ours, theirs = unit_rows(first), unit_rows(second)
    device = ours.device
    best = torch.full((len(theirs),), -torch.inf, dtype=torch.float64, device=device)
    of = torch.zeros(len(theirs), dtype=torch.long, device=device)
    value = torch.zeros(len(ours), dtype=torch.float64, device=device)
    partner = torch.zeros(len(ours), dtype=torch.long, device=device)
    for part in torch.split(torch.arange(len(ours), device=device), max(1, COSINES // len(theirs))):
        cosine = ours[part] @ theirs.T
        value[part], partner[part] = cosine.max(1)
        column, row = cosine.max(0)
        larger = column > best
        best[larger], of[larger] = column[larger], part[row[larger]]
    mutual = of[partner] == torch.arange(len(ours), device=device)
    matches = None
    if max(len(ours), len(theirs)) <= HUNGARIAN:
        matches = best_matching((ours @ theirs.T).cpu().numpy())
    nan = float("nan")
    return Returning(
        torch.where(mutual, value.clamp(-1, 1), nan), torch.where(mutual, partner, -1), matches
    )


def share_at_least(values: Float[Tensor, " n"], least: float) -> float:
    """Share of values that reach a threshold; NaN does not, and of none the share is NaN."""
    if not len(values):
        return float("nan")
    return float(np.mean(values.cpu().numpy() >= least))
