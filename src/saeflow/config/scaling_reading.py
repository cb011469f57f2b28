"""What is measured and kept of a wide SAE while a corpus is read (issue 9, items 4, 6 and 9)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from saeflow.config.base import Block
from saeflow.config.runs import Positive, different

Cosine = Annotated[float, Field(gt=0, le=1)]


class ExampleSettings(Block):
    """Tokens of the corpus that are kept for each listed feature, of each split."""

    top: int = Field(10, ge=0, description="Tokens on which it is largest.")
    bins: Positive = Field(
        4,
        description="Parts of equal width between 0 and the feature's largest activation, from each "
        "of which tokens are drawn.",
    )
    per_bin: int = Field(2, ge=0, description="Tokens drawn from each part; 0: none.")
    silent: int = Field(5, ge=0, description="Tokens drawn from those around which it is 0.")
    pool: Positive = Field(
        256, description="Random tokens from which all features draw those on which they are 0."
    )
    context: int = Field(15, ge=0, description="Tokens shown on either side.")
    once_per_document: bool = Field(
        True, description="Whether no two tokens of one kind are of the same document."
    )


class ReadingSettings(Block):
    """Metrics of a wide SAE, examples of its features, and which features are alike."""

    features: Positive | None = Field(
        200,
        description="Random features that are listed beside those that the search found; null: every "
        "feature.",
    )
    examples: ExampleSettings = Field(
        default_factory=ExampleSettings, description="Tokens kept of each listed feature."
    )
    tokens: int = Field(
        10, ge=0, description="Tokens listed of a feature, by count and by summed activation."
    )
    neighbours: int = Field(
        10, ge=0, description="Features listed beside a feature, by correlation and by cosine."
    )
    cosines: tuple[Cosine, ...] = Field(
        (0.7, 0.9),
        min_length=1,
        description="Features count as redundant if their decoder directions have this cosine or "
        "more with another.",
    )
    same: Cosine = Field(
        0.7,
        description="A feature returns under another seed if its partner has this cosine or more.",
    )
    spliced_documents: int = Field(
        100,
        ge=0,
        description="Random documents of each split whose cross-entropy is measured with the "
        "reconstruction in place.",
    )
    density_bins: Positive = Field(
        4, description="Bins of densities from one power of 10 to the next."
    )
    density_decades: Positive = Field(6, description="Powers of 10 below 1 that the bins cover.")
    seed: int = Field(0, ge=0, description="Seed of what is drawn, and of intervals.")

    @field_validator("cosines")
    @classmethod
    def _different(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return different(values)
