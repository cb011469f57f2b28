"""What every block of the configuration shares."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
"""Name of a block; it becomes part of a path."""
Repo = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?$", max_length=96)
]
"""Name of a repository, such as ``openai-community/gpt2``."""


def _stays_inside(path: str) -> str:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or not parts[0] or ".." in parts:
        raise ValueError(
            "expected a path that stays inside, without '..' or unprintable characters"
        )
    return path


Inside = Annotated[str, StringConstraints(min_length=1), AfterValidator(_stays_inside)]
"""Path, pattern or revision inside a repository or a folder."""


class Block(BaseModel):
    """A block that refuses unknown keys and cannot be changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def without_nulls(blocks: Any) -> Any:
    """Named blocks but for those that are null: how an overlay drops one of config.yaml."""
    if isinstance(blocks, dict):
        return {name: block for name, block in blocks.items() if block is not None}
    return blocks


DropNulls = BeforeValidator(without_nulls)
