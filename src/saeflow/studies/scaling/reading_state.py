"""How far the reading of a corpus has come, kept so that a killed job goes on from there."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saeflow.artifacts.digest import content_digest
from saeflow.artifacts.provenance import config_digest
from saeflow.saes.bank import Bank
from saeflow.saes.wide.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from saeflow.saes.wide.snapshots import pack, unpack

MINUTES = 10.0
"""Between checkpoints; a chunk takes seconds."""
SUMS = "sums"


class ReadingState:
    """Checkpoints of the two passes over a corpus.

    Where they fall changes no number: what is kept is kept exactly, and chunks are the same.

    Parameters
    ----------
    folder : Path, optional
        Of the checkpoints, of this reading alone. None: nothing is kept.
    minutes : float
        Between checkpoints.
    """

    def __init__(self, folder: Path | None = None, minutes: float = MINUTES) -> None:
        self._folder, self._seconds = folder, 60 * minutes
        self._saved = time.monotonic()
        self._found = None if folder is None else load_checkpoint(folder, {})
        self._before = 0

    @classmethod
    def of(cls, target: Path, made_with: Sequence[Any], read: Sequence[Path]) -> ReadingState:
        """That of a job, in a folder beside what it makes.

        Parameters
        ----------
        target : Path
            What the job makes.
        made_with : sequence
            What decides the sums, beside files; of JSON's kinds.
        read : sequence of Path
            Files that decide them, and folders of SAEs.
        """
        own = config_digest([*made_with, content_digest(read)])
        return cls(target.with_name(f"{target.stem}.partial") / own)

    def close(self) -> None:
        """Forget it: what it is for is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder.parent, ignore_errors=True)

    def begin(self) -> tuple[int, int, list[str]]:
        """Say where to go on: pass, chunks of it that are done, splits as they came up."""
        if self._found is None:
            return 1, 0, []
        names = "pass", "chunks", "before"
        number, chunks, self._before = (int(self._found.stream[name]) for name in names)
        log = logging.getLogger("saeflow")
        log.info("reading goes on in pass %d behind %d chunks.", number, chunks)
        return number, chunks, list(self._found.rows[1])

    def fill(self, state: dict[str, Any], device: torch.device) -> dict[str, Any]:
        """Return what was kept, in objects that are made anew.

        Parameters
        ----------
        state : dict
            As `keep` was given it.
        device : torch.device
            Where tensors go.
        """
        assert self._found is not None
        tensors = self._found.tensors[SUMS]
        filled: dict[str, Any] = unpack(self._found.rows[0], tensors, state, device)
        self._found = None
        return filled

    def keep(
        self, number: int, chunks: int, splits: list[str], state: dict[str, Any], *constants: type
    ) -> None:
        """Keep where the reading stands, if it is time.

        Parameters
        ----------
        number : int
            Pass.
        chunks : int
            Those of it that are done.
        splits : list of str
            That have come up.
        state : dict
            What has been summed.
        *constants : type
            Kinds that a new reading makes by itself.
        """
        if self._folder is None or time.monotonic() - self._saved < self._seconds:
            return
        tensors: dict[str, Tensor] = {}
        tree = pack(state, tensors, (Bank, *constants))
        if number == 1:
            self._before = chunks
        # Ascending over both passes, for the last is that of the largest number.
        step = chunks if number == 1 else self._before + chunks
        stream: dict[str, Tensor | int] = {"pass": number, "chunks": chunks}
        stream["before"] = self._before
        found = Checkpoint(step, {SUMS: tensors}, stream, [tree, splits])
        save_checkpoint(self._folder, found, {})
        self._saved = time.monotonic()
