"""Features as points of a plane, those that are alike near one another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.saes.fixed import principal_directions
from saeflow.saes.wide.redundancy import unit_rows

_STEPS, _EARLY, _EXAGGERATION = 400, 100, 12.0


def principal_map(directions: Float[Tensor, "features d_in"]) -> Float[Tensor, "features 2"]:
    """First two principal components of directions of length 1, float64 on the CPU.

    This is classical multidimensional scaling of their Euclidean distances.
    """
    unit = unit_rows(directions).cpu()
    if not len(unit):
        return torch.zeros(0, 2, dtype=torch.float64)
    axes, centre = principal_directions(unit)
    found: Tensor = (unit - centre) @ axes[:, :2]
    return torch.nn.functional.pad(found, (0, 2 - found.shape[1]))


def neighbour_map(
    directions: Float[Tensor, "features d_in"], *, perplexity: float = 15.0, most: int = 2000
) -> Float[Tensor, "features 2"]:
    """Lay directions out so that near ones stay near (t-SNE, van der Maaten and Hinton 2008).

    Nothing is drawn: it starts from `principal_map` and takes a fixed number of steps on the CPU, so the
    same directions give the same map; but directions that differ in their last bits give another one,
    with the same neighbourhoods. Distances between far points mean nothing. Time and memory grow with
    the square of the features.

    Parameters
    ----------
    directions : Tensor of shape (features, d_in)
        Decoder rows; only their directions count.
    perplexity : float
        Neighbours of a feature, about; fewer where there are not three times as many.
    most : int
        Most features.

    Returns
    -------
    Tensor of shape (features, 2), float64
        On the CPU, centred.

    Raises
    ------
    SaeflowError
        If there are more features than `most`.
    """
    n = len(directions)
    if n > most:
        raise SaeflowError(f"a map of {n} features is asked for; expected {most} at most.")
    start = principal_map(directions)
    if n < 4:
        return start
    unit = unit_rows(directions).cpu()
    distance = (2 - 2 * (unit @ unit.T)).clamp(min=0)
    wanted = _affinities(distance, min(perplexity, (n - 1) / 3))
    points = start * (1e-2 / start.std().clamp(min=1e-12))
    speed, gain = torch.zeros_like(points), torch.ones_like(points)
    for step in range(_STEPS):
        early = step < _EARLY
        across, up = (axis[:, None] - axis for axis in points.T)
        near = (1 + across.square() + up.square()).reciprocal().fill_diagonal_(0)
        force = (wanted * (_EXAGGERATION if early else 1) - near / near.sum()) * near
        gradient = 4 * (force.sum(1, keepdim=True) * points - force @ points)
        against = gradient.sign() != speed.sign()
        gain = torch.where(against, gain + 0.2, gain * 0.8).clamp(min=0.01)
        rate = max(n / _EXAGGERATION / 4, 10.0)
        speed = (0.5 if early else 0.8) * speed - rate * gain * gradient
        points = points + speed
        points = points - points.mean(0)
    return points


def _affinities(distance: Float[Tensor, "n n"], perplexity: float) -> Float[Tensor, "n n"]:
    """Share of each pair; every point's neighbours have the perplexity, by bisection of its width."""
    target = torch.tensor(perplexity, dtype=torch.float64).log()
    low = torch.zeros(len(distance), 1, dtype=torch.float64, device=distance.device)
    high, beta = torch.full_like(low, torch.inf), torch.ones_like(low)
    diagonal = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
    # Of the nearest ones alone, so that none is lost to rounding however narrow the width.
    shifted = distance - distance.masked_fill(diagonal, torch.inf).amin(1, keepdim=True)
    for _ in range(64):
        share = (-shifted * beta).masked_fill(diagonal, -torch.inf).softmax(1)
        entropy = -(share * share.clamp(min=1e-300).log()).sum(1, keepdim=True)
        wide = entropy > target
        low, high = torch.where(wide, beta, low), torch.where(wide, high, beta)
        beta = torch.where(high.isinf(), beta * 2, (low + high) / 2)
    return (share + share.T) / (2 * len(distance))
