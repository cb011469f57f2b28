"""Blocks, width and parameters of models, without loading one and without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saeflow.config.models import FreshModel, HubModel, PathModel, RunnableModel
from saeflow.models.repository_files import weight_names

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a number, by precision."""
PROMISED = {
    "openai-community/gpt2": (12, 768, 768, 4),
    "meta-llama/Llama-3.2-1B": (16, 2048, 2048, 2),
    "meta-llama/Llama-3.2-1B-Instruct": (16, 2048, 2048, 2),
    "meta-llama/Llama-3.2-3B": (28, 3072, 3072, 2),
    "meta-llama/Llama-3.1-8B": (32, 4096, 4096, 2),
    "meta-llama/Llama-3.1-8B-Instruct": (32, 4096, 4096, 2),
    "google/gemma-2-2b": (26, 2304, 2048, 4),
    "google/gemma-2-9b": (42, 3584, 4096, 4),
}
"""Blocks, width, width of all heads, and bytes of a number as the hub keeps it, of models that presets
and released SAEs name; read until a model's own config.json is there."""


@dataclass(frozen=True)
class Shape:
    """What decides how large activations, SAEs and a loaded model are.

    Attributes
    ----------
    n_layers, width, heads_width : int
        Blocks, dimensions of the residual stream, and of all query heads side by side.
    parameters : float
        Numbers in the weights.
    guessed : bool
        Whether blocks and width are guessed from the number of parameters, and that from
        ``weights_gb``.
    """

    n_layers: int
    width: int
    heads_width: int
    parameters: float
    guessed: bool = False

    def width_at(self, hook: str | None) -> int:
        """Dimensions of an activation at a hook."""
        return self.heads_width if hook == "attn_z" else self.width


def model_shape(settings: RunnableModel, folder: Path | None) -> Shape:
    """Shape of a model as far as it is known.

    Parameters
    ----------
    settings : FreshModel, PathModel or HubModel
        The block of the configuration.
    folder : Path or None
        Directory that holds it, or will; None of fresh weights.

    Returns
    -------
    Shape
        From the block, from ``config.json`` of the directory or of the hub's cache, from `PROMISED`,
        else guessed.
    """
    if isinstance(settings, FreshModel):
        width, mlp, n_layers = (
            settings.hidden_size,
            settings.intermediate_size,
            settings.num_hidden_layers,
        )
        # Four matrices of attention, three of the MLP.
        parameters = float(n_layers * (4 * width**2 + 3 * width * mlp))
        return Shape(n_layers, width, width, parameters)
    weights = 0 if folder is None else weight_bytes(folder)
    found = None if folder is None else _read(folder / "config.json")
    if found is None and isinstance(settings, HubModel):
        found = _read(cached_config(settings))
    if isinstance(settings, HubModel) and not weights:
        weights = int(1e9 * (settings.weights_gb or 0))
    if found is not None:
        n_layers, width, heads_width = sizes_in(found)
        stored = BYTES.get(str(found.get("dtype") or found.get("torch_dtype")), 4)
        # A checkpoint that is not converted yet keeps float32 whatever its base does.
        stored = 4 if _is_checkpoint(settings) else stored
        return Shape(n_layers, width, heads_width, weights / stored)
    return _without_config(settings, weights)


def sizes_in(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Blocks, width and width of all heads in what a ``config.json`` holds; 0 where it says nothing."""
    width = int(config.get("hidden_size") or config.get("n_embd") or 0)
    n_layers = int(
        config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers") or 0
    )
    heads = int(
        config.get("num_attention_heads") or config.get("n_head") or config.get("num_heads") or 1
    )
    return n_layers, width, heads * int(config.get("head_dim") or width // heads)


def weight_bytes(folder: Path) -> int:
    """Bytes of the weights in a Hugging Face directory: of one form, where it holds several."""
    if not folder.is_dir():
        return 0
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    return sum((folder / name).stat().st_size for name in weight_names(names))


def loaded_gb(settings: RunnableModel, shape: Shape) -> float:
    """Gigabytes of a model in the precision that it is run in."""
    return shape.parameters * BYTES[settings.dtype] / 1e9


def cached_config(settings: HubModel) -> Path | None:
    """``config.json`` of a model or of a checkpoint's base in the hub's cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    for block in (settings, settings.base):
        if block is not None:
            found = try_to_load_from_cache(block.repo, "config.json", revision=block.revision)
            if isinstance(found, str):
                return Path(found)
    return None


def _is_checkpoint(settings: RunnableModel) -> bool:
    return isinstance(settings, HubModel) and settings.checkpoint is not None


def _without_config(settings: PathModel | HubModel, weights: int) -> Shape:
    known = None
    if isinstance(settings, HubModel):
        names = (settings.repo, settings.base.repo if settings.base else "")
        known = next((PROMISED[name] for name in names if name in PROMISED), None)
    if known is not None:
        n_layers, width, heads_width, stored = known
        stored = 4 if _is_checkpoint(settings) else stored
        return Shape(n_layers, width, heads_width, weights / stored)
    parameters = weights / (4 if _is_checkpoint(settings) else 2)
    # From 0.1 to 10 billion parameters published models are within a third of these.
    width = max(1, round(2 * parameters ** (1 / 3)))
    n_layers = max(1, round(parameters / (12 * width**2)))
    return Shape(n_layers, width, width, parameters, guessed=True)


def _read(path: Path | None) -> dict[str, Any] | None:
    """Values of a ``config.json``; None where there is none or it cannot be read."""
    if path is None or not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) and all(sizes_in(values)) else None
    except (ValueError, TypeError, ZeroDivisionError, OSError):
        return None
