"""Dictionaries whose SAEs others trained and released."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field, model_validator

from saeflow.config.base import Block, Inside

LAYER = "{layer}"
"""What stands for the block in an id."""


class ReleasedSettings(Block):
    """SAEs of a release, one per layer, as SAELens names and reads them."""

    release: Inside | None = Field(
        None,
        description="Release in SAELens' registry, such as gpt2-small-res-jb, or a repository of the "
        "Hugging Face hub that holds SAELens folders. null: a directory alone.",
    )
    sae_id: Inside = Field(
        description="Id of an SAE in the release, where {layer} stands for the block, such as "
        "blocks.{layer}.hook_resid_pre; of a directory alone, the folder below it.",
    )
    revision: Inside = Field(
        "main",
        description="Commit, tag or branch of the release's repository; the commit is recorded.",
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="Directory on this machine in place of the hub: with a release, a copy of its "
        "repository; alone, SAELens folders.",
    )
    other_model: bool = Field(
        False,
        description="Whether the SAEs may have been trained on a model of another name than the one "
        "that reads them, such as base and Instruct; what is found is recorded.",
    )
    must_pass: bool = Field(
        True,
        description="Whether an SAE that does not give what it should stops the run; false: a warning "
        "says so, checks.parquet keeps it, and studies read the SAE all the same.",
    )

    @model_validator(mode="after")
    def _names_a_place(self) -> ReleasedSettings:
        if self.release is None and self.path is None:
            raise ValueError("release and path are missing; expected one of them")
        revision = type(self).model_fields["revision"].default
        if self.path is not None and self.revision != revision:
            raise ValueError(
                f"revision is {self.revision!r}, but a directory (path) has no revisions; leave it out"
            )
        return self

    def ids(self, layers: Iterable[int]) -> dict[int, str]:
        """Id of the SAE of each layer."""
        return {layer: self.sae_id.replace(LAYER, str(layer)) for layer in layers}
