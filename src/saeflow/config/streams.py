"""Streams of tokens on which wide SAEs are trained, and how (methods/5, section 6.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saeflow.config.base import Block
from saeflow.config.runs import Positive


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


WideArchitecture = Literal["topk", "batchtopk", "relu"]


class StreamSettings(Block):
    """A wide SAE, trained on tokens streamed from the model instead of a capture."""

    architecture: WideArchitecture = Field(
        "topk",
        description="topk: the k largest of a token; batchtopk: those of a batch, k a token on "
        "average, read with a threshold afterwards; relu: all above 0, with a penalty.",
    )
    tokens: int = Field(
        1_000_000,
        ge=1,
        description="Tokens to train on, in whole batches; a stream that is shorter starts anew.",
    )
    batch_size: int = Field(2048, ge=1, description="Tokens per step.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Adam's learning rate; null: 2e-4 / sqrt(d_sae / 16,384), the scaling law of "
        "Gao et al. (2024). Short runs want more, such as 1e-3.",
    )
    warm_up_share: float = Field(
        0.05, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0."
    )
    decay_share: float = Field(
        0.2, ge=0, le=1, description="Share of the steps, at the end, in which it falls to 0."
    )
    start: Literal["mean", "geometric_median", "zero"] = Field(
        "mean",
        description="What b_dec starts at: mean or geometric median of the first batches, or 0. The "
        "published form (l1: published) starts at PyTorch's default whatever this says.",
    )
    start_batches: int = Field(
        4,
        ge=1,
        description="Batches from which b_dec and the scale are taken; they are trained on as well.",
    )
    encoder_start: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of the encoder at the start, beside the length with which the tied SAE errs "
        "least. Adam turns a short encoder faster: in short trainings on very sparse activations 0.05 "
        "explains more, on the reference models it leaves more latents dead. No effect on the "
        "published form.",
    )
    scale: float | None = Field(
        None,
        gt=0,
        description="Length of a usual activation: it is trained on multiplied by sqrt(d_in) / scale, "
        "and the saved SAE reads it as it is. null: root of the mean square length in the first "
        "batches, from b_dec on, and from 0 on in the published form.",
    )
    l1: Literal["published", "fixed"] = Field(
        "fixed",
        description="Penalty of relu. published, the shape bug: the penalty sums over the tokens of a "
        "batch and averages over latents, so that a token weighs l1_coefficient x batch_size / d_sae; "
        "no unit norm, no b_dec at the input. fixed: sums over latents and averages over tokens; "
        "unit norm and b_dec as in the other architectures.",
    )
    l1_coefficient: float = Field(
        0.00597965, ge=0, description="Weight of that penalty beside the mean squared error."
    )
    auxiliary_coefficient: float = Field(
        1 / 32,
        ge=0,
        description="Weight of the auxiliary loss of topk and batchtopk, in which dead latents explain "
        "what the others leave (Gao et al., 2024); 0: none.",
    )
    dead_after: int = Field(
        200_000, ge=1, description="Tokens without activity after which a latent counts as dead."
    )
    auxiliary_k: int | None = Field(
        None,
        ge=1,
        description="Dead latents that explain a token together; null: half as many as d_in.",
    )
    autocast: bool = Field(
        False,
        description="Multiply matrices in bfloat16, parameters and optimiser in float32. In topk and "
        "batchtopk it decides only which latents are looked at; their values are float32.",
    )
    sparse_decode: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Decode and differentiate the active latents alone; auto: where k is less than "
        "5 % of d_sae. relu never does.",
    )
    contexts: ContextSettings = Field(
        default_factory=ContextSettings, description="What the model reads at a time."
    )
    buffer_tokens: Positive = Field(
        65_536, description="Tokens whose activations are shuffled together; a batch at least."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="In which activations are buffered and cached."
    )
    cached: bool = Field(
        False,
        description="Whether activations are kept on disk while the SAEs are trained, so that every "
        "token goes through the model once, however often it is trained on.",
    )
    saes_per_job: Positive | None = Field(
        None,
        description="SAEs that one job trains side by side, such as one for each GPU; null: all that "
        "read the same stream, so that one more, such as another seed, trains all of them anew.",
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, description="Minutes between checkpoints, from which a killed job goes on."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> StreamSettings:
        if self.batch_size > self.tokens:
            raise ValueError(f"batch_size is {self.batch_size}, but tokens is {self.tokens}")
        if self.batch_size > self.buffer_tokens:
            raise ValueError(
                f"batch_size is {self.batch_size}, but buffer_tokens is {self.buffer_tokens}"
            )
        if self.warm_up_share + self.decay_share > 1:
            raise ValueError(
                f"warm_up_share and decay_share are {self.warm_up_share} and {self.decay_share}, "
                "together more than 1"
            )
        return self


SHARED = (
    "tokens",
    "batch_size",
    "start_batches",
    "contexts",
    "buffer_tokens",
    "precision",
    "cached",
    "saes_per_job",
)
"""What SAEs on one stream have in common, by the names of `StreamSettings`."""
