"""What the hierarchy study measures (methods/2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.runs import BankRun, ExactSettings, different

SpecialistTarget = Literal["operators", "operands", "sequence", "step_value"]
Variable = Literal["operators", "first_operator", "sequence", "value", "operator_value"]
VARIABLES: tuple[Variable, ...] = (
    "operators",
    "first_operator",
    "sequence",
    "value",
    "operator_value",
)
BIN_EDGES = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 100, 200)
"""Lower edges of the bins of active problems; each belongs to its bin, and the last is open."""
BIN_LABELS = (
    *(str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(BIN_EDGES)),
    f"{BIN_EDGES[-1]}+",
)
"""Names of all bins, ascending: "1", "6-7", and "200+" for the last."""


class TaxonomySettings(Block):
    """Published rule for the most frequent features (methods/2, section 3.2)."""

    top: int = Field(20, ge=1, description="Features of each SAE that are named by type.")
    min_operation_hits: int = Field(
        3, ge=1, description="Samples that must show an operation or a round number."
    )
    min_number_hits: int = Field(5, ge=1, description="Samples that must show another number.")


class SpecialistSettings(Block):
    """Published rule for specialised features (methods/2, section 3.3)."""

    rank_ranges: tuple[tuple[int, int], ...] = Field(
        ((50, 200), (400, 512)),
        min_length=1,
        description="Ranks in which the study looks for specialists, both ends included.",
    )
    operation_share: float = Field(
        0.7, ge=0, le=1, description="The commonest operation is in more than this of the samples."
    )
    other_operation_share: float = Field(
        0.3, ge=0, le=1, description="Each other one, unless as common, in less than this."
    )
    value_share: float = Field(0.5, ge=0, le=1, description="The same for the commonest value.")
    other_value_share: float = Field(0.2, ge=0, le=1, description="The same for the other values.")
    null_draws: int = Field(
        2000, ge=100, description="Random sets of problems for each number of active problems."
    )
    null_seed: int = Field(0, description="Seed of these sets.")

    @field_validator("rank_ranges")
    @classmethod
    def _ascending(cls, ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        for first, last in ranges:
            if not 1 <= first <= last:
                raise ValueError(f"[{first}, {last}] is no range of ranks; write the smaller first")
        for (_, last), (first, _) in zip(sorted(ranges), sorted(ranges)[1:], strict=False):
            if first <= last:
                raise ValueError(f"rank ranges overlap at {first}; every rank belongs to one")
        return ranges


class ImpactSettings(Block):
    """Published measure of what a feature does: the change of the reconstruction without it."""

    top: int = Field(10, ge=1, description="Most frequent features that are validated.")
    high: float = Field(0.1, gt=0, description="Impact above this is HIGH.")
    medium: float = Field(0.01, gt=0, description="Impact above this is MEDIUM.")
    pass_share: float = Field(
        0.7, ge=0, le=1, description="Share of HIGH features at which the study passes."
    )

    @model_validator(mode="after")
    def _in_order(self) -> ImpactSettings:
        if self.medium > self.high:
            raise ValueError(f"medium is {self.medium}, above high, which is {self.high}")
        return self


class HierarchyRules(Block):
    """Every threshold of the published procedure."""

    samples: int = Field(
        100, ge=1, description="Problems per feature that the rules look at, strongest first."
    )
    taxonomy: TaxonomySettings = Field(
        default_factory=TaxonomySettings, description="Types of the most frequent features."
    )
    specialists: SpecialistSettings = Field(
        default_factory=SpecialistSettings, description="Which features are called specialised."
    )
    impact: ImpactSettings = Field(
        default_factory=ImpactSettings, description="Which features are said to matter."
    )


class HierarchyPublished(HierarchyRules):
    """The study's own procedure, bug for bug."""

    models: Annotated[dict[Name, BankRun], DropNulls] = Field(
        min_length=1, description="What is analysed, per model."
    )


class LevelSettings(Block):
    """Level of a feature: what it shares most information with, chance subtracted."""

    min_active: int = Field(
        20, ge=1, description="Features active on fewer balanced problems have no level."
    )
    permutations: int = Field(50, ge=2, description="Joint permutations of the problems.")
    seed: int = Field(0, description="Seed of the permutations.")
    false_share: float = Field(
        0.05, gt=0, lt=1, description="Largest share of levels that chance alone may give."
    )


class SpecialistTests(Block):
    """Exact tests of half-features against operators and values, with a permutation null."""

    targets: tuple[SpecialistTarget, ...] = Field(
        ("operators", "operands", "sequence", "step_value"),
        min_length=1,
        description="operators and operands anywhere in the calculations, sequences of two or "
        "three operators, operands and results of a step.",
    )
    tests: ExactSettings = Field(
        default_factory=ExactSettings, description="Which pairs are discoveries."
    )
    permutations: int = Field(100, ge=19, description="Joint permutations of the problems.")
    seed: int = Field(0, description="Seed of the permutations.")

    @field_validator("targets")
    @classmethod
    def _different(cls, targets: tuple[SpecialistTarget, ...]) -> tuple[SpecialistTarget, ...]:
        return different(targets)


class ModuleSettings(Block):
    """Groups of features that fire together."""

    min_correlation: float = Field(
        0.3, gt=0, le=1, description="Least mean correlation at which groups are joined."
    )
    min_size: int = Field(3, ge=2, description="Smaller groups are not listed.")
    keep: int = Field(200, ge=1, description="Pairs stored per SAE, the least probable first.")
    permutations: int = Field(
        10, ge=2, description="Permutations of each feature's firing, and of the problems' labels."
    )
    seed: int = Field(0, description="Seed of the permutations.")


class SweepSettings(Block):
    """How many specialists SAEs of other sizes have, at one site, beside their chance level."""

    k: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (50, 75, 100, 200, 300),
        min_length=1,
        description="Active latents; one that is not below d_sae is left out.",
    )
    depth: float = Field(0.75, gt=0, le=1, description="Relative depth; 1 is the last block.")
    step: int = Field(3, ge=0, description="Thought step.")
    seed: int = Field(0, ge=0, description="Seed of the SAEs.")


class SearchSettings(Block):
    """Where the search for the input of a feature's largest activation starts, and how far it goes."""

    starts: int = Field(600, ge=1, description="Random problems that are tried first.")
    climbs: int = Field(1, ge=1, description="The best so many of them are improved.")
    max_number: int = Field(100, ge=20, description="Largest operand or result.")


class CausalSettings(Block):
    """Interventions while the model thinks, and what then becomes of its answer."""

    shortlist: int = Field(
        5,
        ge=1,
        description="Features per site that are ablated exactly: those of the largest "
        "attributed effect on problems that are not reported.",
    )
    set_size: int = Field(
        20, ge=1, description="Features per site that are ablated together, chosen likewise."
    )
    dosed: int = Field(4, ge=0, description="Features with a dose-response curve.")
    doses: tuple[float, ...] = Field(
        (0.0, 0.5, 1.0, 2.0, 5.0, 10.0), min_length=1, description="Factors on the activation."
    )
    swapped: int = Field(4, ge=0, description="Features whose values are swapped across problems.")
    stories: int = Field(6, ge=1, description="Stories of balanced problems that are swapped.")
    maximal: int = Field(4, ge=0, description="Features for which an input is searched.")
    sweeps: int = Field(2, ge=1, description="Passes of that search over all coordinates.")
    search: SearchSettings = Field(
        default_factory=SearchSettings, description="Where that search starts."
    )
    problems: int | None = Field(
        None,
        ge=20,
        description="Held-out problems that are intervened on, at most three quarters of them (null): "
        "a third choose a site, the others are reported. All others screen features.",
    )
    control_problems: int | None = Field(
        80, ge=20, description="The same for untrained models; null: as many as for the others."
    )
    seed: int = Field(0, description="Seed of the split and of random controls.")
    rows: int = Field(512, ge=1, description="Problems times conditions per forward pass.")

    @field_validator("doses")
    @classmethod
    def _not_negative(cls, doses: tuple[float, ...]) -> tuple[float, ...]:
        if min(doses) < 0:
            raise ValueError(f"{min(doses)} would turn the activation around; expected 0 or more")
        return different(doses)


class HierarchyCalibrated(Block):
    """Ours: exact tests, nulls, levels on balanced problems, and interventions on the model."""

    balanced: Name = Field(description="Data set of balanced problems, on which levels are read.")
    controls: Literal["all_sites"] | tuple[Name, ...] = Field(
        "all_sites",
        description="Control dictionaries whose specialists, levels and modules are counted beside those "
        "of trained models, SAEs of the same seeds: all of a studied dictionary that have its sites, "
        "or these; [] for none.",
    )
    levels: LevelSettings = Field(default_factory=LevelSettings, description="Levels of features.")
    specialists: SpecialistTests = Field(
        default_factory=SpecialistTests, description="Which features follow what."
    )
    modules: ModuleSettings = Field(
        default_factory=ModuleSettings, description="Features that fire together."
    )
    sweep: SweepSettings | None = Field(
        default_factory=SweepSettings, description="Specialists at other k; null for none."
    )
    causal: CausalSettings | None = Field(
        default_factory=CausalSettings, description="Interventions; null for none."
    )

    @field_validator("controls")
    @classmethod
    def _different(cls, controls: str | tuple[Name, ...]) -> str | tuple[Name, ...]:
        return controls if isinstance(controls, str) else different(controls)


class HierarchyStudy(Block):
    """Whether features encode operations, values or both, and whether they matter (methods/2)."""

    published: HierarchyPublished = Field(description="The published procedure.")
    calibrated: HierarchyCalibrated | None = Field(
        None, description="The same questions, calibrated; null: not."
    )
