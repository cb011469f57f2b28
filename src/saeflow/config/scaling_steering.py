"""How generation is steered along features of a wide dictionary (methods/5, sections 6.6 and 6.8)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saeflow.config.base import Block
from saeflow.config.runs import Positive, different

Dose = Annotated[float, Field(ge=0)]


class PublishedSteering(Block):
    """The study's own form: one greedy continuation of one prompt, bugs named."""

    prompt: str = Field(
        "I am a", min_length=1, description="What is continued, without a begin token."
    )
    multipliers: tuple[Dose, ...] = Field(
        (0.0, 25.0, 30.0, 40.0, 60.0),
        min_length=1,
        description="What the decoder row and bias are multiplied by; 0 is the model as it is.",
    )
    max_new_tokens: Positive = Field(35, description="Longest continuation, in tokens.")
    bugs: tuple[Literal["normalised_scale", "block_output"], ...] = Field(
        ("normalised_scale", "block_output"),
        description="normalised_scale: the vector stays in the units of the normalised activations; "
        "block_output: it is added behind the block whose input the SAE was fitted on.",
    )

    @field_validator("multipliers", "bugs")
    @classmethod
    def _different(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return different(values)


class SteeringSettings(Block):
    """Dose and response of each topic's feature, beside controls of the same length."""

    doses: tuple[Dose, ...] = Field(
        (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
        min_length=2,
        description="Multiples of what a feature adds at its own maximum; 0 is one of them.",
    )
    prompts: Positive = Field(
        20, description="Prompts, the same for all topics. With fewer than 9 no test can pass."
    )
    prompt_file: str | None = Field(
        None,
        min_length=1,
        description="File of prompts that lead to no topic, one per line, of which the first ones are "
        "continued; relative to the repository. null: sentences of our own.",
    )
    samples: Positive = Field(5, description="Continuations of each prompt at each dose.")
    max_new_tokens: Positive = Field(12, description="Longest continuation, in tokens.")
    temperature: float = Field(1.0, gt=0, description="Of the continuations.")
    neighbours: Positive = Field(
        25,
        description="Features of the nearest density, of which one is drawn for each prompt as a "
        "control.",
    )
    documents: Positive = Field(
        200,
        description="Documents of each topic that the classifier and the difference of means are "
        "made of, and of the corpus for the published factor; all where there are fewer.",
    )
    permutations: int = Field(9999, ge=19, description="Sign flips of each test, at most.")
    batch_size: Positive = Field(200, description="Continuations per forward pass.")
    seed: int = Field(0, description="Seed of prompts, samples, controls, resamples and flips.")
    published: PublishedSteering = Field(
        default_factory=PublishedSteering, description="The published procedure."
    )

    @field_validator("doses")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if 0 not in values:
            raise ValueError(f"{list(values)} lacks the dose 0, which all others are held against")
        return tuple(sorted(different(values)))
