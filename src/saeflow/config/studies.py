"""What each study measures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.decimal_bug import DecimalBugStudy
from saeflow.config.hierarchy import HierarchyStudy
from saeflow.config.runs import BankRun, ExactSettings, Positive, different
from saeflow.config.scaling import ScalingStudy
from saeflow.config.specialists import SpecialistsStudy


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

    models: Annotated[dict[Name, BankRun], DropNulls] = Field(
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


class RangedPermutations(PermutationSettings):
    """Joint permutations of the problems' labels, in jobs of their own."""

    count: int = Field(200, ge=19, description="Number of permutations.")
    per_job: int = Field(200, ge=1, description="Permutations per job; any number gives the same.")


class HalvesSettings(Block):
    """What is found on one half of the problems is tested once on the other."""

    count: int = Field(20, ge=20, description="Number of random splits.")
    seed: int = Field(0, description="Seed of the splits.")


class StabilitySettings(Block):
    """Features of two SAE seeds matched one to one."""

    min_similarity: float = Field(
        0.7,
        gt=0,
        le=1,
        description="A feature recurs if its partner's decoder cosine and activation correlation "
        "are this or more, signs agreeing.",
    )


class CapacitySettings(Block):
    """The grid of d_sae and k, trained at a few sites, the same for all models."""

    datasets: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        description="Data sets whose train problems train the SAEs and whose validation problems "
        "measure them; null: those of each model's run that have both.",
    )
    d_sae: tuple[Positive, ...] = Field(
        (512, 1024, 2048), min_length=1, description="Sizes of SAEs."
    )
    k: tuple[Positive, ...] = Field(
        (5, 10, 20, 100),
        min_length=1,
        description="Active latents; one is left out where d_sae is less.",
    )
    depths: tuple[float, ...] = Field(
        (0.75,),
        min_length=1,
        description="Relative depths: 1 is the last block's output, before the final norm.",
    )
    steps: tuple[int, ...] = Field((3,), min_length=1, description="Thought steps.")
    seed: int = Field(0, ge=0, description="Seed of the SAEs and of the permutations.")
    permutations: int = Field(
        20, ge=2, description="Joint permutations per SAE; an excess has an interval from 19 on."
    )

    @field_validator("depths")
    @classmethod
    def _relative(cls, depths: tuple[float, ...]) -> tuple[float, ...]:
        for depth in depths:
            if not 0 < depth <= 1:
                raise ValueError(f"{depth} is no relative depth; write a number above 0, up to 1")
        return depths

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """All pairs of a d_sae and a k that fits it, ascending."""
        pairs = [(d_sae, k) for d_sae in sorted({*self.d_sae}) for k in sorted({*self.k})]
        return [(d_sae, k) for d_sae, k in pairs if k <= d_sae]


TargetName = Literal["token", "operator", "operand", "magnitude", "n_steps", "correct", "decoded"]


class Gsm8kCalibrated(Block):
    """Ours: held-out problems, exact tests, a false-discovery rate, nulls and controls."""

    models: Annotated[dict[Name, BankRun] | None, DropNulls] = Field(
        None, description="What is calibrated, per model; null: what the published mode analyses."
    )
    controls: Literal["all"] | tuple[Name, ...] = Field(
        "all",
        description="Control dictionaries that stand beside the banks of trained models: all that "
        "are of one of their dictionaries, or these.",
    )
    control_seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="Seeds of the controls' SAEs."
    )
    association: ExactSettings = Field(
        default_factory=ExactSettings, description="Which pairs are discoveries."
    )
    targets: tuple[TargetName, ...] = Field(
        ("token", "operator", "operand", "magnitude", "n_steps", "correct", "decoded"),
        min_length=1,
        description="What features are tested against: presence of a token anywhere, operator or "
        "operand of a step, size of the result, number of steps, whether the model answers right, "
        "the token that the model itself decodes at the thought. token cannot be left out.",
    )
    permutations: RangedPermutations = Field(
        default_factory=RangedPermutations, description="The chance level."
    )
    halves: HalvesSettings = Field(
        default_factory=HalvesSettings, description="Confirmation on the other half."
    )
    stability: StabilitySettings = Field(
        default_factory=StabilitySettings, description="Recurrence across SAE seeds."
    )
    capacity: CapacitySettings | None = Field(
        default_factory=CapacitySettings, description="Sizes of SAEs compared; null for none."
    )

    @field_validator("control_seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return different(seeds)

    @field_validator("targets")
    @classmethod
    def _with_tokens(cls, targets: tuple[TargetName, ...]) -> tuple[TargetName, ...]:
        if "token" not in targets or len(set(targets)) != len(targets):
            raise ValueError(f"{list(targets)} must name token, and nothing twice")
        return targets


class Gsm8kStudy(Block):
    """Which SAE features follow which tokens of the calculation (methods/1)."""

    published: Gsm8kPublished = Field(description="The published procedure.")
    calibrated: Gsm8kCalibrated | None = Field(
        default_factory=Gsm8kCalibrated, description="The same questions, calibrated; null: not."
    )


class StudySettings(Block):
    """The studies to run."""

    gsm8k: Gsm8kStudy = Field(description="GSM8K feature interpretability.")
    hierarchy: HierarchyStudy | None = Field(
        None, description="Feature hierarchy and interventions; null: not."
    )
    decimal_bug: DecimalBugStudy | None = Field(
        None, description="Why 9.11 is taken for bigger than 9.8 in some formats; null: not."
    )
    specialists: SpecialistsStudy | None = Field(
        None, description="Whether specialist features detect form or meaning; null: not."
    )
    scaling: ScalingStudy | None = Field(
        None,
        description="Wide SAEs trained on a corpus, searched, steered with, explained; null: not.",
    )


class PublishedBeside(Block):
    """Published criteria, for the analytic chance level beside the published rates.

    `observed` asks for the rates themselves, too, which the published mode does not measure of a
    control.
    """

    association: AssociationSettings
    labels: LabelSettings
    observed: bool


class CalibrateSpec(Block):
    """Everything that calibrating a bank reads, as a rule passes it on."""

    association: ExactSettings
    targets: tuple[TargetName, ...]
    halves: HalvesSettings
    published: PublishedBeside
    held_out: Literal["validation", "analysed"]
    layers: Literal["all"] | tuple[int, ...]
