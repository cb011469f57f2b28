"""Shards: how the work of one job is cut up for several, without a trace in what they make.

Pieces of work (chunks, SAEs, sizes) are numbered once, and a shard is a range of them, so that any
number of shards gives the same bytes. Shards leave temporary files below `SHARDS`, from which a
last job makes what one job would have made.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saeflow.errors import SaeflowError

if TYPE_CHECKING:
    from saeflow.artifacts.captures import Shard

SHARDS = "results/shards/"
"""Where the temporary files of shards are."""
_ORIGIN = re.compile(r"[0-9a-f]{12}")


def shard_range(shard: str | None, n_pieces: int) -> range:
    """Pieces of one shard.

    Parameters
    ----------
    shard : str or None
        Which, as the wildcard ``scatteritem`` says it: ``"2-of-8"``. None: there is only one.
    n_pieces : int
        Pieces of all shards.

    Returns
    -------
    range
        Neighbours; of all shards together each piece once. Empty if there are more shards than
        pieces and others have them.
    """
    place, count = (1, 1) if shard is None else map(int, shard.split("-of-"))
    return range((place - 1) * n_pieces // count, place * n_pieces // count)


def shard_names(asked: int, most: int | None = None) -> list[str]:
    """All values of ``scatteritem``.

    Parameters
    ----------
    asked : int
        Shards that are wanted.
    most : int, optional
        Pieces of work, where the configuration tells their number: no shard shall be empty.
    """
    count = max(1, asked if most is None else min(asked, most))
    return [f"{place}-of-{count}" for place in range(1, count + 1)]


def origin_of(*decides: Any) -> str:
    """Digest of all that decides what shards make: plain values such as params, and input files.

    Snakemake remembers the params of files that it has deleted. Were the paths of shards always the
    same, what it remembers of older ones would have shards made again for a result that is up to
    date.
    """
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def capture_shard(snakemake: Any, n_chunks: int) -> tuple[Path, Shard | None]:
    """Where the capture of a script shall be, and which part of it the script makes; None: all.

    The folder of a shard without chunks is made here: its script does nothing else, and Snakemake
    expects the folder.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script.
    n_chunks : int
        Chunks of the capture.
    """
    # Not at the top: the Snakefile, too, reads this module at every start.
    from saeflow.artifacts.captures import Shard

    folder = _shard_output(snakemake)
    if folder is None:
        return Path(snakemake.output.capture), None
    names = snakemake.wildcards
    chunks = shard_range(names.scatteritem, n_chunks)
    if not chunks:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return Path("results", "capture", names.model, names.dataset), Shard(chunks, Path(folder))


def shard_files(snakemake: Any) -> list[Path]:
    """What the shards of a script left from which it makes the whole; none if it makes it by itself."""
    return [Path(path) for path in getattr(getattr(snakemake, "input", None), "shards", [])]


def remove_other_shards(snakemake: Any) -> None:
    """Remove what shards of other counts and settings left of the result that a script has gathered.

    Those of its own input are left to Snakemake. A script that gathers nothing removes nothing.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script.
    """
    if _shard_output(snakemake):
        return
    own = {path: _origin_folder(path) for path in shard_files(snakemake)}
    origins = {origin for origin in own.values() if origin is not None}
    folders = {path.parent for path, origin in own.items() if origin is not None}
    others = [each for origin in origins for each in origin.parent.iterdir()]
    left = [each for each in others if _ORIGIN.fullmatch(each.name) and each not in origins]
    left += [each for folder in folders for each in folder.iterdir() if each not in own]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _origin_folder(shard: Path) -> Path | None:
    return next((each for each in shard.parents if _ORIGIN.fullmatch(each.name)), None)


def own_pieces(snakemake: Any, n_pieces: int) -> range:
    """Pieces that a script makes: those of its shard, or all."""
    shard = snakemake.wildcards.scatteritem if _shard_output(snakemake) else None
    return shard_range(shard, n_pieces)


def table_target(snakemake: Any, name: str) -> Path:
    """Where a script shall write a table: its output of that name, or the part that is its shard's."""
    return Path(_shard_output(snakemake) or getattr(snakemake.output, name))


def _shard_output(snakemake: Any) -> str | None:
    return getattr(getattr(snakemake, "output", None), "shard", None)


def bank_targets(snakemake: Any, own: range) -> tuple[list[Path], list[Path]]:
    """Banks that a script trains: where they belong, and where it shall write them.

    A shard writes each into a folder named after its number.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake gives to a script.
    own : range
        Numbers of the banks.
    """
    folder = _shard_output(snakemake)
    banks = snakemake.output.banks if folder is None else snakemake.params.banks
    banks = [Path(path) for path in banks]
    return banks, banks if folder is None else [Path(folder, str(number)) for number in own]


def bank_of_shards(shards: list[Path], number: int) -> Path:
    """Where the shard that trained a bank wrote it.

    Raises
    ------
    SaeflowError
        If none did.
    """
    found = next((path for path in shards if (path / str(number)).is_dir()), None)
    if found is None:
        raise SaeflowError(
            f"{shards[0].parent} holds no bank {number}. Delete it and run the workflow again."
        )
    return found / str(number)


def check_asked(asked: dict[str, int], known: list[str]) -> None:
    """Check numbers of shards that a profile or the command line sets.

    Raises
    ------
    SaeflowError
        If something else can be cut up only, or a number is not positive.
    """
    for kind, count in asked.items():
        if kind not in known:
            raise SaeflowError(
                f"set-scatter names {kind!r}; expected one of {', '.join(known)} (docs/sharding.md)."
            )
        if count < 1:
            raise SaeflowError(f"set-scatter {kind} is {count}; expected at least 1.")


def forget_times(folder: Path) -> None:
    """Remove the benchmarks of shards that are gone.

    Snakemake takes an output for no newer than its benchmark. One of shards that were gathered long ago
    would have them made again, although the result that another number of them made since is up to date.

    Parameters
    ----------
    folder : Path
        Of the run.
    """
    times = folder / "results" / "benchmarks" / "shards"
    for path in times.rglob("*.tsv"):
        made = folder / SHARDS / path.relative_to(times)
        if not any(made.parent.glob(f"{made.stem}*")):
            path.unlink()
