"""Whatever users' own files hold: data, or one sentence that names the file and what was expected.

Texts and problems in every form, prompts, and the files of model directories. What was changed may
well be valid, and then gives other data: nobody but the user knows what was in it before.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st
from transformers.utils import logging

from saeflow.config.models import FreshModel
from saeflow.datasets.gsm8k import read_problems
from saeflow.datasets.prompt_sets import prompt_file
from saeflow.datasets.rows import file_source, read_lines, read_rows
from saeflow.errors import SaeflowError
from saeflow.models.checkpoint_files import read_state
from saeflow.models.directories import load_directory, save_directory
from saeflow.models.loading import load_model
from saeflow.models.repository_files import layer_count
from saeflow.show import describe
from tests.fuzzed import (
    OF_BYTES,
    OF_FILES,
    Damage,
    changed_bytes,
    damage_files,
    damages,
    snapshot,
    write_files,
)
from tests.sentences import check_sentence

SOAK = bool(os.environ.get("SAEFLOW_SOAK"))
CASES, MODELS = (2000, 600) if SOAK else (200, 40)
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)

ROWS = [
    {"question": f"Ann has {n} pens. How many?", "answer": f"<<{n}+1={n + 1}>>\n#### {n + 1}"}
    for n in range(20)
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TEXT = "".join(row["question"] + "\n" for row in ROWS).encode()
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda raw: gzip.compress(raw, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: zstd(raw),
}


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return bytes(sink.getvalue())


def parquet(compression: str, checksums: bool) -> bytes:
    sink = pa.BufferOutputStream()
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    pq.write_table(pa.table(columns), sink, compression=compression, write_page_checksum=checksums)
    return bytes(sink.getvalue())


def rows(path: Path) -> Any:
    return list(read_rows(path, ("question", "meta.topic"), "skip"))


INPUTS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    **{f"{end} problems.jsonl{end}": (squeeze(JSONL), read_problems)
       for end, squeeze in COMPRESSED.items()},
    **{f"{end} texts.txt{end}": (squeeze(TEXT), lambda path: list(read_lines(file_source(path))))
       for end, squeeze in COMPRESSED.items()},
    "inside x.jsonl": (JSONL.replace(b'"answer"', b'"meta": {"topic": "a"}, "answer"'), rows),
    "prompts x.txt": (TEXT, prompt_file),
    "snappy x.parquet": (parquet("snappy", False), read_problems),
    "plain x.parquet": (parquet("none", False), read_problems),
    "checked x.parquet": (parquet("zstd", True), read_problems),
    "shown x.parquet": (parquet("snappy", False), lambda path: describe(path, 3)),
}  # fmt: skip
ODD_LINES = (
    b"\n", b"null\n", b"[1]\n", b"3\n", b'"x"\n', b"{}\n", b'{"question": 3, "answer": null}\n',
    b'{"question": "\\ud800", "answer": "#### 1"}\n', b'{"question": "q", "answer": "#### inf"}\n',
    b'{"question": "q", "answer": "####"}\n', b'{"question": "q", "answer": "#### 1e999"}\n',
    b'{"question": ' + b"9" * 5000 + b"}\n", b"[" * 100_000 + b"\n", b"\xef\xbb\xbf\n", b"\x00\n",
    b'{"question": "q", "question": "r", "answer": "#### NaN"}\n', b"NaN\n", b"\xff\n", b"\r",
    '{"question": "q", "answer": "#### ١٢"}\n'.encode(), b'{"meta": {"topic": {}}, "question": "x"}\n',
)  # fmt: skip


@st.composite
def inputs(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(list(INPUTS)))
    content = INPUTS[name][0]
    for _ in range(draw(st.integers(1, 3))):
        if name.endswith((".jsonl", ".txt")) and draw(st.booleans()):
            lines = content.splitlines(keepends=True)
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(ODD_LINES)))
            content = b"".join(lines)
        else:
            content = changed_bytes(content, draw(damages(OF_BYTES)))
    return name, content


@settings(max_examples=CASES, phases=PHASES)
@given(inputs())
def test_changed_file_gives_data_or_a_sentence(tmp_path: Path, case: tuple[str, bytes]) -> None:
    name, content = case
    path = tmp_path / name.split()[-1]
    path.write_bytes(content)
    try:
        INPUTS[name][1](path)
    except SaeflowError as error:
        event("told")
        check_sentence(error, path.name)


def test_page_checksums_are_used_where_there_are_some(tmp_path: Path) -> None:
    raw = parquet("none", True)
    path = tmp_path / "x.parquet"
    path.write_bytes(raw)
    assert len(read_problems(path)) == 20
    path.write_bytes(raw.replace(b"has 11 pens", b"has 12 pens"))
    with pytest.raises(SaeflowError, match=r"x\.parquet cannot be read as Parquet"):
        read_problems(path)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = FreshModel(
        weights="fresh", family="llama", hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, intermediate_size=8, projection_size=4, max_position_embeddings=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "sound"
    save_directory(load_model(settings), folder)  # type: ignore[arg-type]
    return folder


KEYS = (b'"num_hidden_layers"', b'"vocab_size"', b'"hidden_size"', b'"model_type"', b'"eos_token"')
DEEP = b"[" * 100_000
VALUES = (
    b"0", b"-1", b"null", b'"x"', b"[]", b"{}", b"1e3", b"1e999", b"99999999999", b"true", b"1.5", DEEP,
)  # fmt: skip
OF_JSON = Damage("json", 0, 0.0, 1, 1, b"x", 0)


@st.composite
def model_damages(draw: st.DrawFn) -> tuple[Damage, bytes, bytes]:
    """What happens to a file; and in JSON, a key whose value becomes another."""
    return (
        draw(damages((*OF_BYTES, *OF_FILES, "json", "json", "head"))),
        draw(st.sampled_from(KEYS)),
        draw(st.sampled_from(VALUES)),
    )


@settings(max_examples=MODELS, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(model_damages())
@example((OF_JSON, KEYS[0], b"1e999"))
@example((OF_JSON, KEYS[0], DEEP))
def test_damaged_model_directory_loads_or_is_named(
    directory: Path, case: tuple[Damage, bytes, bytes]
) -> None:
    damage, key, value = case
    files = snapshot(directory)
    folder = directory.with_name("damaged")
    write_files(folder, files)
    if damage.how == "json":
        names = [name for name in sorted(files) if key in files[name]]
        name = names[damage.file % len(names)]
        start = files[name].index(key)
        end = min(files[name].find(mark, start) % (1 << 30) for mark in (b",", b"\n"))
        (folder / name).write_bytes(files[name][:start] + key + b": " + value + files[name][end:])
    elif damage.how == "head":  # of safetensors: eight bytes of length, then JSON
        raw = bytearray(files["model.safetensors"])
        raw[int(damage.at * 200)] ^= damage.mask
        (folder / "model.safetensors").write_bytes(bytes(raw))
    else:
        damage_files(folder, files, {}, b"PAR1", damage)
    for read in (layer_count, read_state, lambda path: load_directory(path, "float32", "r")):
        try:
            read(folder)
        except SaeflowError as error:
            event("told")
            check_sentence(error, str(folder))
