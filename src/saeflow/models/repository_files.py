"""Which files of a repository make a model, and whether those of a fetched one are whole."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saeflow.artifacts.catalog import EVALUATION
from saeflow.artifacts.damage import remedy
from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_schema, read_table
from saeflow.errors import SaeflowError, first_line

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""In the order of preference; each may lie in shards with an index."""
INDEX_ENDING = ".index.json"
SHARD = re.compile(r"-\d{5}-of-(\d{5})$")
SHARD_ENDINGS = (".safetensors", ".bin")
BESIDE = (".json", ".txt", ".model", ".jinja")
"""Endings of configuration and tokenizer files."""
CODE = ".py"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""One of them makes a tokenizer."""
ADAPTER = "adapter_config.json"
"""Tells transformers to load an adapter beside the weights, which is not fetched."""
PROJECTION = "codi_projection.safetensors"
"""As `saeflow.models.directories` names it, which would bring torch along."""
MEASURED = "evaluation.parquet"
"""In the folder of a reference model: what it can do."""
INSTEAD = "use weights: path with path: DIRECTORY"


class MissingWeightsError(SaeflowError):
    """A checkpoint needs the weights of its base, and they are not there."""


def weight_names(names: Sequence[str]) -> list[str]:
    """Files of weights that are needed among those of a repository: safetensors where there are any."""
    for whole in WEIGHTS:
        if whole in names:
            return [whole]
        if shards := _shards(names, whole):
            return [each for each in (*shards, whole + INDEX_ENDING) if each in names]
    return []


def _shards(names: Sequence[str], whole: str) -> list[str]:
    """Those of names that are shards of a file of weights."""
    stem, dot, ending = whole.partition(".")
    return [
        name
        for name in names
        if name.startswith(stem)
        and name.endswith(dot + ending)
        and SHARD.search(name.removesuffix(dot + ending))
    ]


def weights_file(folder: Path) -> Path | None:
    """The file that transformers begins with: weights in one file, or the index of shards."""
    for whole in WEIGHTS:
        for name in (whole, whole + INDEX_ENDING):
            if (folder / name).is_file():
                return folder / name
    return None


def read_index(path: Path) -> dict[str, Any]:
    """Read an index of shards; those in its ``weight_map`` are names in the same folder.

    Raises
    ------
    SaeflowError
        If it is damaged, or names a file elsewhere.
    """
    try:
        listed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        shards = set(listed["weight_map"].values())
        ours = (Path(each).name == each and each.endswith(SHARD_ENDINGS) for each in shards)
        if not shards or not all(ours):
            raise ValueError("names of shards in the same folder are missing")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SaeflowError(
            f"{path} is malformed ({type(error).__name__}: {first_line(error)}); expected "
            "weight_map with a file for each tensor."
        ) from None
    return listed


def model_names(names: Sequence[str], *, adapter: bool = False, code: bool = False) -> list[str]:
    """Files that loading a model needs: configuration, tokenizer and one form of the weights."""
    projection = [name for name in names if name == PROJECTION]
    beside = beside_weights(names, adapter=adapter, code=code)
    return [*beside, *weight_names(names), *projection]


def beside_weights(names: Sequence[str], *, adapter: bool = False, code: bool = False) -> list[str]:
    """Configuration and tokenizer of a repository, an adapter's settings, and its Python code."""
    return [
        name
        for name in names
        if "/" not in name
        and name.endswith((*BESIDE, CODE) if code else BESIDE)
        and not name.endswith(INDEX_ENDING)
        and (adapter or name != ADAPTER)
    ]


def lacking(folder: Path, *, config: bool = True, weights: bool = True) -> list[str]:
    """What a folder lacks to be loaded as a model.

    Parameters
    ----------
    folder : Path
        The folder.
    config, weights : bool
        Whether a configuration with a tokenizer is needed, and weights.

    Raises
    ------
    SaeflowError
        If an index of shards is damaged.
    """
    names = [path.name for path in folder.iterdir() if path.exists()]
    found = []
    if config and "config.json" not in names:
        found.append("config.json")
    if config and not set(TOKENIZER_FILES) & set(names):
        found.append(f"a tokenizer ({', '.join(TOKENIZER_FILES)})")
    return found + (_lacking_weights(folder, names) if weights else [])


def _lacking_weights(folder: Path, names: Sequence[str]) -> list[str]:
    if set(weight_names(names)) & set(WEIGHTS):
        return []
    for whole in WEIGHTS:
        index = whole + INDEX_ENDING
        # An index says which shards there are, even where none of them came.
        if index in names:
            return sorted(set(read_index(folder / index)["weight_map"].values()) - set(names))
        # Without one, their own names do, and it is lacking itself.
        if shards := _shards(names, whole):
            return [*sorted(_numbered(shards[0]) - set(names)), index]
    return ["weights (model.safetensors)"]


def _numbered(shard: str) -> set[str]:
    """Names of all shards that one of them counts."""
    stem, _, ending = shard.rpartition(".")
    match = SHARD.search(stem)
    assert match is not None, "only shards are asked"
    first, count = stem[: match.start()], match[1]
    return {f"{first}-{number:05}-of-{count}.{ending}" for number in range(1, int(count) + 1)}


@functools.cache
def _digest_of(path: Path, changed: int) -> str:
    """Digest of a file, once per process and time of its last change."""
    return file_digest(path)


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
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise SaeflowError(
            f"{path} names no number of layers; expected a Hugging Face model."
        ) from None


def check_measured(folder: Path, revision: str) -> None:
    """Check that a directory which was measured, as the bundled models were, is what was measured.

    Parameters
    ----------
    folder : Path
        Of a model; what says how it was measured may lie in it.
    revision : str
        Digest of its files (`saeflow.models.directories.directory_revision`).

    Raises
    ------
    SaeflowError
        If it is not, saying how it is restored.
    """
    path = folder / MEASURED
    if not path.is_file():
        return
    kind, schema = read_schema(path, foreign=True)
    measured = metadata_of(schema).get("model_revision")
    if kind == EVALUATION.name and measured != revision:
        raise SaeflowError(
            f"{folder} has the digest {revision}, but {MEASURED} in it was measured with {measured}; "
            f"{remedy(folder)} If the model was changed on purpose, delete {path}."
        )


def check_fetched(folder: Path) -> str:
    """Check that the files of a fetched model are still what they were.

    Returns
    -------
    str
        The commit that they come from.

    Raises
    ------
    SaeflowError
        If one is missing, truncated or damaged, saying what to delete.
    """
    table = read_table(folder / FILES_TABLE, MODEL_FILES_TABLE)
    for row in table.select(["file", "bytes", "sha256"]).to_pylist():
        path = folder / row["file"]
        size = path.stat().st_size if path.exists() else None
        if (
            size == row["bytes"]
            and _digest_of(path.resolve(), path.stat().st_mtime_ns) == row["sha256"]
        ):
            continue
        if size is None:
            found = "is missing"
        elif size != row["bytes"]:
            found = f"has {size} bytes; expected {row['bytes']} bytes"
        else:
            found = f"is damaged; expected the sha256 {row['sha256']}"
        # What is linked comes from the hub's cache, which would give the same again.
        paths = [folder, *([path.resolve()] if path.is_symlink() and size is not None else [])]
        raise SaeflowError(
            f"{path} {found}; fetch it anew with: rm -r {' '.join(shlex.quote(str(p)) for p in paths)}, "
            "then run the same snakemake command again."
        )
    return str(table["revision"][0].as_py())
