"""What the study of wide SAEs measures (methods/5)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from saeflow.config.base import Block, DropNulls, Name
from saeflow.config.runs import TokenRun
from saeflow.config.scaling_explanations import ExplanationSettings
from saeflow.config.scaling_reading import ReadingSettings
from saeflow.config.scaling_search import SearchSettings
from saeflow.config.scaling_steering import SteeringSettings


class ScalingPublished(Block):
    """What is analysed; of a model the first dictionary with its first seed is its main SAE."""

    models: Annotated[dict[Name, TokenRun], DropNulls] = Field(
        min_length=1,
        description="Wide SAEs, per model. The first dictionary with its first seed is searched, "
        "steered with and explained; the others stand beside it.",
    )


class ScalingCalibrated(Block):
    """How; blocks named published below hold what the study itself did, bug for bug."""

    reading: ReadingSettings = Field(
        default_factory=ReadingSettings, description="Metrics, examples and neighbours."
    )
    search: SearchSettings = Field(
        default_factory=SearchSettings, description="Features that fire on some prompts."
    )
    steering: SteeringSettings | None = Field(
        default_factory=SteeringSettings,
        description="Generation with features added to what the model carries; null: none.",
    )
    explanations: ExplanationSettings | None = Field(
        default_factory=ExplanationSettings,
        description="What features are said to fire on, and how well; null: none.",
    )


class ScalingStudy(Block):
    """Train a wide SAE on a corpus, search it, steer with it, explain it."""

    published: ScalingPublished = Field(description="Models and SAEs.")
    calibrated: ScalingCalibrated = Field(
        default_factory=ScalingCalibrated, description="What is measured, and how."
    )
