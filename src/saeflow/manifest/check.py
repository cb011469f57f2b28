"""Files of a run held against the digests of its manifest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.run import RUN_ARTIFACTS, RUN_FOLDER
from saeflow.artifacts.tables import read_table
from saeflow.manifest.files import READERS


def changed_files(folder: Path) -> tuple[int, list[tuple[str, str]]]:
    """Read every file that a manifest names.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    tuple of int and list of (str, str)
        How many files the manifest names; path and what is wrong with it, of those that differ.

    Raises
    ------
    SaeflowError
        If there is no manifest.
    """
    rows = read_table(
        folder / RUN_FOLDER / "artifacts.parquet", RUN_ARTIFACTS, ["path", "sha256"]
    ).to_pylist()

    def wrong(row: dict[str, str]) -> str | None:
        try:
            found = file_digest(folder / row["path"])
        except OSError as error:
            return "is gone" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
        return None if found == row["sha256"] else "has another content"

    with ThreadPoolExecutor(READERS) as pool:
        told = list(zip(rows, pool.map(wrong, rows), strict=True))
    return len(rows), [(row["path"], what) for row, what in told if what is not None]
