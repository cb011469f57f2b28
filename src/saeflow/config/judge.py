"""Who judges free-text answers (issue 8, item 7)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from saeflow.config.base import Block
from saeflow.config.writers import EndpointSettings, LocalSettings


class ExactJudge(Block):
    """An answer is right if it contains what is expected: offline, the same in every run."""

    kind: Literal["exact"] = Field("exact", description="Whether the answer contains the expected.")


JudgeSettings = Annotated[
    ExactJudge | LocalSettings | EndpointSettings, Field(discriminator="kind")
]
