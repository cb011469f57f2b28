"""Where tensors live: resolved inside the job, never while the DAG is built (design, section 5)."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from saeflow.errors import SaeflowError
from saeflow.gpu import GpuError, check_memory, needed_gb, why_none

if TYPE_CHECKING:
    import torch


def resolve_device() -> torch.device:
    """Device of this job: what ``SAEFLOW_DEVICE`` names, else CUDA if visible, else the CPU.

    The job's log tells it, for the manifest of the run.

    Raises
    ------
    SaeflowError
        If ``SAEFLOW_DEVICE`` names a device that this machine lacks, or the configuration needs a GPU
        and there is none that is large enough.
    """
    device = _resolved()
    logging.getLogger("saeflow").info("device: %s", _named(device))
    return device


def _resolved() -> torch.device:
    import torch

    wanted = os.environ.get("SAEFLOW_DEVICE", "").strip().lower()
    if not wanted:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if (needed := needed_gb()) is not None:
            found = _memory(device)
            check_memory(needed, found, "" if found else why_none(torch.version.cuda))
        if device.type == "cpu" and (given := os.environ.get("CUDA_VISIBLE_DEVICES", "")):
            # Silent, this costs days: a scheduler gave a GPU, and it lies idle.
            logging.getLogger("saeflow").warning(
                "computing on the CPU although CUDA_VISIBLE_DEVICES is %s: %s.",
                given,
                why_none(torch.version.cuda),
            )
        return device
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SaeflowError(
            f"SAEFLOW_DEVICE is {wanted!r}; expected 'cpu', 'cuda' or 'cuda:N'."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GpuError(
            f"SAEFLOW_DEVICE is {wanted!r}, but torch sees {torch.cuda.device_count()} CUDA "
            "devices on this machine."
        )
    return device


def _named(device: torch.device) -> str:
    import torch

    if device.type != "cuda":
        return device.type
    told = torch.cuda.get_device_properties(device)
    return f"{device.type}, {told.name}, {told.total_memory / 1e9:.0f} GB"


def _memory(device: torch.device) -> list[float]:
    """GB of the GPU that this job would use; empty on the CPU."""
    import torch

    if device.type != "cuda":
        return []
    return [torch.cuda.get_device_properties(device).total_memory / 1e9]


def set_threads(threads: int) -> None:
    """Fix the number of CPU threads torch uses, which decides the last bits of a result.

    ``compute.threads`` of the configuration is passed here rather than the thread count that
    Snakemake granted: ``--cores 1`` clips the latter, and the bytes must not follow it.

    Parameters
    ----------
    threads : int
        ``compute.threads``.
    """
    import torch

    torch.set_num_threads(threads)
    # Moments of well-fitted weights sink below 1e-38, where CPUs take ten times longer.
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = False
