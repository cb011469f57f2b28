"""The command line, in this process."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saeflow import cli
from saeflow.artifacts.catalog import ANSWERS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.artifacts.vectors import Vectors, write_vectors
from saeflow.cli import main
from saeflow.datasets.gsm8k import read_problems
from saeflow.generated_files import WILDCARDS, wildcards_page

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rows = 30
    columns = {"problem": list(range(rows)), "text": ["ünï"] * rows, "predicted": [None] * rows,
               "gold": np.arange(rows) * 1.5, "correct": [False] * rows,
               "decoded": [["1"]] * rows}  # fmt: skip
    write_table(columns, tmp_path / "answers.parquet", ANSWERS, Provenance("abc", seed=4))
    return tmp_path / "answers.parquet"


@pytest.fixture
def chunk(tmp_path: Path) -> Path:
    problem = np.arange(6, dtype=np.int32)
    values = np.arange(48, dtype=np.float32).reshape(6, 8)
    vectors = Vectors(problem, np.zeros(6, np.int16), values, "float32")
    path = tmp_path / "layer0" / "chunk0.parquet"
    write_vectors(vectors, path, Provenance("abc"))
    return path


def test_show_prints_provenance_columns_and_rows(answers: Path, capsys: Capture) -> None:
    assert main(["show", str(answers), "--rows", "3"]) == 0
    text = capsys.readouterr().out
    assert f"{answers}: answers, 30 rows" in text
    assert ANSWERS.about in text
    assert "abc" in text
    assert "Number after #### in the problem." in text
    assert text.count("ünï") == 3


def test_show_json_is_one_object(answers: Path, capsys: Capture) -> None:
    assert main(["show", str(answers), "--rows", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["n_rows"], len(found["rows"])) == ("answers", 30, 2)
    assert found["provenance"]["seed"] == "4"
    assert found["rows"][1] == {"problem": 1, "text": "ünï", "predicted": None, "gold": 1.5,
                                "correct": False, "decoded": ["1"]}  # fmt: skip
    assert [column["name"] for column in found["columns"]] == ANSWERS.column_names()


@pytest.mark.parametrize("extra", [[], ["--json"], ["--rows", "0"]])
def test_show_understands_vectors_and_foreign_files(
    chunk: Path, tmp_path: Path, capsys: Capture, extra: list[str]
) -> None:
    assert main(["show", str(chunk), *extra]) == 0
    table = pa.table({"day": [datetime.date(2020, 1, 2)], "raw": [b"\xff"], "z": [float("nan")]})
    pq.write_table(table, tmp_path / "foreign.parquet")
    assert main(["show", str(tmp_path / "foreign.parquet"), *extra]) == 0
    assert "saeflow did not write" in capsys.readouterr().out


def one_sentence(capsys: Capture) -> str:
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("place", [0.0, 0.05, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_show_tells_a_damaged_file(answers: Path, place: float, how: str, capsys: Capture) -> None:
    raw = bytearray(answers.read_bytes())
    spot = int(place * len(raw))
    if how == "cut":
        raw = raw[:spot]
    else:
        raw[spot : spot + 8] = bytes(255 - byte for byte in raw[spot : spot + 8])
    answers.write_bytes(raw)
    code = main(["show", str(answers)])
    if how == "cut" or place in (0.05, 0.99):
        assert code == 1
    if code:
        assert str(answers) in one_sentence(capsys)


def test_show_of_what_is_no_table_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert main(["show", str(tmp_path)]) == 1
    assert "is a folder" in one_sentence(capsys)
    (tmp_path / "notes.md").write_text("text")
    assert main(["show", str(tmp_path / "notes.md")]) == 1
    told = one_sentence(capsys)
    assert "is no table" in told
    assert "elete" not in told


def test_show_of_nothing_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert main(["show", str(tmp_path / "absent.parquet")]) == 1
    assert "does not exist" in one_sentence(capsys)
    assert main(["show", str(tmp_path)]) == 1


@pytest.mark.parametrize("rows", ["-1", "x"])
def test_show_refuses_a_count_that_is_none(answers: Path, rows: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as end:
        main(["show", str(answers), "--rows", rows])
    assert end.value.code == 2
    assert "--rows" in capsys.readouterr().err


def test_reader_that_went_away_is_no_error(
    answers: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(options: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "_show", gone)
    assert main(["show", str(answers)]) == 1
    assert capsys.readouterr().err == ""


def test_export_writes_lists(chunk: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "out.parquet"
    assert main(["export-vectors", str(chunk.parent), str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 6 vectors\n"
    assert pq.read_table(target)["vector"].to_pylist()[1] == list(range(8, 16))
    assert main(["export-vectors", str(tmp_path / "absent"), str(target)]) == 1
    assert "does not exist" in one_sentence(capsys)


def test_export_to_where_nothing_can_be_written(
    chunk: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    assert main(["export-vectors", str(chunk), str(tmp_path / "file" / "out.parquet")]) == 1
    assert "file" in one_sentence(capsys)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_problems_are_written_and_repeatable(split: str, tmp_path: Path, capsys: Capture) -> None:
    for name in ("a", "b"):
        target = str(tmp_path / f"{name}.jsonl")
        assert main(["problems", target, "--count", "12", "--seed", "3", "--split", split]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'a.jsonl'}: 12 problems")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert len(read_problems(tmp_path / "a.jsonl")) == 12


def test_impossible_count_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert main(["problems", str(tmp_path / "a.jsonl"), "--count", "-1"]) == 1
    one_sentence(capsys)
    assert not (tmp_path / "a.jsonl").exists()


def test_unlock_says_what_it_did(tmp_path: Path, capsys: Capture) -> None:
    assert main(["unlock", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    lock = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert main(["unlock", str(tmp_path)]) == 0
    assert "removed the lock" in capsys.readouterr().out
    assert not lock.exists()


def test_generated_files_are_current(capsys: Capture) -> None:
    code = main(["schema", "--check"])
    assert (code, capsys.readouterr().out) == (0, "")


def test_schema_writes_what_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copy(cli.ROOT / "Snakefile", tmp_path)
    for folder in ("rules", "presets"):
        shutil.copytree(cli.ROOT / "workflow" / folder, tmp_path / "workflow" / folder)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    assert main(["schema", "--check"]) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert main(["schema"]) == 0
    assert main(["schema", "--check"]) == 0
    assert "configuration.md: written" in capsys.readouterr().out
    schema = json.loads((tmp_path / "workflow" / "schemas" / "config.schema.json").read_text())
    assert set(schema["properties"]) >= {"datasets", "models", "dictionaries", "studies"}


def test_every_wildcard_of_the_rules_is_told() -> None:
    page = wildcards_page(cli.ROOT)
    rows = re.findall(r"^\| `\w+` \| (`results/.*) \|$", page, re.M)
    assert len(rows) > 10
    assert set(re.findall(r"{(\w+)}", "".join(rows))) <= set(WILDCARDS)
    rules = "".join(path.read_text() for path in cli.ROOT.glob("workflow/rules/*.smk"))
    written = re.findall(r"^rule (\w+):(?:(?!^rule ).*\n)*?    output:", rules, re.M)
    assert set(written) == set(re.findall(r"^\| `(\w+)` \| `results/", page, re.M))


def test_version_and_help(capsys: Capture) -> None:
    for arguments in (["--version"], ["--help"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
    assert "saeflow 0.1.0" in capsys.readouterr().out
