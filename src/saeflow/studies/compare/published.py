"""What the study published about its two models (methods/1, sections 2.2 and 2.8)."""

from __future__ import annotations

from dataclasses import dataclass

CAPACITY_VERDICT = "capacity hypothesis rejected"
"""What the study concluded from Llama's monosemantic rate not being below GPT-2's (methods/6, 10)."""


@dataclass(frozen=True)
class PublishedModel:
    """Counts of one published model; rates are quotients, named as in the summary.

    Attributes
    ----------
    model : str
        As the study calls it.
    layers, steps, d_sae : int
        Layers and thought steps with one SAE each, and its latents.
    interpretable, monosemantic, number : int
        Latents with at least one pair; of these, those that the rule calls monosemantic, and those
        whose label contains "number", as counted in the study's own result files.
    """

    model: str
    layers: int
    steps: int
    d_sae: int
    interpretable: int
    monosemantic: int
    number: int

    @property
    def features(self) -> int:
        """Latents of all SAEs."""
        return self.layers * self.steps * self.d_sae

    @property
    def interpretable_rate(self) -> float:
        """Interpretable among all latents, analysed or not."""
        return self.interpretable / self.features

    @property
    def monosemantic_rate(self) -> float:
        """Monosemantic among interpretable latents."""
        return self.monosemantic / self.interpretable

    @property
    def number_rate(self) -> float:
        """Those with "number" in the label among interpretable latents."""
        return self.number / self.interpretable


PUBLISHED = (
    PublishedModel(
        model="CODI-Llama-3.2-1B",
        layers=16,
        steps=6,
        d_sae=512,
        interpretable=18_551,
        monosemantic=13_890,
        # The study's text says 18,353.
        number=18_344,
    ),
    PublishedModel(
        model="CODI-GPT-2",
        layers=12,
        steps=6,
        d_sae=512,
        interpretable=15_399,
        monosemantic=11_187,
        number=15_175,
    ),
)
"""In the order in which the study compares them."""
