"""What an SAE gives when it is read in one way: L0, explained variance, cross-entropy recovered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.interventions.released.tokens import FIRST
from saeflow.interventions.splicing import CLEAN, MEAN, ZERO, recovered, spliced_rows
from saeflow.models.conventions import HookedLayer
from saeflow.models.language_model import LanguageModel
from saeflow.saes.bank import Bank
from saeflow.saes.quality import site_quality

MEASURABLE = 0.3
"""Nats per token that an ablation must cost for a share of it to mean something: on a few hundred
tokens the difference of two cross-entropies has a standard error of some hundredths, which of less
than this would be more than a tenth."""


@dataclass(frozen=True)
class Reading:
    """One way to read an SAE.

    Attributes
    ----------
    sae : Bank
        Of one site; reads plain activations, whatever it was trained on.
    place : HookedLayer
        Where.
    centred : bool
        Whether it reconstructs activations minus their mean over dimensions.
    begin : bool
        Whether a begin token comes first.
    """

    sae: Bank
    place: HookedLayer
    centred: bool
    begin: bool

    def target(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        """What the SAE should give back of plain activations."""
        return x - x.mean(1, keepdim=True) if self.centred else x

    def in_its_centre(self) -> Reading:
        """Reading of the same SAE that looks at nothing but centred activations."""
        weights = dict(self.sae.weights)
        weights["W_enc"] = weights["W_enc"] - weights["W_enc"].mean(1, keepdim=True)
        return replace(self, sae=Bank(self.sae.recipe, self.sae.sites, **weights), centred=True)

    def scaled(self, entering: float, leaving: float) -> Reading:
        """Reading of the same SAE that multiplies what it reads and what it gives back."""
        weights = dict(self.sae.weights)
        weights["W_enc"] = weights["W_enc"] * entering
        weights |= {name: weights[name] * leaving for name in ("W_dec", "b_dec")}
        return replace(self, sae=Bank(self.sae.recipe, self.sae.sites, **weights))


class Measured(NamedTuple):
    """What one SAE gives of some tokens.

    Attributes
    ----------
    quality : dict of str to float
        As `saeflow.saes.quality.site_quality` gives it.
    n : int
        Tokens.
    """

    quality: dict[str, float]
    n: int

    @property
    def l0(self) -> float:
        """Mean number of active latents per token."""
        return self.quality["l0_mean"]

    @property
    def explained_variance(self) -> float:
        """1 - Σ|x - x̂|² / Σ|x - x̄|², the mean per dimension."""
        return 1 - self.quality["fvu"]


def measure(
    reading: Reading, x: Float[Tensor, "tokens d_in"], device: torch.device | str
) -> Measured:
    """Encode and decode the activations of a place.

    Parameters
    ----------
    reading : Reading
        How.
    x : torch.Tensor of shape (tokens, d_in)
        Plain activations of its place, without those that no number counts.
    device : torch.device or str
        Where to compute.

    Raises
    ------
    SaeflowError
        If the SAE reads activations of another width.
    """
    if x.shape[1] != reading.sae.d_in:
        raise SaeflowError(
            f"the SAE reads activations of {reading.sae.d_in} dimensions, but the model has "
            f"{x.shape[1]} at {reading.place.hook}; expected the model that it was trained on."
        )
    quality = site_quality(reading.sae.to(device), x, target=reading.target(x))
    return Measured(quality, len(x))


class Recovered(NamedTuple):
    """What a reconstruction keeps of what a model knows about the next token.

    Attributes
    ----------
    zero, mean : float
        Share of what it costs to put 0, or the mean, in place of the activation; NaN where that
        costs less than `MEASURABLE`.
    n : int
        Tokens that are predicted.
    """

    zero: float
    mean: float
    n: int


def measure_recovery(
    model: LanguageModel,
    reading: Reading,
    rows: Sequence[Sequence[int]],
    x: Float[Tensor, "tokens d_in"],
) -> Recovered:
    """Put the reconstruction in place of the activation and see how well the model predicts.

    A centred reconstruction is put in place as it is: layer norms take the mean out anyway.

    Parameters
    ----------
    model : LanguageModel
        The model.
    reading : Reading
        How.
    rows : sequence of sequence of int
        Token ids of each text as the reading wants them.
    x : torch.Tensor of shape (tokens, d_in)
        Plain activations of its place, whose mean is taken.
    """
    batches = list(
        spliced_rows(
            model, {"sae": reading.sae}, rows, begin=FIRST, mean=x.mean(0), place=reading.place
        )
    )
    tokens = sum(int(batch.tokens.sum()) for batch in batches)
    losses = {
        name: np.array(sum(float(batch.sums[name].sum()) for batch in batches) / tokens)
        for name in (CLEAN, ZERO, MEAN, "sae")
    }
    shares = {
        name: float(recovered(losses[name], losses["sae"], losses[CLEAN]))
        if losses[name] - losses[CLEAN] >= MEASURABLE
        else float("nan")
        for name in (ZERO, MEAN)
    }
    return Recovered(shares[ZERO], shares[MEAN], tokens)
