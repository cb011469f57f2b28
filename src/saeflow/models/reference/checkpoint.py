"""Checkpoints of a training run: parameters, optimizer state, curves so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from saeflow.artifacts.files import atomic_file

DIGEST = "digest"
"""In the metadata of a checkpoint: digest of all else."""


@dataclass(frozen=True)
class CurvePoint:
    """One measurement during training.

    Attributes
    ----------
    step : int
        Optimizer steps done.
    metric : str
        What is measured.
    value : float
        The measurement.
    """

    step: int
    metric: str
    value: float


@dataclass
class TrainingState:
    """What a run needs to go on as if it had never stopped.

    Attributes
    ----------
    parameters : dict of str to torch.nn.Parameter
        By name; optimizers refer to the same objects.
    optimizers : sequence of torch.optim.Optimizer
        In a fixed order.
    step : int
        Optimizer steps done.
    curves : list of CurvePoint
        Measurements so far.
    """

    parameters: dict[str, nn.Parameter]
    optimizers: Sequence[Optimizer]
    step: int
    curves: list[CurvePoint]


def save_checkpoint(state: TrainingState, path: Path, fingerprint: str) -> None:
    """Write a checkpoint atomically."""
    tensors = {f"parameter/{name}": value.detach() for name, value in state.parameters.items()}
    for name, key, owner in _slots(state):
        for entry, value in owner.state[state.parameters[name]].items():
            if isinstance(value, Tensor):
                tensors[f"{key}/{name}/{entry}"] = value
    metadata = {
        "fingerprint": fingerprint,
        "step": str(state.step),
        "curves": json.dumps([asdict(point) for point in state.curves]),
    }
    kept = {key: value.cpu().contiguous() for key, value in tensors.items()}
    metadata[DIGEST] = _digest(kept, metadata)
    with atomic_file(path) as partial:
        save_file(kept, partial, metadata)


def checkpoint_step(path: Path, fingerprint: str) -> int:
    """Steps that a checkpoint has done; 0 where there is none, a damaged one or one of another run."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # Read once: a damaged checkpoint costs time, not the run.
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        return 0
    if metadata.pop(DIGEST, None) != _digest(tensors, metadata):
        return 0
    return int(metadata["step"]) if metadata.get("fingerprint") == fingerprint else 0


def load_checkpoint(state: TrainingState, path: Path, *, with_optimizers: bool) -> None:
    """Fill a state from a checkpoint that `checkpoint_step` has found.

    Parameters
    ----------
    state : TrainingState
        Freshly made.
    path : Path
        The checkpoint.
    with_optimizers : bool
        Whether the optimizers go on, too, or start anew.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    with torch.no_grad():
        for name, parameter in state.parameters.items():
            parameter.copy_(tensors[f"parameter/{name}"])
    for name, key, owner in _slots(state) if with_optimizers else ():
        parameter, start = state.parameters[name], f"{key}/{name}/"
        owner.state[parameter] = {
            entry.removeprefix(start): value.to(parameter.device)
            for entry, value in tensors.items()
            if entry.startswith(start)
        }
    state.step = int(metadata["step"])
    state.curves[:] = [CurvePoint(**point) for point in json.loads(metadata["curves"])]


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Digest of what a checkpoint holds: safetensors itself has none."""
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        total.update(f"{key} {value.dtype} {list(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _slots(state: TrainingState) -> Iterator[tuple[str, str, Optimizer]]:
    names = {id(parameter): name for name, parameter in state.parameters.items()}
    for number, optimizer in enumerate(state.optimizers):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[id(parameter)], f"optimizer{number}", optimizer
