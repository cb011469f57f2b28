"""Atomic writes: a reader sees the whole file or none, whenever the writer is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Where the file shall be.

    Yields
    ------
    Path
        Where to write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder ``NAME.partial`` that becomes `path` when the block ends well."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        replace_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Move a finished folder to where it belongs, over what may stand there."""
    if target.is_symlink():
        # Into a cache that other runs read (docs/cache.md): what it points to is not ours.
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def link(source: Path, target: Path) -> None:
    """Give a file another name, which takes no room; a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_folder(source: Path, target: Path) -> None:
    """Give the files of a folder other names in another, but hidden ones, which are Snakemake's."""
    with atomic_folder(target) as folder:
        for path in source.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                link(path, folder / path.relative_to(source))


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of those below it, sorted in each; links to folders are followed."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    # A rename may reach the disk before the data does, which a power cut would turn into a
    # truncated file under its final name.
    with path.open("rb") as file:
        os.fsync(file.fileno())
