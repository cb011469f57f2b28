"""Write and read tables against their schema (design, section 4)."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from saeflow.artifacts.catalog import ARTIFACTS
from saeflow.artifacts.damage import absent, damaged, remedy
from saeflow.artifacts.provenance import PREFIX, Provenance, combine, metadata_of
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.sealing import UnsealedError, check_seal, sealed_writer
from saeflow.errors import SaeflowError, first_line

ROW_GROUP = 65_536
"""Rows per row group, fixed so that equal tables are equal bytes."""
DAMAGED = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises on a damaged file; damaged names are no UTF-8, hence ValueError."""
SEED_FOLDER = re.compile(r"seed(\d+)")
"""Says of which seed the tables in it are."""
NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)
"""What the operating system refuses although a file is sound."""


def write_table(
    table: pa.Table | Mapping[str, Any], path: Path, artifact: Artifact, provenance: Provenance
) -> None:
    """Write a table that fits its schema, atomically and with its provenance.

    Parameters
    ----------
    table : pyarrow.Table or mapping
        Columns by name, in any order.
    path : Path
        Target file.
    artifact : Artifact
        What the table promises.
    provenance : Provenance
        Where it comes from.

    Raises
    ------
    SaeflowError
        If the table does not fit, naming the column, what was found and what was expected.
    """
    if not isinstance(table, pa.Table):
        table = _from_columns(table, path, artifact)
    table = conform(table, path, artifact)
    table = table.sort_by([(key, "ascending") for key in artifact.keys]) if artifact.keys else table
    table = table.replace_schema_metadata(file_metadata(artifact, provenance)).combine_chunks()
    with sealed_writer(path, table.schema, compression="zstd") as writer:
        writer.write_table(table, row_group_size=ROW_GROUP)


def read_table(
    path: Path, artifact: Artifact, columns: Sequence[str] | None = None, filters: Any = None
) -> pa.Table:
    """Read a table and hold it against its schema.

    Parameters
    ----------
    path : Path
        File to read.
    artifact : Artifact
        What it must be.
    columns : sequence of str, optional
        Read only these.
    filters : optional
        Row filter, as `pyarrow.parquet.read_table` takes it.

    Returns
    -------
    pyarrow.Table
        The rows, with the file's metadata.

    Raises
    ------
    SaeflowError
        If the file is missing, unreadable, of another kind or of another form.
    """
    check_schema(path, artifact)
    try:
        table = pq.read_table(
            path,
            columns=None if columns is None else list(columns),
            filters=filters,
            page_checksum_verification=True,
        )
    except DAMAGED as error:
        raise unreadable(path, error) from None
    for column in artifact.columns:
        if column.name in table.column_names and not column.nullable:
            refuse_nulls(table, column.name, path, artifact)
    return table


def read_tables(paths: Sequence[Path], artifact: Artifact) -> pa.Table:
    """Rows of several tables of a kind, one below the other, without what their files say of them."""
    tables = [read_table(path, artifact) for path in paths]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def file_metadata(artifact: Artifact, provenance: Provenance) -> dict[str, str]:
    """Key-value metadata of a table's file, sorted by key."""
    metadata = {
        f"{PREFIX}artifact": artifact.name,
        f"{PREFIX}schema_version": str(artifact.version),
        **provenance.metadata(),
    }
    return dict(sorted(metadata.items()))


def gather_tables(parts: Sequence[Path], path: Path, artifact: Artifact) -> None:
    """Write the rows of several tables of one kind as one, sorted.

    Parameters
    ----------
    parts : sequence of Path
        Files to gather, at least one.
    path : Path
        Target file.
    artifact : Artifact
        What they are.
    """
    tables = [read_table(part, artifact) for part in parts]
    gathered = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    write_table(gathered, path, artifact, combine(*tables))


def read_schema(path: Path, *, foreign: bool = False) -> tuple[str | None, pa.Schema]:
    """Kind of table and schema of a Parquet file, which is held against its checksum before.

    Parameters
    ----------
    path : Path
        The file.
    foreign : bool
        Whether it may be of another program, without a checksum.

    Returns
    -------
    kind : str or None
        What the file says it is; None of another program.
    schema : pyarrow.Schema
        The columns, with the file's metadata.

    Raises
    ------
    SaeflowError
        If the file is missing, no readable Parquet or not what was written.
    """
    if path.is_dir():
        raise absent(path, "is a folder; expected a Parquet file, such as one inside it")
    if not path.is_file():
        raise absent(path, "does not exist; expected a Parquet file there")
    try:
        check_seal(path)
    except UnsealedError:
        if not foreign:
            raise damaged(
                path, "carries no checksum, so it is damaged or saeflow did not write it"
            ) from None
    except DAMAGED as error:
        raise unreadable(path, error) from None
    try:
        schema = pq.read_schema(path)
    except DAMAGED as error:
        raise unreadable(path, error) from None
    return metadata_of(schema).get("artifact"), schema


def check_schema(path: Path, artifact: Artifact) -> pa.Schema:
    """Hold the kind, version and columns of a Parquet file against what it must be.

    Returns
    -------
    pyarrow.Schema
        The file's, with its metadata.

    Raises
    ------
    SaeflowError
        If the file is missing, unreadable, of another kind or of another form.
    """
    kind, schema = read_schema(path)
    if kind != artifact.name:
        raise wrong_kind(path, kind, artifact.name)
    told = metadata_of(schema)
    found_version = told.get("schema_version")
    if found_version != str(artifact.version):
        raise damaged(
            path, f"has version {found_version} of {artifact.name!r}; expected {artifact.version}"
        )
    for seed in (match[1] for part in path.parts if (match := SEED_FOLDER.fullmatch(part))):
        if told.get("seed", seed) != seed:
            raise damaged(path, f"was written for seed {told['seed']}; expected seed {seed}")
    _check(schema, path, artifact)
    return schema


def known_artifact(kind: str | None) -> Artifact | None:
    """Artifact behind the kind that a file names, if there is one."""
    return ARTIFACTS.get(kind or "")


def wrong_kind(path: Path, kind: str | None, expected: str) -> SaeflowError:
    """Sentence about a sound table of another kind, which may well be where it belongs."""
    return SaeflowError(
        f"{path} is a table of kind {kind!r}; expected kind {expected!r}; if one should be there, "
        f"{remedy(path)}"
    )


def unreadable(path: Path, error: BaseException) -> SaeflowError:
    """Sentences about a file that cannot be read."""
    if isinstance(error, OSError) and error.errno in NOT_DAMAGE:
        return SaeflowError(f"{path} cannot be read: {error.strerror}.")
    return damaged(path, f"cannot be read as Parquet ({first_line(error)}); it is damaged")


def _from_columns(columns: Mapping[str, Any], path: Path, artifact: Artifact) -> pa.Table:
    arrays, fields = [], []
    for column in artifact.columns:
        if column.name not in columns:
            raise SaeflowError(f"{path}: column {column.name!r} of {artifact.name!r} is missing.")
        values = columns[column.name]
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            try:
                values = pa.array(values, column.type, from_pandas=True)
            except (pa.ArrowException, TypeError, OverflowError) as error:
                raise SaeflowError(
                    f"{path}: column {column.name!r} of {artifact.name!r} holds what is no "
                    f"{column.type}: {error}."
                ) from None
        arrays.append(values)
        fields.append(pa.field(column.name, values.type, column.nullable))
    return pa.table(arrays, schema=pa.schema(fields))


def conform(table: pa.Table, path: Path, artifact: Artifact) -> pa.Table:
    """Put columns in order and cast them to what an artifact promises.

    Raises
    ------
    SaeflowError
        If they do not fit, naming the column.
    """
    unknown = set(table.column_names) - set(artifact.column_names())
    if unknown:
        raise SaeflowError(f"{path}: {sorted(unknown)[0]!r} is no column of {artifact.name!r}.")
    missing = set(artifact.column_names()) - set(table.column_names)
    if missing:
        raise SaeflowError(
            f"{path}: column {sorted(missing)[0]!r} of {artifact.name!r} is missing."
        )
    table = table.select(artifact.column_names())
    for column in artifact.columns:
        if not column.nullable:
            refuse_nulls(table, column.name, path, artifact)
    try:
        return table.cast(artifact.schema())
    except (pa.ArrowException, ValueError) as error:
        raise SaeflowError(f"{path} does not fit {artifact.name!r}: {error}.") from None


def refuse_nulls(table: pa.Table, name: str, path: Path, artifact: Artifact) -> None:
    """Refuse a column in which a value is missing."""
    if table[name].null_count:
        raise SaeflowError(
            f"{path}: column {name!r} of {artifact.name!r} holds a missing value; expected none."
        )


def _check(schema: pa.Schema, path: Path, artifact: Artifact) -> None:
    for column in artifact.columns:
        index = schema.get_field_index(column.name)
        if index < 0:
            raise SaeflowError(f"{path} has no column {column.name!r}; {artifact.name!r} has one.")
        found = schema.field(index).type
        if found != column.type:
            raise SaeflowError(
                f"{path}: column {column.name!r} is {found}; {artifact.name!r} expects {column.type}."
            )
