"""What several studies name alike: banks to analyse, and exact tests."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from saeflow.config.base import Block, Name

Positive = Annotated[int, Field(ge=1)]
Names = TypeVar("Names", bound=tuple[Any, ...])


def different(values: Names) -> Names:
    """Refuse what is named twice, and seeds that no path may hold."""
    if len(set(values)) != len(values):
        raise ValueError(f"{list(values)} names something twice")
    if any(isinstance(value, int) and not 0 <= value < 2**31 for value in values):
        raise ValueError(f"{list(values)} holds a seed outside 0 to {2**31 - 1}")
    return values


class BankRun(Block):
    """What is analysed of one model."""

    datasets: tuple[Name, ...] = Field(min_length=1, description="Data sets to analyse.")
    dictionaries: tuple[Name, ...] = Field(min_length=1, description="Banks to analyse.")
    seeds: tuple[int, ...] = Field((0, 1), min_length=1, description="SAE seeds.")

    @field_validator("datasets", "dictionaries", "seeds")
    @classmethod
    def _different(cls, values: tuple[Name | int, ...]) -> tuple[Name | int, ...]:
        return different(values)


class TokenRun(Block):
    """What is analysed of one model that reads texts."""

    dictionaries: tuple[Name, ...] = Field(
        min_length=1, description="Banks that read texts token by token."
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="SAE seeds.")

    @field_validator("dictionaries", "seeds")
    @classmethod
    def _different(cls, values: tuple[Name | int, ...]) -> tuple[Name | int, ...]:
        return different(values)


class ExactSettings(Block):
    """Exact tests of feature-label pairs on held-out problems (methods/1, section 2.9)."""

    min_active: int = Field(
        20, ge=1, description="Half-features active on fewer problems are not tested."
    )
    min_support: int = Field(
        10, ge=1, description="Labels that occur on fewer problems are not tested."
    )
    q_value: float = Field(0.05, gt=0, lt=1, description="Largest adjusted p-value of a discovery.")
    correction: Literal["benjamini_hochberg", "benjamini_yekutieli"] = Field(
        "benjamini_hochberg",
        description="benjamini_yekutieli allows for any dependence between tests.",
    )
    carried_p_value: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="A label whose p-value, given the feature's best label, is larger is carried.",
    )
    keep: int = Field(20, ge=1, description="Discoveries stored per half-feature and target.")
