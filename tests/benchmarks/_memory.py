"""Peak memory of a process, and whether it grows with how much is done; for the scripts beside this."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ONE_ARENA = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""What glibc holds back otherwise differs by a tenth of the whole from process to process."""


def peak_mib() -> float:
    """Most memory this process has held, in MiB; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def growth(
    script: str,
    counts: Sequence[int],
    what: str,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Peak memory of processes that do so many of something, and how much it may grow.

    `script` is run with ``--memory-of COUNT`` and prints an object with `peak_mib` and `seconds` as
    its last line.
    """
    peaks = []
    for count in counts:
        command = [sys.executable, script, "--memory-of", str(count), *options]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | dict(environment or {}),
        )
        measured = json.loads(done.stdout.splitlines()[-1])
        print(f"{count} {what}: {measured['peak_mib']:.0f} MiB, {measured['seconds']:.1f} s")
        peaks.append(measured["peak_mib"])
    found = {f"peak_mib_{count}": round(peak) for count, peak in zip(counts, peaks, strict=True)}
    allowed = max(32, peaks[0] * 0.05)
    return found | {"growth_mib": round(peaks[1] - peaks[0], 1), "growth_allowed": round(allowed)}
