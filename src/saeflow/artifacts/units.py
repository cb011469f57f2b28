"""What the units of a long job give, each kept as soon as it is there.

A unit shares its batches with no other, so that it gives the same bytes in whatever job it is computed
(design, section 4). A job keeps each in ``NAME.partial``, an undeclared folder that Snakemake leaves alone
when the job dies, and goes on from there. A shard is a range of the units; the job that gathers them reads
what the shards have made, as if it had been killed behind the last of them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from saeflow.artifacts.files import replace_folder, write_text
from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.sealing import is_sound
from saeflow.artifacts.tables import conform, read_table, write_table
from saeflow.progress import progress

Portion = Callable[[int], range]
"""Which of so many pieces are a shard's."""
MARKER = "fingerprint"


class Unit(NamedTuple):
    """A part of a job that can be done by itself.

    Attributes
    ----------
    name : str
        Its own among the units of the job; part of a file's name.
    artifact : Artifact
        What it gives.
    compute : callable
        Gives it; its order of rows is kept.
    """

    name: str
    artifact: Artifact
    compute: Callable[[], pa.Table]


class Units:
    """Keeps what units give, and computes what is not there.

    Parameters
    ----------
    target : Path, optional
        What the job makes; units are kept beside it, in ``NAME.partial``. None: nothing is kept.
    fingerprint : str
        Digest of everything that decides what units give; those of another fingerprint are discarded.
    provenance : Provenance, optional
        Where the units come from.
    made : sequence of Path
        Folders of finished shards, whose units are read.
    portion : callable, optional
        Which of so many units the job does, if it is a shard: units are all that it makes.

    Attributes
    ----------
    portion : callable or None
        As given.
    """

    def __init__(
        self,
        target: Path | None = None,
        fingerprint: str = "",
        provenance: Provenance | None = None,
        made: Sequence[Path] = (),
        portion: Portion | None = None,
    ) -> None:
        self.portion = portion
        self._target, self._provenance = target, provenance or Provenance("")
        self._partial = None if target is None else target.with_name(f"{target.name}.partial")
        self._made = [folder for folder in made if _fingerprint(folder) == fingerprint]
        if other := [str(folder) for folder in made if folder not in self._made]:
            logging.getLogger("saeflow").warning(
                "%s: made by other code, of other inputs, or on another kind of device than this job's; "
                "their units are computed again.",
                ", ".join(other),
            )
        if self._partial is not None and _fingerprint(self._partial) != fingerprint:
            shutil.rmtree(self._partial, ignore_errors=True)
            write_text(self._partial / MARKER, fingerprint)

    def table(self, unit: Unit) -> pa.Table:
        """What a unit gives, read if it is kept, else computed and kept."""
        found = self._found(unit)
        # Means go by the order of rows, which must be the same whether they were kept or not.
        artifact = replace(unit.artifact, keys=())
        if found is not None:
            return read_table(found, artifact).replace_schema_metadata(None)
        self._tell_damaged(unit)
        path = None if self._partial is None else self._partial / f"{unit.name}.parquet"
        table = conform(unit.compute(), path or Path(unit.name), artifact)
        if path is not None:
            write_table(table, path, artifact, self._provenance)
        return table

    def tables(self, units: Sequence[Unit], description: str) -> list[pa.Table]:
        """What several units give, one after the other."""
        kept = sum(map(self.has, units))
        if kept:
            logging.getLogger("saeflow").info(
                "%s: %d of %d units are there already.", description, kept, len(units)
            )
        return [
            self.table(unit)
            for unit in progress(units, description=description, total=len(units), unit="units")
        ]

    def joined(self, units: Sequence[Unit], description: str, artifact: Artifact) -> pa.Table:
        """What several units of one artifact give, as one table."""
        return pa.concat_tables([artifact.schema().empty_table(), *self.tables(units, description)])

    def has(self, unit: Unit) -> bool:
        """Whether a unit is kept, and sound."""
        return self._found(unit) is not None

    def mine(self, *kinds: Sequence[Unit]) -> list[Unit]:
        """Units that this job does: of a shard its range of every kind, for kinds differ in cost."""
        cut = range if self.portion is None else self.portion
        return [units[number] for units in kinds for number in cut(len(units))]

    def finish(
        self, tables: Sequence[pa.Table], artifacts: Sequence[Artifact], paths: Sequence[str]
    ) -> None:
        """Write what the job makes and forget the units; of a shard, put them where they are read.

        Parameters
        ----------
        tables : sequence of pyarrow.Table
            What the job makes; of a shard nothing is written.
        artifacts : sequence of Artifact
            What they are.
        paths : sequence of str
            Where they belong.
        """
        if self._partial is None or self._target is None:
            return
        if self.portion is not None:
            replace_folder(self._partial, self._target)
            return
        for table, artifact, path in zip(tables, artifacts, paths, strict=True):
            write_table(table, Path(path), artifact, self._provenance)
        (self._partial / MARKER).unlink(missing_ok=True)
        shutil.rmtree(self._partial, ignore_errors=True)

    def _files(self, unit: Unit) -> list[Path]:
        """What shards and this job have kept of a unit, sound or not."""
        folders = () if self._partial is None else (*self._made, self._partial)
        paths = (folder / f"{unit.name}.parquet" for folder in folders)
        return [path for path in paths if path.is_file()]

    def _found(self, unit: Unit) -> Path | None:
        """Where a unit is kept that can be read."""
        return next(filter(is_sound, self._files(unit)), None)

    def _tell_damaged(self, unit: Unit) -> None:
        for path in self._files(unit):
            logging.getLogger("saeflow").warning("%s is damaged; it is computed again.", path)


def name_of(name: str, *does: object) -> str:
    """Name of a unit that tells what it does, for jobs that each plan by what they have computed.

    Where their plans differ in what a number stands for, such a unit is not taken for the other.

    Parameters
    ----------
    name : str
        Its own among the units of one plan.
    *does : object
        What decides its content beside the fingerprint of the job; of a kind whose text tells it whole.
    """
    return f"{name}_{config_digest([str(each) for each in does])}"


def _fingerprint(folder: Path) -> str | None:
    marker = folder / MARKER
    return marker.read_text(encoding="utf-8") if marker.is_file() else None
