"""Digests of everything in the results, each file read once and not again until it changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.files import files_below, write_text
from saeflow.artifacts.model_files import FILES_TABLE, MODEL_FILES_TABLE
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import DAMAGED, read_table
from saeflow.errors import SaeflowError
from saeflow.manifest.rules import Makers

KNOWN = Path(".snakemake") / "saeflow-digests"
"""Size, time and digest of each file when it was read last."""
LEFT_OUT = ("logs", "benchmarks", "run", "shards")
"""Below results/: what differs between equal runs, and what lasts until others have read it."""
RUN_PAGE = ("report", "run.html")
"""The page of the report that is written with the manifest."""
_OWN = (".snakemake_timestamp", ".gitignore")
PARTIAL = ".partial"
"""At the end of the names of files and folders that are not finished."""
READERS = min(8, os.cpu_count() or 1)
"""Files read at a time; more than eight a disk has no use for."""


class Stamp(NamedTuple):
    """What tells that a file is still the one whose digest is known."""

    size: int
    modified: int


def described_files(folder: Path, makers: Makers) -> list[dict[str, Any]]:
    """Describe every file of the results.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    makers : Makers
        Rules of the workflow.

    Returns
    -------
    list of dict
        Columns of `saeflow.artifacts.run.RUN_ARTIFACTS`, sorted by path. A file that is gone or
        cannot be read is left out.
    """
    paths = list(_files(folder))
    digests = _digests(folder, paths)
    found = []
    for path in paths:
        inside = PurePosixPath(path.relative_to(folder).as_posix())
        if path in digests:
            row = {"path": str(inside), "rule": makers.rule_of(inside), "sha256": digests[path][1]}
            found.append({**row, "bytes": digests[path][0].size, **_described(path)})
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Finished files of the results, those behind links to folders, too."""
    results = folder / "results"
    for path in files_below(results):
        parts = path.relative_to(results).parts
        finished = not any(part.endswith(PARTIAL) for part in parts)
        if parts[0] not in LEFT_OUT and parts[-1] not in _OWN and parts != RUN_PAGE and finished:
            yield path


def _digests(folder: Path, paths: list[Path]) -> dict[Path, tuple[Stamp, str]]:
    known = {**_read_known(folder), **_fetched(folder)}

    def digest(path: Path) -> tuple[Stamp, str] | None:
        try:
            status = path.stat()
            stamp = Stamp(status.st_size, status.st_mtime_ns)
            before = known.get(path)
            if before is not None and before[0] == stamp:
                return before
            return stamp, file_digest(path)
        except OSError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(paths, pool.map(digest, paths), strict=True))
    digests = {path: each for path, each in found.items() if each is not None}
    lines = (
        f"{sha256}\t{stamp.size}\t{stamp.modified}\t{path.relative_to(folder).as_posix()}\n"
        for path, (stamp, sha256) in digests.items()
    )
    write_text(folder / KNOWN, "".join(lines))
    return digests


def _read_known(folder: Path) -> dict[Path, tuple[Stamp, str]]:
    try:
        lines = (folder / KNOWN).read_text(encoding="utf-8").splitlines()
        fields = [line.split("\t", 3) for line in lines]
        return {
            folder / name: (Stamp(int(size), int(modified)), sha256)
            for sha256, size, modified, name in fields
        }
    except (OSError, ValueError):
        # Not there yet, or cut off: then every file is read.
        return {}


def _fetched(folder: Path) -> dict[Path, tuple[Stamp, str]]:
    """Files of fetched models, whose digests were taken when they came: gigabytes, read by no run.

    Every job that loads one checks its size.
    """
    found = {}
    for table in (folder / "results" / "models").glob(f"*/{FILES_TABLE}"):
        try:
            rows = read_table(table, MODEL_FILES_TABLE).to_pylist()
            written = table.stat().st_mtime_ns
            for row in rows:
                path = table.parent / row["file"]
                status = path.stat()
                if status.st_size == row["bytes"] and status.st_mtime_ns <= written:
                    found[path] = (Stamp(status.st_size, status.st_mtime_ns), row["sha256"])
        except (SaeflowError, OSError):
            continue
    return found


def _described(path: Path) -> dict[str, Any]:
    """What the metadata of a table tell; of other files, and of damaged ones, the kind alone."""
    row: dict[str, Any] = dict.fromkeys(
        ("schema_version", "rows", "config", "seed", "dataset_revision", "model_revision")
    )
    row |= {"kind": path.suffix.removeprefix(".") or path.name, "packages": None}
    if path.suffix != ".parquet":
        return row
    try:
        footer = pq.read_metadata(path)
        told = metadata_of(pa.schema([]).with_metadata(footer.metadata))
        return {**row, "rows": footer.num_rows, **_provenance(told)}
    except DAMAGED:
        return row


def _provenance(told: Mapping[str, str]) -> dict[str, Any]:
    packages = [
        f"{key.removeprefix('version.')} {value}"
        for key, value in told.items()
        if key.startswith("version.")
    ]
    numbers = {key: _integer(told.get(key)) for key in ("schema_version", "seed")}
    texts = {key: told.get(key) for key in ("config", "dataset_revision", "model_revision")}
    return {"kind": told.get("artifact", "parquet"), "packages": packages, **numbers, **texts}


def _integer(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None
