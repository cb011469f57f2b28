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
        description="Memory in GB that one GPU needs for what is configured, as presets of real models "
        "say; a run on a machine without such a GPU stops before its first job. null: a GPU is used "
        "where there is one. It changes no number and rebuilds nothing.",
    )
