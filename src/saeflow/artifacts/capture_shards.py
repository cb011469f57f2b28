"""Captures whose chunks several jobs wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saeflow.artifacts.captures import FINGERPRINT, write_gathered
from saeflow.artifacts.files import atomic_folder, link
from saeflow.artifacts.provenance import inherit
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.tables import read_schema
from saeflow.errors import SaeflowError


def gather_chunks(shards: Sequence[Path], target: Path, records: Artifact, n_chunks: int) -> None:
    """Make a capture from the chunks of shards, by links.

    Parameters
    ----------
    shards : sequence of Path
        Their folders.
    target : Path
        Where the capture shall be.
    records : Artifact
        What its records are.
    n_chunks : int
        Its chunks.

    Raises
    ------
    SaeflowError
        If shards were computed differently, or chunks are missing.
    """
    used = [path for path in shards if (path / FINGERPRINT).is_file()]
    kinds = {(path / FINGERPRINT).read_text(encoding="utf-8"): path for path in used}
    if len(kinds) > 1:
        raise SaeflowError(
            f"{' and '.join(map(str, kinds.values()))} were computed on different kinds of device, so "
            f"that they do not fit each other. Delete {shards[0].parent} and run the workflow again, "
            "on one kind (SAEFLOW_DEVICE=cpu chooses the CPU everywhere)."
        )
    chunks = {
        path.relative_to(each): path for each in used for path in each.rglob("chunk*.parquet")
    }
    paths = [Path(records.name, f"chunk{chunk}.parquet") for chunk in range(n_chunks)]
    absent = [str(path) for path in paths if path not in chunks]
    if absent:
        raise SaeflowError(
            f"{shards[0].parent} holds no {absent[0]}; expected {n_chunks} chunks of {target}. Delete it "
            "and run the workflow again."
        )
    provenance = inherit(read_schema(chunks[paths[0]])[1])
    with atomic_folder(target) as folder:
        tables = [chunks.pop(path) for path in paths]
        for name, path in chunks.items():
            link(path, folder / name)
        write_gathered(tables, folder, records, provenance)
