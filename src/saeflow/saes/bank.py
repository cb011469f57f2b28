"""Banks: the SAEs of one model, dictionary and data set, one per site, stacked in one tensor each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.config.dictionaries import FIXED_CONTROLS, Control, DictionarySettings, TokenHook
from saeflow.errors import SaeflowError
from saeflow.saes.selection import Architecture, active_mask

EVERY_TOKEN = -1
"""In place of a thought step: an SAE that reads every token of texts."""


class Site(NamedTuple):
    """Where a bank reads activations.

    Attributes
    ----------
    layer : int
        Layer number, as the recipe's convention counts them; the block of an SAE of tokens.
    step : int
        Thought step, or `EVERY_TOKEN`.
    """

    layer: int
    step: int = EVERY_TOKEN

    @property
    def name(self) -> str:
        """Name of the site's folder."""
        place = f"layer{self.layer}"
        return place if self.step == EVERY_TOKEN else f"{place}_step{self.step}"


@dataclass(frozen=True)
class Recipe:
    """How the SAEs of a bank select their latents and are trained.

    Attributes
    ----------
    architecture : {"abstopk", "topk", "jumprelu", "standard"}
        ``abstopk`` keeps the k largest pre-activations by absolute value with their sign (the
        published one, methods/1, 2.2); ``topk`` keeps the k largest and applies ReLU; ``jumprelu``
        keeps those above a threshold (what batchtopk is after training), ``standard`` those above 0.
    d_sae : int
        Latents per SAE.
    k : int
        Latents kept per row, of jumprelu on average; d_sae where nothing limits them.
    control : Control or None
        What keeps the SAEs from learning; see `saeflow.saes.train.train_bank` for the frozen ones
        and `saeflow.saes.fixed.fixed_bank` for those that are not trained.
    epochs, batch_size : int
        Passes over the rows, and rows per update.
    learning_rate : float
        Adam's learning rate.
    hook : str or None
        Where the SAEs read tokens of texts; None where they read latent thoughts.

    Raises
    ------
    SaeflowError
        If k does not fit d_sae.
    """

    architecture: Architecture
    d_sae: int
    k: int
    control: Control | None = None
    epochs: int = 25
    batch_size: int = 256
    learning_rate: float = 1e-3
    hook: TokenHook | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.d_sae:
            fixed = self.control in FIXED_CONTROLS
            what = f"latents of {self.control} (d_in)" if fixed else "latents (d_sae)"
            raise SaeflowError(
                f"k is {self.k}, but there are {self.d_sae} {what}; expected a k from 1 to "
                f"{self.d_sae}."
            )

    @property
    def frozen(self) -> str | None:
        """Name of the weights that training leaves as they start, if any."""
        return {"frozen_decoder": "W_dec", "frozen_encoder": "W_enc"}.get(self.control or "")

    @classmethod
    def from_settings(cls, settings: DictionarySettings, d_in: int) -> Recipe:
        """Recipe of a configured dictionary for activations of d_in dimensions.

        Raises
        ------
        SaeflowError
            If k does not fit the number of latents.
        """
        training = settings.training
        return cls(
            architecture=settings.architecture,
            d_sae=d_in if settings.d_sae is None else settings.d_sae,
            k=settings.k,
            control=settings.control,
            epochs=training.epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            hook=settings.hook,
        )


@dataclass(frozen=True)
class Bank:
    """SAEs of several sites, stacked along the first axis.

    Attributes
    ----------
    recipe : Recipe
        How latents are selected and the SAEs were trained.
    sites : tuple of Site
        Order of the first axis.
    W_enc : torch.Tensor of shape (sites, d_in, d_sae), float32
        Encoder weights, column per latent.
    b_enc : torch.Tensor of shape (sites, d_sae), float32
        Encoder biases.
    W_dec : torch.Tensor of shape (sites, d_sae, d_in), float32
        Decoder weights, row per latent.
    b_dec : torch.Tensor of shape (sites, d_in), float32
        Decoder biases, in the unit of the activations.
    threshold : torch.Tensor of shape (sites, d_sae), float32, or None
        Of jumprelu alone: above which a latent is active.

    Raises
    ------
    SaeflowError
        If there is a threshold without jumprelu or jumprelu without one.
    """

    recipe: Recipe
    sites: tuple[Site, ...]
    W_enc: Float[Tensor, "sites d_in d_sae"]
    b_enc: Float[Tensor, "sites d_sae"]
    W_dec: Float[Tensor, "sites d_sae d_in"]
    b_dec: Float[Tensor, "sites d_in"]
    threshold: Float[Tensor, "sites d_sae"] | None = None

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.recipe.architecture == "jumprelu"):
            found = "no threshold" if self.threshold is None else "a threshold"
            raise SaeflowError(
                f"a bank of {self.recipe.architecture} came with {found}; expected one with "
                "jumprelu and none without."
            )

    @property
    def d_in(self) -> int:
        """Dimensions of an activation."""
        return self.W_enc.shape[1]

    @property
    def d_sae(self) -> int:
        """Latents per SAE."""
        return self.W_enc.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_enc.device

    def encode(self, x: Float[Tensor, "sites rows d_in"]) -> Float[Tensor, "sites rows d_sae"]:
        """Values of all latents; with abstopk and topk at most k of a row differ from 0.

        Parameters
        ----------
        x : torch.Tensor of shape (sites, rows, d_in)
            Activations, on the bank's device.

        Returns
        -------
        torch.Tensor of shape (sites, rows, d_sae), float32
            Signed values (abstopk) or values of 0 and more (the others).
        """
        pre = torch.baddbmm(self.b_enc.unsqueeze(1), x.float(), self.W_enc)
        recipe = self.recipe
        active = active_mask(pre, recipe.architecture, recipe.k, self.threshold)
        return pre.masked_fill_(~active, 0.0)

    def decode(
        self, features: Float[Tensor, "sites rows d_sae"]
    ) -> Float[Tensor, "sites rows d_in"]:
        """Reconstructed activations.

        Parameters
        ----------
        features : torch.Tensor of shape (sites, rows, d_sae), float32
            As `encode` returns them.

        Returns
        -------
        torch.Tensor of shape (sites, rows, d_in), float32
            In the unit of the activations.
        """
        return torch.baddbmm(self.b_dec.unsqueeze(1), features, self.W_dec)

    def select(self, sites: Sequence[Site]) -> Bank:
        """Bank of some sites, in the order asked for.

        Raises
        ------
        SaeflowError
            If a site is not in the bank.
        """
        for site in sites:
            if site not in self.sites:
                raise SaeflowError(
                    f"the bank has no SAE for {site.name}; expected one of "
                    f"{', '.join(each.name for each in self.sites)}."
                )
        if tuple(sites) == self.sites:
            return self
        places = [self.sites.index(site) for site in sites]
        index = torch.tensor(places, device=self.device)
        # One of many wide SAEs is looked at where it lies: a copy of each would double their memory.
        weights = (
            each.narrow(0, places[0], 1) if len(places) == 1 else each.index_select(0, index)
            for each in self.weights.values()
        )
        return Bank(self.recipe, tuple(sites), *weights)

    def to(self, device: torch.device | str) -> Bank:
        """Bank with its weights on a device."""
        weights = (each.to(device) for each in self.weights.values())
        return Bank(self.recipe, self.sites, *weights)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The four weight tensors, and jumprelu's threshold, by the names that SAELens gives them."""
        weights = {
            "W_enc": self.W_enc,
            "b_enc": self.b_enc,
            "W_dec": self.W_dec,
            "b_dec": self.b_dec,
        }
        return weights if self.threshold is None else weights | {"threshold": self.threshold}
