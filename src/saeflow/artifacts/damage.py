"""What to say of a damaged artifact: what is wrong, and the command that makes it anew."""

from __future__ import annotations

import shlex
from pathlib import Path

from saeflow.artifacts.digest import PACKAGE_ROOT
from saeflow.errors import SaeflowError

RESULTS = "results"
BUNDLED = PACKAGE_ROOT.parent.parent / "resources"
STAMP = ".snakemake_timestamp"
"""What Snakemake puts into a folder that a rule declares."""


class DamagedError(SaeflowError):
    """An artifact is not as it was written, or does not belong where it lies."""

    fault = "damaged file"


def damaged(path: Path, reason: str) -> DamagedError:
    """Sentences about an artifact that cannot be used.

    Parameters
    ----------
    path : Path
        The file, or a folder of files.
    reason : str
        What follows its name, without a stop, such as ``"is truncated"``.
    """
    return DamagedError(f"{path} {reason}; {remedy(path)}")


def absent(path: Path, reason: str) -> SaeflowError:
    """Sentences about what is not there, with a command only where it is part of a folder.

    A single file that is missing may be a name that somebody mistyped.
    """
    if _output(path) == path:
        return SaeflowError(f"{path} {reason}.")
    return damaged(path, reason)


def remedy(path: Path) -> str:
    """Tell how an artifact is made anew, as the end of a sentence.

    Snakemake makes whatever is missing and needed, given the configuration of the run, which a
    reader of files does not know.

    Parameters
    ----------
    path : Path
        A file, or a folder of files.

    Returns
    -------
    str
        With a command for what lies in results or is bundled; else what was expected.
    """
    if BUNDLED in path.resolve().parents:
        file = shlex.quote(str(path.resolve()))
        return f"restore it with: git -C {shlex.quote(str(BUNDLED.parent))} checkout -- {file}."
    if RESULTS not in path.absolute().parts:
        return "expected it as saeflow wrote it."
    found = _output(path)
    # From wherever the user is: a run may be in another folder (``snakemake -d``).
    paths = [str(found.absolute())]
    if found.is_symlink():
        paths.append(str(found.resolve()))  # a cache between workflows would give it again
    return (
        f"rebuild it with: rm -r {' '.join(map(shlex.quote, paths))}, then run the same snakemake "
        "command again."
    )


def _output(path: Path) -> Path:
    """What a rule declares: the folder that holds the file, if any does, else the file."""
    for folder in (path, *path.parents):
        if folder.name == RESULTS:
            break
        if (folder / STAMP).is_file() or folder.name.endswith(".partial"):
            return folder
    return path
