"""Tables too large for memory, written as they come and read one row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.sealing import sealed_writer
from saeflow.artifacts.tables import (
    DAMAGED,
    check_schema,
    conform,
    file_metadata,
    refuse_nulls,
    unreadable,
)
from saeflow.errors import SaeflowError

SMALL_GROUP = 1024
"""Rows per row group of tables whose rows are long, such as documents."""


def write_batches(
    batches: Iterable[pa.Table],
    path: Path,
    artifact: Artifact,
    provenance: Callable[[], Provenance],
    *,
    row_group: int = SMALL_GROUP,
) -> int:
    """Write a table that comes in pieces, atomically; memory does not grow with their number.

    The bytes depend on the rows alone and not on how they were cut.

    Parameters
    ----------
    batches : iterable of pyarrow.Table
        The rows, sorted by the artifact's keys within and across pieces.
    path : Path
        Target file.
    artifact : Artifact
        What the table promises; without columns of lists.
    provenance : callable
        Gives where the table comes from; called when the last piece is written.
    row_group : int
        Rows per row group.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    SaeflowError
        If a piece does not fit the artifact or is not in order.
    """
    rows = 0
    last: pa.Table | None = None
    # Metadata that are known at the end only are not seen beside a stored Arrow schema.
    with sealed_writer(path, artifact.schema(), compression="zstd", store_schema=False) as writer:
        for table in _regrouped((conform(each, path, artifact) for each in batches), row_group):
            _check_order(table if last is None else pa.concat_tables([last, table]), path, artifact)
            writer.write_table(table, row_group_size=row_group)
            rows += len(table)
            last = table.slice(len(table) - 1)
        writer.add_key_value_metadata(file_metadata(artifact, provenance()))
    return rows


def _regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Same rows in tables of `rows` rows, the last of which may be shorter and is never empty."""
    waiting: list[pa.Table] = []
    held = 0
    for table in tables:
        waiting.append(table)
        held += len(table)
        if held < rows:
            continue
        whole = pa.concat_tables(waiting)
        for start in range(0, held - rows + 1, rows):
            yield whole.slice(start, rows).combine_chunks()
        waiting, held = [whole.slice(held - held % rows)], held % rows
    if held:
        yield pa.concat_tables(waiting).combine_chunks()


def _check_order(table: pa.Table, path: Path, artifact: Artifact) -> None:
    keys = [(key, "ascending") for key in artifact.keys]
    if keys and not np.array_equal(pc.sort_indices(table, sort_keys=keys), np.arange(len(table))):
        raise SaeflowError(
            f"{path}: rows of {artifact.name!r} came in another order than that of "
            f"{', '.join(artifact.keys)}."
        )


class TableGroups:
    """Row groups of a table, each read when it is asked for.

    Parameters
    ----------
    path : Path
        A file that `write_batches` or `saeflow.artifacts.tables.write_table` wrote.
    artifact : Artifact
        What it must be.

    Attributes
    ----------
    metadata : dict of str to str
        Provenance, as `saeflow.artifacts.provenance.metadata_of` gives it.

    Raises
    ------
    SaeflowError
        If the file is missing, unreadable, of another kind or of another form.
    """

    def __init__(self, path: Path, artifact: Artifact) -> None:
        self.path, self._artifact = path, artifact
        self.metadata = metadata_of(check_schema(path, artifact))
        self._file = pq.ParquetFile(path, page_checksum_verification=True)

    def __len__(self) -> int:
        return int(self._file.num_row_groups)

    @property
    def rows(self) -> int:
        """Rows of all groups together."""
        return int(self._file.metadata.num_rows)

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one row group.

        Parameters
        ----------
        group : int
            Its number.
        columns : sequence of str, optional
            Read only these.

        Raises
        ------
        SaeflowError
            If it is damaged or a value is missing.
        """
        names = self._artifact.column_names() if columns is None else list(columns)
        try:
            table = self._file.read_row_group(group, columns=names)
        except DAMAGED as error:
            raise unreadable(self.path, error) from None
        for column in self._artifact.columns:
            if column.name in names and not column.nullable:
                refuse_nulls(table, column.name, self.path, self._artifact)
        return table
