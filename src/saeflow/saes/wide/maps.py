"""Features as points of a plane, those that are alike near one another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.saes.fixed import principal_directions
from saeflow.saes.wide.redundancy import unit_rows

_SPREAD = 1e-4
"""Standard deviation of the first coordinate at the start, as scikit-learn has it."""


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
    directions: Float[Tensor, "features d_in"], *, perplexity: float = 15.0
) -> Float[Tensor, "features 2"]:
    """Lay directions out so that near ones stay near (t-SNE, van der Maaten and Hinton 2008).

    Nothing is drawn: scikit-learn's Barnes-Hut method starts from `principal_map` and runs on one thread,
    so the same directions give the same map; but directions that differ in their last bits give another
    one, with the same neighbourhoods. Distances between far points mean nothing. 2,000 features take
    15 s.

    Parameters
    ----------
    directions : Tensor of shape (features, d_in)
        Decoder rows; only their directions count.
    perplexity : float
        Neighbours of a feature, about; fewer where there are not three times as many.

    Returns
    -------
    Tensor of shape (features, 2), float64
        On the CPU, centred.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n = len(directions)
    start = principal_map(directions)
    if n < 4:
        return start
    first = start[:, 0].std(correction=0).clamp(min=1e-12)
    made = TSNE(
        perplexity=min(perplexity, (n - 1) / 3),
        init=(start * (_SPREAD / first)).numpy(),
        random_state=0,
    )
    # Its threads are as many as the machine has cores, and wait for one another where others work.
    with threadpool_limits(1):
        found = made.fit_transform(unit_rows(directions).cpu().numpy())
    points = torch.from_numpy(found).double()
    return points - points.mean(0)
