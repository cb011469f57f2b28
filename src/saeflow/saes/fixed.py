"""Banks of the controls that are not trained: one latent per dimension of the activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from saeflow.config.dictionaries import FIXED_CONTROLS
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.parallel import one_thread_each
from saeflow.saes.train import check_activations
from saeflow.seeds import torch_generator


def fixed_bank(
    vectors: Float[Tensor, "sites rows d_in"],
    sites: Sequence[Site],
    recipe: Recipe,
    *,
    seed: int,
) -> Bank:
    """Bank whose latents are the coordinates of the activations along orthonormal directions.

    ``raw_neurons`` takes the model's own axes and ``random_rotation`` uniformly random (Haar)
    ones; like the trained SAEs neither is centred. ``pca`` takes the principal directions of the
    rows, largest variance first, and coordinates relative to their mean; the largest component of
    each direction is positive. The decoder is the encoder's transpose, so that with abstopk and a
    k of d_in everything is reconstructed. An SAE depends on its site, the seed (random_rotation)
    or its activations (pca), not on the sites beside it nor on the number of threads.

    Parameters
    ----------
    vectors : torch.Tensor of shape (sites, rows, d_in), float32, float16 or bfloat16
        Activations that SAEs of the same dictionary are trained on.
    sites : sequence of Site
        Names of the first axis.
    recipe : Recipe
        With the control ``raw_neurons``, ``random_rotation`` or ``pca`` and d_sae equal to d_in.
    seed : int
        Seed of the rotations; the others are the same for all seeds.

    Returns
    -------
    Bank
        Weights on the CPU.

    Raises
    ------
    SaeflowError
        If the recipe is another one, there are no rows or an activation is not finite.
    """
    d_in = vectors.shape[2]
    if recipe.control not in FIXED_CONTROLS:
        raise SaeflowError(
            f"control is {recipe.control!r}; expected one of "
            f"{', '.join(map(repr, FIXED_CONTROLS))}."
        )
    if recipe.d_sae != d_in:
        raise SaeflowError(
            f"d_sae is {recipe.d_sae} for the control {recipe.control}; expected the {d_in} "
            "dimensions of the activations."
        )
    check_activations(vectors, sites)

    def make(place: int) -> dict[str, Tensor]:
        centre = torch.zeros(d_in, dtype=torch.float64)
        if recipe.control == "raw_neurons":
            directions = torch.eye(d_in, dtype=torch.float64)
        elif recipe.control == "random_rotation":
            directions = random_rotation(sites[place], d_in, seed)
        else:
            directions, centre = principal_directions(vectors[place].cpu())
        weights = {
            "W_enc": directions,
            "b_enc": -(centre @ directions),
            "W_dec": directions.T.contiguous(),
            "b_dec": centre,
        }
        return {name: each.float() for name, each in weights.items()}

    with one_thread_each(torch.device("cpu")) as pool:
        made = list(pool.map(make, range(len(sites))))
    weights = {name: torch.stack([each[name] for each in made]) for name in made[0]}
    return Bank(recipe, tuple(sites), **weights)


def random_rotation(site: Site, d_in: int, seed: int) -> Float64[Tensor, "d_in d_in"]:
    """Orthogonal matrix drawn uniformly (from the Haar measure).

    Parameters
    ----------
    site : Site
        Whose; each has a matrix of its own.
    d_in : int
        Dimensions of an activation.
    seed : int
        Seed of the bank.

    Returns
    -------
    torch.Tensor of shape (d_in, d_in), float64
        Column per latent.
    """
    # Not scipy.stats.ortho_group: SciPy's BLAS has threads of its own, whose number would show.
    generator = torch_generator(seed, "bank", "rotation", site.layer, site.step)
    normal = torch.randn(d_in, d_in, generator=generator, dtype=torch.float64)
    directions, triangle = torch.linalg.qr(normal)
    rotation: Tensor = directions * triangle.diagonal().sign()  # else it would not be uniform
    return rotation


def principal_directions(
    x: Float[Tensor, "rows d_in"],
) -> tuple[Float64[Tensor, "d_in d_in"], Float64[Tensor, " d_in"]]:
    """Principal directions of activations and their mean.

    Parameters
    ----------
    x : torch.Tensor of shape (rows, d_in), float32, float16 or bfloat16
        Activations, on the CPU; at least one row.

    Returns
    -------
    directions : torch.Tensor of shape (d_in, d_in), float64
        Orthonormal columns, largest variance first; complete even where rows are fewer.
    mean : torch.Tensor of shape (d_in,), float64
        In the unit of the activations.
    """
    rows = x.double()
    mean = rows.mean(0)
    rows = rows - mean
    directions = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)
    largest = directions.abs().argmax(0, keepdim=True)
    return directions * directions.gather(0, largest).sign(), mean
