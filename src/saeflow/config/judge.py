"""Who judges free-text answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from saeflow.config.base import Block
from saeflow.config.writers import EndpointSettings, LocalSettings


class ExactJudge(Block):
    """An answer is right if it contains what is expected: offline, the same in every run."""

    kind: Literal["exact"] = Field("exact", description="Whether the answer contains the expected.")


JudgeSettings = Annotated[
    ExactJudge | LocalSettings | EndpointSettings, Field(discriminator="kind")
]


def located_judge(block: Mapping[str, Any], folder: str | None) -> JudgeSettings:
    """Read a judge that a rule passes on, which names a directory by its files.

    Parameters
    ----------
    block : mapping
        The block of the configuration, without a `path`.
    folder : str or None
        Where the files of a local model lie.
    """
    located = {} if folder is None else {"path": folder}
    found: JudgeSettings = TypeAdapter(JudgeSettings).validate_python({**block, **located})
    return found


def judge_name(settings: JudgeSettings) -> str:
    """Call a judge by what decides its verdicts; where a directory lies does not."""
    match settings:
        case EndpointSettings():
            return settings.model
        case LocalSettings():
            return f"{settings.repo}@{settings.revision}" if settings.repo else "local"
    return "exact"
