"""What the study published about its two models (methods/1, sections 2.2 and 2.8)."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "methods/1, section 2.8"


@dataclass(frozen=True)
class PublishedModel:
    """Counts of one published model; rates are quotients, named as in the summary.

    Attributes
    ----------
    model : str
        As the study calls it.
    layers, steps, d_sae, k : int
        Layers and thought steps with one SAE each, its latents, and how many of them are kept.
    analysed : int
        Latents active on 20 problems or more.
    interpretable, monosemantic, number : int
        Latents with at least one pair; of these, those that the rule calls monosemantic, and those
        whose label contains "number", as counted in the study's own result files.
    correlations : int
        Pairs that pass the criteria.
    high_enrichment : int
        Monosemantic latents enriched ten times or more.
    max_enrichment : float or None
        Largest enrichment of a monosemantic latent; None where the source gives none.
    """

    model: str
    layers: int
    steps: int
    d_sae: int
    k: int
    analysed: int
    interpretable: int
    monosemantic: int
    number: int
    correlations: int
    high_enrichment: int
    max_enrichment: float | None = None

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

    @property
    def high_enrichment_rate(self) -> float:
        """Enriched ten times or more among monosemantic latents."""
        return self.high_enrichment / self.monosemantic


PUBLISHED = (
    PublishedModel(
        model="CODI-Llama-3.2-1B",
        layers=16,
        steps=6,
        d_sae=512,
        k=100,
        analysed=31_057,
        interpretable=18_551,
        monosemantic=13_890,
        # The study's text says 18,353.
        number=18_344,
        correlations=60_296,
        high_enrichment=9_387,
    ),
    PublishedModel(
        model="CODI-GPT-2",
        layers=12,
        steps=6,
        d_sae=512,
        k=150,
        analysed=26_744,
        interpretable=15_399,
        monosemantic=11_187,
        number=15_175,
        correlations=49_748,
        high_enrichment=6_596,
        max_enrichment=169.9,
    ),
)
"""In the order in which the study compares them."""
