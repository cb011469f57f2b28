"""How features are explained and their explanations scored (issue 9, item 8)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from saeflow.config.base import Block
from saeflow.config.runs import Positive
from saeflow.config.writers import EndpointSettings, LocalSettings

REPLY = 128
"""Longest reply of a language model where the configuration names none, in tokens."""


class TokenStatistics(Block):
    """What a feature fires on, counted: offline, the same in every run."""

    kind: Literal["tokens"] = Field("tokens", description="Statistics of tokens; no model.")


ExplainerSettings = Annotated[
    TokenStatistics | LocalSettings | EndpointSettings, Field(discriminator="kind")
]


def teller_name(settings: ExplainerSettings) -> str:
    """Call who explains or scores by what decides the words; where a directory lies does not."""
    match settings:
        case EndpointSettings():
            return settings.model
        case LocalSettings():
            return f"{settings.repo}@{settings.revision}" if settings.repo else "local"
    return "tokens"


class TokenRules(Block):
    """How token statistics become an explanation."""

    patterns: Positive = Field(
        20, description="Tokens that are listed at most, those with the largest share first."
    )
    coverage: float = Field(
        0.95, gt=0, le=1, description="Share of the activation from which no more are listed."
    )
    refinements: int = Field(
        3, ge=0, description="Neighbouring tokens per token on which it depends, at most."
    )
    level: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="Largest p-value of a neighbouring token, after Bonferroni over those tried.",
    )
    group_words: int = Field(
        40, ge=0, description="Words of a document group that stand for the rest of its vocabulary."
    )


class WindowSettings(Block):
    """Contexts that are kept of the corpus; half of their documents explain, the others score."""

    context: int = Field(15, ge=0, description="Tokens on either side of the one that was drawn.")
    activating: Positive = Field(
        160,
        description="Random contexts kept of each feature on which it fires, of different documents.",
    )
    quantiles: Positive = Field(
        4, description="Parts of these, by their largest activation, that are represented alike."
    )
    pool: Positive = Field(
        2048,
        description="Random contexts of the corpus, from which those come on which it is silent.",
    )
    silent: Positive = Field(
        40, description="Random ones, and near misses, of each feature and half, at most."
    )
    neighbours: int = Field(
        10,
        ge=0,
        description="Features with the most similar decoder directions, which give near misses.",
    )


class ExplanationSettings(Block):
    """Which features are explained, by whom, and how the explanations are scored."""

    features: Positive = Field(
        48, description="Features to explain, drawn so that all densities are represented."
    )
    strata: Positive = Field(6, description="Ranges of density from which as many are drawn.")
    examples: Positive = Field(
        20, description="Test contexts that are judged of each feature and kind, at most."
    )
    shown: Positive = Field(
        20, description="Activating training contexts that a language model is shown, at most."
    )
    windows: WindowSettings = Field(
        default_factory=WindowSettings, description="Contexts that are kept of the corpus."
    )
    explainer: ExplainerSettings = Field(
        default_factory=lambda: TokenStatistics(kind="tokens"),
        description="Who explains: tokens, local or endpoint.",
    )
    scorer: ExplainerSettings = Field(
        default_factory=lambda: TokenStatistics(kind="tokens"),
        description="Who scores: tokens, which reads no language model's explanations, local or "
        "endpoint.",
    )
    per_prompt: Positive = Field(
        5, description="Contexts in one question to a language model that scores."
    )
    tokens: TokenRules = Field(
        default_factory=TokenRules, description="How token statistics become an explanation."
    )
    permutations: int = Field(9999, ge=19, description="Sign flips of each test, at most.")
    seed: int = Field(0, description="Seed of features, trials, swaps and flips.")

    @field_validator("explainer", "scorer", mode="before")
    @classmethod
    def _room(cls, block: Any) -> Any:
        """A phrase or a list needs more room than the one word of a judge."""
        if isinstance(block, dict) and block.get("kind") in ("local", "endpoint"):
            return {"max_new_tokens": REPLY, **block}
        return block

    @model_validator(mode="after")
    def _readable(self) -> ExplanationSettings:
        if self.scorer.kind == "tokens" and self.explainer.kind != "tokens":
            raise ValueError(
                f"scorer.kind is tokens, but explainer.kind is {self.explainer.kind}; expected local "
                "or endpoint, since only a language model reads another one's phrases"
            )
        return self
