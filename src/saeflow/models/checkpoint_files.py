"""State dicts as training loops leave them: safetensors or PyTorch files, whole or in shards.

Nothing in such a file is run: PyTorch files are read with ``weights_only``, and what is no tensor
is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from saeflow.errors import SaeflowError, first_line
from saeflow.models.repository_files import INDEX_ENDING, WEIGHTS, read_index, weights_file

OBJECTS = re.compile(
    "unsupported global|can only (create|build)|trying to call reduce", re.IGNORECASE
)
"""How torch refuses to make what is no tensor; anything else that it says is of damage."""


def read_state(folder: Path) -> dict[str, Tensor]:
    """Read a state dict; its tensors stay in the files until they are used.

    Parameters
    ----------
    folder : Path
        Holds ``model.safetensors`` or ``pytorch_model.bin``, or the index of one's shards.

    Returns
    -------
    dict of str to torch.Tensor
        Of floating-point tensors of any shape, as stored, on the CPU.

    Raises
    ------
    SaeflowError
        If a file is missing, truncated, or holds anything but tensors.
    """
    if not folder.is_dir():
        raise SaeflowError(f"{folder} is no directory; expected the folder of a checkpoint.")
    found = weights_file(folder)
    if found is None:
        raise SaeflowError(
            f"{folder} holds no weights; expected {' or '.join(WEIGHTS)}, or the index of its shards."
        )
    return _read_shards(found) if found.name.endswith(INDEX_ENDING) else dict(_read(found))


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_index(index)["weight_map"]
    state: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if not (index.parent / shard).is_file():
            raise SaeflowError(f"{index.parent / shard} is missing; {index.name} names it.")
        state.update(_read(index.parent / shard))
    absent = sorted(set(places) - set(state))
    if absent:
        raise SaeflowError(
            f"{index} names {len(absent)} tensors that its shards lack, such as {absent[0]}."
        )
    return state


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of one file."""
    found = load_safetensors(path) if path.suffix == ".safetensors" else _load_pytorch(path)
    if not isinstance(found, dict):
        raise SaeflowError(
            f"{path} holds a {type(found).__name__}; expected a state dict, tensors by name."
        )
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise SaeflowError(
                f"{path} holds {type(tensor).__name__} under {str(name)!r}; expected a state dict, "
                "tensors by name."
            )
        yield name, tensor


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file.

    Raises
    ------
    SaeflowError
        If it is damaged.
    """
    try:
        return dict(load_file(path))
    except Exception as error:  # safetensors, torch and the operating system: kinds of their own
        raise SaeflowError(
            f"{path} cannot be read ({first_line(error)}); fetch it again."
        ) from None


def _load_pytorch(path: Path) -> Any:
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            # Files of before PyTorch 1.6 are no zip archives and cannot be mapped.
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if OBJECTS.search(str(error)):
            raise SaeflowError(
                f"{path} holds Python objects beside tensors, which could run code; expected a "
                "state dict, tensors by name, so it is not read."
            ) from None
        raise SaeflowError(f"{path} cannot be read; fetch it again.") from None
    except Exception as error:  # damaged files make zip, pickle and torch raise many kinds
        raise SaeflowError(
            f"{path} cannot be read ({first_line(error)}); fetch it again."
        ) from None
