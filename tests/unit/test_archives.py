"""Archives that unpack to far more than they hold end in a sentence, not with the memory or the disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saeflow.datasets import rows
from saeflow.datasets.rows import file_source, read_lines, read_rows
from saeflow.errors import SaeflowError

SIZE = 300_000_000


def zst(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("form", ["txt", "jsonl"])
def test_a_line_without_end(tmp_path: Path, ending: str, form: str) -> None:
    path = tmp_path / f"bomb.{form}{ending}"
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[ending]
    with opened(path, "wb") as file:
        file.write(b'{"text": "')
        for _ in range(SIZE // 1_000_000):
            file.write(b"0" * 1_000_000)
    assert path.stat().st_size < SIZE / 500
    source = file_source(path)
    found = read_lines(source) if form == "txt" else read_rows(source, ["text"])
    tracemalloc.start()
    with pytest.raises(SaeflowError, match="line 1 is longer than 64 MB; expected a text per line"):
        next(found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * rows.LONGEST_LINE + 20_000_000


def test_a_table_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_UNPACKED", 1_000_000)
    path = tmp_path / "bomb.parquet.gz"
    path.write_bytes(gzip.compress(b"\0" * 5_000_000))
    with pytest.raises(SaeflowError, match="once it is unpacked; expected Parquet as it is"):
        list(read_rows(path, ["text"]))
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "small.parquet")
    whole = tmp_path / "small.parquet.gz"
    whole.write_bytes(gzip.compress((tmp_path / "small.parquet").read_bytes()))
    assert [texts for _, texts in read_rows(whole, ["text"])] == [("a",), ("b",)]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 2**16])
@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_lines_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, block: int
) -> None:
    monkeypatch.setattr(rows, "_BLOCK", block)
    content = b"one\r\n\n  \ntwo\n\n\xc3\xbc three\nlast"
    packed = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": zst,
    }
    path = tmp_path / f"x.txt{ending}"
    for text, last in ((content, "last"), (content + b"\n", "last"), (b"", None)):
        path.write_bytes(packed[ending](text))
        found = list(read_lines(file_source(path)))
        wanted = [("line 1", "one"), ("line 4", "two"), ("line 6", "ü three"), ("line 7", "last")]
        assert found == ([] if last is None else [(where, (line,)) for where, line in wanted])
