"""What a wide SAE is and how it is trained, and the numbers that follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from saeflow.config.dictionaries import FIXED_CONTROLS, Control, TokenHook
from saeflow.config.streams import StreamSettings, WideArchitecture
from saeflow.errors import SaeflowError
from saeflow.saes.bank import Recipe
from saeflow.saes.selection import Architecture

SAVED_AS: dict[WideArchitecture, Architecture] = {
    "topk": "topk",
    "batchtopk": "jumprelu",
    "relu": "standard",
}
"""Architectures that SAELens reads."""
SPARSE_SHARE = 0.05
"""Share of active latents below which gathering their rows beats a whole product: at 768 → 24,576 and
k 32 a CPU decodes 25 times as fast so, at 2,048 → 512 and k 100 half as fast."""


@dataclass(frozen=True)
class WideRecipe:
    """One wide SAE.

    Attributes
    ----------
    d_sae : int
        Latents.
    k : int
        Active latents per token, of batchtopk on average; relu has none and ignores it.
    seed : int
        Seed of the initial weights.
    control : Control or None
        ``frozen_decoder``, ``soft_frozen_decoder`` or ``frozen_encoder``; see
        `saeflow.saes.train.train_bank`.
    settings : StreamSettings
        Architecture and training.

    Raises
    ------
    SaeflowError
        If k does not fit d_sae or the control is not trained.
    """

    d_sae: int
    k: int
    seed: int
    control: Control | None = None
    settings: StreamSettings = field(default_factory=StreamSettings)

    def __post_init__(self) -> None:
        if self.control in FIXED_CONTROLS:
            raise SaeflowError(
                f"control is {self.control!r}, which is not trained; expected none, frozen_decoder, "
                "soft_frozen_decoder or frozen_encoder."
            )
        if not 1 <= self.k <= self.d_sae and self.architecture != "relu":
            raise SaeflowError(
                f"k is {self.k}, but there are {self.d_sae} latents (d_sae); expected a k from 1 to "
                f"{self.d_sae}."
            )

    @property
    def architecture(self) -> WideArchitecture:
        """How latents are selected."""
        return self.settings.architecture

    @property
    def published(self) -> bool:
        """Whether this is the study's SAE, without unit norm and b_dec at the input."""
        return self.architecture == "relu" and self.settings.l1 == "published"

    @property
    def steps(self) -> int:
        """Updates."""
        return self.settings.tokens // self.settings.batch_size

    @property
    def frozen(self) -> str | None:
        """Name of the weights that training leaves as they start, if any."""
        return {"frozen_decoder": "W_dec", "frozen_encoder": "W_enc"}.get(self.control or "")

    @property
    def sparse(self) -> bool:
        """Whether only active latents are decoded and differentiated."""
        if self.architecture == "relu" or self.settings.sparse_decode == "never":
            return False
        always = self.settings.sparse_decode == "always"
        return always or self.k < SPARSE_SHARE * self.d_sae

    @property
    def peak_learning_rate(self) -> float:
        """Adam's learning rate between warm-up and decay."""
        given = self.settings.learning_rate
        return 2e-4 / math.sqrt(self.d_sae / 2**14) if given is None else given

    def learning_rate(self, step: int) -> float:
        """Adam's learning rate of a step, counted from 0; it is never 0 itself."""
        warm_up = self.settings.warm_up_share * self.steps
        decay = self.settings.decay_share * self.steps
        rising = (step + 1) / warm_up if warm_up else 1.0
        falling = (self.steps - step) / decay if decay else 1.0
        return self.peak_learning_rate * min(1.0, rising, falling)

    @property
    def threshold_rate(self) -> float:
        """Weight of a batch in the running threshold: SAELens's, and more in short trainings."""
        return max(0.01, min(1.0, 10 / self.steps))

    def saved(self, hook: TokenHook) -> Recipe:
        """How the trained SAE stands in a bank."""
        return Recipe(
            SAVED_AS[self.architecture],
            self.d_sae,
            self.d_sae if self.architecture == "relu" else self.k,
            control=self.control,
            epochs=1,
            batch_size=self.settings.batch_size,
            learning_rate=self.peak_learning_rate,
            hook=hook,
        )


def penalty_per_token(recipe: WideRecipe) -> float:
    """Weight of a token's penalty Σ f‖W_dec‖ in the loss.

    In the published form the loader adds a leading axis to the batch, so that the sum over
    dimension 1 runs over tokens and the mean over latents: λ · batch / d_sae, which is λ/32 at a
    batch of 2,048 and 65,536 latents (methods/5, 6.2). In the fixed form it is λ.

    Parameters
    ----------
    recipe : WideRecipe
        Of any architecture; 0 of those without a penalty.

    Returns
    -------
    float
        Times the mean over tokens of the sum over latents.
    """
    if recipe.architecture != "relu":
        return 0.0
    weight = recipe.settings.l1_coefficient
    return weight * recipe.settings.batch_size / recipe.d_sae if recipe.published else weight


def input_factor(d_in: int, scale: float) -> float:
    """Factor of activations before training, after which their mean square length is d_in.

    Parameters
    ----------
    d_in : int
        Dimensions.
    scale : float
        Root of the mean square length of the activations; 11.8886 in the study, whose factor is
        4.662 (methods/5, 6.1).

    Returns
    -------
    float
        sqrt(d_in) / scale.
    """
    return math.sqrt(d_in) / scale
