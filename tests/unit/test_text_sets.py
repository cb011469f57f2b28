"""Texts as a data set: drawn from the mixture, or from a file of one's own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import SplitSettings, TextSettings
from saeflow.datasets.selection import published_split
from saeflow.datasets.texts.sources import LoadedTexts, load_texts, shares
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence

SIZES = {("decimals", TRAIN): 40, ("pairs", TRAIN): 4, ("documents", TRAIN): 30,
         ("decimals", HELD_OUT): 9, ("pairs", HELD_OUT): 2, ("documents", HELD_OUT): 9}  # fmt: skip
MIXTURE = [
    Text(part, "group", "form", item, split, f"{part} {split} {item}:", " yes", ("no",))
    for (part, split), size in SIZES.items()
    for item in range(size)
]
PARTS = ["decimals", "pairs", "documents"]


class Loaded(NamedTuple):
    """A data set read to its end."""

    table: pa.Table
    revision: str


def read(loaded: LoadedTexts) -> Loaded:
    return Loaded(pa.concat_tables(loaded.tables), loaded.revision)


def drawn(**changes: Any) -> Loaded:
    block = {"source": "mixture", "parts": PARTS, "n_train": 30, "n_validation": 7, **changes}
    return read(load_texts(TypeAdapter(TextSettings).validate_python(block), mixture=MIXTURE))


def rows_of(loaded: Loaded) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = loaded.table.to_pylist()
    return rows


def slow_shares(sizes: list[int], n: int) -> list[int]:
    """One at a time, round and round, to whoever has something left."""
    given_out, part = [0] * len(sizes), 0
    while sum(given_out) < n:
        if given_out[part] < sizes[part]:
            given_out[part] += 1
        part = (part + 1) % len(sizes)
    return given_out


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6), data=st.data())
def test_parts_share_evenly_as_far_as_they_reach(sizes: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, sum(sizes)))
    assert shares(sizes, n) == slow_shares(sizes, n)


def test_texts_are_whole_stratified_and_held_out_as_the_mixture_says(tmp_path: Path) -> None:
    loaded = drawn()
    rows = rows_of(loaded)
    counts = Counter((row["part"], row["split"]) for row in rows)
    assert counts == {("decimals", "train"): 13, ("pairs", "train"): 4, ("documents", "train"): 13,
                      ("decimals", "validation"): 3, ("pairs", "validation"): 2,
                      ("documents", "validation"): 2}  # fmt: skip
    for row in rows:
        split = TRAIN if row["split"] == "train" else HELD_OUT
        assert row["content"] == f"{row['part']} {split} {row['item']}: yes"
    assert [row["text"] for row in rows] == list(range(37))
    assert [row["split"] for row in rows] == ["train"] * 30 + ["validation"] * 7
    write_table(loaded.table, tmp_path / "texts.parquet", TEXTS, Provenance("c"))
    assert read_table(tmp_path / "texts.parquet", TEXTS).to_pylist() == rows


def test_draw_depends_on_the_seed_and_grows_with_the_number() -> None:
    few, many, other = drawn(), drawn(n_train=33), drawn(seed=1)
    contents = [{row["content"] for row in rows_of(each)} for each in (few, many, other)]
    assert contents[0] < contents[1]
    assert contents[0] != contents[2]
    assert few.revision == drawn().revision
    assert len({few.revision, many.revision, other.revision}) == 3
    # Not simply the first of each part.
    items = [row["item"] for row in rows_of(few) if row["part"] == "decimals"]
    assert items != sorted(items)


def test_a_split_changes_the_digest_though_the_texts_are_the_same() -> None:
    train, held_out = drawn(n_train=74, n_validation=20), drawn(n_train=74, n_validation=19)
    assert train.revision != held_out.revision


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"n_train": 75}, ["n_train is 75", "decimals, pairs, documents", "hold 74"]),
        ({"n_validation": 21}, ["n_validation is 21", "hold 20", "'held_out'"]),
        ({"parts": ["cloze"]}, ["n_train is 30", "the parts cloze", "hold 0"]),
    ],
)
def test_too_few_texts_are_told(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SaeflowError) as caught:
        drawn(**changes)
    check_sentence(caught.value, *parts)


CONTENTS = [f"Text {number} – ünïcode" for number in range(10)]


def text_file(tmp_path: Path, kind: str, contents: list[str]) -> Path:
    path = tmp_path / f"mine.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"other": [1] * len(contents), "body": contents}), path)
    else:
        lines = contents if kind == "txt" else [json.dumps({"body": each}) for each in contents]
        path.write_text("".join(f"{line}\n\n" for line in lines), encoding="utf-8")
    return path


def from_file(*paths: Path, **changes: Any) -> Loaded:
    block = {"source": "text_file", "path": "elsewhere", "column": "body", **changes}
    return read(load_texts(TypeAdapter(TextSettings).validate_python(block), files=paths))


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_every_kind_of_file_gives_the_same_texts(kind: str, tmp_path: Path) -> None:
    loaded = from_file(text_file(tmp_path, kind, CONTENTS))
    rows = rows_of(loaded)
    train, held_out = published_split(10, SplitSettings())
    assert [row["item"] for row in rows] == [*sorted(train), *sorted(held_out)]
    assert [row["split"] for row in rows] == ["train"] * 8 + ["validation"] * 2
    assert [row["content"] for row in rows] == [CONTENTS[row["item"]] for row in rows]
    assert loaded.revision == from_file(text_file(tmp_path, "txt", CONTENTS)).revision
    first = from_file(text_file(tmp_path, kind, CONTENTS), limit=4)
    assert {row["content"] for row in rows_of(first)} == set(CONTENTS[:4])


@pytest.mark.parametrize(
    ("name", "content", "changes", "parts"),
    [
        ("x.jsonl", '{"body": "a"}\n{"bo', {}, ["x.jsonl, line 2: the line is no JSON", '"body"']),
        ("x.jsonl", '{"text": "a"}\n', {}, ["x.jsonl, line 1: 'body' is None; expected a text."]),
        ("x.jsonl", '{"body": " "}\n', {}, ["'body' is ' '; expected a text."]),
        ("x.txt", b"a\n\xff\n", {}, ["x.txt, line 2: the line is not UTF-8"]),
        ("x.txt", "\n \n", {}, ["x.txt holds 0 texts; expected at least one."]),
        ("x.txt", "a\nb\n", {"limit": 3}, ["x.txt holds 2 texts; limit asks for 3."]),
        ("x.txt", "a\n", {}, ["x.txt holds 1 texts, none of which", "train_share of 0.8"]),
        ("x.parquet", b"PAR1", {}, ["x.parquet cannot be read as Parquet"]),
    ],
)
def test_bad_file_is_told(
    name: str, content: str | bytes, changes: dict[str, Any], parts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SaeflowError) as caught:
        from_file(path, **changes)
    check_sentence(caught.value, *parts)


def test_absent_file_and_column_are_told(tmp_path: Path) -> None:
    with pytest.raises(SaeflowError, match=r"absent\.txt does not exist; expected a file of texts"):
        from_file(tmp_path / "absent.txt")
    path = text_file(tmp_path, "parquet", CONTENTS)
    with pytest.raises(SaeflowError, match=r"has the columns .*; expected 'prose'"):
        from_file(path, column="prose")
