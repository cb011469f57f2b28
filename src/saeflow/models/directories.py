"""Directories of causal language models in Hugging Face format, with or without latent thoughts.

A CODI directory is a Hugging Face directory with two files more: `codi.json`, which names the ids of
the thought tokens and the width of the projection, and `codi_projection.safetensors`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from saeflow.artifacts.digest import files_digest
from saeflow.artifacts.files import write_text
from saeflow.config.models import MODEL_FILES
from saeflow.errors import SaeflowError, first_line
from saeflow.models.codi import CodiModel, Projection, ThoughtTokens
from saeflow.models.families import FAMILIES
from saeflow.models.language_model import LanguageModel
from saeflow.models.own_code import check_code
from saeflow.models.repository_files import INDEX_ENDING, read_index, weights_file

CODI_FILE = "codi.json"
PROJECTION_FILE = "codi_projection.safetensors"
_BLOCK = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")
MOST_BLOCKS = 1000
"""Several times what any model has; a damaged number would fill the memory with blocks."""
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")


def load_directory(
    folder: Path,
    dtype: str,
    revision: str,
    *,
    last_layer: int | None = None,
    device: torch.device | None = None,
    trusted: bool = False,
) -> LanguageModel:
    """Load a directory: a CODI model where it holds `codi.json`, else a model as it comes.

    Parameters
    ----------
    folder : Path
        In Hugging Face format, weights in one file or in shards.
    dtype : str
        Precision of the weights; they are read in no other.
    revision : str
        What identifies them.
    last_layer : int, optional
        Blocks behind this one are neither read nor run; None: all are.
    device : torch.device, optional
        Where the weights go as they are read, so that no second copy lies in main memory; the CPU
        by default.
    trusted : bool
        Whether Python code that the directory brings along may be run.

    Returns
    -------
    LanguageModel
        A `CodiModel` where the directory is one.

    Raises
    ------
    SaeflowError
        If a file is missing, foreign or damaged, or there is no such layer.
    """
    if not folder.is_dir():
        raise SaeflowError(f"{folder} is no directory; expected a Hugging Face model directory.")
    config = read_config(folder, trusted)
    if not any(list(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS):
        raise SaeflowError(
            f"{folder} holds no weights; expected model.safetensors or pytorch_model.bin."
        )
    codi = read_codi(folder, config.vocab_size) if is_codi(folder) else None
    n_blocks = int(config.num_hidden_layers)
    if last_layer is not None:
        keep_blocks(config, last_layer, folder)
    tokenizer = read_tokenizer(folder, trusted)
    with _needed_shards(folder, last_layer) as shards:
        model = _read_weights(shards, folder, config, dtype, device, trusted, n_blocks)
    if codi is None:
        return LanguageModel(model, tokenizer, revision)
    projection = _read_projection(folder, config.hidden_size, codi.size)
    loaded = CodiModel(model, projection, tokenizer, codi.tokens, revision)
    loaded.number_waves = codi.number_waves
    return loaded


def is_codi(folder: Path) -> bool:
    """Tell whether a directory is of a CODI model, maybe one that lacks a file."""
    return any((folder / name).is_file() for name in (CODI_FILE, PROJECTION_FILE))


def keep_blocks(config: PretrainedConfig, last_layer: int, where: Path) -> None:
    """Let a configuration ask for the first blocks alone.

    Raises
    ------
    SaeflowError
        If there is no such block.
    """
    n_layers = int(config.num_hidden_layers)
    if not 0 <= last_layer < n_layers:
        raise SaeflowError(
            f"layer {last_layer} was asked for, but {where} has the layers 0 to {n_layers - 1}."
        )
    config.num_hidden_layers = last_layer + 1
    # Families whose blocks differ in their attention list the kind of each.
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = list(kinds)[: last_layer + 1]


def drop_blocks(model: PreTrainedModel, last_layer: int, where: Path) -> None:
    """Cut off the blocks of a whole model that lie behind one.

    Raises
    ------
    SaeflowError
        If there is no such block.
    """
    keep_blocks(model.config, last_layer, where)
    name = "h" if hasattr(model.base_model, "h") else "layers"
    setattr(model.base_model, name, getattr(model.base_model, name)[: last_layer + 1])


@contextmanager
def _needed_shards(folder: Path, last_layer: int | None) -> Iterator[Path]:
    """Give a directory whose shards hold no blocks behind the last alone, as links.

    transformers opens every shard that the index names, be it needed or not.
    """
    index = weights_file(folder)
    if last_layer is None or index is None or not index.name.endswith(INDEX_ENDING):
        yield folder
        return
    listed = read_index(index)
    weights = {
        name: shard
        for name, shard in listed["weight_map"].items()
        if (block := _BLOCK.search(name)) is None or int(block[1]) <= last_layer
    }
    with TemporaryDirectory(prefix="saeflow-shards-") as made:
        links = Path(made)
        # The files beside the weights matter, too: generation_config.json names further ends.
        names = {path.name for path in folder.iterdir() if path.suffix in (".json", ".py")}
        plain = {name for name in names if not name.endswith(INDEX_ENDING)}
        for name in sorted({*plain, *weights.values()}):
            (links / name).symlink_to((folder / name).resolve())
        (links / index.name).write_text(json.dumps({**listed, "weight_map": weights}))
        yield links


def _read_weights(
    shards: Path,
    folder: Path,
    config: PretrainedConfig,
    dtype: str,
    device: torch.device | None,
    trusted: bool,
    n_blocks: int,
) -> PreTrainedModel:
    placed = {} if device is None else {"device_map": {"": str(device)}}
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            shards,
            config=config,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=trusted,
            **placed,
        )
    except Exception as error:  # damaged files make transformers and pickle raise many kinds
        raise SaeflowError(f"{folder}: the weights cannot be read ({first_line(error)}).") from None
    check_complete(folder, report)
    matches = map(_BLOCK.search, report["unexpected_keys"])
    surplus = [int(match[1]) for match in matches if match and int(match[1]) >= n_blocks]
    if surplus:
        raise SaeflowError(
            f"{folder}: the weights hold block {max(surplus)}; expected {n_blocks} blocks, from 0 on, as "
            "config.json says."
        )
    found: PreTrainedModel = model
    return found


def check_complete(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse weights that transformers would fill up with random numbers.

    Parameters
    ----------
    folder : Path
        Where they are from.
    report : mapping
        What ``from_pretrained`` gave beside the model.

    Raises
    ------
    SaeflowError
        If tensors are missing.
    """
    if report["missing_keys"]:
        raise SaeflowError(
            f"{folder}: the weights lack {len(report['missing_keys'])} tensors, such as "
            f"{min(report['missing_keys'])}; expected all that config.json asks for."
        )


def _read_projection(folder: Path, d_in: int, size: int) -> Projection:
    path = folder / PROJECTION_FILE
    projection = Projection(d_in, size)
    try:
        state = load_file(path)
    except Exception as error:  # safetensors and the operating system have kinds of their own
        raise SaeflowError(f"{folder}: the weights cannot be read ({first_line(error)}).") from None
    try:
        projection.load_state_dict(state)
    except RuntimeError as error:
        raise SaeflowError(
            f"{path} does not fit a projection of {d_in} → {size} ({first_line(error)})."
        ) from None
    return projection


def save_directory(model: CodiModel, folder: Path) -> None:
    """Write a CODI directory that `load_directory` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    model.language_model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    size = model.projection[1].out_features
    state = {name: value.contiguous() for name, value in model.projection.state_dict().items()}
    save_file(state, folder / PROJECTION_FILE)
    codi = {
        "pad_token_id": model.tokens.pad,
        "begin_token_id": model.tokens.begin,
        "end_token_id": model.tokens.end,
        "projection_size": size,
        "number_waves": model.number_waves,
    }
    write_text(folder / CODI_FILE, json.dumps(codi, indent=2, sort_keys=True) + "\n")


def directory_revision(folder: Path, patterns: Sequence[str] = MODEL_FILES) -> str:
    """Digest of the files of a model directory that decide what it gives."""
    found = {path for each in patterns for path in folder.glob(each) if path.is_file()}
    return files_digest(sorted(found))[:16]


def copy_directory(source: Path, target: Path) -> None:
    """Copy a CODI directory with everything in it into an existing folder."""
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, target / path.name)


def any_config(folder: Path, trusted: bool = False) -> PretrainedConfig:
    """Read the configuration of a model, of whatever family.

    Raises
    ------
    SaeflowError
        If it is missing or damaged, or names code that may not be run.
    """
    if not (folder / "config.json").is_file():
        raise SaeflowError(
            f"{folder} holds no config.json; expected a Hugging Face model directory."
        )
    check_code(folder, trusted=trusted)
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trusted
        )
    except Exception as error:  # transformers checks values with exceptions of its own
        raise SaeflowError(
            f"{folder / 'config.json'} cannot be read ({first_line(error)})."
        ) from None
    return config


def read_config(folder: Path, trusted: bool = False) -> PretrainedConfig:
    """Read the configuration of a model of a family that is known.

    Raises
    ------
    SaeflowError
        If it is missing, damaged or of another family, or names code that may not be run.
    """
    config = any_config(folder, trusted)
    if config.model_type not in FAMILIES:
        raise SaeflowError(
            f"{folder / 'config.json'} names the family {config.model_type!r}; expected one of "
            f"{', '.join(FAMILIES)}."
        )
    n_blocks = config.num_hidden_layers
    if not isinstance(n_blocks, int) or not 1 <= n_blocks <= MOST_BLOCKS:
        raise SaeflowError(
            f"{folder / 'config.json'} names {n_blocks!r} blocks; expected 1 to {MOST_BLOCKS}."
        )
    return config


def read_tokenizer(folder: Path, trusted: bool = False) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a model.

    Raises
    ------
    SaeflowError
        If it is missing or damaged, has no end-of-text token, or names code that may not be run.
    """
    check_code(folder, trusted=trusted)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trusted
        )
    except Exception as error:  # malformed JSON shows as any kind of exception
        raise SaeflowError(f"{folder} holds no readable tokenizer ({first_line(error)}).") from None
    if tokenizer.eos_token_id is None:
        raise SaeflowError(f"{folder}: the tokenizer has no end-of-text token, which ends answers.")
    return tokenizer


class CodiFile(NamedTuple):
    """What `codi.json` says."""

    tokens: ThoughtTokens
    size: int
    number_waves: bool


def read_codi(folder: Path, vocabulary: int) -> CodiFile:
    """Read what a CODI directory says of its thought tokens.

    Raises
    ------
    SaeflowError
        If that is missing or damaged, or names ids that the vocabulary lacks.
    """
    path = folder / CODI_FILE
    if not path.is_file() or not (folder / PROJECTION_FILE).is_file():
        raise SaeflowError(
            f"{folder} holds no {CODI_FILE} with {PROJECTION_FILE}; the study needs a CODI model, "
            "which thinks in latent steps."
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tokens = ThoughtTokens(
            int(values["pad_token_id"]), int(values["begin_token_id"]), int(values["end_token_id"])
        )
        size = int(values["projection_size"])
        ids = (tokens.pad, tokens.begin, tokens.end)
        if size < 1 or min(ids) < 0 or max(ids) >= vocabulary:
            raise ValueError(f"ids {ids} of {vocabulary} embeddings, projection_size {size}")
        return CodiFile(tokens, size, bool(values.get("number_waves", False)))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SaeflowError(
            f"{path} is malformed ({type(error).__name__}: {error}); expected pad_token_id, "
            "begin_token_id, end_token_id and projection_size."
        ) from None
