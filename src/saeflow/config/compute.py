"""How the numbers are computed, as far as it changes their bytes."""

from __future__ import annotations

from pydantic import Field

from saeflow.config.base import Block


class ComputeSettings(Block):
    """Numeric settings shared by all jobs; where and how big to run belongs in a profile."""

    threads: int = Field(
        2, ge=1, le=256, description="CPU threads of numeric jobs; another count changes last bits."
    )
    gpu_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Memory of one GPU, in GB, that these studies need; a run that starts on a machine "
        "without such a GPU stops with a sentence. null: none is needed.",
    )
