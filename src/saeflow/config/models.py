"""Language models under study (design, sections 6 and 10; methods/0)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from saeflow.config.base import Block, Inside, Name, Repo

MODEL_FILES = ("*.json", "*.safetensors", "pytorch_model*.bin", "*.model", "*.txt", "*.jinja")
"""Files of a model directory that decide what it gives: inputs of jobs, and what is digested.

Newer chat templates are files of their own, which end in ``.jinja``."""
CODE_FILES = ("*.py",)
"""The same of a model whose own code is run."""


def check_heads(family: str, width: int, heads: int, pairs: int) -> None:
    """Check that heads divide the width, and key-value heads the heads.

    Raises
    ------
    ValueError
        In one sentence, for pydantic.
    """
    if width % heads or (width // heads) % 2:
        raise ValueError(
            f"hidden_size {width} must be an even multiple of num_attention_heads {heads}"
        )
    if family == "llama" and heads % pairs:
        raise ValueError(
            f"num_attention_heads {heads} must be a multiple of num_key_value_heads {pairs}"
        )


class ThoughtSettings(Block):
    """How a CODI model thinks and answers (methods/0, section 1.2)."""

    latents: int = Field(6, ge=1, le=64, description="Latent thoughts between question and answer.")
    max_new_tokens: int = Field(16, ge=1, le=1024, description="Longest greedy answer, in tokens.")


class _Model(Block):
    thoughts: ThoughtSettings = Field(
        default_factory=ThoughtSettings, description="Latent thoughts and answer."
    )
    batch_size: int = Field(64, ge=1, description="Questions per forward pass, at most.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the weights and of the forward pass."
    )
    capture_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of the captured activations on disk."
    )
    prepend_bos: bool = Field(
        False,
        description="Put the begin-of-text token, else that of the end, before every text whose "
        "tokenizer puts none there, as TransformerLens does. Released SAEs may ask for it.",
    )


class FreshModel(_Model):
    """A model with fresh weights from a seed: nothing to find, which is the point of a control."""

    weights: Literal["fresh"] = Field(description="Fresh weights from a seed.")
    family: Literal["llama", "gpt2"] = Field(description="Architecture.")
    hidden_size: int = Field(128, ge=2, description="Width of the residual stream, d_in.")
    num_hidden_layers: int = Field(4, ge=1, description="Number of blocks.")
    num_attention_heads: int = Field(4, ge=1, description="Query heads.")
    num_key_value_heads: int = Field(2, ge=1, description="Key and value heads (llama only).")
    intermediate_size: int = Field(256, ge=1, description="Width of the MLP.")
    max_position_embeddings: int = Field(2048, ge=16, description="Longest input, in tokens.")
    projection_size: int = Field(128, ge=1, description="Width inside the thought projection.")
    seed: int = Field(0, description="Seed of the weights.")
    # Stays valid, so that an overlay turns a directory into fresh weights by naming `weights`.
    path: str | None = Field(None, description="Read only where weights is path.")

    @model_validator(mode="after")
    def _heads_divide(self) -> FreshModel:
        check_heads(
            self.family, self.hidden_size, self.num_attention_heads, self.num_key_value_heads
        )
        return self


TrustRemoteCode = Annotated[
    bool,
    Field(
        description="Run the Python code that the directory or repository names in auto_map; such code "
        "can do whatever you can, so read it first. Without it such a model is refused."
    ),
]


class PathModel(_Model):
    """A causal language model in a Hugging Face directory, with CODI's projection beside it."""

    weights: Literal["path"] = Field(description="A directory on this machine.")
    path: str = Field(min_length=1, description="The directory; relative to the repository.")
    trust_remote_code: TrustRemoteCode = False


class HubBase(Block):
    """The model that a checkpoint on the hub was trained from."""

    repo: Repo = Field(description="Model repository.")
    revision: Inside = Field(description="Commit or branch of the repository.")


class HubModel(_Model):
    """A causal language model on the Hugging Face hub, as it comes or as a CODI checkpoint."""

    weights: Literal["hub"] = Field(description="The Hugging Face hub.")
    repo: Repo = Field(description="Model repository.")
    revision: Inside = Field(
        description="Commit of the repository, or a branch, whose commit is recorded.",
    )
    checkpoint: Literal["codi"] | None = Field(
        None, description="What the repository holds where it is no whole model: codi."
    )
    base: HubBase | None = Field(
        None,
        description="What a CODI checkpoint was trained from; null: all comes from the checkpoint.",
    )
    trust_remote_code: TrustRemoteCode = False
    weights_gb: float | None = Field(
        None, gt=0, description="Gigabytes of the weights, for plans made before they are fetched."
    )

    @model_validator(mode="after")
    def _base_of_a_checkpoint(self) -> HubModel:
        if self.base is not None and self.checkpoint is None:
            raise ValueError(
                "base belongs to a checkpoint; expected checkpoint: codi beside it, or no base"
            )
        if self.checkpoint is not None and self.trust_remote_code:
            raise ValueError(
                "trust_remote_code is true, but a checkpoint is converted without running its code; "
                "expected false, or no checkpoint"
            )
        return self


class UntrainedControl(Block):
    """The architecture and tokenizer of another model with fresh weights (design, section 6)."""

    of: Name = Field(description="Name of the model whose shape is taken.")
    weights: Literal["fresh"] = Field(description="Fresh weights from a seed.")
    seed: int = Field(0, description="Seed of the weights.")


RunnableModel = FreshModel | PathModel | HubModel


def runs_own_code(settings: RunnableModel) -> bool:
    """Whether the code that a model brings along may be run."""
    return not isinstance(settings, FreshModel) and settings.trust_remote_code


def model_patterns(settings: RunnableModel) -> tuple[str, ...]:
    """Files of a model's directory that decide what it gives."""
    return (*MODEL_FILES, *CODE_FILES) if runs_own_code(settings) else MODEL_FILES


SMALL_MB = 200
"""Megabytes of weights up to which a model is small."""


def is_small(settings: RunnableModel, files_mb: float) -> bool:
    """Whether any machine can hold several of these models at a time.

    Parameters
    ----------
    settings : FreshModel, PathModel or HubModel
        The model.
    files_mb : float
        Megabytes of the files of one that is on this machine.

    Returns
    -------
    bool
        False for models from the hub, whose size is not known here.
    """
    if isinstance(settings, FreshModel):
        # Four matrices of attention, three of the MLP, four bytes a number.
        width, mlp = settings.hidden_size, settings.intermediate_size
        per_block = 4 * (4 * width**2 + 3 * width * mlp)
        return settings.num_hidden_layers * per_block / 1e6 <= SMALL_MB
    return isinstance(settings, PathModel) and files_mb <= SMALL_MB


class ModelSpec(Block):
    """Everything a model job reads, as a rule passes it on."""

    model: Annotated[RunnableModel, Field(discriminator="weights")]
    control: UntrainedControl | None
    threads: int


def _kind(value: Any) -> Any:
    of, weights = (
        value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        for key in ("of", "weights")
    )
    return "control" if of is not None else weights


ModelSettings = Annotated[
    Annotated[FreshModel, Tag("fresh")]
    | Annotated[PathModel, Tag("path")]
    | Annotated[HubModel, Tag("hub")]
    | Annotated[UntrainedControl, Tag("control")],
    Discriminator(_kind),
]
