"""Columns of text from files of one's own or of a repository: JSON Lines or Parquet, or plain lines.

Files are read as a stream, whatever their size; compressed ones, too.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from saeflow.config.text_files import text_format
from saeflow.errors import SaeflowError, first_line
from saeflow.hub_token import without_token

ROWS = 256
"""Rows of a Parquet file that are decoded at once."""
LONGEST_LINE = 64_000_000
"""Bytes of a line: the longest books have a tenth of that."""
MOST_UNPACKED = 64_000_000_000
"""Bytes that a compressed Parquet file may take on disk."""
_BLOCK = 2**16
Blanks = Literal["refuse", "skip"]
"""What to do with a row whose first text holds nothing but blanks."""


class _TooLongError(Exception):
    """A line or file that goes on and on."""


@dataclass(frozen=True)
class Source:
    """A file to be read from its beginning.

    Attributes
    ----------
    name : str
        Its name, for messages; how it ends says what it holds.
    open : callable
        Opens its bytes, whether they need to be read in order (True) or anywhere (False).
    """

    name: str
    open: Callable[[bool], Any]


def file_source(path: Path) -> Source:
    """A file on this machine."""
    return Source(str(path), lambda in_order: path.open("rb"))


def read_rows(
    source: Path | Source, names: Sequence[str], blanks: Blanks = "refuse"
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read some columns, none of whose texts may be empty.

    Parameters
    ----------
    source : Path or Source
        The file; ``.parquet`` is read as Parquet, anything else as JSON Lines, and either may be
        compressed (`saeflow.config.text_files`).
    names : sequence of str
        The columns; ``meta.topic`` is the key ``topic`` inside the column ``meta``, unless a column
        is called so itself.
    blanks : {"refuse", "skip"}
        Whether a row is an error or is left out whose first text is of blanks; further ones never
        may be.

    Yields
    ------
    where : str
        Line or row, for messages.
    texts : tuple of str
        In the order of `names`.

    Raises
    ------
    SaeflowError
        If the file is malformed, naming the line or row.
    """
    source = file_source(source) if isinstance(source, Path) else source
    rows = _parquet_rows if text_format(source.name).form == "parquet" else _json_rows
    for where, row in rows(source, names):
        texts = [_inside(row, name) for name in names]
        if blanks == "skip" and isinstance(texts[0], str) and not texts[0].strip():
            continue
        yield (
            where,
            tuple(
                check_text(text, name, f"{source.name}, {where}")
                for name, text in zip(names, texts, strict=True)
            ),
        )


def _inside(row: dict[str, object], name: str) -> object:
    """Value behind a name, which may go into objects by dots; None where there is none."""
    if name in row or "." not in name:
        return row.get(name)
    outer, inner = name.split(".", 1)
    found = row.get(outer)
    return _inside(found, inner) if isinstance(found, dict) else None


def read_lines(source: Source) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read a file of plain text, one text per line; lines of blanks are left out.

    Yields
    ------
    where : str
        Line, for messages.
    texts : tuple of str
        One text, without the end of its line.

    Raises
    ------
    SaeflowError
        If the file is damaged or no UTF-8, naming the line.
    """
    for where, raw in _raw_lines(source):
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise SaeflowError(
                f"{source.name}, {where}: the line is not UTF-8; expected a text."
            ) from None
        if line.strip():
            yield where, (check_text(line, "line", f"{source.name}, {where}"),)


def check_text(text: object, name: str, where: str) -> str:
    """Refuse what is no text, holds nothing but blanks or cannot be written as UTF-8.

    Raises
    ------
    SaeflowError
        In one sentence that begins with `where`.
    """
    if not isinstance(text, str) or not text.strip():
        raise SaeflowError(f"{where}: {name!r} is {text!r}; expected a text.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SaeflowError(f"{where}: {name!r} holds half a surrogate pair.") from None
    return text


def _json_rows(source: Source, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    expected = ", ".join(f'"{name}": ...' for name in names)
    for where, raw in _raw_lines(source):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise SaeflowError(
                f"{source.name}, {where}: the line is not UTF-8; expected JSON."
            ) from None
        except (ValueError, RecursionError) as error:  # not only JSONDecodeError: huge numbers
            raise SaeflowError(
                f"{source.name}, {where}: the line is no JSON ({error}); it may be cut off. "
                f"Expected {{{expected}}}."
            ) from None
        if not isinstance(row, dict):
            raise SaeflowError(
                f"{source.name}, {where}: found {type(row).__name__}, expected an object."
            )
        yield where, row


def _raw_lines(source: Source) -> Iterator[tuple[str, bytes]]:
    number = 0
    compression = text_format(source.name).compression
    try:
        with source.open(True) as file, _decompressed(file, compression) as stream:
            for number, raw in enumerate(_lines(stream), start=1):
                yield f"line {number}", raw
    except _TooLongError:
        raise SaeflowError(
            f"{source.name}, line {number + 1} is longer than {LONGEST_LINE // 1_000_000} MB; expected "
            "a text per line."
        ) from None
    # Each decompressor, file system and network client brings exceptions of its own.
    except Exception as error:
        raise SaeflowError(
            f"{source.name}, line {number + 1}: {_broken(compression)} "
            f"({type(error).__name__}: {_told(error)})."
        ) from None


def _lines(stream: Any) -> Iterator[bytes]:
    """Lines of a stream, none of which is held that is too long: archives of megabytes may hold one."""
    parts: list[bytes] = []
    length = 0
    while chunk := stream.read(_BLOCK):
        first, *others = chunk.split(b"\n")
        for piece, ends in zip((first, *others), (*(True for _ in others), False), strict=True):
            parts.append(piece)
            length += len(piece)
            if length > LONGEST_LINE:
                raise _TooLongError
            if ends:
                yield b"".join(parts)
                parts, length = [], 0
    if length:
        yield b"".join(parts)


def _parquet_rows(source: Source, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    number = 0
    with contextlib.ExitStack() as opened:
        try:
            file = pq.ParquetFile(
                opened.enter_context(_anywhere(source)), page_checksum_verification=True
            )
            found = file.schema_arrow.names
        except SaeflowError:
            raise
        except Exception as error:
            raise SaeflowError(
                f"{source.name} cannot be read as Parquet ({_told(error)})."
            ) from None
        columns = [name if name in found else name.split(".", 1)[0] for name in names]
        for column in columns:
            if column not in found:
                raise SaeflowError(
                    f"{source.name} has the columns {found}; expected "
                    f"{' and '.join(map(repr, names))}."
                )
        batches = file.iter_batches(ROWS, columns=list(dict.fromkeys(columns)))
        while True:
            try:
                batch = next(batches, None)
                rows = None if batch is None else batch.to_pylist()
            except UnicodeDecodeError as error:
                raise SaeflowError(f"{source.name}: the texts are not UTF-8 ({error}).") from None
            except Exception as error:
                raise SaeflowError(
                    f"{source.name} cannot be read as Parquet behind row {number} ({_told(error)})."
                ) from None
            if rows is None:
                return
            for row in rows:
                number += 1
                yield f"row {number}", row


@contextlib.contextmanager
def _anywhere(source: Source) -> Iterator[Any]:
    """Bytes of a file in any order; a compressed one is laid out on disk for that."""
    compression = text_format(source.name).compression
    if not compression:
        with source.open(False) as file:
            yield file
        return
    with tempfile.TemporaryFile() as whole:
        try:
            with source.open(True) as file, _decompressed(file, compression) as stream:
                _lay_out(stream, whole)
        except _TooLongError:
            raise SaeflowError(
                f"{source.name} holds more than {MOST_UNPACKED // 1_000_000_000} GB once it is unpacked; "
                "expected Parquet as it is, which is compressed in itself."
            ) from None
        except Exception as error:
            raise SaeflowError(
                f"{source.name}: {_broken(compression)} ({type(error).__name__}: {_told(error)})."
            ) from None
        whole.seek(0)
        yield whole


def _lay_out(stream: Any, target: Any) -> None:
    written = 0
    while block := stream.read(_BLOCK):
        written += len(block)
        if written > MOST_UNPACKED:
            raise _TooLongError
        target.write(block)


def _broken(compression: str) -> str:
    return "the archive is damaged or cut off" if compression else "the file cannot be read further"


def _decompressed(file: Any, compression: str) -> Any:
    if compression == ".gz":
        return gzip.GzipFile(fileobj=file)
    if compression == ".bz2":
        return bz2.BZ2File(file)
    if compression == ".xz":
        return lzma.LZMAFile(file)
    if compression == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))
    return contextlib.nullcontext(file)


def _told(error: Exception) -> str:
    """What went wrong, without the token: files may come from the hub."""
    return without_token(first_line(error))
