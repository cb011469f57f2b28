"""Recipes for banks of SAEs (methods/1, section 2.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saeflow.config.base import Block, Name


class TrainingSettings(Block):
    """Adam on the reconstruction error; the defaults are the published ones."""

    epochs: int = Field(25, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(256, ge=1, description="Rows per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate.")


class DictionarySettings(Block):
    """A named recipe: which activations, which architecture, which training."""

    dataset: Name = Field(description="Data set whose activations train the SAEs.")
    rows: Literal["train", "all"] = Field(
        "train", description="Train on the split's training problems or on all of them."
    )
    architecture: Literal["abstopk", "topk"] = Field(
        "abstopk",
        description="abstopk keeps the k largest by absolute value, signed (the published one); "
        "topk the k largest, then ReLU.",
    )
    control: Literal["raw_neurons"] | None = Field(
        None, description="raw_neurons: the model's own coordinates with the same top-k, untrained."
    )
    d_sae: int | None = Field(512, ge=1, description="Latents per SAE; null for raw_neurons.")
    k: int = Field(100, ge=1, description="Active latents per activation.")
    layer_convention: Literal["block_output", "hidden_states_after", "hidden_states_before"] = (
        Field(
            "block_output",
            description="What 'layer l' means. block_output: output of block l before the final norm. "
            "hidden_states_after: the Llama study's, hidden_states[l+1], so the last layer is normed. "
            "hidden_states_before: the GPT-2 study's, hidden_states[l], so layer 0 is the embedding "
            "and the last block is missing.",
        )
    )
    steps: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4, 5), min_length=1, description="Thought steps s0, s1, ... with an SAE each."
    )
    training: TrainingSettings = Field(
        default_factory=TrainingSettings, description="How the SAEs are trained."
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> DictionarySettings:
        if self.control == "raw_neurons":
            if self.d_sae is not None:
                raise ValueError(
                    f"d_sae is {self.d_sae}, but raw_neurons has as many latents as the model has "
                    "dimensions; write d_sae: null"
                )
        elif self.d_sae is None:
            raise ValueError("d_sae is missing; only raw_neurons goes without it")
        elif self.k > self.d_sae:
            raise ValueError(f"k is {self.k}, but only {self.d_sae} latents exist (d_sae)")
        if len(set(self.steps)) != len(self.steps) or min(self.steps) < 0:
            raise ValueError(f"steps {list(self.steps)} must be different and not negative")
        return self


class DictionarySpec(Block):
    """Everything a fit job reads, as a rule passes it on."""

    dictionary: DictionarySettings
    threads: int
