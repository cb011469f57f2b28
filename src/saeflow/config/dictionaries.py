"""Recipes for banks of SAEs (methods/1, section 2.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from saeflow.config.base import Block, Name
from saeflow.config.released import LAYER, ReleasedSettings
from saeflow.config.streams import StreamSettings

Control = Literal[
    "frozen_decoder",
    "soft_frozen_decoder",
    "frozen_encoder",
    "random_rotation",
    "pca",
    "raw_neurons",
]
TokenHook = Literal["resid_post", "resid_pre", "mlp_out", "attn_out", "attn_z"]
FIXED_CONTROLS: tuple[Control, ...] = ("random_rotation", "pca", "raw_neurons")
"""Controls that are not trained and have one latent per dimension of the activations."""
CONTROLS = (
    "An SAE that cannot learn what a trained one can. frozen_decoder, frozen_encoder: trained, but "
    "for the random decoder or encoder directions it starts from. soft_frozen_decoder: trained, but "
    "each decoder direction keeps a cosine of at least 0.8 with the random one it starts from. "
    "random_rotation, pca, raw_neurons: not trained, one latent per dimension, with the same top-k: "
    "random orthonormal directions, principal ones of the training rows, or the model's own "
    "coordinates."
)


def _some_layers(layers: str | tuple[int, ...]) -> str | tuple[int, ...]:
    if not layers:
        raise ValueError("no layer is named; write all or a list")
    if not isinstance(layers, str) and (len(set(layers)) != len(layers) or min(layers) < 0):
        raise ValueError("layers must be different and not negative")
    return layers


Layers = Annotated[Literal["all"] | tuple[int, ...], AfterValidator(_some_layers)]


class TrainingSettings(Block):
    """Adam on the reconstruction error; the defaults are the published ones."""

    epochs: int = Field(25, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(256, ge=1, description="Rows per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate.")


class DictionarySettings(Block):
    """A named recipe: which activations, which architecture, which training."""

    dataset: Name = Field(description="Data set whose activations train the SAEs.")
    rows: Literal["train", "all"] = Field(
        "train", description="Train on the split's training examples or on all of them."
    )
    hook: TokenHook | None = Field(
        None,
        description="null: SAEs of latent thoughts, one per layer and step. Else SAEs of the tokens "
        "of texts, one per block: of its output (resid_post) or input (resid_pre), of what its MLP "
        "(mlp_out) or its attention (attn_out) adds, or of the heads in front of the attention's "
        "output projection, side by side (attn_z). A begin-of-text token, which a tokenizer adds, "
        "trains none: its activation is the same in every text and far larger than others.",
    )
    architecture: Literal["abstopk", "topk"] = Field(
        "abstopk",
        description="abstopk keeps the k largest by absolute value, signed (the published one); "
        "topk the k largest, then ReLU.",
    )
    control: Control | None = Field(None, description=CONTROLS)
    d_sae: int | None = Field(
        512,
        ge=1,
        description="Latents per SAE; null for random_rotation, pca and raw_neurons, which have as "
        "many as the model has dimensions.",
    )
    k: int = Field(100, ge=1, description="Active latents per activation.")
    layer_convention: Literal["block_output", "hidden_states_after", "hidden_states_before"] = (
        Field(
            "block_output",
            description="What 'layer l' means. block_output: output of block l before the final norm. "
            "hidden_states_after: the Llama study's, hidden_states[l+1], so the last layer is normed. "
            "hidden_states_before: the GPT-2 study's, hidden_states[l], so layer 0 is the embedding "
            "and the last block is missing. Of thoughts only.",
        )
    )
    layers: Layers = Field(
        "all", description="Layers with SAEs, as the layer convention counts them."
    )
    steps: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4, 5),
        min_length=1,
        description="Thought steps s0, s1, ... with an SAE each. Of thoughts only.",
    )
    training: TrainingSettings = Field(
        default_factory=TrainingSettings, description="How the SAEs are trained."
    )
    stream: StreamSettings | None = Field(
        None,
        description="One wide SAE, trained on tokens that are streamed from the model, in place of "
        "several on activations that were captured; architecture and training are then named here. "
        "null: captured.",
    )
    released: ReleasedSettings | None = Field(
        None,
        description="SAEs that others trained, in place of any training; architecture, d_sae and k "
        "are theirs, the seed is 0, and the data set serves to check and measure them. null: trained "
        "here.",
    )

    @model_validator(mode="after")
    def _released_are_as_they_are(self) -> DictionarySettings:
        if self.released is None:
            return self
        if self.hook is None:
            raise ValueError(
                "released SAEs read tokens of texts, but hook is null; expected a hook"
            )
        for key in ("stream", "architecture", "control", "d_sae", "k", "training", "rows"):
            usual = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) != usual:
                raise ValueError(
                    f"{key} is given beside released, whose SAEs are trained; leave it out"
                )
        several = isinstance(self.layers, str) or len(self.layers) > 1
        if several and LAYER not in self.released.sae_id:
            raise ValueError(
                f"released.sae_id is {self.released.sae_id!r}, one SAE, but layers names several; "
                f"expected {LAYER} in it, or one layer"
            )
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> DictionarySettings:
        if self.control in FIXED_CONTROLS:
            if self.d_sae is not None:
                raise ValueError(
                    f"d_sae is {self.d_sae}, but {self.control} has as many latents as the model "
                    "has dimensions; write d_sae: null"
                )
        elif self.d_sae is None:
            raise ValueError(
                f"d_sae is missing; only the controls {', '.join(FIXED_CONTROLS)} go without it"
            )
        elif self.k > self.d_sae:
            raise ValueError(f"k is {self.k}, but only {self.d_sae} latents exist (d_sae)")
        if len(set(self.steps)) != len(self.steps) or min(self.steps) < 0:
            raise ValueError(f"steps {list(self.steps)} must be different and not negative")
        return self

    @model_validator(mode="after")
    def _streams_feed_one_sae(self) -> DictionarySettings:
        if self.stream is None:
            return self
        if self.hook is None:
            raise ValueError("stream reads tokens of texts, but hook is null; expected a hook")
        if isinstance(self.layers, str) or len(self.layers) != 1:
            found = self.layers if isinstance(self.layers, str) else list(self.layers)
            raise ValueError(f"layers is {found}, but stream trains one SAE; expected one layer")
        for key in ("architecture", "training", "rows"):
            usual = type(self).model_fields[key].get_default(call_default_factory=True)
            if getattr(self, key) != usual:
                raise ValueError(
                    f"{key} is given beside stream, which has settings of its own; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _tokens_are_no_thoughts(self) -> DictionarySettings:
        for key in ("steps", "layer_convention") if self.hook else ():
            found = getattr(self, key)
            if found != type(self).model_fields[key].default:
                found = list(found) if isinstance(found, tuple) else repr(found)
                raise ValueError(
                    f"{key} is {found}, but hook {self.hook!r} reads tokens of texts, which are no "
                    "thoughts; leave it out"
                )
        return self


class DictionaryControl(Block):
    """A control of a dictionary, made by the same recipe (design, section 6)."""

    of: Name = Field(description="Name of the dictionary whose recipe it shares.")
    control: Control = Field(description=CONTROLS)
    k: int | None = Field(
        None, ge=1, description="Active latents per activation; null: as many as the dictionary's."
    )
    layers: Layers | None = Field(
        None, description="Layers with SAEs; null: those of the dictionary."
    )

    @model_validator(mode="before")
    @classmethod
    def _shares_the_rest(cls, values: Any) -> Any:
        for key in DictionarySettings.model_fields if isinstance(values, dict) else ():
            if key in values and key not in cls.model_fields:
                raise ValueError(
                    f"{key} is given, but a control shares it with the dictionary that it is of; "
                    "leave it out"
                )
        return values

    def resolved(self, base: DictionarySettings) -> DictionarySettings:
        """Whole recipe of the control.

        Parameters
        ----------
        base : DictionarySettings
            The dictionary that `of` names.

        Returns
        -------
        DictionarySettings
            The dictionary's recipe but for what this block says; ``d_sae`` is null for the
            controls that have as many latents as the model has dimensions.

        Raises
        ------
        ValueError
            If the dictionary is a control itself or has fewer than k latents; the message, in
            one sentence without a full stop, is meant to follow the block's key and a colon.
        """
        if base.released is not None:
            raise ValueError(
                f"of is {self.of!r}, whose SAEs are released; expected a dictionary that is trained here"
            )
        if base.control is not None or base.d_sae is None:
            raise ValueError(
                f"of is {self.of!r}, which is the control {base.control} itself; expected a "
                "dictionary without control"
            )
        k = base.k if self.k is None else self.k
        fixed = self.control in FIXED_CONTROLS
        if fixed and base.stream is not None:
            raise ValueError(
                f"control is {self.control}, but {self.of!r} is trained on a stream; expected "
                "frozen_decoder, soft_frozen_decoder or frozen_encoder"
            )
        if self.layers is not None and base.stream is not None and self.layers != base.layers:
            raise ValueError(
                f"layers is given, but {self.of!r} has the one of its stream; leave it out"
            )
        if not fixed and k > base.d_sae:
            raise ValueError(f"k is {k}, but {self.of!r} has only {base.d_sae} latents (d_sae)")
        changes = {
            "control": self.control,
            "k": k,
            "d_sae": None if fixed else base.d_sae,
            "layers": base.layers if self.layers is None else self.layers,
        }
        return base.model_copy(update=changes)


def _by_kind(block: Any) -> Any:
    # Unlike a tagged union, this leaves no tag in the place that an error names.
    of = block.get("of") if isinstance(block, dict) else getattr(block, "of", None)
    return (DictionarySettings if of is None else DictionaryControl).model_validate(block)


DictionaryChoice = Annotated[DictionarySettings | DictionaryControl, BeforeValidator(_by_kind)]
"""A recipe, or with `of` a control of one."""


class DictionarySpec(Block):
    """Everything a fit job reads, as a rule passes it on."""

    dictionary: DictionarySettings
    threads: int
