"""Captured activations: fast, opaque, one vector per (problem, step) or (text, position).

A vector is a fixed-size-binary cell, which writes and reads several times faster than a list
(field-notes, c1). `read_vectors` opens the files; ``saeflow export-vectors`` turns them into lists
of float32 for pandas, polars and DuckDB.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int, Shaped

from saeflow.artifacts.damage import damaged
from saeflow.artifacts.files import atomic_file
from saeflow.artifacts.provenance import PREFIX, Provenance, metadata_of
from saeflow.artifacts.sealing import sealed_writer
from saeflow.artifacts.tables import DAMAGED, read_schema, unreadable, wrong_kind
from saeflow.errors import SaeflowError

KIND = "vectors"
VERSION = 1
VectorDtype = Literal["float32", "bfloat16", "float16"]
VectorsOf = Literal["thoughts", "tokens"]
# NumPy has no bfloat16; its bits travel as unsigned integers.
STORAGE: dict[str, Any] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
}


KEYS: dict[VectorsOf, tuple[str, str]] = {
    "thoughts": ("problem", "step"),
    "tokens": ("text", "position"),
}
"""What the two integer columns are called: example and place in it, by what the vectors are of."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of one site and chunk.

    Attributes
    ----------
    example : numpy.ndarray of shape (rows,), int32
        Running number of the problem or text in its data set.
    place : numpy.ndarray of shape (rows,), int16
        Thought step, or position of the token in its text.
    values : numpy.ndarray of shape (rows, d_in)
        float32, float16, or the bits of bfloat16 as uint16.
    dtype : {"float32", "bfloat16", "float16"}
        What the values are.
    of : {"thoughts", "tokens"}
        What has a vector each.
    """

    example: Int[np.ndarray, " rows"]
    place: Int[np.ndarray, " rows"]
    values: Shaped[np.ndarray, "rows d_in"]
    dtype: VectorDtype
    of: VectorsOf = "thoughts"

    def rows(self, wanted: Bool[np.ndarray, " rows"]) -> Vectors:
        """Some of the rows, in their order."""
        return replace(
            self,
            example=self.example[wanted],
            place=self.place[wanted],
            values=self.values[wanted],
        )

    def float32(self) -> np.ndarray:
        """Return the values as float32, exactly."""
        if self.dtype == "bfloat16":
            return (self.values.astype(np.uint32) << 16).view(np.float32)
        return self.values.astype(np.float32)


def write_vectors(vectors: Vectors, path: Path, provenance: Provenance) -> None:
    """Write vectors atomically.

    Parameters
    ----------
    vectors : Vectors
        Rows in the order in which they shall be read.
    path : Path
        Target file.
    provenance : Provenance
        Where they come from.
    """
    width = vectors.values.shape[1]
    with vectors_writer(path, width, vectors.dtype, vectors.of, provenance) as write:
        write(vectors)


@contextlib.contextmanager
def vectors_writer(
    path: Path, width: int, dtype: VectorDtype, of: VectorsOf, provenance: Provenance
) -> Iterator[Callable[[Vectors], None]]:
    """Write vectors part by part; the file is there when the block ends without an error.

    Parameters
    ----------
    path : Path
        Target file.
    width : int
        Dimensions of a vector.
    dtype : {"float32", "bfloat16", "float16"}
        What the values are.
    of : {"thoughts", "tokens"}
        What has a vector each.
    provenance : Provenance
        Where they come from.

    Yields
    ------
    callable
        Writes one part, which `VectorsFile` reads by its number.
    """
    metadata = {
        f"{PREFIX}artifact": KIND,
        f"{PREFIX}schema_version": str(VERSION),
        f"{PREFIX}vector_dtype": dtype,
        f"{PREFIX}vector_width": str(width),
        **provenance.metadata(),
    }
    schema = _schema(width, dtype, of).with_metadata(dict(sorted(metadata.items())))
    with sealed_writer(
        path, schema, compression="lz4", use_dictionary=False, write_statistics=False
    ) as writer:
        yield lambda vectors: writer.write_table(
            _cells(vectors, schema), row_group_size=max(1, len(vectors.example))
        )


def _cells(vectors: Vectors, schema: pa.Schema) -> pa.Table:
    data = np.ascontiguousarray(vectors.values, STORAGE[vectors.dtype])
    cells = pa.Array.from_buffers(
        schema.field("vector").type, len(data), [None, pa.py_buffer(data)]
    )
    return pa.table(
        [pa.array(vectors.example, pa.int32()), pa.array(vectors.place, pa.int16()), cells],
        schema=schema,
    )


def read_vectors(path: Path) -> Vectors:
    """Read what `write_vectors` wrote.

    Raises
    ------
    SaeflowError
        If the file is missing, unreadable, of another kind, or its metadata contradict it.
    """
    return VectorsFile(path).read()


class VectorsFile:
    """A file of vectors, to be read whole or part by part.

    Parameters
    ----------
    path : Path
        What `write_vectors` or `vectors_writer` wrote.

    Attributes
    ----------
    metadata : dict of str to str
        Provenance and what the vectors are.

    Raises
    ------
    SaeflowError
        If the file is missing, unreadable, of another kind, or its metadata contradict it.
    """

    def __init__(self, path: Path) -> None:
        kind, schema = read_schema(path)
        self.path, self.metadata = path, metadata_of(schema)
        if kind != KIND:
            raise wrong_kind(path, kind, KIND)
        dtype: Any = self.metadata.get("vector_dtype")
        if dtype not in get_args(VectorDtype):
            raise damaged(path, f"holds vectors of {dtype!r}; expected one of {list(STORAGE)}")
        said = self.metadata.get("vector_width", "")
        self._width = int(said) if said.isdecimal() else 0
        self._dtype: VectorDtype = dtype
        self._of: VectorsOf = "tokens" if schema.names[:1] == ["text"] else "thoughts"
        if not schema.equals(_schema(self._width, dtype, self._of)):
            columns = dict(zip(schema.names, map(str, schema.types), strict=True))
            raise damaged(path, f"holds the columns {columns}; its metadata say {said!r} x {dtype}")
        self._file = pq.ParquetFile(path, page_checksum_verification=True)

    @property
    def parts(self) -> int:
        """How many parts the file was written in."""
        return int(self._file.num_row_groups)

    def read(self, part: int | None = None) -> Vectors:
        """Read one part, or all of them as one.

        Raises
        ------
        SaeflowError
            If they are damaged.
        """
        try:
            if part is None:
                table = self._file.read().combine_chunks()
            else:
                table = self._file.read_row_group(part).combine_chunks()
            if any(column.null_count for column in table.columns):
                raise ValueError("a value is missing")
        except DAMAGED as error:
            raise unreadable(self.path, error) from None
        column = table["vector"].combine_chunks()
        array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        values = np.frombuffer(
            array.buffers()[1], STORAGE[self._dtype], count=len(array) * self._width
        )
        return Vectors(
            example=table[0].to_numpy(),
            place=table[1].to_numpy(),
            values=values.reshape(len(array), self._width),
            dtype=self._dtype,
            of=self._of,
        )


def _schema(width: int, dtype: VectorDtype, of: VectorsOf) -> pa.Schema:
    example, place = KEYS[of]
    cell = pa.binary(width * STORAGE[dtype].itemsize)
    return pa.schema([(example, pa.int32()), (place, pa.int16()), ("vector", cell)])


def to_lists(vectors: Vectors) -> pa.Table:
    """Vectors as a table with a column of fixed-size lists of float32, for other tools."""
    width = vectors.values.shape[1]
    flat = pa.array(vectors.float32().reshape(-1), pa.float32())
    example, place = KEYS[vectors.of]
    return pa.table(
        {
            example: pa.array(vectors.example, pa.int32()),
            place: pa.array(vectors.place, pa.int16()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, width),
        }
    )


def chunk_paths(folder: Path) -> list[Path]:
    """Chunk files of one site, in order.

    Raises
    ------
    SaeflowError
        If there are none, or one is missing between others.
    """
    found = {
        int(match[1]): path
        for path in folder.glob("chunk*.parquet")
        if (match := re.fullmatch(r"chunk(\d+)\.parquet", path.name))
    }
    if sorted(found) != list(range(len(found))) or not found:
        raise damaged(
            folder, f"holds the chunks {sorted(found)}; expected chunk0 and so on without a gap"
        )
    return [found[index] for index in range(len(found))]


def export_vectors(source: Path, target: Path) -> int:
    """Write captured activations as fixed-size lists of float32.

    Parameters
    ----------
    source : Path
        One chunk, or the folder of a layer, whose chunks are written one after the other.
    target : Path
        Parquet file to write.

    Returns
    -------
    int
        Number of vectors.

    Raises
    ------
    SaeflowError
        If the source holds no vectors.
    """
    if not source.exists():
        raise SaeflowError(f"{source} does not exist; expected a chunk or the folder of a layer.")
    paths = chunk_paths(source) if source.is_dir() else [source]
    rows = 0
    with atomic_file(target) as partial:
        writer: pq.ParquetWriter | None = None
        try:
            for path in paths:
                table = to_lists(read_vectors(path))
                writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
                writer.write_table(table)
                rows += len(table)
        finally:
            if writer is not None:
                writer.close()
    return rows
