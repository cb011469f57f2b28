"""Which files of a repository make a model, and whether those of a fetched one are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.tables import read_table
from saeflow.errors import SaeflowError

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of preference; each may lie in shards with an index."""
SHARD = re.compile(r"-\d{5}-of-\d{5}$")
BESIDE = (".json", ".txt", ".model", ".jinja")
"""Endings of configuration and tokenizer files."""
PROJECTION = "codi_projection.safetensors"
"""As `saeflow.models.directories` names it, which would bring torch along."""
INSTEAD = "use weights: path with path: DIRECTORY"


def weight_names(names: Sequence[str]) -> list[str]:
    """Files of weights that are needed among those of a repository: safetensors where there are any."""
    for whole in WEIGHTS:
        stem, dot, ending = whole.partition(".")
        shards = [
            name
            for name in names
            if name.startswith(stem)
            and name.endswith(dot + ending)
            and SHARD.search(name.removesuffix(dot + ending))
        ]
        if whole in names:
            return [whole]
        if shards:
            return [each for each in (*shards, f"{whole}.index.json") if each in names]
    return []


def model_names(names: Sequence[str]) -> list[str]:
    """Files that loading a model needs: configuration, tokenizer and one form of the weights."""
    projection = [name for name in names if name == PROJECTION]
    return [*beside_weights(names), *weight_names(names), *projection]


def beside_weights(names: Sequence[str]) -> list[str]:
    """Configuration and tokenizer among the files of a repository."""
    return [
        name
        for name in names
        if "/" not in name and name.endswith(BESIDE) and not name.endswith(".index.json")
    ]


def lacking(folder: Path, *, config: bool = True, weights: bool = True) -> list[str]:
    """What a folder lacks to be loaded as a model."""
    names = [path.name for path in folder.iterdir() if path.exists()]
    found = ["config.json"] if config and "config.json" not in names else []
    if not weights:
        return found
    chosen = weight_names(names)
    # An index says which shards there are, even where none of them came.
    indices = [f"{whole}.index.json" for whole in WEIGHTS if f"{whole}.index.json" in names]
    if indices and (not chosen or SHARD.search(chosen[0].partition(".")[0])):
        shards = set(json.loads((folder / indices[0]).read_text("utf-8"))["weight_map"].values())
        return found + sorted(shards - set(names))
    return found + (["weights (model.safetensors)"] if not chosen else [])


def layer_count(folder: Path) -> int:
    """Number of blocks that a directory's configuration names.

    Raises
    ------
    SaeflowError
        If it names none.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values = values.get("text_config", values)
        return int(values.get("num_hidden_layers", values.get("n_layer")))
    except (OSError, ValueError, TypeError, AttributeError):
        raise SaeflowError(
            f"{path} names no number of layers; expected a Hugging Face model."
        ) from None


def check_fetched(folder: Path) -> str:
    """Check that the files of a fetched model are still as long as they were.

    Returns
    -------
    str
        The commit that they come from.

    Raises
    ------
    SaeflowError
        If one is missing or truncated, saying what to delete.
    """
    table = read_table(folder / FILES_TABLE, MODEL_FILES_TABLE)
    for row in table.select(["file", "bytes"]).to_pylist():
        path = folder / row["file"]
        size = path.stat().st_size if path.exists() else None
        if size != row["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            cached = (
                "" if size is None else f" and {path.resolve()} with its copy in the hub's cache"
            )
            raise SaeflowError(
                f"{path} {found}; expected {row['bytes']} bytes. Delete {folder}{cached} to fetch it "
                "anew."
            )
    return str(table["revision"][0].as_py())
