"""Tables on disk: what is written is read, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.catalog import ANSWERS, ARTIFACTS, LABELS, SUMMARY
from saeflow.artifacts.provenance import Provenance, config_digest, inherit, metadata_of
from saeflow.artifacts.schema import Artifact
from saeflow.artifacts.sealing import sealed_writer
from saeflow.artifacts.tables import gather_tables, known_artifact, read_table, write_table
from saeflow.errors import SaeflowError
from tests.sentences import check_sentence

PROVENANCE = Provenance(config="abc", seed=3, dataset_revision="d1", packages=("numpy",))
KINDS = pytest.mark.parametrize("artifact", ARTIFACTS.values(), ids=list(ARTIFACTS))


def values_of(kind: pa.DataType, rows: int, rng: np.random.Generator) -> list[Any]:
    if pa.types.is_string(kind):
        return [f"ü{number}" for number in rng.integers(0, 9, rows)]
    if pa.types.is_list(kind):
        values: list[Any] = ["a", "b"] if pa.types.is_string(kind.value_type) else [3, 1]
        if pa.types.is_boolean(kind.value_type):
            values = [True, False]
        return [values[: number % 3] for number in range(rows)]
    if pa.types.is_boolean(kind):
        return [bool(number) for number in rng.integers(0, 2, rows)]
    if pa.types.is_floating(kind):
        return [float(number) for number in rng.normal(size=rows).astype(np.float32)]
    return [int(number) for number in rng.integers(0, 100, rows)]


def columns_of(artifact: Artifact, rows: int = 50, seed: int = 0) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    columns = {column.name: values_of(column.type, rows, rng) for column in artifact.columns}
    for column in artifact.columns:
        if column.nullable:
            columns[column.name][rows // 2 :] = [None] * (rows - rows // 2)
    # Keys name a row, so that sorting leaves no choice.
    last = next(each for each in artifact.keys[::-1] if isinstance(columns[each][0], int | str))
    kind = next(column.type for column in artifact.columns if column.name == last)
    columns[last] = [f"{n:04}" if pa.types.is_string(kind) else n for n in rng.permutation(rows)]
    return columns


@KINDS
def test_round_trip_sorts_rows_and_keeps_everything(artifact: Artifact, tmp_path: Path) -> None:
    columns = columns_of(artifact)
    write_table(columns, tmp_path / "a.parquet", artifact, PROVENANCE)
    found = read_table(tmp_path / "a.parquet", artifact)
    expected = pa.table([pa.array(columns[n], t.type) for n, t in
                         zip(artifact.column_names(), artifact.columns, strict=True)],
                        schema=artifact.schema())  # fmt: skip
    expected = expected.sort_by([(key, "ascending") for key in artifact.keys])
    assert found.schema.equals(artifact.schema())
    assert found.to_pydict() == expected.to_pydict()


@KINDS
def test_same_table_is_same_bytes_whatever_its_order(artifact: Artifact, tmp_path: Path) -> None:
    columns = columns_of(artifact)
    order = np.random.default_rng(1).permutation(50)
    shuffled = {name: [columns[name][row] for row in order] for name in reversed(columns)}
    chunked = pa.concat_tables([pa.table(read_back(columns, artifact, tmp_path))[:0],
                                read_back(shuffled, artifact, tmp_path)])  # fmt: skip
    write_table(columns, tmp_path / "a.parquet", artifact, PROVENANCE)
    write_table(shuffled, tmp_path / "b.parquet", artifact, PROVENANCE)
    write_table(chunked, tmp_path / "c.parquet", artifact, PROVENANCE)
    bytes_of = {path.read_bytes() for path in tmp_path.glob("[abc].parquet")}
    assert len(bytes_of) == 1


def read_back(columns: dict[str, Any], artifact: Artifact, folder: Path) -> pa.Table:
    write_table(columns, folder / "back.parquet", artifact, PROVENANCE)
    return read_table(folder / "back.parquet", artifact)


@KINDS
def test_metadata_are_sorted_and_complete(artifact: Artifact, tmp_path: Path) -> None:
    write_table(columns_of(artifact), tmp_path / "a.parquet", artifact, PROVENANCE)
    found = metadata_of(pq.read_schema(tmp_path / "a.parquet"))
    raw = (tmp_path / "a.parquet").read_bytes()
    # pyarrow hands them over in an order of its own, so look at the file.
    places = [raw.rindex(f"saeflow.{key}".encode()) for key in sorted(found)]
    assert places == sorted(places)
    assert found["artifact"] == artifact.name
    assert found["schema_version"] == str(artifact.version)
    assert found["version.numpy"] == np.__version__
    assert (found["config"], found["seed"], found["dataset_revision"]) == ("abc", "3", "d1")


@KINDS
def test_columns_are_described_and_none_is_binary(artifact: Artifact) -> None:
    assert known_artifact(artifact.name) is artifact
    assert set(artifact.keys) <= set(artifact.column_names())
    assert len(set(artifact.column_names())) == len(artifact.columns)
    assert artifact.about.endswith(".")
    for column in artifact.columns:
        assert column.about.endswith("."), column.name
        assert not pa.types.is_binary(column.type), column.name
        assert not pa.types.is_fixed_size_binary(column.type), column.name
        assert not pa.types.is_large_binary(column.type), column.name


def test_row_groups_have_a_fixed_size(tmp_path: Path) -> None:
    rows = 65_536 + 5
    table = {"problem": np.arange(rows), "text": ["x"] * rows, "predicted": np.zeros(rows),
             "gold": np.zeros(rows), "correct": np.zeros(rows, bool), "decoded": [["1"]] * rows}  # fmt: skip
    write_table(table, tmp_path / "a.parquet", ANSWERS, PROVENANCE)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert [metadata.row_group(i).num_rows for i in range(2)] == [65_536, 5]


def test_columns_and_filters_read_a_part(tmp_path: Path) -> None:
    write_table(columns_of(ANSWERS), tmp_path / "a.parquet", ANSWERS, PROVENANCE)
    found = read_table(tmp_path / "a.parquet", ANSWERS, ["problem"], [("problem", "<", 7)])
    assert found.to_pydict() == {"problem": list(range(7))}


def broken(name: str, how: str) -> Any:
    columns: dict[str, Any] = columns_of(ANSWERS)
    if how == "missing":
        del columns[name]
    elif how == "null":
        columns[name] = [None, *columns[name][1:]]
    elif how == "text":
        columns[name] = ["x"] * 50
    elif how == "extra":
        columns = dict(pa.table(columns).to_pydict())
        columns[name] = [0] * 50
        return pa.table(columns)
    elif how == "huge":
        columns[name] = [2**40] * 50
    elif how == "table":
        return pa.table({**columns, name: pa.array(["x"] * 50)})
    elif how == "nan":
        columns[name] = np.full(50, np.nan)
    return columns


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("gold", "missing"),
        ("surplus", "extra"),
        ("problem", "null"),
        ("gold", "nan"),
        ("gold", "text"),
        ("problem", "huge"),
        ("gold", "table"),
    ],
)
def test_table_that_does_not_fit_is_refused(name: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(columns_of(ANSWERS), path, ANSWERS, PROVENANCE)
    before = path.read_bytes()
    with pytest.raises(SaeflowError) as caught:
        write_table(broken(name, how), path, ANSWERS, PROVENANCE)
    assert str(path) in str(caught.value)
    assert "answers" in str(caught.value)
    if how != "table":
        assert repr(name) in str(caught.value)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]


def test_wrong_kind_and_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    write_table(columns_of(LABELS), tmp_path / "labels.parquet", LABELS, PROVENANCE)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no parquet at all")
    (tmp_path / "empty.parquet").touch()
    for name, part in [
        ("labels", "is a table of kind 'labels'; expected kind 'answers'"),
        ("foreign", "carries no checksum, so it is damaged or saeflow did not write it"),
        ("text", "cannot be read as Parquet"),
        ("empty", "cannot be read as Parquet"),
        ("absent", "does not exist"),
    ]:
        with pytest.raises(SaeflowError, match=part) as caught:
            read_table(tmp_path / f"{name}.parquet", ANSWERS)
        assert str(tmp_path / f"{name}.parquet") in str(caught.value)
        assert "\n" not in str(caught.value)


def rewrite(path: Path, change: Any) -> None:
    table = change(pq.read_table(path))
    with sealed_writer(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t: t.drop_columns(["gold"]), "no column 'gold'"),
        (
            lambda t: t.set_column(3, "gold", t["gold"].cast(pa.float32())),
            "column 'gold' is float; 'answers' expects double",
        ),
        (
            lambda t: t.set_column(3, "gold", pa.nulls(len(t), pa.float64())),
            "column 'gold' of 'answers' holds a missing value",
        ),
        (
            lambda t: t.replace_schema_metadata(
                {**t.schema.metadata, b"saeflow.schema_version": b"9"}
            ),
            "has version 9 of 'answers'; expected 2",
        ),
    ],
)
def test_changed_file_is_refused(change: Any, part: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(columns_of(ANSWERS), path, ANSWERS, PROVENANCE)
    rewrite(path, change)
    with pytest.raises(SaeflowError, match=part):
        read_table(path, ANSWERS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, pa.Table, Path]:
    path = tmp_path_factory.mktemp("tables") / "a.parquet"
    write_table(columns_of(ANSWERS, rows=40), path, ANSWERS, PROVENANCE)
    return path.read_bytes(), read_table(path, ANSWERS), path.with_name("damaged.parquet")


@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_named(sound: tuple[bytes, pa.Table, Path], share: float) -> None:
    raw, _, path = sound
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(SaeflowError, match=r"damaged\.parquet") as caught:
        read_table(path, ANSWERS)
    assert "\n" not in str(caught.value)


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_flipped_byte_never_gives_other_data(
    sound: tuple[bytes, pa.Table, Path], share: float, mask: int
) -> None:
    raw, table, path = sound
    damaged = bytearray(raw)
    damaged[int(share * len(raw))] ^= mask
    path.write_bytes(damaged)
    try:
        assert read_table(path, ANSWERS).equals(table)
    except SaeflowError as error:
        check_sentence(error, "damaged.parquet")


def test_gathering_sorts_and_merges_the_digests(tmp_path: Path) -> None:
    parts = []
    for index, seed in enumerate([1, 0]):
        columns = {**columns_of(SUMMARY, seed=seed), "seed": [seed] * 50}
        path = tmp_path / f"part{index}.parquet"
        write_table(columns, path, SUMMARY, Provenance(config=f"c{seed}", dataset_revision="d"))
        parts.append(path)
    gather_tables(parts, tmp_path / "all.parquet", SUMMARY)
    gather_tables(parts[::-1], tmp_path / "again.parquet", SUMMARY)
    found = read_table(tmp_path / "all.parquet", SUMMARY)
    keys = [tuple(map(str, row.values())) for row in found.select(["dataset"]).to_pylist()]
    assert len(found) == 100
    assert keys == sorted(keys)
    assert metadata_of(found.schema)["config"] == "c0+c1"
    assert (tmp_path / "all.parquet").read_bytes() == (tmp_path / "again.parquet").read_bytes()


def test_provenance_is_inherited_from_sources() -> None:
    def table(provenance: Provenance) -> pa.Table:
        return pa.table({"a": [1]}).replace_schema_metadata(provenance.metadata())

    first = table(Provenance("c1", seed=1, dataset_revision="d1", packages=("numpy",)))
    second = table(Provenance("c2", seed=2, model_revision="m2", packages=("torch",)))
    both = inherit(first, second)
    assert (both.config, both.seed, both.dataset_revision) == ("c1", 1, "d1")
    assert (both.model_revision, both.packages) == ("m2", ("numpy", "torch"))
    own = inherit(first, second.schema, config="c3", seed=0, model_revision="m", extra={"k": "v"})
    assert (own.config, own.seed, own.model_revision) == ("c3", 0, "m")
    assert own.metadata()["saeflow.k"] == "v"
    assert list(own.metadata()) == sorted(own.metadata())
    assert (
        Provenance("c", packages=("nothing-of-the-kind",)).metadata()[
            "saeflow.version.nothing-of-the-kind"
        ]
        == "absent"
    )


def test_config_digest_ignores_the_order_of_keys_only() -> None:
    assert config_digest({"a": 1, "b": [1, 2]}) == config_digest({"b": [1, 2], "a": 1})
    assert config_digest({"a": 1, "b": [1, 2]}) != config_digest({"a": 1, "b": [2, 1]})
