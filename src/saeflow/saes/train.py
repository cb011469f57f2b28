"""Training of a bank, as published (methods/1, section 2.2), many SAEs at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.config.dictionaries import FIXED_CONTROLS
from saeflow.errors import SaeflowError
from saeflow.progress import progress
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.saes.gradients import reconstruction_gradients
from saeflow.saes.parallel import one_thread_each
from saeflow.seeds import torch_generator

Backend = Literal["batched", "looped"]

# Sites are cut by sizes alone, never by free memory, so that a run gives the same bytes anywhere.
WAVE_BYTES = 2 * 2**30
# CPU milliseconds of one step of all sites on 256 rows, one SAE per product against four (one
# thread of a shared Xeon, the least of 21 to 135 runs):
#   96 sites   64 x  64  k   8    29.9   24.8       6 sites   768 x 512  k 100    47.2   47.1
#   24 sites  128 x 512  k 100    49.0   44.6       6 sites  2048 x 512  k 100   119.0  121.1
#   24 sites  256 x 512  k 100    80.1   75.1
# Eight at a time gave no more. In whole runs on two threads, where Python's own time weighs more,
# four took 0.24 s for 0.39 s of CPU time (96 x 64 x 64), 0.43 for 0.50 (128 x 512) and 0.67 for
# 0.65 (256 x 512). So large SAEs are looped: single ones share out more evenly among threads.
CPU_GROUP_SITES = 4
CPU_BATCHED_WEIGHTS = 128 * 512
# Adam rounds what is left over after the last whole vector of a tensor in another way; in a tensor
# of several SAEs other numbers are left over than in that of one.
CPU_VECTOR = 16
SOFT_FROZEN_COSINE = 0.8


def train_bank(
    vectors: Float[Tensor, "sites rows d_in"],
    sites: Sequence[Site],
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | str,
    backend: Literal["auto", "batched", "looped"] = "auto",
) -> Bank:
    """Train one SAE per site on the mean squared error of its reconstruction.

    The published procedure: PyTorch's default initial values of two linear layers, decoder rows
    scaled to length 1 once, Adam, rows shuffled anew in each epoch, the last incomplete batch
    kept; no schedule, no auxiliary loss, no centring. An SAE depends on the seed, its site and
    its activations, not on the sites beside it nor on the number of threads; with ``auto`` on a
    CPU that holds to the bit.

    The frozen controls (arXiv 2602.14111) start from the same weights and see the same batches.
    ``frozen_decoder`` never updates W_dec and ``frozen_encoder`` never W_enc; both biases, and so
    the thresholds of the latents, are trained in either. ``soft_frozen_decoder`` is projected
    after each step, see `keep_near`; as in the trained SAEs the lengths of its rows are free.

    Parameters
    ----------
    vectors : torch.Tensor of shape (sites, rows, d_in), float32, float16 or bfloat16
        Activations to train on, the same rows at all sites, on any device.
    sites : sequence of Site
        Names of the first axis.
    recipe : Recipe
        Sizes and training settings.
    seed : int
        Seed of initial weights and row order.
    device : torch.device or str
        Where to train.
    backend : {"auto", "batched", "looped"}
        Several SAEs per matrix product or one; ``auto`` asks `choose_backend`.

    Returns
    -------
    Bank
        Weights on the CPU.

    Raises
    ------
    SaeflowError
        If there are no rows, an activation or a trained weight is not finite, or the recipe is
        that of a control that is not trained.
    """
    device = torch.device(device)
    if recipe.control in FIXED_CONTROLS:
        raise SaeflowError(f"control is {recipe.control!r}, which is not trained; expected none.")
    check_activations(vectors, sites)
    n_sites, rows, d_in = vectors.shape
    if backend == "auto":
        backend = choose_backend(device, d_in, recipe.d_sae, recipe.k, n_sites)
    per_wave = max(1, WAVE_BYTES // site_bytes(rows, d_in, recipe))
    finished: list[dict[str, Tensor]] = []
    with one_thread_each(device) as pool:
        for start in range(0, n_sites, per_wave):
            wave = range(start, min(start + per_wave, n_sites))
            finished += _train_wave(vectors, sites, wave, recipe, seed, device, backend, pool)
    weights = {name: torch.cat([each[name] for each in finished]) for name in finished[0]}
    for place, site in enumerate(sites):
        if not all(bool(each[place].isfinite().all()) for each in weights.values()):
            raise SaeflowError(
                f"training.learning_rate is {recipe.learning_rate}, with which the SAE at "
                f"{site.name} ended in weights that are not finite; expected a lower one."
            )
    return Bank(recipe, tuple(sites), **weights)


def choose_backend(device: torch.device, d_in: int, d_sae: int, k: int, n_sites: int) -> Backend:
    """Faster way to train on a device; a function of its arguments alone.

    Parameters
    ----------
    device : torch.device
        Where to train.
    d_in, d_sae, k, n_sites : int
        Sizes of the bank.

    Returns
    -------
    {"batched", "looped"}
        On a CPU ``batched`` for several small SAEs (the table above) of usual sizes, elsewhere
        for all.
    """
    if n_sites == 1:
        return "looped"
    if device.type != "cpu":
        return "batched"
    if d_in % CPU_VECTOR or d_sae % CPU_VECTOR:
        return "looped"
    return "batched" if d_in * d_sae <= CPU_BATCHED_WEIGHTS else "looped"


def site_bytes(rows: int, d_in: int, recipe: Recipe) -> int:
    """Memory that one site takes while it is trained, in bytes, by formula."""
    weights = 2 * d_in * recipe.d_sae + d_in + recipe.d_sae
    start = d_in * recipe.d_sae if recipe.control == "soft_frozen_decoder" else 0
    batch = min(rows, recipe.batch_size) * (3 * d_in + 4 * recipe.d_sae)
    # Weights, gradients and Adam's two moments.
    return 4 * (4 * weights + start + rows * d_in + batch)


def initial_weights(site: Site, d_in: int, d_sae: int, seed: int) -> dict[str, Tensor]:
    """Weights of one SAE before training, with a leading axis of length 1, on the CPU.

    PyTorch's default for a linear layer is uniform within 1 / sqrt(number of inputs), for
    weights and biases alike.
    """
    generator = torch_generator(seed, "bank", "init", site.layer, site.step)

    def uniform(shape: tuple[int, ...], n_inputs: int) -> Tensor:
        bound = 1 / math.sqrt(n_inputs)
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    W_enc = uniform((1, d_in, d_sae), d_in)
    b_enc = uniform((1, d_sae), d_in)
    W_dec = uniform((1, d_sae, d_in), d_sae)
    b_dec = uniform((1, d_in), d_sae)
    W_dec /= W_dec.norm(dim=-1, keepdim=True)
    return {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}


def keep_near(
    rows: Float[Tensor, "sites d_sae d_in"], start: Float[Tensor, "sites d_sae d_in"]
) -> None:
    """Turn rows back, in place, that have left the cone around where they started.

    A row whose cosine with its start is below `SOFT_FROZEN_COSINE` is turned in the plane of the
    two until the cosine is that; its length stays. Adam's moments stay as well.

    Parameters
    ----------
    rows : torch.Tensor of shape (sites, d_sae, d_in), float32
        Decoder weights after a step.
    start : torch.Tensor of shape (sites, d_sae, d_in), float32
        Those before the first step, of length 1.
    """
    along = (rows * start).sum(-1, keepdim=True)
    length = rows.norm(dim=-1, keepdim=True)
    across = torch.nn.functional.normalize(rows - along * start, dim=-1)
    sine = math.sqrt(1 - SOFT_FROZEN_COSINE**2)
    edge = length * (SOFT_FROZEN_COSINE * start + sine * across)
    torch.where(along < SOFT_FROZEN_COSINE * length, edge, rows, out=rows)


def check_activations(vectors: Float[Tensor, "sites rows d_in"], sites: Sequence[Site]) -> None:
    """Check that there are finite activations, and one name for each site.

    Raises
    ------
    SaeflowError
        If not.
    """
    n_sites, rows, _ = vectors.shape
    if n_sites != len(sites) or len(set(sites)) != len(sites):
        raise SaeflowError(
            f"activations of {n_sites} sites came with {len(set(sites))} different sites; "
            "expected one name each."
        )
    if n_sites == 0 or rows == 0:
        raise SaeflowError(
            f"there are {rows} rows of activations at {n_sites} sites to train SAEs on; expected "
            "at least 1 of each."
        )
    for site, x in zip(sites, vectors, strict=True):
        if not bool(x.isfinite().all()):
            raise SaeflowError(
                f"activations at {site.name} hold values that are not finite; expected finite ones."
            )


def _train_wave(
    vectors: Float[Tensor, "sites rows d_in"],
    sites: Sequence[Site],
    wave: range,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    backend: Backend,
    pool: Executor,
) -> list[dict[str, Tensor]]:
    """Train the sites that are in memory together, epoch by epoch; weights by group."""
    per_group = 1 if backend == "looped" else len(wave)
    if backend == "batched" and device.type == "cpu":
        per_group = CPU_GROUP_SITES
    groups = []
    for start in range(wave.start, wave.stop, per_group):
        part = slice(start, min(start + per_group, wave.stop))
        groups.append(_Group(vectors[part], sites[part], recipe, seed, device))
    epochs = progress(
        range(recipe.epochs),
        description=f"SAEs {wave.start + 1} to {wave.stop} of {len(sites)}",
        total=recipe.epochs,
        unit="epochs",
    )
    for epoch in epochs:
        generator = torch_generator(seed, "bank", "order", epoch)
        order = torch.randperm(vectors.shape[1], generator=generator).to(device)
        for _ in pool.map(lambda group, order=order: group.run_epoch(order), groups):
            pass  # asking for the results raises what went wrong in a thread
    return [{name: each.cpu() for name, each in group.weights.items()} for group in groups]


class _Group:
    """SAEs that share their matrix products."""

    def __init__(
        self,
        vectors: Float[Tensor, "sites rows d_in"],
        sites: Sequence[Site],
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.x = vectors.to(device, torch.float32)
        starts = [initial_weights(site, vectors.shape[2], recipe.d_sae, seed) for site in sites]
        self.weights = {
            name: torch.cat([each[name] for each in starts]).to(device) for name in starts[0]
        }
        fused = device.type in ("cpu", "cuda")  # 41 ms in place of 228 for 38 M weights
        self.trained = {name: each for name, each in self.weights.items() if name != recipe.frozen}
        self.adam = torch.optim.Adam(self.trained.values(), lr=recipe.learning_rate, fused=fused)
        soft = recipe.control == "soft_frozen_decoder"
        self.start = self.weights["W_dec"].clone() if soft else None

    def run_epoch(self, order: Int[Tensor, " rows"]) -> None:
        """Update the SAEs once per batch of rows."""
        for rows in torch.split(order, self.recipe.batch_size):
            gradients = reconstruction_gradients(self.weights, self.x[:, rows], self.recipe)
            for name, weight in self.trained.items():
                weight.grad = gradients[name]
            self.adam.step()
            if self.start is not None:
                keep_near(self.weights["W_dec"], self.start)
