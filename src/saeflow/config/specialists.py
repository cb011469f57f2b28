"""What the study of specialists measures (methods/3)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.judge import ExactJudge, JudgeSettings
from saeflow.config.runs import Positive, TokenRun, different

Pooling = Literal["average_then_encode", "encode_then_average", "max", "last"]
Masking = Literal["begin", "published"]
"""Which tokens do not count: those that were put before the text; or, as published, those with the id
of the padding, which are the same where one token serves for both, as in GPT-2."""


class BundledPairs(Block):
    """Our own texts in the study's shape: those of the mixture that no training step reads."""

    source: Literal["bundled"] = Field(description="Our own texts.")
    per_topic: Positive | None = Field(
        35, description="Pairs of each topic, in all of its forms; null: all that are held out."
    )
    per_category: Positive | None = Field(
        10, description="Plain texts of each category; null: all that are held out."
    )


class PairsFile(Block):
    """Texts in the published shape, from files."""

    source: Literal["path"] = Field(description="Files of one's own.")
    pairs: str = Field(min_length=1, description="JSON of pairs by topic, as published.")
    categories: str | None = Field(
        None, min_length=1, description="JSON of plain texts by category; null: none."
    )
    # These stay valid, so that an overlay turns bundled texts into files by naming `source`.
    per_topic: Positive | None = Field(None, description="Read only where source is bundled.")
    per_category: Positive | None = Field(None, description="Read only where source is bundled.")


MatchedTexts = Annotated[BundledPairs | PairsFile, Field(discriminator="source")]


class PoolSettings(Block):
    """How features of tokens become features of texts (methods/3, section 4.3)."""

    poolings: tuple[Pooling, ...] = Field(
        ("average_then_encode", "encode_then_average", "max", "last"),
        min_length=1,
        description="Ways to pool, side by side.",
    )
    masking: Masking = Field(
        "begin",
        description="Tokens that do not count: begin, those put before the text; published, those "
        "with the id of the padding.",
    )
    prepend_bos: bool = Field(
        False, description="Put the begin-of-text token before every text, as TransformerLens does."
    )

    @field_validator("poolings")
    @classmethod
    def _different(cls, values: tuple[Pooling, ...]) -> tuple[Pooling, ...]:
        return different(values)


class PublishedPools(PoolSettings):
    """The study's own pooling: first the mean residual, encoded; later the mean of features."""

    poolings: tuple[Pooling, ...] = Field(
        ("average_then_encode", "encode_then_average"),
        min_length=1,
        description="Ways to pool, side by side.",
    )
    masking: Masking = Field("published", description="Tokens that do not count.")
    prepend_bos: bool = Field(True, description="Put the begin-of-text token before every text.")


class DiscoverySettings(Block):
    """The study's criteria (methods/3, section 4.4)."""

    pooling: PublishedPools = Field(
        default_factory=PublishedPools, description="How texts are pooled."
    )
    threshold: float = Field(5.0, ge=0, description="Value above which a text counts.")
    candidates: int = Field(
        5, ge=1, description="Features of a class that are scored: those with the largest values."
    )
    top_means: int = Field(20, ge=1, description="Features of a class that are compared, by mean.")
    top_scores: int = Field(5, ge=1, description="Specialists of a class that are compared.")


class SpecialistsPublished(DiscoverySettings):
    """The study's own procedure, bug for bug, the same texts for choice and report."""

    models: Annotated[dict[Name, TokenRun], DropNulls] = Field(
        min_length=1, description="What is analysed, per model."
    )
    answer_tokens: Positive = Field(5, description="Greedy tokens that are read of an answer.")
    judge: JudgeSettings = Field(
        default_factory=lambda: ExactJudge(kind="exact"),
        description="Who says whether an answer is right (docs/judge.md).",
    )


class TaskSettings(Block):
    """Whether a specialist's activation tells how well a task is done (methods/3, section 4.7)."""

    pooling: Pooling = Field(
        "encode_then_average", description="How a specialist's activation on a prompt is pooled."
    )
    others: int = Field(
        200, ge=0, description="Other features of the same SAE that each is held against."
    )
    permutations: int = Field(
        9999,
        ge=19,
        description="Permutations of each test, at most; a hundred tests are adjusted together.",
    )
    seed: int = Field(0, description="Seed of resamples and permutations.")


class AblationSettings(Block):
    """What is read while specialists are ablated, beside controls (methods/3, section 4.7)."""

    pairs: Positive = Field(
        20,
        description="Pairs of each topic that are read, each in one form, of the half that chose "
        "nothing; all where it has fewer. With fewer than 14 no test can pass.",
    )
    items: Positive = Field(60, description="Items of each group of tasks that are read.")
    draws: Positive = Field(2, description="Draws of each random control.")
    to_mean: bool = Field(True, description="Set specialists to their means, too.")
    permutations: int = Field(
        9999,
        ge=19,
        description="Sign flips of each test, at most; hundreds of cells are adjusted together.",
    )
    seed: int = Field(0, description="Seed of controls, resamples and flips.")


class SpecialistsCalibrated(Block):
    """Ours: chosen on one half of the pairs and reported on the other, beside chance and words."""

    pooling: PoolSettings = Field(default_factory=PoolSettings, description="How texts are pooled.")
    splits: int = Field(5, ge=1, description="Splits of the pairs into halves A and B.")
    sizes: tuple[Positive, ...] = Field(
        (2, 4, 8, 16), description="Pairs of a topic to choose on, of the curve of texts needed."
    )
    overlap_splits: int = Field(20, ge=1, description="Splits of the ceiling of overlaps.")
    relabelings: int = Field(
        39, ge=0, description="Classes drawn anew, for how many specialists the study's rule finds."
    )
    permutations: int = Field(999, ge=19, description="Permutations of every other test.")
    percentile: float = Field(
        95.0,
        gt=0,
        lt=100,
        description="Threshold in place of the fixed one: this percentile of a layer's values "
        "above 0.",
    )
    q_value: float = Field(0.05, gt=0, lt=1, description="Largest adjusted p-value.")
    floor: float = Field(
        0.6, ge=0.5, le=1, description="Smallest area under the curve of a specialist, on half B."
    )
    seed: int = Field(0, description="Seed of splits and permutations.")
    tasks: TaskSettings = Field(
        default_factory=TaskSettings, description="Specialists beside how well tasks are done."
    )
    ablation: AblationSettings = Field(
        default_factory=AblationSettings, description="What changes without a specialist."
    )
    examples: int = Field(
        5, ge=0, description="Texts shown per specialist: those on which it is strongest."
    )

    @field_validator("sizes")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(different(values)))


class AlignmentSettings(Block):
    """What the features of two models share."""

    poolings: tuple[Pooling, ...] = Field(
        ("encode_then_average",), min_length=1, description="Ways to pool that are compared."
    )
    permutations: int = Field(199, ge=19, description="Exchanges of texts.")
    neighbour_permutations: int = Field(
        39, ge=19, description="Exchanges where all features are correlated anew each time."
    )
    share: float = Field(
        0.9, gt=0, le=1, description="Part of the variance that SVCCA keeps of each model."
    )
    seed: int = Field(0, description="Seed of the halves and exchanges.")


class SpecialistsStudy(Block):
    """Whether the most selective features detect form or meaning, in a small and in a large model."""

    texts: MatchedTexts = Field(
        default_factory=lambda: BundledPairs(source="bundled"), description="What is read."
    )
    published: SpecialistsPublished = Field(description="The published procedure.")
    calibrated: SpecialistsCalibrated = Field(
        default_factory=SpecialistsCalibrated, description="The same questions, calibrated."
    )
    alignment: AlignmentSettings = Field(
        default_factory=AlignmentSettings, description="What models share."
    )
