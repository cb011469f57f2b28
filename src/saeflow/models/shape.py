"""Size and family of a model, told without loading its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from saeflow.config.models import FreshModel
from saeflow.errors import SaeflowError, first_line

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
    """

    name: str | None
    family: str
    n_layers: int
    width: int
    heads_width: int

    def width_at(self, hook: str) -> int:
        """Dimensions of an activation at a hook."""
        return self.heads_width if hook == "attn_z" else self.width

    @property
    def layer_normed(self) -> bool:
        """Whether every reader of the residual stream takes the mean off first."""
        return self.family in LAYER_NORMED


def fresh_shape(settings: FreshModel) -> ModelShape:
    """Shape of a model with fresh weights."""
    width = settings.hidden_size
    return ModelShape(None, settings.family, settings.num_hidden_layers, width, width)


def model_shape(files: Sequence[str | Path], name: str | None = None) -> ModelShape:
    """Shape of a model in a Hugging Face directory.

    Parameters
    ----------
    files : sequence of str or Path
        Files of the directory, or the directory alone.
    name : str or None
        Repository that it is from.

    Returns
    -------
    ModelShape
        As its ``config.json`` says.

    Raises
    ------
    SaeflowError
        If there is no configuration or it cannot be read.
    """
    first = Path(files[0])
    config = _read_config(first if first.is_dir() else first.parent)
    heads, width = int(config.num_attention_heads), int(config.hidden_size)
    head = int(getattr(config, "head_dim", None) or width // heads)
    return ModelShape(
        name, str(config.model_type), int(config.num_hidden_layers), width, heads * head
    )


def _read_config(folder: Path) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers checks values with exceptions of its own
        raise SaeflowError(
            f"{folder / 'config.json'} cannot be read ({first_line(error)}); expected the "
            "configuration of a Hugging Face model."
        ) from None
    return config
