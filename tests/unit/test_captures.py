"""Vectors, captures and features on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts import captures
from saeflow.artifacts.captures import (
    CaptureWriter,
    ChunkCapture,
    capture_all,
    count_layers,
    read_layer,
)
from saeflow.artifacts.catalog import ANSWERS, FEATURES
from saeflow.artifacts.features import read_features, shape_metadata
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.sealing import sealed_writer
from saeflow.artifacts.tables import read_table, write_table
from saeflow.artifacts.vectors import (
    Vectors,
    chunk_paths,
    export_vectors,
    read_vectors,
    write_vectors,
)
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence

PROVENANCE = Provenance(config="abc", seed=1)
DTYPES = ("float32", "float16", "bfloat16")


def stored(values: torch.Tensor, dtype: str) -> np.ndarray:
    values = values.to(getattr(torch, dtype))
    return (values.view(torch.uint16) if dtype == "bfloat16" else values).numpy()


def vectors_of(dtype: Any = "float32", rows: int = 10, width: int = 5, first: int = 0) -> Vectors:
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(rows)) * 100
    problem = np.arange(first, first + rows, dtype=np.int32)
    return Vectors(problem, (problem % 3).astype(np.int16), stored(values, dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 300])
def test_vectors_round_trip_bit_by_bit(dtype: str, rows: int, tmp_path: Path) -> None:
    path = tmp_path / "chunk0.parquet"
    vectors = vectors_of(dtype, rows)
    write_vectors(vectors, path, PROVENANCE)
    found = read_vectors(path)
    assert found.dtype == dtype
    assert found.values.dtype == vectors.values.dtype
    assert found.values.tobytes() == vectors.values.tobytes()
    np.testing.assert_array_equal(found.example, vectors.example)
    np.testing.assert_array_equal(found.place, vectors.place)
    before = path.read_bytes()
    write_vectors(vectors, path, PROVENANCE)
    assert path.read_bytes() == before


def test_bfloat16_bits_mean_what_torch_says() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        found = Vectors(
            np.zeros(1, np.int32), np.zeros(1, np.int16), bits[None], "bfloat16"
        ).float32()
    expected = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exported_vectors_are_plain_lists_for_pandas(dtype: str, tmp_path: Path) -> None:
    for chunk in (0, 1, 2):
        path = tmp_path / "layer0" / f"chunk{chunk}.parquet"
        write_vectors(vectors_of(dtype, rows=4, first=4 * chunk), path, PROVENANCE)
    assert export_vectors(tmp_path / "layer0", tmp_path / "out.parquet") == 12
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame["problem"].tolist() == list(range(12))
    np.testing.assert_array_equal(
        np.stack(frame["vector"].tolist())[4:8], vectors_of(dtype, rows=4, first=4).float32()
    )
    kind = pq.read_schema(tmp_path / "out.parquet").field("vector").type
    assert kind == pa.list_(pa.float32(), 5)
    assert export_vectors(path, tmp_path / "one.parquet") == 4


def test_export_of_nothing_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("x")
    (tmp_path / "layer0").mkdir()
    for source in ("absent", "bad.parquet", "layer0"):
        with pytest.raises(SaeflowError, match=source):
            export_vectors(tmp_path / source, tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.parquet", "layer0"]


@pytest.mark.parametrize("present", [(), (1,), (0, 2)])
def test_gap_between_chunks_is_named(present: tuple[int, ...], tmp_path: Path) -> None:
    for chunk in present:
        (tmp_path / f"chunk{chunk}.parquet").touch()
    with pytest.raises(SaeflowError, match="without a gap"):
        chunk_paths(tmp_path)


def test_chunks_come_in_numeric_order(tmp_path: Path) -> None:
    for chunk in range(12):
        (tmp_path / f"chunk{chunk}.parquet").touch()
    (tmp_path / ".chunk12.parquet.partial").touch()
    assert [path.name for path in chunk_paths(tmp_path)] == [f"chunk{n}.parquet" for n in range(12)]


def change_metadata(path: Path, **changes: str) -> None:
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, **{f"saeflow.{k}".encode(): v for k, v in changes.items()}}
    table = table.replace_schema_metadata(metadata)
    with sealed_writer(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"artifact": "labels"}, "kind 'labels'; expected kind 'vectors'"),
        ({"vector_dtype": "int8"}, "vectors of 'int8'"),
        ({"vector_dtype": "float16"}, "its metadata say"),
        ({"vector_width": "6"}, "its metadata say '6'"),
        ({"vector_width": "x"}, "its metadata say 'x'"),
    ],
)
def test_contradicting_metadata_are_refused(
    changes: dict[str, str], part: str, tmp_path: Path
) -> None:
    write_vectors(vectors_of(), tmp_path / "a.parquet", PROVENANCE)
    change_metadata(tmp_path / "a.parquet", **changes)
    with pytest.raises(SaeflowError, match=part):
        read_vectors(tmp_path / "a.parquet")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Vectors, Path]:
    path = tmp_path_factory.mktemp("vectors") / "a.parquet"
    write_vectors(vectors_of(rows=12), path, PROVENANCE)
    return path.read_bytes(), vectors_of(rows=12), path.with_name("damaged.parquet")


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(0, 255))
def test_damaged_vectors_are_refused_or_the_same(
    sound: tuple[bytes, Vectors, Path], share: float, mask: int
) -> None:
    raw, vectors, path = sound
    place = int(share * len(raw))
    damaged = bytearray(raw)
    damaged[place] ^= mask
    path.write_bytes(damaged if mask else raw[:place])
    try:
        found = read_vectors(path)
    except SaeflowError as error:
        check_sentence(error, "damaged.parquet")
    else:
        assert mask, "a truncated file was read"
        assert found.values.tobytes() == vectors.values.tobytes()
        assert np.array_equal(found.example, vectors.example)
        assert np.array_equal(found.place, vectors.place)


STEPS, LAYERS, WIDTH = 3, 2, 4


def problems_of(count: int) -> pa.Table:
    return pa.table(
        {
            "problem": np.arange(count, dtype=np.int32),
            "question": [f"q{number}" for number in range(count)],
            "gold": np.arange(count) * 1.0,
        }
    )


def think(questions: list[str]) -> ChunkCapture:
    """Activations that say where they are from: problem, step, layer."""
    numbers = [int(question[1:]) for question in questions]
    shape = (len(numbers), STEPS, LAYERS, WIDTH)
    grid = np.zeros(shape, np.float32)
    grid += np.array(numbers, np.float32)[:, None, None, None] * 100
    grid += np.arange(STEPS)[None, :, None, None] * 10 + np.arange(LAYERS)[None, None, :, None]
    predicted = [None if number % 4 == 0 else float(number) + number % 2 for number in numbers]
    hooks = {"resid_post": grid, "final_norm": grid[:, :, :1] + 0.5}
    decoded = [[f"{number}s{step}" for step in range(STEPS)] for number in numbers]
    return ChunkCapture(hooks, "float32", questions, predicted, decoded)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "CHUNK", 4)


@pytest.mark.usefixtures("small_chunks")
def test_capture_is_read_back_by_layer_step_and_problem(tmp_path: Path) -> None:
    target = tmp_path / "capture"
    capture_all(problems_of(10), target, think, fingerprint="f", provenance=PROVENANCE)
    assert count_layers(target) == LAYERS
    assert not target.with_name("capture.partial").exists()
    chosen = np.array([1, 4, 9])
    found = read_layer(target, "resid_post", 1, [2, 0], chosen)
    np.testing.assert_array_equal(found[0, :, 0], chosen * 100 + 20 + 1)
    np.testing.assert_array_equal(found[1, :, 3], chosen * 100 + 1)
    assert read_layer(target, "final_norm", 0, [0], chosen)[0, 0, 0] == 100.5
    answers = read_table(target / "answers.parquet", ANSWERS).to_pylist()
    assert [row["predicted"] for row in answers[:4]] == [None, 2.0, 2.0, 4.0]
    assert [row["correct"] for row in answers[:4]] == [False, False, True, False]
    assert [row["decoded"] for row in answers] == [
        [f"{n}s0", f"{n}s1", f"{n}s2"] for n in range(10)
    ]
    assert {path.name for path in target.iterdir()} == {
        "resid_post",
        "final_norm",
        "answers.parquet",
    }


@pytest.mark.usefixtures("small_chunks")
def test_missing_problem_step_or_layer_is_named(tmp_path: Path) -> None:
    target = tmp_path / "capture"
    capture_all(problems_of(5), target, think, fingerprint="f", provenance=PROVENANCE)
    for problems, steps in ([0, 7], [0]), ([0], [3]), ([0], [0, 3]), ([1, 0], [0]):
        with pytest.raises(SaeflowError, match="expected all"):
            read_layer(target, "resid_post", 0, steps, np.array(problems))
    with pytest.raises(SaeflowError, match="without a gap"):
        read_layer(target, "resid_post", 2, [0], np.array([0]))
    with pytest.raises(SaeflowError, match="holds no resid_post"):
        count_layers(tmp_path)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_resumed_capture_keeps_chunks_of_the_same_fingerprint(
    fingerprint: str, tmp_path: Path
) -> None:
    thought: list[str] = []

    def dying(questions: list[str]) -> ChunkCapture:
        if len(thought) == 2:
            raise KeyboardInterrupt
        thought.append(questions[0])
        return think(questions)

    def watched(questions: list[str]) -> ChunkCapture:
        thought.append(questions[0])
        return think(questions)

    problems = problems_of(10)
    with pytest.raises(KeyboardInterrupt):
        capture_all(problems, tmp_path / "a", dying, fingerprint="same", provenance=PROVENANCE)
    assert not (tmp_path / "a").exists()
    thought.clear()
    capture_all(problems, tmp_path / "a", watched, fingerprint=fingerprint, provenance=PROVENANCE)
    assert thought == (["q8"] if fingerprint == "same" else ["q0", "q4", "q8"])
    capture_all(problems, tmp_path / "b", think, fingerprint="x", provenance=PROVENANCE)
    for path in (tmp_path / "b").rglob("*.parquet"):
        other = tmp_path / "a" / path.relative_to(tmp_path / "b")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("small_chunks")
def test_chunk_without_answers_counts_as_absent(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "a", "f")
    writer.write(0, problems_of(4), think(["q0", "q1", "q2", "q3"]), PROVENANCE)
    assert writer.has(0)
    (writer.partial / "answers" / "chunk0.parquet").unlink()
    assert not CaptureWriter(tmp_path / "a", "f").has(0)


def write_features(folder: Path, layer: int, extra: dict[str, str]) -> None:
    columns = {"problem": [1, 0], "layer": [layer] * 2, "step": [0, 2], "feature": [3, 1],
               "value": [0.5, -1.0]}  # fmt: skip
    provenance = Provenance(config="c", extra=extra)
    write_table(columns, folder / f"layer{layer}.parquet", FEATURES, provenance)


def test_features_come_layer_by_layer_with_their_shape(tmp_path: Path) -> None:
    for layer in (10, 2, 0):
        write_features(tmp_path, layer, shape_metadata([0, 2], 8, [0, 2, 10]))
    found = list(read_features(tmp_path, "all"))
    assert [(each.layer, each.steps, each.d_sae) for each in found] == [
        (0, (0, 2), 8),
        (2, (0, 2), 8),
        (10, (0, 2), 8),
    ]
    assert found[0].table["value"].to_pylist() == [0.5, -1.0]
    assert [each.layer for each in read_features(tmp_path, (10, 0))] == [0, 10]


def test_absent_layer_or_shape_is_named(tmp_path: Path) -> None:
    write_features(tmp_path, 0, {"steps": "0,x", "d_sae": "8", "layers": "0"})
    with pytest.raises(SaeflowError, match="does not say the steps"):
        list(read_features(tmp_path, "all"))
    with pytest.raises(SaeflowError, match="holds 3, but"):
        list(read_features(tmp_path, [3]))
