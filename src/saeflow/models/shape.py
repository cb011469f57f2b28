"""Size and family of a model, told without loading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from saeflow.config.models import FreshModel
from saeflow.models.conventions import HookedLayer
from saeflow.models.directories import any_config
from saeflow.models.hook_names import from_module_path, from_transformer_lens

LAYER_NORMED = ("gpt2", "gpt_neo", "gpt_neox")
"""Families with LayerNorm, which takes no notice of the mean of an activation over its dimensions."""


@dataclass(frozen=True)
class ModelShape:
    """What SAEs have to fit.

    Attributes
    ----------
    name : str or None
        Repository on the hub; None of a directory and of fresh weights.
    family : str
        ``model_type`` as transformers calls it.
    n_layers, width, heads_width : int
        Blocks, dimensions of the residual stream, and of all query heads side by side.
    config : transformers.PretrainedConfig or None
        Of a directory.
    trusted : bool
        Whether Python code that the directory brings along may be run.
    """

    name: str | None
    family: str
    n_layers: int
    width: int
    heads_width: int
    config: PretrainedConfig | None = None
    trusted: bool = False

    def width_at(self, hook: str) -> int:
        """Dimensions of an activation at a hook."""
        return self.heads_width if hook == "attn_z" else self.width

    def place_of(self, name: str) -> HookedLayer:
        """Hook and block behind the name that a release gives them.

        Parameters
        ----------
        name : str
            As TransformerLens has it, or the path of a module, such as ``model.layers.5``.

        Raises
        ------
        SaeflowError
            If there is no such hook or module, or none that equals it.
        """
        if self.config is None or "hook" in name or name.startswith("blocks."):
            return from_transformer_lens(name)
        return from_module_path(self._hollow, name)

    @cached_property
    def _hollow(self) -> PreTrainedModel:
        """The model without weights: asked for once per layer of a release, made once."""
        with torch.device("meta"):
            made: PreTrainedModel = AutoModelForCausalLM.from_config(
                self.config, trust_remote_code=self.trusted
            )
        return made

    @property
    def layer_normed(self) -> bool:
        """Whether every reader of the residual stream takes the mean off first."""
        return self.family in LAYER_NORMED


def fresh_shape(settings: FreshModel) -> ModelShape:
    """Shape of a model with fresh weights."""
    width = settings.hidden_size
    return ModelShape(None, settings.family, settings.num_hidden_layers, width, width)


def model_shape(
    files: Sequence[str | Path], name: str | None = None, *, trusted: bool = False
) -> ModelShape:
    """Shape of a model in a Hugging Face directory.

    Parameters
    ----------
    files : sequence of str or Path
        Files of the directory, or the directory alone.
    name : str or None
        Repository that it is from.
    trusted : bool
        Whether Python code that the directory brings along may be run.

    Returns
    -------
    ModelShape
        As its ``config.json`` says.

    Raises
    ------
    SaeflowError
        If there is no configuration, it cannot be read, or it names code that may not be run.
    """
    first = Path(files[0])
    config = any_config(first if first.is_dir() else first.parent, trusted)
    heads, width = int(config.num_attention_heads), int(config.hidden_size)
    head = int(getattr(config, "head_dim", None) or width // heads)
    layers = int(config.num_hidden_layers)
    return ModelShape(name, str(config.model_type), layers, width, heads * head, config, trusted)
