"""Search of features from positive and negative prompts (methods/5, sections 6.4 and 6.8)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.runs import Positive, different

Level = Literal["document_max", "document_mean", "token"]
"""What is ranked: prompts by a feature's maximum or mean over their tokens, or tokens themselves."""
LEVELS: tuple[Level, ...] = ("document_mean", "document_max", "token")
"""In the order in which they are told. Half A chooses the one whose features are steered along
(`saeflow.studies.scaling.levels.chosen_level`); of equal ones the first."""
Inputs = Literal["scaled", "published"]
"""What the SAE reads: activations as it was trained on them; or, as the study did, without the factor
that training multiplied them by."""
Score = Literal[
    "local_min_max",
    "rank",
    "joint_min_max",
    "global_min_max",
    "percentile",
    "z_score",
    "cohens_d",
    "softmax_sum",
]
Prompt = Annotated[str, Field(min_length=1)]


class PromptList(Block):
    """Prompts written into the configuration."""

    source: Literal["list"] = Field(description="Prompts of one's own, listed here.")
    positive: tuple[Prompt, ...] = Field(
        min_length=1, description="Prompts that share what is searched."
    )
    negative: tuple[Prompt, ...] = Field(
        (), description="Prompts without it, best of the same lengths."
    )


class PromptFiles(Block):
    """Prompts from files."""

    source: Literal["files"] = Field(description="Files of one prompt per line.")
    positive: str = Field(
        min_length=1,
        description="Prompts that share what is searched; relative to the repository.",
    )
    negative: str | None = Field(
        None, min_length=1, description="Prompts without it; null: none, as the study did at first."
    )


class GroupPrompts(Block):
    """Texts of a group, such as a topic, against those of all other groups."""

    source: Literal["groups"] = Field(description="Texts of a data set, by their group.")
    dataset: Name = Field(description="Data set of texts, by its name.")
    groups: tuple[str, ...] | None = Field(
        None, min_length=1, description="Groups that are searched, one after the other; null: all."
    )
    split: Literal["train", "validation"] = Field(
        "validation", description="Which texts: those that no SAE was trained on, or the others."
    )
    positive: Positive = Field(30, description="Texts of the group, at most.")
    negative: Positive = Field(60, description="Texts of all other groups together, at most.")
    match_lengths: bool = Field(
        True, description="Choose the others so that they are as long as those of the group."
    )
    seed: int = Field(0, description="Seed of the draw.")

    @field_validator("groups")
    @classmethod
    def _different(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if values is None else different(values)


PromptSet = Annotated[PromptList | PromptFiles | GroupPrompts, Field(discriminator="source")]


class PublishedSearch(Block):
    """The study's scores, the same prompts for choice and report."""

    scores: tuple[Score, ...] = Field(
        ("local_min_max", "rank"),
        description="Scores by which features are listed; global_min_max, percentile and z_score read "
        "the corpus as well.",
    )
    inputs: tuple[Inputs, ...] = Field(
        ("scaled", "published"),
        min_length=1,
        description="What the SAE reads; published leaves out the factor of its training.",
    )
    input_factor: float | None = Field(
        None,
        gt=0,
        description="What training multiplied activations by; null: what gives those of the corpus, "
        "or of the prompts where none is read, a mean square of 1, as the study's 4.662 does.",
    )
    max_tokens: Positive = Field(
        35, description="Tokens after which prompts are cut, that of the begin of a text included."
    )

    @field_validator("scores", "inputs")
    @classmethod
    def _different(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return different(values)


class SearchSettings(Block):
    """Which features fire on some prompts and not on others."""

    sets: Annotated[dict[Name, PromptSet], DropNulls] = Field(
        default_factory=dict, description="Prompts to search by."
    )
    levels: tuple[Level, ...] = Field(
        ("document_max", "document_mean", "token"),
        min_length=1,
        description="What is ranked: prompts by a feature's maximum or mean, or their tokens.",
    )
    top: Positive = Field(10, description="Features listed by each score.")
    permutations: int = Field(
        999, ge=19, description="Labelings of prompts; all of them where there are no more."
    )
    bootstrap: int = Field(
        200, ge=0, description="Draws of prompts, to see whether a feature is found again."
    )
    documents: Positive = Field(
        200,
        description="Documents of the corpus, the first that train SAEs, by which the study's scores "
        "scale where they scale by a corpus.",
    )
    targets: tuple[int, ...] = Field(
        (), description="Features whose place under every score is told."
    )
    seed: int = Field(0, description="Seed of halves, labelings and draws.")
    published: PublishedSearch = Field(
        default_factory=PublishedSearch, description="The study's scores."
    )

    @field_validator("levels", "targets")
    @classmethod
    def _different(cls, values: tuple[str | int, ...]) -> tuple[str | int, ...]:
        return different(values)
