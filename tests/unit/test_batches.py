"""Tables that are written as they come and read by row groups (`saeflow.artifacts.batches`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.batches import TableGroups, write_batches
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance, metadata_of
from saeflow.artifacts.schema import Artifact, Column
from saeflow.artifacts.tables import read_table, write_table
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence

PAIRS = Artifact(
    "pairs",
    3,
    "Two keys and a value.",
    (
        Column("first", pa.int32(), "First key."),
        Column("second", pa.string(), "Second key."),
        Column("value", pa.float32(), "A number.", nullable=True),
    ),
    ("first", "second"),
)


def rows_of(n: int) -> pa.Table:
    return pa.table(
        {
            "value": pa.array(
                [None if row % 3 == 0 else row / 2 for row in range(n)], pa.float32()
            ),
            "first": pa.array([row // 4 for row in range(n)], pa.int64()),
            "second": [f"{row % 4}" for row in range(n)],
        }
    )


@given(
    n=st.integers(0, 60), cuts=st.lists(st.integers(0, 60), max_size=6), group=st.integers(1, 25)
)
def test_any_cut_gives_the_same_bytes_and_the_table(
    tmp_path: Path, n: int, cuts: list[int], group: int
) -> None:
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    pieces = [rows_of(n).slice(a, b - a) for a, b in itertools.pairwise(edges)]
    provenance = Provenance("c", seed=4, dataset_revision="r")
    written = []
    for name, batches in (("whole", [rows_of(n)]), ("pieces", [*pieces, rows_of(0)])):
        path = tmp_path / f"{name}.parquet"
        assert write_batches(batches, path, PAIRS, lambda: provenance, row_group=group) == n
        written.append(path.read_bytes())
    assert written[0] == written[1]
    write_table(rows_of(n), tmp_path / "plain.parquet", PAIRS, provenance)
    plain = read_table(tmp_path / "plain.parquet", PAIRS)
    found = read_table(path, PAIRS)
    assert found.to_pylist() == plain.to_pylist()
    assert metadata_of(found.schema) == metadata_of(plain.schema)
    assert found.schema.equals(plain.schema)
    groups = TableGroups(path, PAIRS)
    assert groups.rows == n
    assert [len(groups.read(number)) for number in range(len(groups))] == [
        min(group, n - start) for start in range(0, n, group)
    ]
    if n:
        last = pa.concat_tables([groups.read(number) for number in range(len(groups))])
        assert last.to_pylist() == plain.to_pylist()
        assert groups.read(0, ["second"]).column_names == ["second"]


def test_provenance_is_asked_for_last(tmp_path: Path) -> None:
    seen: list[int] = []

    def batches() -> Iterator[pa.Table]:
        for start in (0, 8):
            seen.append(start)
            yield rows_of(16).slice(start, 8)

    path = tmp_path / "late.parquet"
    write_batches(
        batches(), path, PAIRS, lambda: Provenance("c", dataset_revision=str(seen)), row_group=3
    )
    assert TableGroups(path, PAIRS).metadata["dataset_revision"] == "[0, 8]"


@pytest.mark.parametrize(
    ("batches", "parts"),
    [
        ([rows_of(8), rows_of(8)], ["came in another order than that of first, second"]),
        ([rows_of(8).take([0, 2, 1])], ["came in another order"]),
        (
            [rows_of(4), rows_of(8).slice(4).drop_columns("second")],
            ["'second' of 'pairs' is missing"],
        ),
        ([rows_of(4).append_column("more", pa.array([1] * 4))], ["'more' is no column of 'pairs'"]),
        ([rows_of(4).set_column(1, "first", pa.array([0, None, 1, 2]))], ["holds a missing value"]),
        (
            [rows_of(4).set_column(1, "first", pa.array([0, 1, 2, 1 << 40]))],
            ["does not fit 'pairs'"],
        ),
    ],
)
def test_what_does_not_fit_is_told_and_leaves_nothing(
    batches: list[pa.Table], parts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.parquet"
    with pytest.raises(SaeflowError) as caught:
        write_batches(batches, path, PAIRS, lambda: Provenance("c"), row_group=2)
    check_sentence(caught.value, "bad.parquet", *parts)
    assert not list(tmp_path.iterdir())


def test_bad_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(SaeflowError, match="does not exist"):
        TableGroups(path, PAIRS)
    write_batches([rows_of(400)], path, PAIRS, lambda: Provenance("c"), row_group=100)
    with pytest.raises(SaeflowError, match="is a table of kind 'pairs'; expected kind 'texts'"):
        TableGroups(path, TEXTS)
    offset = pq.read_metadata(path).row_group(2).column(2).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset + 30 : offset + 50] = bytes(20)
    path.write_bytes(bytes(data))
    with pytest.raises(SaeflowError) as caught:
        TableGroups(path, PAIRS)
    check_sentence(caught.value, "x.parquet cannot be read as Parquet")
