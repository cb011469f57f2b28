"""Corpora of many files, compressed or on the hub, as sets of texts."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import itertools
import json
import lzma
import random
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from saeflow.artifacts.batches import TableGroups, write_batches
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.config.datasets import SplitSettings, TextFile, TextHub, TextSettings
from saeflow.config.text_files import text_format
from saeflow.datasets.rows import read_rows
from saeflow.datasets.selection import trains
from saeflow.datasets.texts.sources import load_texts
from saeflow.errors import SaeflowError
from saeflow.preflight import input_files
from tests.hub_cache import offline, put_repo
from tests.sentences import check_sentence

CONTENTS = [f"Text {number} – ünïcode" for number in range(40)]


def zst(data: bytes) -> bytes:
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, "zstd") as stream:
        stream.write(data)
    whole: bytes = target.getvalue().to_pybytes()
    return whole


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zst,
}
FORMS = (".txt", ".jsonl", ".ndjson", ".json", ".parquet")


def encoded(contents: list[str], form: str) -> bytes:
    """A file of texts, uncompressed."""
    if form == ".parquet":
        buffer = io.BytesIO()
        pq.write_table(
            pa.table({"other": [1] * len(contents), "body": pa.array(contents, pa.string())}),
            buffer,
            row_group_size=7,
        )
        return buffer.getvalue()
    lines = contents if form == ".txt" else [json.dumps({"body": each}) for each in contents]
    return "".join(f"{line}\n" for line in lines).encode()


def put(path: Path, contents: list[str]) -> Path:
    """Write a file of texts in the form and compression that its name says."""
    compression = text_format(path.name).compression
    form = Path(path.name.removesuffix(compression)).suffix
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(COMPRESS[compression](encoded(contents, form)))
    return path


class Loaded(NamedTuple):
    """Rows of a data set read to its end."""

    rows: list[dict[str, Any]]
    revision: str

    def contents(self, split: str) -> list[str]:
        return [row["content"] for row in self.rows if row["split"] == split]


def load(block: dict[str, Any], files: list[Path], **more: Any) -> Loaded:
    settings = TypeAdapter(TextSettings).validate_python({"column": "body", **block})
    loaded = load_texts(settings, files=files, **more)
    rows = [row for table in loaded.tables for row in table.to_pylist()]
    return Loaded(rows, loaded.revision)


def from_files(*files: Path, **changes: Any) -> Loaded:
    return load({"source": "text_file", "path": "elsewhere", **changes}, list(files))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", COMPRESS)
def test_every_form_and_compression_gives_the_same_texts(
    form: str, compression: str, tmp_path: Path
) -> None:
    whole = put(tmp_path / f"whole{form}{compression}", CONTENTS)
    parts = [
        put(tmp_path / f"{start}{form}{compression}", CONTENTS[start : start + 10])
        for start in range(0, 40, 10)
    ]
    for place in ("place", "content"):
        expected = from_files(put(tmp_path / "plain.txt", CONTENTS), split_by=place)
        assert from_files(whole, split_by=place) == expected
        assert from_files(*parts, split_by=place) == expected
    assert from_files(whole) == from_files(whole, split_by="place")
    assert from_files(*parts) == from_files(whole, split_by="content")


def test_texts_are_numbered_in_order_of_files_and_split_by_content(tmp_path: Path) -> None:
    files = [put(tmp_path / "b.jsonl.gz", CONTENTS[:25]), put(tmp_path / "a.txt", CONTENTS[25:])]
    loaded = from_files(*files)
    assert [row["text"] for row in loaded.rows] == list(range(40))
    for split, side in (("train", True), ("validation", False)):
        expected = [
            (item, text)
            for item, text in enumerate(CONTENTS)
            if trains(text, SplitSettings()) == side
        ]
        found = [(row["item"], row["content"]) for row in loaded.rows if row["split"] == split]
        assert found == expected
        assert found
    splits = [row["split"] for row in loaded.rows]
    assert splits == sorted(splits)


@given(
    contents=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12), max_size=30
    ),
    copies=st.integers(1, 3),
    seed=st.integers(0, 5),
    cuts=st.lists(st.integers(0, 90), max_size=3),
    form=st.sampled_from([".txt", ".jsonl.zst", ".parquet"]),
)
def test_equal_texts_are_on_one_side_wherever_files_begin(
    contents: list[str], copies: int, seed: int, cuts: list[int], form: str, tmp_path: Path
) -> None:
    repeated = contents * copies
    edges = sorted({0, *(min(cut, len(repeated)) for cut in cuts), len(repeated)})
    files = [
        put(tmp_path / f"{start}{form}", repeated[start:stop])
        for start, stop in itertools.pairwise(edges)
    ] or [put(tmp_path / f"0{form}", [])]
    kept = [text for text in repeated if text.strip()]
    split = SplitSettings(train_share=0.5, seed=seed)
    sides = {side: [text for text in kept if trains(text, split) == side] for side in (True, False)}
    block = {"split": split.model_dump(), "split_by": "content"}
    if not all(sides.values()):
        with pytest.raises(SaeflowError) as caught:
            from_files(*files, **block)
        check_sentence(caught.value, f"{len(kept)} texts")
        return
    loaded = from_files(*files, **block)
    assert loaded.contents("train") == sides[True]
    assert loaded.contents("validation") == sides[False]
    assert not set(sides[True]) & set(sides[False])


def test_share_of_training_texts_is_about_what_is_asked_for() -> None:
    for share in (0.1, 0.5, 0.8, 0.99):
        split = SplitSettings(train_share=share)
        found = sum(trains(str(number), split) for number in range(4000)) / 4000
        assert abs(found - share) < 0.025
    others = [SplitSettings(train_share=0.5, seed=seed) for seed in (1, 2)]
    assert len({tuple(trains(str(n), each) for n in range(50)) for each in others}) == 2


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(codec="utf-8"), max_size=20),
            st.none(),
            st.integers(),
            st.lists(st.text(max_size=3), max_size=2),
        ),
        max_size=8,
    ),
    st.sampled_from([".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.bz2", ".jsonl.zst"]),
)
def test_json_gives_its_texts_or_names_the_first_line_without_one(
    tmp_path: Path, values: list[Any], suffix: str
) -> None:
    path = tmp_path / f"any{suffix}"
    lines = "".join(json.dumps({"body": value, "more": 1}) + "\n" for value in values)
    path.write_bytes(COMPRESS[text_format(path.name).compression](lines.encode()))
    bad = next((n for n, value in enumerate(values, 1) if not isinstance(value, str)), None)
    wanted = [text for text in values[: None if bad is None else bad - 1] if text.strip()]
    found: list[str] = []
    try:
        found.extend(text for _, (text,) in read_rows(path, ("body",), "skip"))
    except SaeflowError as error:
        assert bad is not None
        check_sentence(error, f"any{suffix}, line {bad}: 'body' is")
    else:
        assert bad is None
        assert found == wanted


@given(st.binary(max_size=200), st.sampled_from(FORMS), st.sampled_from(list(COMPRESS)))
def test_no_bytes_raise_anything_but_a_sentence(
    tmp_path: Path, data: bytes, form: str, compression: str
) -> None:
    path = tmp_path / f"any{form}{compression}"
    path.write_bytes(data)
    try:
        from_files(path)
    except SaeflowError as error:
        check_sentence(error, path.name)


@given(st.sampled_from([".jsonl", ".txt", ".parquet"]), st.sampled_from(list(COMPRESS)), st.data())
def test_cut_off_files_give_a_sentence_and_never_other_texts(
    tmp_path: Path, form: str, compression: str, data: st.DataObject
) -> None:
    path = put(tmp_path / f"cut{form}{compression}", CONTENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    try:
        loaded = from_files(path, split_by="content")
    except SaeflowError as error:
        check_sentence(error, path.name)
    else:
        # A plain file may end anywhere; what is read is still its beginning.
        texts = [row["content"] for row in sorted(loaded.rows, key=lambda row: row["item"])]
        assert not compression
        assert texts[:-1] == CONTENTS[: len(texts) - 1]
        assert CONTENTS[len(texts) - 1].startswith(texts[-1])


def long_file(path: Path, compression: str) -> bytes:
    """A compressed file of many different lines, so that its end is far from its beginning."""
    lines = "".join(json.dumps({"body": f"{n} {n * 7919 % 10007}"}) + "\n" for n in range(50_000))
    data = COMPRESS[compression](lines.encode())
    path.write_bytes(data)
    return data


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
def test_damaged_archive_names_file_and_line(compression: str, tmp_path: Path) -> None:
    path = tmp_path / f"long.jsonl{compression}"
    data = long_file(path, compression)
    path.write_bytes(data[: len(data) * 9 // 10])
    with pytest.raises(SaeflowError) as caught:
        from_files(path)
    check_sentence(caught.value, "the archive is damaged or cut off")
    told = re.match(r".*long\.jsonl\.\w+, line (\d+): ", str(caught.value))
    assert told is not None
    assert 30_000 < int(told[1]) <= 50_000
    path.write_bytes(b"no archive" + data)
    with pytest.raises(SaeflowError, match=r"line 1: the archive is damaged"):
        from_files(path)


def test_bad_sets_of_files_are_told(tmp_path: Path) -> None:
    good = put(tmp_path / "good.jsonl", CONTENTS)
    other = put(tmp_path / "other.parquet", CONTENTS)
    cases: list[tuple[list[Path], dict[str, Any], list[str]]] = [
        ([], {}, ["path names no file of texts; expected .txt, .jsonl"]),
        ([good, tmp_path / "absent.txt"], {}, ["absent.txt does not exist"]),
        ([good, put(tmp_path / "x.txt", ["a"]).rename(tmp_path / "x.csv")], {},
         ["x.csv holds no texts by its name; expected .txt, .jsonl"]),
        ([good, other], {"column": "prose"}, ["good.jsonl, line 1: 'prose' is None"]),
        ([other, good], {"column": "prose"}, ["other.parquet has the columns", "'prose'"]),
        ([good, other], {"limit": 81}, ["good.jsonl and 1 more files hold 80 texts; limit asks"]),
        ([put(tmp_path / "e.txt", []), put(tmp_path / "f.txt", [" "])], {},
         ["e.txt and 1 more files hold 0 texts; expected at least one."]),
        ([put(tmp_path / "one.txt", ["a"])] * 2, {"split": {"train_share": 0.999999}},
         ["2 texts, none of which is left to be held out"]),
        ([put(tmp_path / "one.txt", ["a"])] * 2, {"split": {"train_share": 0.000001}},
         ["2 texts, none of which is left to train SAEs"]),
    ]  # fmt: skip
    for files, changes, parts in cases:
        with pytest.raises(SaeflowError) as caught:
            from_files(*files, **changes)
        check_sentence(caught.value, *parts)


def grouped(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows with whatever keys they have, as JSON Lines or Parquet, compressed as the name says."""
    compression = text_format(path.name).compression
    if text_format(path.name).form == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=7)
        data = buffer.getvalue()
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(COMPRESS[compression](data))
    return path


TOPICAL = [
    {"topic": ("law", "müsic", "a/b")[number % 3], "body": text}
    for number, text in enumerate(CONTENTS)
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.zst", "x.parquet", "x.parquet.gz"])
@pytest.mark.parametrize("split_by", ["place", "content"])
def test_groups_are_read_beside_their_texts(name: str, split_by: str, tmp_path: Path) -> None:
    files = [grouped(tmp_path / f"{n}{name}", TOPICAL[n : n + 20]) for n in (0, 20)]
    loaded = from_files(*files, group="topic", split_by=split_by)
    assert len(loaded.rows) == len(TOPICAL)
    for row in loaded.rows:
        said = {"topic": row["group"], "body": row["content"]}
        assert said == TOPICAL[row["item"]]
    without = from_files(*files, split_by=split_by)
    assert {row["group"] for row in without.rows} == {""}
    assert [{**row, "group": ""} for row in loaded.rows] == without.rows
    # The same texts of other topics are another data set.
    others = [grouped(tmp_path / f"other{n}{name}", [{**row, "topic": "law"} for row in
              TOPICAL[n : n + 20]]) for n in (0, 20)]  # fmt: skip
    other = from_files(*others, group="topic", split_by=split_by)
    assert len({loaded.revision, without.revision, other.revision}) == 3


@pytest.mark.parametrize("name", [".jsonl.zst", ".parquet"])
def test_a_group_may_be_a_key_inside_another(name: str, tmp_path: Path) -> None:
    nested = [{"body": row["body"], "meta": {"set": row["topic"]}} for row in TOPICAL]
    flat = from_files(grouped(tmp_path / f"flat{name}", TOPICAL), group="topic")
    found = from_files(grouped(tmp_path / f"nested{name}", nested), group="meta.set")
    assert found.rows == flat.rows
    own = [{"body": row["body"], "meta.set": row["topic"]} for row in TOPICAL]
    assert from_files(grouped(tmp_path / f"own{name}", own), group="meta.set").rows == flat.rows
    with pytest.raises(SaeflowError) as caught:
        from_files(grouped(tmp_path / f"nested{name}", nested), group="meta.topic")
    check_sentence(caught.value, "1: 'meta.topic' is None; expected a text")


def test_a_blank_text_needs_no_group_and_a_group_is_never_blank(tmp_path: Path) -> None:
    rows = [{"body": " "}, *TOPICAL[:20], {"body": "", "topic": None}]
    files = [grouped(tmp_path / "a.jsonl", rows), grouped(tmp_path / "b.jsonl", TOPICAL[20:])]
    assert [row["content"] for row in sorted(
        from_files(*files, group="topic").rows, key=lambda row: row["item"]
    )] == CONTENTS  # fmt: skip
    for name, rows, parts in (
        ("c.jsonl", [{"body": "a"}], ["c.jsonl, line 1: 'topic' is None; expected a text."]),
        ("d.jsonl", [{"body": "a", "topic": " "}], ["line 1: 'topic' is ' '; expected a text."]),
        ("e.jsonl", [{"body": "a", "topic": 3}], ["e.jsonl, line 1: 'topic' is 3; expected a"]),
        ("f.jsonl", [{"body": "a", "topic": ["x"]}], ["'topic' is ['x']; expected a text."]),
        ("g.parquet", [{"body": "a", "topic": 3}], ["g.parquet, row 1: 'topic' is 3; expected"]),
        ("h.parquet", [{"body": "a"}], ["h.parquet has the columns ['body']", "'topic'"]),
        ("i.jsonl", [{"body": "a", "topic": "\ud800"}], ["'topic' holds half a surrogate pair"]),
    ):  # fmt: skip
        for split_by in ("place", "content"):
            with pytest.raises(SaeflowError) as caught:
                from_files(*files, grouped(tmp_path / name, rows), group="topic", split_by=split_by)
            check_sentence(caught.value, *(parts if split_by == "content" else []))


def test_plain_text_has_no_groups(tmp_path: Path) -> None:
    files = [grouped(tmp_path / "a.jsonl", TOPICAL), put(tmp_path / "b.txt.gz", CONTENTS)]
    with pytest.raises(SaeflowError) as caught:
        from_files(*files, group="topic")
    check_sentence(
        caught.value,
        "group is 'topic', but ",
        "b.txt.gz is plain text, whose lines have no groups; expected JSON Lines or Parquet",
    )


def test_limit_counts_over_all_files_and_reads_no_further(tmp_path: Path) -> None:
    first = put(tmp_path / "a.jsonl", CONTENTS[:20])
    second = put(tmp_path / "b.jsonl", CONTENTS[20:])
    second.write_text(second.read_text() + "no JSON\n")
    loaded = from_files(first, second, limit=30)
    assert {row["content"] for row in loaded.rows} == set(CONTENTS[:30])
    with pytest.raises(SaeflowError, match=r"b\.jsonl, line 21: the line is no JSON"):
        from_files(first, second)


def test_folders_patterns_and_lists_name_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c/b.jsonl.zst", "c/a.txt", "c/deep/d.parquet", "c/README.md", "c/.hidden.txt",
                 "c/.git/x.txt", "e.jsonl"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)

    def files_of(path: Any) -> list[str]:
        settings = TextFile(source="text_file", path=path)
        return input_files(settings, tmp_path)

    below = ["c/a.txt", "c/b.jsonl.zst", "c/deep/d.parquet"]
    assert files_of("c") == below
    assert files_of(str(tmp_path / "c")) == below
    assert files_of("c/*.txt") == ["c/a.txt"]
    assert files_of("c/**/*.parquet") == ["c/deep/d.parquet"]
    assert files_of("c/*.md") == ["c/README.md"]
    assert files_of("e.jsonl") == ["e.jsonl"]
    assert files_of("absent.jsonl") == ["absent.jsonl"]
    assert files_of("none/*.txt") == []
    assert files_of(["e.jsonl", "c", "c/*.zst"]) == ["e.jsonl", *below]


def test_bytes_do_not_depend_on_how_rows_arrive_and_row_groups_are_small(tmp_path: Path) -> None:
    rows = [f"{number}" for number in range(2500)]
    files = [put(tmp_path / f"{n}.txt", rows[n * 500 : (n + 1) * 500]) for n in range(5)]
    written = []
    for given_files, target in ((files, "a"), ([put(tmp_path / "all.txt", rows)], "b")):
        settings = TextFile(source="text_file", path="x", split_by="content")
        loaded = load_texts(settings, files=given_files, spool=tmp_path)
        path = tmp_path / f"{target}.parquet"
        n = write_batches(
            loaded.tables,
            path,
            TEXTS,
            lambda loaded=loaded: Provenance("c", dataset_revision=loaded.revision),
        )
        assert n == 2500
        written.append(path.read_bytes())
    assert written[0] == written[1]
    groups = TableGroups(path, TEXTS)
    assert [len(groups.read(group)) for group in range(len(groups))] == [1024, 1024, 452]
    assert groups.metadata["dataset_revision"] == loaded.revision
    left = {each.name for each in tmp_path.iterdir()} - {each.name for each in files}
    assert left == {"a.parquet", "b.parquet", "all.txt"}


COMMIT = "0123456789abcdef" * 2 + "01234567"
REPO = "someone/pile"


class FakeHub(http.server.BaseHTTPRequestHandler):
    """What the hub's client asks for of one data set: its tree, and ranges of its files."""

    files: dict[str, bytes]
    sent: dict[str, int]
    broken: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        asked = self.rfile.read(length).decode()
        names = re.findall(r"paths=([^&]+)", asked) or json.loads(asked or "{}").get("paths", [])
        names = [each.replace("%2F", "/") for each in names]
        self._json([self._entry(name) for name in names if name in self.files])

    def _entry(self, name: str) -> dict[str, Any]:
        return {"type": "file", "oid": "0" * 40, "size": len(self.files[name]), "path": name}

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api/datasets/{REPO}/tree/{COMMIT}"):
            folders = {name.rpartition("/")[0] for name in self.files} - {""}
            under = path.removeprefix(f"/api/datasets/{REPO}/tree/{COMMIT}").strip("/")
            deep = "recursive=true" in self.path.lower()
            entries = [
                self._entry(name)
                for name in self.files
                if name.startswith(f"{under}/" if under else "")
                and (deep or name.rpartition("/")[0] == under)
            ]
            entries += [
                {"type": "directory", "oid": "0" * 40, "size": 0, "path": each}
                for each in folders
                if not under
            ]
            self._json(entries)
        elif path.startswith(f"/api/datasets/{REPO}"):
            self._json({"id": REPO, "sha": COMMIT, "private": False, "siblings": [], "tags": []})
        elif path.startswith(f"/datasets/{REPO}/resolve/{COMMIT}/"):
            self._file(path.removeprefix(f"/datasets/{REPO}/resolve/{COMMIT}/"), body=body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _file(self, name: str, *, body: bool) -> None:
        data = self.files[name]
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, len(data)
        if asked:
            start, stop = int(asked[1]), int(asked[2]) + 1 if asked[2] else len(data)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(min(stop, len(data)) - start))
        self.send_header("ETag", '"x"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if name in self.broken:
            self.broken.remove(name)
            self.wfile.write(data[start : start + 100])
            self.close_connection = True
            return
        for at in range(start, stop, 1 << 14) if body else ():
            try:
                self.wfile.write(data[at : min(at + (1 << 14), stop)])
            except OSError:  # the reader has enough
                return
            self.sent[name] = self.sent.get(name, 0) + (1 << 14)

    def _json(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[Any]:
    """A file system that speaks to a hub of our own on this machine."""
    from huggingface_hub import HfFileSystem

    draw = random.Random(0)
    noise = [draw.randbytes(16_384).hex() for _ in range(1200)]
    FakeHub.files = {
        "README.md": b"# Pile",
        "train/00.jsonl.zst": zst(encoded(CONTENTS[:20], ".jsonl")),
        "train/01.jsonl.zst": zst(encoded(CONTENTS[20:], ".jsonl")),
        "train/02.parquet": encoded(CONTENTS, ".parquet"),
        "large.jsonl.zst": zst(encoded(noise, ".jsonl")),
        "bad.jsonl.gz": gzip.compress(encoded(CONTENTS, ".jsonl"))[:-20],
    }
    FakeHub.sent, FakeHub.broken = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield HfFileSystem(endpoint=f"http://127.0.0.1:{server.server_port}", token=False)
    server.shutdown()
    server.server_close()
    thread.join()


def from_hub(hub: Any, *files: str, **changes: Any) -> Loaded:
    block = {"source": "text_hub", "repo": REPO, "revision": COMMIT, "files": files, **changes}
    return load(block, [], filesystem=hub)


def test_hub_gives_what_files_give(hub: Any, tmp_path: Path) -> None:
    expected = from_files(put(tmp_path / "all.txt", CONTENTS), split_by="content")
    assert from_hub(hub, "train/*.zst") == expected
    assert from_hub(hub, "train/01.jsonl.zst", "train/00.jsonl.zst").rows != expected.rows
    assert from_hub(hub, "**/*.parquet") == expected


def test_hub_is_read_no_further_than_the_limit(hub: Any) -> None:
    FakeHub.sent.clear()
    loaded = from_hub(hub, "large.jsonl.zst", "train/*", limit=20)
    assert len(loaded.rows) == 20
    size = len(FakeHub.files["large.jsonl.zst"])
    assert size > 16 << 20
    assert set(FakeHub.sent) == {"large.jsonl.zst"}
    # What the sockets of this machine hold was sent, too: some MB.
    assert FakeHub.sent["large.jsonl.zst"] < size / 2


def test_connection_that_breaks_is_taken_up_again(hub: Any) -> None:
    expected = from_hub(hub, "train/*.zst")
    FakeHub.broken.append("train/01.jsonl.zst")
    assert from_hub(hub, "train/*.zst") == expected
    assert not FakeHub.broken


def test_bad_hub_sets_are_told(hub: Any) -> None:
    cases: list[tuple[list[str], dict[str, Any], list[str]]] = [
        (["test/*"], {}, [f"{REPO}@{COMMIT} does not exist or holds no file that fits 'test/*'"]),
        (["*"], {}, ["README.md holds no texts by its name"]),
        (["bad.jsonl.gz"], {}, [f"{REPO}@{COMMIT}/bad.jsonl.gz, line", "damaged or cut off"]),
        (["train/02.parquet"], {"column": "x"}, ["02.parquet has the columns", "'x'"]),
        (["train/02.parquet"], {"group": "other"}, ["row 1: 'other' is 1; expected a text."]),
        (["train/00.jsonl.zst"], {"limit": 21}, ["00.jsonl.zst holds 20 texts; limit asks for 21"]),
        (["*.zst"], {"repo": "no/body"}, ["no/body@", "does not exist or holds"]),
    ]
    for files, changes, parts in cases:
        with pytest.raises(SaeflowError) as caught:
            from_hub(hub, *files, **changes)
        check_sentence(caught.value, *parts)


def test_hub_out_of_reach_is_told() -> None:
    from huggingface_hub import HfFileSystem

    # Nothing listens there.
    with pytest.raises(SaeflowError) as caught:
        from_hub(HfFileSystem(endpoint="http://127.0.0.1:9", token=False), "*.zst")
    check_sentence(caught.value, "cannot be had from the Hugging Face hub", "source: text_file")


def test_hub_needs_a_commit() -> None:
    block = {"source": "text_hub", "repo": REPO, "revision": "main", "files": ["x"]}
    with pytest.raises(ValidationError, match="revision"):
        TextHub.model_validate(block)


def test_offline_the_cache_of_the_hub_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "train/00.jsonl.zst": zst(encoded(CONTENTS[:20], ".jsonl")),
        "train/01.jsonl.zst": zst(encoded(CONTENTS[20:], ".jsonl")),
    }
    put_repo(tmp_path / "cache", REPO, COMMIT, files, kind="dataset")
    offline(monkeypatch, tmp_path / "cache")
    block = {"source": "text_hub", "repo": REPO, "revision": COMMIT, "files": ["train/*.zst"]}
    expected = from_files(put(tmp_path / "all.txt", CONTENTS), split_by="content")
    assert load(block, []) == expected
    with pytest.raises(SaeflowError, match=r"the cache in .* holds no file of someone/pile@0123"):
        load({**block, "files": ["val.jsonl.zst"]}, [])
