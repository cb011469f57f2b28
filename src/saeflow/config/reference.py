"""The bundled reference models: their mixture, and what they can do (design, section 10)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from saeflow.config.base import Block, Name


class ReferenceSettings(Block):
    """Where the training mixture is and which models are evaluated on its held-out parts."""

    mixture: str = Field(
        "resources/mixture.yaml",
        min_length=1,
        description="The training mixture; relative to the repository.",
    )
    evaluate: Literal["all"] | list[Name] = Field(
        "all",
        description="Models whose abilities are measured on what training held out; all: every one "
        "that a study reads.",
    )
    n_problems: int = Field(500, ge=10, description="Held-out word problems to answer.")
    n_texts: int = Field(
        600, ge=10, description="Held-out texts of each part to read, and pairs of decimals to ask."
    )
    n_lens: int = Field(
        100, ge=1, description="Held-out problems whose thoughts are read as tokens."
    )


CARD_TEXTS = 2400


def card_sizes(settings: ReferenceSettings, n_held_out: int) -> dict[str, int]:
    """How much a card is measured on: all held-out problems and many texts.

    A card is written once and read often; a run measures less, see ``n_problems`` and ``n_texts``.
    """
    return {"n_problems": n_held_out, "n_texts": CARD_TEXTS, "n_lens": settings.n_lens}
