"""Streams of tokens on which wide SAEs are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saeflow.config.base import Block


class ContextSettings(Block):
    """How documents become the token contexts that a model reads."""

    packing: Literal["packed", "documents"] = Field(
        "packed",
        description="packed: documents are joined and cut, so that no position is wasted; documents: "
        "each by itself, cut into pieces that are padded on the right.",
    )
    length: int = Field(
        128, ge=2, le=32767, description="Positions of a context, its begin token included."
    )
    bos: Literal["auto"] | bool = Field(
        "auto",
        description="Whether every context begins with the tokenizer's begin token; auto: where the "
        "tokenizer puts one before every text.",
    )
    separator: Literal["eos", "bos", "none"] = Field(
        "eos",
        description="Token between packed documents: end of text, begin of text, or none. Like begin "
        "tokens and padding it reaches no SAE.",
    )
    pieces: Literal["all", "first"] = Field(
        "all",
        description="Of a document that is longer than a context and not packed: every piece, or the "
        "first alone, as in the published study.",
    )

    @model_validator(mode="after")
    def _fits_packing(self) -> ContextSettings:
        if self.packing == "packed" and self.pieces == "first":
            raise ValueError("pieces is 'first', but packed documents are not cut one by one")
        return self
