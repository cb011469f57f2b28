"""What the study of the decimal bug measures (methods/4)."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.runs import TokenRun, different

Share = Annotated[float, Field(ge=0, le=1)]
Donor = Literal[
    "same_pair_plain",
    "other_pair_plain",
    "other_pair_buggy",
    "unlike_pair_plain",
    "unlike_pair_buggy",
    "word_problem",
]


class PairSettings(Block):
    """Pairs of numbers that are compared: those that no training text of the mixture compares."""

    drawn: int = Field(
        5000,
        ge=7,
        description="Pairs drawn; those of the mixture come first, a quarter is held out.",
    )
    per_stratum: int = Field(
        30, ge=4, description="Held-out pairs of each of seven kinds; a half of them chooses."
    )


class BehaviourSettings(Block):
    """How answers are written."""

    max_new_tokens: int = Field(20, ge=4, description="Longest answer, in tokens, as published.")
    samples: int = Field(3, ge=0, description="Sampled answers per prompt beside the greedy one.")
    temperature: float = Field(0.6, gt=0, description="Of the sampled answers, as in a follow-up.")
    seed: int = Field(0, description="Seed of the samples.")


class ListSettings(Block):
    """Published lists of the strongest features of the last token (methods/4, section 5.2)."""

    top: int = Field(20, ge=1, description="Features of a layer's list, zeros included.")
    low: float = Field(40.0, description="Percent of overlap below which a layer discriminates.")
    high: float = Field(60.0, description="Percent of overlap above which a layer is shared.")

    @model_validator(mode="after")
    def _in_order(self) -> ListSettings:
        if not 0 <= self.low <= self.high <= 100:
            raise ValueError(
                f"low is {self.low} and high {self.high}; expected 0 <= low <= high <= 100"
            )
        return self


class DecimalPublished(ListSettings):
    """The study's own procedure, bug for bug: one pair of prompts, the last token, top-20 lists."""

    models: Annotated[dict[Name, TokenRun], DropNulls] = Field(
        min_length=1, description="What is analysed, per model."
    )
    numbers: tuple[str, str] = Field(
        ("9.8", "9.11"), description="The pair that the study asks about, in its order."
    )
    blends: tuple[Share, ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0), description="Weights at which whole modules are blended."
    )

    @field_validator("blends")
    @classmethod
    def _different(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return different(values)


class OverlapSettings(Block):
    """Overlap of features between formats, beside paraphrases that keep the answer."""

    permutations: int = Field(
        2000, ge=99, description="Sign flips of the difference from paraphrases, at most."
    )
    seed: int = Field(0, description="Seed of resamples and permutations.")


class PatchSettings(Block):
    """Activations of one prompt put in place of another's, and what is then answered."""

    pairs: int = Field(
        30, ge=4, description="Most prone pairs that choose a layer, and most that report."
    )
    donors: tuple[Donor, ...] = Field(
        get_args(Donor),
        min_length=1,
        description="Where activations come from, beside the prompt itself (identity) and the mean.",
    )
    random_sets: int = Field(
        4, ge=1, description="Random sets of as many units that stand beside a chosen one."
    )
    rows: int = Field(512, ge=1, description="Prompts times patches per forward pass.")
    seed: int = Field(0, description="Seed of donors and random sets.")

    @field_validator("donors")
    @classmethod
    def _different(cls, donors: tuple[Donor, ...]) -> tuple[Donor, ...]:
        if "same_pair_plain" not in donors:
            raise ValueError(
                f"{list(donors)} lacks same_pair_plain, which every donor is held against"
            )
        return different(donors)


class SubsetSettings(Block):
    """Which units suffice together: every subset of few units, a sample of many."""

    exhaustive: int = Field(8, ge=1, le=12, description="Units up to which every subset is tried.")
    orders: int = Field(
        24, ge=2, description="Orders in which units of larger sets are added one by one."
    )
    labelings: int = Field(2000, ge=99, description="Permuted labels of units, at most.")
    seed: int = Field(0, description="Seed of orders and labelings.")


class AttributionSettings(Block):
    """Which units write which features."""

    features: int = Field(
        20, ge=1, description="Features per layer: those that differ most between formats."
    )
    permutations: int = Field(999, ge=99, description="Permutations of units within prompts.")
    q_value: float = Field(0.05, gt=0, lt=1, description="Largest adjusted p-value.")
    seed: int = Field(0, description="Seed of the permutations.")


class DecimalCalibrated(Block):
    """Ours: many pairs, aligned tokens, chosen on one half and reported on the other."""

    pairs: PairSettings = Field(default_factory=PairSettings, description="What is compared.")
    behaviour: BehaviourSettings = Field(
        default_factory=BehaviourSettings, description="How answers are written."
    )
    overlap: OverlapSettings = Field(
        default_factory=OverlapSettings, description="Which features formats share."
    )
    patching: PatchSettings = Field(
        default_factory=PatchSettings, description="Which layers and heads carry the difference."
    )
    subsets: SubsetSettings = Field(
        default_factory=SubsetSettings, description="Which units suffice together."
    )
    attribution: AttributionSettings = Field(
        default_factory=AttributionSettings, description="Which units write which features."
    )


class DecimalBugStudy(Block):
    """Why a model takes 9.11 for bigger than 9.8 in one prompt format and not in another."""

    published: DecimalPublished = Field(description="The published procedure.")
    calibrated: DecimalCalibrated = Field(
        default_factory=DecimalCalibrated, description="The same questions, calibrated."
    )
