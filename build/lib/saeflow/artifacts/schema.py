"""What a table on disk promises: columns, types, units, nullability, one sentence each."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One column of an artifact.

    Attributes
    ----------
    name : str
        As in the file.
    type : pyarrow.DataType
        As in the file.
    about : str
        One sentence.
    nullable : bool
        Whether a value may be missing.
    unit : str
        Unit of the numbers; empty where there is none.
    """

    name: str
    type: pa.DataType
    about: str
    nullable: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Artifact:
    """One kind of table.

    Attributes
    ----------
    name : str
        Kind, as written into the file's metadata.
    version : int
        Raised when columns change meaning.
    about : str
        One sentence.
    columns : tuple of Column
        In file order.
    keys : tuple of str
        Columns that the rows are sorted by; together they name a row.
    """

    name: str
    version: int
    about: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        """Return the pyarrow schema, without provenance."""
        return pa.schema(
            [pa.field(column.name, column.type, column.nullable) for column in self.columns]
        )

    def column_names(self) -> list[str]:
        """Return the names of the columns, in file order."""
        return [column.name for column in self.columns]
