"""Checkpoints of training: safetensors beside one JSON file, whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.files import atomic_folder
from saeflow.errors import SaeflowError

NAME = re.compile(r"step(\d+)")
INDEX = "checkpoint.json"
STREAM = "stream"
DIGEST = "digest"
KEPT = 2
"""The one before stays, in case that the last is damaged."""


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes
    ----------
    step : int
        Updates that it stands behind.
    tensors : dict of str to dict of str to torch.Tensor
        Tensors of each SAE, on the CPU.
    stream : dict of str to torch.Tensor or int
        Where the stream stood.
    rows : list
        Metrics so far, as JSON keeps them.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    stream: dict[str, Tensor | int]
    rows: list[Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, configuration: Mapping[str, Any]) -> Path:
    """Write a checkpoint as one folder, which appears when it is whole, and drop others.

    The one before it stays. Those of later steps can only be ones that `load_checkpoint` passed over.

    Parameters
    ----------
    folder : Path
        Of the checkpoints; made if missing.
    checkpoint : Checkpoint
        What to write.
    configuration : mapping
        What a job must share to go on from it; of JSON's kinds.

    Returns
    -------
    Path
        ``folder/step{step}``.
    """
    target = folder / f"step{checkpoint.step:09d}"
    stream = {key: each for key, each in checkpoint.stream.items() if isinstance(each, Tensor)}
    numbers = {key: each for key, each in checkpoint.stream.items() if key not in stream}
    # Names of SAEs are the user's; their order is not.
    files = {f"sae{place}": each for place, each in enumerate(checkpoint.tensors.values())}
    with atomic_folder(target) as partial:
        for name, tensors in {**files, STREAM: stream}.items():
            whole = {key: each.cpu().contiguous() for key, each in tensors.items()}
            save_file(whole, partial / f"{name}.safetensors")
        index = {
            "configuration": configuration,
            "step": checkpoint.step,
            "saes": list(checkpoint.tensors),
            "stream": numbers,
            "rows": checkpoint.rows,
            "sha256": {path.name: file_digest(path) for path in sorted(partial.iterdir())},
        }
        index[DIGEST] = _digest(index)
        (partial / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    # Steps beyond this one were passed over as damaged; kept as the newest, they would push out whole ones.
    steps = _found(folder)
    place = steps.index(target)
    for old in (*steps[:place], *steps[place + KEPT :]):
        shutil.rmtree(old)
    return target


def load_checkpoint(folder: Path, configuration: Mapping[str, Any]) -> Checkpoint | None:
    """The last checkpoint that is whole.

    A damaged one is passed over with a line in the log.

    Parameters
    ----------
    folder : Path
        Of the checkpoints; it need not exist.
    configuration : mapping
        As it was saved.

    Returns
    -------
    Checkpoint or None
        None where there is none.

    Raises
    ------
    SaeflowError
        If a checkpoint belongs to another configuration.
    """
    for path in _found(folder):
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            if index.pop(DIGEST) != _digest(index):
                raise ValueError(f"{INDEX} is not what was written")
            _check(path, index, configuration)
            return _read(path, index)
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError
        ) as error:  # fmt: skip
            logging.getLogger("saeflow").warning(
                "%s is damaged (%s: %s); trying the checkpoint before it.",
                path,
                type(error).__name__,
                error,
            )
    return None


def _digest(index: Mapping[str, Any]) -> str:
    """Digest of an index, as JSON keeps it."""
    kept = json.loads(json.dumps(index))
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _found(folder: Path) -> list[Path]:
    """Checkpoints, the last first; folders that are being written have another name."""
    if not folder.is_dir():
        return []
    named = [(NAME.fullmatch(each.name), each) for each in folder.iterdir() if each.is_dir()]
    return [path for _, path in sorted(((int(m[1]), p) for m, p in named if m), reverse=True)]


def _check(path: Path, index: dict[str, Any], configuration: Mapping[str, Any]) -> None:
    saved, wanted = index["configuration"], json.loads(json.dumps(configuration))
    if saved == wanted:
        return
    apart = _differences(saved, wanted)
    raise SaeflowError(
        f"{path} is a checkpoint of another configuration ({apart}); expected one of this, or an "
        "empty folder to start anew."
    )


def _differences(saved: Any, wanted: Any, place: str = "") -> str:
    """The first key that differs, with what was found and what was expected."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in saved if key not in wanted)]:
            if saved.get(key) != wanted.get(key):
                inside = f"{place}.{key}" if place else str(key)
                return _differences(saved.get(key), wanted.get(key), inside)
    return f"{place} was {saved!r} and is {wanted!r}"


def _read(path: Path, index: dict[str, Any]) -> Checkpoint:
    for name, digest in index["sha256"].items():
        if file_digest(path / name) != digest:
            raise ValueError(f"{name} is not what was written")
    tensors = {
        name: load_file(path / f"sae{place}.safetensors")
        for place, name in enumerate(index["saes"])
    }
    stream: dict[str, Tensor | int] = {**load_file(path / f"{STREAM}.safetensors")}
    return Checkpoint(index["step"], tensors, stream | index["stream"], index["rows"])
