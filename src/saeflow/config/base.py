"""What every block of the configuration shares."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
"""Name of a block; it becomes part of a path."""


class Block(BaseModel):
    """A block that refuses unknown keys and cannot be changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def without_nulls(blocks: Any) -> Any:
    """Named blocks but for those that are null: how an overlay drops one of config.yaml."""
    if isinstance(blocks, dict):
        return {name: block for name, block in blocks.items() if block is not None}
    return blocks


DropNulls = BeforeValidator(without_nulls)
