"""Which GPUs a process may use, told without torch: before a run starts, where seconds matter."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saeflow.errors import SaeflowError

NEEDED = "SAEFLOW_GPU_MEMORY_GB"
"""Environment variable by which the Snakefile tells jobs ``compute.gpu_memory_gb``."""
TOLERANCE = 0.95
"""A card that is sold with 16 GB shows between 15.8 and 17.2 to programs."""
QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
HIDDEN = ("", "-1", "NoDevFiles")
"""Values of CUDA_VISIBLE_DEVICES that leave no GPU; schedulers set the last."""
SECONDS = 20.0
"""How long a driver may take to answer; one that hangs is no GPU to use."""


DRIVER = Path(__file__).with_name("gpu_driver.py")


class GpuError(SaeflowError):
    """No GPU, or none that is large enough, where one is needed."""

    fault = "missing GPU"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG), that a process may use.

    Attributes
    ----------
    name : str
        What ``CUDA_VISIBLE_DEVICES`` calls it here: as given there, else its UUID.
    uuid : str
        What every process of this machine calls it, whatever its environment.
    memory : float
        GB.
    """

    name: str
    uuid: str
    memory: float


def visible_gpus() -> list[float]:
    """Memory of each GPU that ``CUDA_VISIBLE_DEVICES`` leaves to this process, in GB; none without one."""
    return [gpu.memory for gpu in visible_devices()]


def visible_devices() -> list[Gpu]:
    """GPUs that ``CUDA_VISIBLE_DEVICES`` leaves to this process, in its order.

    Asks ``nvidia-smi``; where there is none, where parts of a GPU are named, or where CUDA numbers
    GPUs in another order, the driver, in another process: CUDA is not initialised in this one.

    Returns
    -------
    list of Gpu
        None without a GPU.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and chosen.strip() in HIDDEN:
        return []
    names = None if chosen is None else [name.strip() for name in chosen.split(",")]
    if names is not None and any(name.startswith("MIG") for name in names):
        return _parts(names)
    found = _ask_nvidia_smi()
    if found is None:
        return _enumerated(names)
    if names is None:
        return [Gpu(uuid, uuid, memory) for _, uuid, _, memory in found]
    if _numbered_by_speed(names, found) and (enumerated := _enumerated(names)):
        return enumerated
    gpus = []
    for name in names:
        matches = [
            Gpu(name, uuid, memory)
            for index, uuid, _, memory in found
            if name == index or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if len(matches) != 1:
            break  # CUDA, too, ignores what follows a name that it does not know
        gpus += matches
    return gpus


def _numbered_by_speed(names: list[str], found: list[tuple[str, str, str, float]]) -> bool:
    """Whether numbers may mean other GPUs to CUDA than to nvidia-smi, which goes by the bus."""
    return (
        any(name.isdigit() for name in names)
        and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
        and len({(product, memory) for *_, product, memory in found}) > 1
    )


def _enumerated(names: list[str] | None) -> list[Gpu]:
    """What the driver enumerates, which are the first of these names in this order."""
    told = _ask_driver()
    labels = [uuid for uuid, _ in told] if names is None else names
    return [Gpu(name, *device) for name, device in zip(labels, told, strict=False)]


def _parts(names: list[str]) -> list[Gpu]:
    """Devices by their names, parts of GPUs among them, of which CUDA enumerates one at a time."""
    gpus = []
    for name in names:
        told = _ask_driver(name)
        if len(told) != 1:
            break
        uuid, memory = told[0]
        gpus.append(Gpu(name, name if name.startswith("MIG") else uuid, memory))
    return gpus


def check_memory(needed: float, found: list[float], why: str = "") -> None:
    """Check that some GPU is large enough.

    Parameters
    ----------
    needed : float
        ``compute.gpu_memory_gb``.
    found : list of float
        GB of memory of each GPU.
    why : str, optional
        Why there is none, where that is known.

    Raises
    ------
    GpuError
        If none is.
    """
    if any(memory >= TOLERANCE * needed for memory in found):
        return
    told = (
        f"the largest of this machine has {max(found):.0f} GB"
        if found
        else f"no CUDA device is visible on this machine{why and f' ({why})'}"
    )
    raise GpuError(
        f"this configuration needs a GPU with {needed:g} GB of memory (compute.gpu_memory_gb), but "
        f"{told}; run it where there is one, or set SAEFLOW_DEVICE=cpu to compute on the CPU "
        "all the same."
    )


def gpu_warnings(needed: float | None) -> Iterator[str]:
    """Check this machine before a run starts on it.

    Parameters
    ----------
    needed : float or None
        ``compute.gpu_memory_gb``.

    Yields
    ------
    str
        What to warn of.

    Raises
    ------
    GpuError
        If a GPU is needed, ``SAEFLOW_DEVICE`` does not say otherwise, and none is large enough.
    """
    wanted = os.environ.get("SAEFLOW_DEVICE", "").strip().lower()
    if needed is None:
        return
    if wanted == "cpu":
        yield (
            f"warning: SAEFLOW_DEVICE=cpu: computing on the CPU what needs a GPU with {needed:g} GB of "
            "memory (compute.gpu_memory_gb); this may take days."
        )
    elif not wanted:
        check_memory(needed, visible_gpus())


def why_none(built_for: str | None) -> str:
    """Say why a process sees no GPU.

    Parameters
    ----------
    built_for : str or None
        Version of CUDA that the installed torch was built for.
    """
    where = f"node {socket.gethostname()}"
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if built_for is None:
        return f"{where}: the installed torch was built without CUDA"
    if chosen is not None and chosen.strip() in HIDDEN:
        return f"{where}: CUDA_VISIBLE_DEVICES={chosen!r} hides all; was gpu=1 asked for?"
    if found := visible_gpus():
        return (
            f"{where}: the driver shows {len(found)}, but torch for CUDA {built_for} cannot use any; "
            "is the driver too old?"
        )
    return f"{where}: the driver shows none"


def limit_warnings(limit: int | None) -> Iterator[str]:
    """Compare how many GPU jobs Snakemake may start at a time with the GPUs that are there.

    Parameters
    ----------
    limit : int or None
        What ``--resources gpu=N`` or a profile says.

    Yields
    ------
    str
        What to warn of.
    """
    if os.environ.get("SAEFLOW_DEVICE", "").strip().lower() == "cpu":
        return
    gpus = len({gpu.uuid for gpu in visible_devices()})
    if gpus and (limit is None or limit > gpus):
        started = "any number of jobs" if limit is None else f"{limit} jobs"
        yield (
            f"warning: {started} for a GPU may be started at a time, and {gpus} can compute on what is "
            f"visible of this machine's; the others wait and hold their cores. --workflow-profile gpu "
            f"--resources gpu={gpus} starts no more than that."
        )


def needed_gb() -> float | None:
    """Memory in GB that the configuration asks of this job's GPU, if it asks."""
    told = os.environ.get(NEEDED, "").strip()
    return float(told) if told else None


def _ask_nvidia_smi() -> list[tuple[str, str, str, float]] | None:
    """Index, uuid, product and GB of each GPU; None where it cannot be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout
        rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines() if line]
        # In MiB.
        return [
            (index, uuid, product, float(memory) * 1024**2 / 1e9)
            for index, uuid, product, memory in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _ask_driver(visible: str | None = None) -> list[tuple[str, float]]:
    """Identity and GB of each device that CUDA enumerates, here or where only these are visible."""
    environment = dict(os.environ)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    python = sys.executable
    if python.startswith("'"):  # as workflow/rules/common.smk leaves it where a path has a space
        python = shlex.split(python)[0]
    try:
        told = subprocess.run(
            [python, "-I", "-S", str(DRIVER)],
            capture_output=True, text=True, timeout=SECONDS, check=True, env=environment,
        ).stdout  # fmt: skip
        return [(str(uuid), float(memory)) for uuid, memory in json.loads(told)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
