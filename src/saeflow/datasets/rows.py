"""Columns of text from a file of one's own: JSON Lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from saeflow.errors import SaeflowError


def read_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read some columns, none of whose texts may be empty.

    Parameters
    ----------
    path : Path
        The file; ``.parquet`` is read as Parquet, anything else as JSON Lines.
    names : sequence of str
        The columns.

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
    rows = _parquet_rows if path.suffix == ".parquet" else _json_rows
    for where, row in rows(path, names):
        yield where, tuple(check_text(row.get(name), name, f"{path}, {where}") for name in names)


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


def _json_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    expected = ", ".join(f'"{name}": ...' for name in names)
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"line {number}"
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8"))
            except UnicodeDecodeError:
                raise SaeflowError(
                    f"{path}, {where}: the line is not UTF-8; expected JSON."
                ) from None
            except (ValueError, RecursionError) as error:  # not only JSONDecodeError: huge numbers
                raise SaeflowError(
                    f"{path}, {where}: the line is no JSON ({error}); it may be cut off. "
                    f"Expected {{{expected}}}."
                ) from None
            if not isinstance(row, dict):
                raise SaeflowError(
                    f"{path}, {where}: found {type(row).__name__}, expected an object."
                )
            yield where, row


def _parquet_rows(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SaeflowError(f"{path} cannot be read as Parquet ({reason}).") from None
    for name in names:
        if name not in table.column_names:
            raise SaeflowError(
                f"{path} has the columns {table.column_names}; expected "
                f"{' and '.join(map(repr, names))}."
            )
    try:
        rows = table.select(list(names)).to_pylist()
    except ValueError as error:
        raise SaeflowError(f"{path}: the texts are not UTF-8 ({error}).") from None
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row
