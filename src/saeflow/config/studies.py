"""What each study measures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saeflow.config.base import Block, DropNulls, Name


class Gsm8kRun(Block):
    """What is analysed of one model."""

    datasets: tuple[Name, ...] = Field(min_length=1, description="Data sets to analyse.")
    dictionaries: tuple[Name, ...] = Field(min_length=1, description="Banks to analyse.")
    seeds: tuple[int, ...] = Field((0, 1), min_length=1, description="SAE seeds.")

    @field_validator("datasets", "dictionaries", "seeds")
    @classmethod
    def _different(cls, values: tuple[Name | int, ...]) -> tuple[Name | int, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{list(values)} names something twice")
        if any(isinstance(value, int) and not 0 <= value < 2**31 for value in values):
            raise ValueError(f"{list(values)} holds a seed outside 0 to {2**31 - 1}")
        return values


class AssociationSettings(Block):
    """Published criteria for a feature-token pair (methods/1, section 2.5)."""

    min_active: int = Field(
        20, ge=1, description="Features active on fewer problems are not analysed."
    )
    min_total: int = Field(10, ge=1, description="Tables over fewer problems are skipped.")
    p_value: float = Field(0.01, gt=0, le=1, description="Pairs need a p-value below this.")
    min_enrichment: float = Field(
        2.0, ge=1, description="Pairs need an enrichment of this or more."
    )
    keep: int = Field(20, ge=1, description="Pairs stored per feature; all are counted.")


class LabelSettings(Block):
    """Published rule for labels (methods/1, sections 2.6 and 2.7)."""

    monosemantic_enrichment: float = Field(
        5.0, ge=0, description="A top pair this enriched makes a feature monosemantic."
    )
    high_enrichment: float = Field(
        10.0, ge=0, description="Monosemantic features this enriched are counted as 'high'."
    )


class PermutationSettings(Block):
    """The chance level: problems' token rows, permuted jointly."""

    count: int = Field(20, ge=1, description="Number of permutations.")
    seed: int = Field(0, description="Seed of the permutations.")


class Gsm8kCriteria(Block):
    """Every threshold of the published procedure."""

    association: AssociationSettings = Field(
        default_factory=AssociationSettings, description="Which pairs count."
    )
    labels: LabelSettings = Field(
        default_factory=LabelSettings, description="What pairs are called."
    )
    permutations: PermutationSettings = Field(
        default_factory=PermutationSettings, description="The chance level."
    )


class Gsm8kPublished(Gsm8kCriteria):
    """The study's own procedure, bug for bug."""

    models: Annotated[dict[Name, Gsm8kRun], DropNulls] = Field(
        min_length=1, description="What is analysed, per model."
    )
    layers: Literal["all"] | tuple[int, ...] = Field(
        "all", description="Layers to analyse; the bank holds all of them."
    )
    examples: int = Field(
        5,
        ge=1,
        le=50,
        description="Problems kept per labelled feature: those on which it fires hardest.",
    )

    @field_validator("layers")
    @classmethod
    def _some_layers(cls, layers: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if not layers:
            raise ValueError("no layer is named; write all or a list")
        if not isinstance(layers, str) and len(set(layers)) != len(layers):
            raise ValueError(f"{list(layers)} names a layer twice")
        return layers


class Gsm8kStudy(Block):
    """Which SAE features follow which tokens of the calculation (methods/1)."""

    published: Gsm8kPublished = Field(description="The published procedure.")


class StudySettings(Block):
    """The studies to run."""

    gsm8k: Gsm8kStudy = Field(description="GSM8K feature interpretability.")
