"""``saeflow gpus``: the GPUs that jobs would take here, and which process holds each."""

from __future__ import annotations

import argparse
import json

from saeflow.gpu import visible_devices
from saeflow.gpu_slots import describe_process, holder, slot_folder

DESCRIPTION = """\
Print the GPUs that CUDA_VISIBLE_DEVICES leaves to this shell, and which job of yours holds each. Other
programs and other users are not seen: nvidia-smi shows them."""


def add_gpus(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add the command to those of the command line; `gpus_text` runs it."""
    parser = commands.add_parser(
        "gpus", help="print this machine's GPUs and which job holds each", description=DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list instead")
    return parser


def gpus_text(options: argparse.Namespace) -> str:
    """A line for each GPU, or one JSON list.

    Raises
    ------
    SaeflowError
        If the folder of the locks cannot be used.
    """
    found = [(gpu, holder(slot_folder(), gpu)) for gpu in visible_devices()]
    if options.json:
        rows = [
            {"name": gpu.name, "uuid": gpu.uuid, "memory_gb": gpu.memory, "process": process}
            for gpu, process in found
        ]
        return json.dumps(rows, indent=2)
    if not found:
        return "no GPU is visible"
    return "\n".join(
        f"{gpu.name}  {'' if gpu.uuid == gpu.name else f'{gpu.uuid}  '}{gpu.memory:.0f} GB  "
        + ("free" if process is None else f"held by {describe_process(process)}")
        for gpu, process in found
    )
