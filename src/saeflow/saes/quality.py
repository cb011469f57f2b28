"""How well the SAEs of a bank reconstruct, and how sparsely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.saes.bank import Bank, Site
from saeflow.saes.parallel import one_thread_each

SMALLEST_NORM = 1e-8


class SiteMetric(NamedTuple):
    """One number about one SAE.

    Attributes
    ----------
    site : Site
        Whose SAE.
    metric : str
        Name of the metric; see `site_quality`.
    value : float
        NaN where it is not defined.
    n : int
        Rows it was measured on.
    """

    site: Site
    metric: str
    value: float
    n: int


def bank_quality(
    bank: Bank,
    x: Float[Tensor, "sites rows d_in"],
    *,
    device: torch.device | str,
    block_rows: int = 2048,
) -> list[SiteMetric]:
    """Measure all SAEs of a bank; see `site_quality`.

    Parameters
    ----------
    bank : Bank
        On any device.
    x : torch.Tensor of shape (sites, rows, d_in), float32, float16 or bfloat16
        Activations in the order of the bank's sites.
    device : torch.device or str
        Where to compute.
    block_rows : int
        Rows in memory at a time.

    Returns
    -------
    list of SiteMetric
        Site by site, metric by metric.
    """
    device = torch.device(device)

    def measure(place: int) -> dict[str, float]:
        sae = bank.select([bank.sites[place]]).to(device)
        return site_quality(sae, x[place], block_rows=block_rows)

    with one_thread_each(device) as pool:
        measured = list(pool.map(measure, range(len(bank.sites))))
    return [
        SiteMetric(site, metric, value, x.shape[1])
        for site, values in zip(bank.sites, measured, strict=True)
        for metric, value in values.items()
    ]


def site_quality(
    sae: Bank,
    x: Float[Tensor, "rows d_in"],
    *,
    target: Float[Tensor, "rows d_in"] | None = None,
    block_rows: int = 2048,
) -> dict[str, float]:
    """Measure one SAE on activations.

    Parameters
    ----------
    sae : Bank
        Bank of one site.
    x : torch.Tensor of shape (rows, d_in), float32, float16 or bfloat16
        Activations, on any device; at least one row.
    target : torch.Tensor of shape (rows, d_in), optional
        What the reconstruction is held against, if not against what is read.
    block_rows : int
        Rows in memory at a time; all sums are kept in float64.

    Returns
    -------
    dict of str to float
        ``explained_variance``
            1 - Var(x - x̂) / Var(x), each variance taken over all entries of the matrix at once,
            as published (methods/1, 2.2). Differences between the means of the dimensions count
            as variance to be explained, and b_dec alone explains them: on activations with a
            few large fixed dimensions it is close to 1 whatever the latents do. NaN where all
            entries are equal.
        ``fvu``
            Fraction of variance unexplained, Σ|x - x̂|² / Σ|x - x̄|², with the mean per dimension:
            the mean vector as reconstruction gives 1. NaN where all rows are equal.
        ``mse``
            Mean of (x - x̂)² over all entries.
        ``l0_mean``, ``l0_std``
            Mean over the rows of the number of latents that are not 0, and its standard
            deviation (of these rows, not of a population).
        ``dead_share``
            Share of latents that are 0 on all of these rows.
        ``cosine``
            Mean over the rows of cos(x, x̂); 0 for a row where either is 0.
    """
    rows, d_in = x.shape
    wanted = x if target is None else target
    sums = _Sums(sae.d_sae, wanted[:1].to(sae.device))
    for start in range(0, rows, block_rows):
        block = x[start : start + block_rows].to(sae.device, torch.float32)
        features = sae.encode(block.unsqueeze(0))
        if target is not None:
            block = target[start : start + block_rows].to(sae.device, torch.float32)
        sums.add(block, features[0], sae.decode(features)[0])
    within, total = sums.spread(rows)
    found = quality_of_sums(
        QualitySums(
            *(
                np.array(each, np.float64)
                for each in (rows, sums.active, sums.active_squares, sums.error)
            ),
            *(np.array(each) for each in (sums.error_squares, sums.cosine, within, total)),
        ),
        d_in,
    )
    return {
        "explained_variance": float(found["explained_variance"]),
        "fvu": float(found["fvu"]),
        "mse": float(found["mse"]),
        "l0_mean": float(found["l0_mean"]),
        "l0_std": float(found["l0_std"]),
        "dead_share": 1 - float(sums.fired.double().mean()),
        "cosine": float(found["cosine"]),
    }


class QualitySums(NamedTuple):
    """Sums over rows; arrays of one shape, such as one sum per resample.

    Attributes
    ----------
    rows : numpy.ndarray
        Number of rows.
    active, active_squares : numpy.ndarray
        Of the latents that are not 0 in a row, and of that number squared.
    error, error_squares : numpy.ndarray
        Of x - x̂ and its square, over all entries.
    cosine : numpy.ndarray
        Of cos(x, x̂).
    within, total : numpy.ndarray
        Squared distances of x from its mean per dimension, and from its one overall mean.
    """

    rows: Float[np.ndarray, "*some"]
    active: Float[np.ndarray, "*some"]
    active_squares: Float[np.ndarray, "*some"]
    error: Float[np.ndarray, "*some"]
    error_squares: Float[np.ndarray, "*some"]
    cosine: Float[np.ndarray, "*some"]
    within: Float[np.ndarray, "*some"]
    total: Float[np.ndarray, "*some"]


def quality_of_sums(sums: QualitySums, d_in: int) -> dict[str, Float[np.ndarray, "*some"]]:
    """All metrics of `site_quality` but ``dead_share``, from sums over rows.

    Parameters
    ----------
    sums : QualitySums
        Over the rows; where there is none, every metric is NaN.
    d_in : int
        Dimensions of a row.

    Returns
    -------
    dict of str to numpy.ndarray of float64
        By metric, of the shape of the sums.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        l0_mean = sums.active / sums.rows
        mse = sums.error_squares / (sums.rows * d_in)
        error_variance = mse - (sums.error / (sums.rows * d_in)) ** 2
        explained = 1 - error_variance / (sums.total / (sums.rows * d_in))
        return {
            "explained_variance": np.where(sums.total > 0, explained, np.nan),
            "fvu": np.where(sums.within > 0, sums.error_squares / sums.within, np.nan),
            "mse": mse,
            "l0_mean": l0_mean,
            "l0_std": np.sqrt(np.maximum(0.0, sums.active_squares / sums.rows - l0_mean**2)),
            "cosine": sums.cosine / sums.rows,
        }


class _Sums:
    """Running sums over blocks of rows."""

    def __init__(self, d_sae: int, first: Float[Tensor, "1 d_in"]) -> None:
        # Sums are taken of differences from the first row: for equal rows they are exactly 0.
        self.first = first[0].double()
        self.x = torch.zeros_like(self.first)
        self.x_squares = torch.zeros_like(self.first)
        self.fired = torch.zeros(d_sae, dtype=torch.bool, device=first.device)
        self.error = self.error_squares = self.cosine = 0.0
        self.active = self.active_squares = 0

    def add(
        self,
        x: Float[Tensor, "rows d_in"],
        features: Float[Tensor, "rows d_sae"],
        reconstruction: Float[Tensor, "rows d_in"],
    ) -> None:
        """Count one block."""
        x, reconstruction = x.double(), reconstruction.double()
        shifted, error = x - self.first, x - reconstruction
        self.x += shifted.sum(0)
        self.x_squares += shifted.square().sum(0)
        self.error += float(error.sum())
        self.error_squares += float(error.square().sum())
        norms = x.norm(dim=1) * reconstruction.norm(dim=1)
        self.cosine += float(((x * reconstruction).sum(1) / norms.clamp(min=SMALLEST_NORM)).sum())
        active = features != 0
        self.fired |= active.any(0)
        l0 = active.sum(1)
        self.active += int(l0.sum())
        self.active_squares += int(l0.square().sum())

    def spread(self, rows: int) -> tuple[float, float]:
        """Squared distances of x from its mean per dimension, and from its one overall mean."""
        within = float((self.x_squares - self.x.square() / rows).clamp(min=0).sum())
        means = self.first - self.first[0] + self.x / rows
        between = float((means.square().mean() - means.mean().square()).clamp(min=0)) * len(means)
        return within, within + rows * between
