"""A checksum over the whole of a Parquet file, in its own metadata.

Page checksums cover what pages hold, but not where they are, how they are coded and what the footer
says of them, and pyarrow may crash on a damaged footer. So each file carries the SHA-256 of
everything in it but the digits themselves, and is held against it before anything parses it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from saeflow.artifacts.files import atomic_file

KEY = "saeflow-sha256"
_MAGIC = b"PAR1"
_TAIL = 8
"""Bytes behind the footer: its length and the magic."""
_DIGITS = 64
_BLANK = b"0" * _DIGITS
# A string of Thrift's compact protocol: its type and place, its length, its bytes.
_MARK = b"\x18" + bytes([len(KEY)]) + KEY.encode() + b"\x18" + bytes([_DIGITS])
_BLOCK = 1 << 20


class UnsealedError(ValueError):
    """A file carries no checksum of ours."""


@contextlib.contextmanager
def sealed_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file atomically, with page checksums and one over all of it.

    Parameters
    ----------
    path : Path
        Where the file shall be; it is there when the block ends without an error.
    schema : pyarrow.Schema
        Of the tables to write.
    **options
        What `pyarrow.parquet.ParquetWriter` takes.

    Yields
    ------
    pyarrow.parquet.ParquetWriter
        To be given tables.
    """
    with atomic_file(path) as partial:
        with pq.ParquetWriter(partial, schema, write_page_checksum=True, **options) as writer:
            yield writer
            writer.add_key_value_metadata({KEY: _BLANK.decode()})
        with partial.open("r+b") as file:
            place = _place(file)
            digest = _digest(file, place)
            file.seek(place)
            file.write(digest)


def check_seal(path: Path) -> None:
    """Hold a Parquet file against the checksum that it carries.

    Raises
    ------
    UnsealedError
        If it carries none.
    ValueError
        If it is no Parquet, truncated or not what was written.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        place = _place(file)
        file.seek(place)
        said, found = file.read(_DIGITS), _digest(file, place)
    if said != found:
        raise ValueError("its content does not have the sha256 that was written into it")


def is_sound(path: Path) -> bool:
    """Whether a Parquet file is what was written."""
    try:
        check_seal(path)
    except (ValueError, OSError):
        return False
    return True


def _place(file: BinaryIO) -> int:
    """Where in a file the digits are."""
    size = file.seek(0, 2)
    if size < len(_MAGIC) + _TAIL:
        raise ValueError(f"it has {size} bytes")
    file.seek(size - _TAIL)
    tail = file.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    start = size - _TAIL - length
    if tail[4:] != _MAGIC or start < len(_MAGIC):
        raise ValueError("it does not end as a Parquet file does")
    file.seek(start)
    found = file.read(length).rfind(_MARK)
    if found < 0 or found + len(_MARK) + _DIGITS > length:
        raise UnsealedError("it carries no checksum of saeflow")
    return start + found + len(_MARK)


def _digest(file: BinaryIO, place: int) -> bytes:
    """Digits of everything but the digits at a place."""
    total = hashlib.sha256()
    file.seek(0)
    left = place
    while left and (block := file.read(min(left, _BLOCK))):
        total.update(block)
        left -= len(block)
    total.update(_BLANK)
    file.seek(place + _DIGITS)
    while block := file.read(_BLOCK):
        total.update(block)
    return total.hexdigest().encode()
