"""What a run was: its files, jobs, software, configuration, and the page about them."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import markupsafe
import psutil
import pyarrow as pa
import pytest

from saeflow.artifacts.catalog import ARTIFACTS, PROBLEMS
from saeflow.artifacts.digest import file_digest
from saeflow.artifacts.model_files import MODEL_FILES_TABLE
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.run import RUN_ARTIFACTS, RUN_TABLES
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.root import parse_config
from saeflow.errors import SaeflowError
from saeflow.manifest import files, hook
from saeflow.manifest.check import changed_files
from saeflow.manifest.environment import environment_rows
from saeflow.manifest.files import described_files
from saeflow.manifest.jobs import measured_jobs, rule_totals
from saeflow.manifest.rules import Makers
from saeflow.manifest.sources import configuration_rows, source_rows
from saeflow.report.run import duration_text, size_text
from tests.configs import changed
from tests.conftest import ROOT
from tests.report_tables import EVIL, make
from tests.run_tables import HEAD, RULES, config, manifest, problems, write_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_results(tmp_path)


def test_files_are_told_with_what_their_metadata_say(folder: Path) -> None:
    rows = {row["path"]: row for row in described_files(folder, Makers(RULES))}
    table = "results/datasets/small/problems.parquet"
    vectors = "results/capture/toy/small/resid_post/layer0/chunk0.parquet"
    assert list(rows) == [vectors, table, "results/gsm8k/toy/notes.txt"]
    told = rows[table]
    assert told["sha256"] == file_digest(folder / table)
    assert told["bytes"] == (folder / table).stat().st_size
    expected = ("load", "problems", PROBLEMS.version, 1, "c0ffee", 7, "d1", None)
    names = ("rule", "kind", "schema_version", "rows", "config", "seed", "dataset_revision")
    assert tuple(told[name] for name in (*names, "model_revision")) == expected
    assert [text.split()[0] for text in told["packages"]] == ["pyarrow", "saeflow"]
    # A damaged table is a file with a digest and no more.
    assert rows[vectors]["rule"] == "capture"
    assert rows[vectors]["kind"] == "parquet"
    assert rows[vectors]["rows"] is None
    assert rows["results/gsm8k/toy/notes.txt"]["rule"] is None


def test_shards_are_left_out(folder: Path) -> None:
    before = described_files(folder, Makers(RULES))
    shard = folder / "results/shards/capture/toy/small/0123456789ab/1-of-2"
    problems(shard / "answers.parquet")
    assert described_files(folder, Makers(RULES)) == before


def test_a_file_is_read_again_only_when_it_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(files, "file_digest", counted)
    first = described_files(folder, Makers(RULES))
    assert len(read) == 3
    assert described_files(folder, Makers(RULES)) == first
    assert len(read) == 3
    path = folder / "results/gsm8k/toy/notes.txt"
    before = path.stat()
    path.write_text("LEFT over")
    os.utime(path, ns=(0, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    later = described_files(folder, Makers(RULES))
    assert read[3:] == ["notes.txt"]
    assert later[-1]["sha256"] == file_digest(path)
    # What is remembered may be cut off by a full disk.
    (folder / files.KNOWN).write_text("abc\tx\n")
    assert described_files(folder, Makers(RULES)) == later
    assert len(read) == 7


def test_weights_that_were_fetched_are_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "results/models/large"
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"12345678")
    columns = {"file": ["model.safetensors"], "bytes": [8], "sha256": ["as fetched"]}
    columns |= {"repo": ["a/b"], "revision": ["f00"]}

    def told() -> str:
        rows = described_files(folder, Makers(RULES))
        return next(row["sha256"] for row in rows if row["path"].endswith(".safetensors"))

    write_table(columns, place / "files.parquet", MODEL_FILES_TABLE, Provenance("x"))
    assert told() == "as fetched"
    # One that was written after it was fetched is another.
    later = time.time_ns() + 10**9
    os.utime(place / "model.safetensors", ns=(later, later))
    assert told() == file_digest(place / "model.safetensors")


def test_files_behind_links_into_a_cache_are_told(folder: Path, tmp_path: Path) -> None:
    cached = tmp_path / "cache/abc"
    problems(cached / "resid_post/layer0/chunk0.parquet")
    linked = folder / "results/capture/toy/linked"
    linked.symlink_to(cached)
    rows = described_files(folder, Makers(RULES))
    own = [row for row in rows if row["path"].startswith("results/capture/toy/linked/")]
    assert [row["rule"] for row in own] == ["capture"]


def test_jobs_are_told_as_they_were_measured(folder: Path) -> None:
    start = time.time() - 100
    old = folder / "results/benchmarks/datasets/small.tsv"
    os.utime(old, (start - 10, start - 10))
    rows = measured_jobs(folder, Makers(RULES), start)
    assert [row["job"] for row in rows] == ["capture/toy/small", "datasets/small"]
    capture, load = rows
    assert capture["wildcards"] == ["dataset=small", "model=toy"]
    assert capture["latest"]
    assert not load["latest"]
    names = ("seconds", "cpu_seconds", "max_rss_mb", "read_mb", "written_mb", "threads", "device")
    assert [capture[name] for name in names] == [1, 2, 5, 9, 1, 3, "cuda, H200, 140 GB"]
    assert [load[name] for name in names] == [0.4, None, None, None, None, 3, None]


def test_totals_are_over_what_was_measured(folder: Path) -> None:
    totals = list(rule_totals(measured_jobs(folder, Makers(RULES), None)))
    found = {(row["rule"], row["metric"]): (row["value"], row["n"]) for row in totals}
    assert found["all", "jobs"] == (2, 2)
    assert found["all", "seconds"] == (1.4, 2)
    assert found["all", "cpu_seconds"] == (2, 1)
    assert found["all", "longest_seconds"] == (1, 2)
    assert found["load", "max_rss_mb"] == (None, 0)


def test_a_file_is_of_the_rule_whose_folder_it_lies_in() -> None:
    makers = Makers(RULES)
    inside = PurePosixPath("results/capture/toy/small/resid_post/layer0/chunk0.parquet")
    assert makers.rule_of(inside) == "capture"
    assert makers.rule_of(PurePosixPath("results/capture/toy")) is None


def test_every_key_of_the_configuration_is_told() -> None:
    told = config()
    rows = {row["key"]: json.loads(row["value"]) for row in configuration_rows(told)}
    assert rows["compute.threads"] == told.compute.threads
    assert rows["models.llama.path"] == "resources/models/llama"
    assert rows["studies.gsm8k.published.models.llama.seeds"] == [0, 1]
    assert list(rows) == sorted(rows)


def test_sources_carry_the_revisions_of_results() -> None:
    def row(path: str, rule: str | None = "capture", **more: str) -> dict[str, Any]:
        return {
            "path": path,
            "rule": rule,
            "model_revision": None,
            "dataset_revision": None,
            **more,
        }

    rows = source_rows(
        config(),
        [
            row("results/capture/llama/generated/answers.parquet", model_revision="m1"),
            row("results/capture/llama/old/answers.parquet", None, model_revision="m0"),
            row("results/datasets/generated/problems.parquet", dataset_revision="d1"),
        ],
    )
    found = {(each["kind"], each["name"]): each for each in rows}
    assert found["model", "llama"]["revision"] == "m1"
    assert found["model", "llama"]["origin"] == "path, path resources/models/llama"
    assert found["model", "llama"]["seed"] is None
    assert found["model", "llama_untrained"]["origin"] == "fresh, of llama"
    assert found["model", "llama_untrained"]["seed"] == 0
    assert found["model", "gpt2"]["revision"] is None
    assert found["data set", "generated"]["revision"] == "d1"
    assert found["data set", "generated"]["seed"] == 0


def test_software_and_machine_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    rows = environment_rows(ROOT, {"status": "finished", "cores": ""})
    found = {(row["part"], row["name"]): row["value"] for row in rows}
    assert found["run", "status"] == "finished"
    assert found["run", "CUDA_VISIBLE_DEVICES"] == "1"
    assert ("run", "cores") not in found
    assert found["package", "pyarrow"] == pa.__version__
    assert float(found["machine", "memory"].removesuffix(" GB")) > 0.1
    assert found["machine", "processor"]


def test_an_installation_without_a_name_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("cut_off", ""), ("whole", "Name: whole\nVersion: 3\n")):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\n{text}")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = environment_rows(ROOT, {})
    packages = {row["name"]: row["value"] for row in rows if row["part"] == "package"}
    assert packages["whole"] == "3"
    assert all(packages)


def test_gpus_are_told_with_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H200, 143771 MiB, 570.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    rows = environment_rows(ROOT, {})
    told = [row["value"] for row in rows if row["part"] == "gpu"]
    assert told == ["NVIDIA H200, 143771 MiB, driver 570.1"]


def test_tables_fit_their_schemas_and_have_no_bytes(folder: Path) -> None:
    manifest(folder)
    for name, artifact in RUN_TABLES.items():
        assert ARTIFACTS[artifact.name] is artifact
        table = read_table(folder / "results/run" / f"{name}.parquet", artifact)
        assert len(table)
        assert not any(pa.types.is_binary(field.type) for field in table.schema)


def test_equal_runs_have_equal_tables_of_what_does_not_differ(folder: Path) -> None:
    paths = [folder / "results/run" / f"{name}.parquet" for name in ("configuration", "artifacts")]
    manifest(folder)
    first = [path.read_bytes() for path in paths]
    (folder / "results/benchmarks/capture/toy/small.tsv").write_text(f"{HEAD}2\t0\t5\n")
    manifest(folder)
    assert [path.read_bytes() for path in paths] == first


def test_the_page_is_filled_and_filled_again(folder: Path) -> None:
    report = make(folder / "other")
    empty = (report / "run.html").read_text(encoding="utf-8")
    assert "This page is filled when a run ends" in empty
    (folder / "results/report").parent.mkdir(exist_ok=True)
    report.rename(folder / "results/report")
    page = folder / "results/report/run.html"
    manifest(folder)
    once = page.read_text(encoding="utf-8")
    manifest(folder)
    twice = page.read_text(encoding="utf-8")
    for text in (once, twice):
        assert "This page is filled when" not in text
        assert text.count('id="rules-title"') == 1
        assert EVIL not in text
        assert str(markupsafe.escape(EVIL)) in text
        assert 'href="../run/jobs.parquet"' in text
        assert 'href="../datasets/small/problems.parquet"' in text
        assert "capture/toy/small" in text
    # The page itself is no artifact: it differs between equal runs.
    rows = read_table(folder / "results/run/artifacts.parquet", RUN_ARTIFACTS).to_pylist()
    told = {row["path"] for row in rows}
    assert "results/report/index.html" in told
    assert "results/report/run.html" not in told


def test_without_a_report_there_is_no_page(folder: Path) -> None:
    manifest(folder)
    assert not (folder / "results/report").exists()


def test_changed_files_are_found(folder: Path) -> None:
    with pytest.raises(SaeflowError, match=r"artifacts\.parquet does not exist"):
        changed_files(folder)
    manifest(folder)
    assert changed_files(folder) == (3, [])
    path = folder / "results/gsm8k/toy/notes.txt"
    before = path.stat()
    path.write_text("LEFT over")
    # Also where size and time are as before.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "results/datasets/small/problems.parquet").unlink()
    assert changed_files(folder) == (
        3,
        [
            ("results/datasets/small/problems.parquet", "is gone"),
            ("results/gsm8k/toy/notes.txt", "has another content"),
        ],
    )


def test_a_manifest_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(hook.logger, "warning", told.append)
    hook.after_run(SimpleNamespace(touch=False, globals={}), "finished")
    assert len(told) == 1
    assert "results/run was not written ('ROOT'); try python -m saeflow manifest" in told[0]
    hook.after_run(SimpleNamespace(touch=True), "finished")
    assert len(told) == 1


def test_a_run_began_with_its_process_whatever_snakemake_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr("saeflow.manifest.write.write_manifest", given.append)
    workflow = SimpleNamespace(
        touch=False,
        globals={"ROOT": tmp_path, "CFG": parse_config(changed({}))},
        rules=[],
        resource_settings=SimpleNamespace(cores=2),
        local_exec=True,
        dag_settings=SimpleNamespace(targets=["b", "a"]),
    )
    hook.after_run(workflow, "finished")
    told = given[0].about
    begun = psutil.Process().create_time()
    assert abs(datetime.fromisoformat(told["started"]).timestamp() - begun) <= 1
    assert abs(float(told["seconds"]) - (time.time() - begun)) <= 2
    assert (told["cores"], told["executor"], told["targets"]) == ("2", "local", "a b")


class Stopped(dict[str, Any]):
    """What a Snakefile has set, asked for while the user presses Ctrl-C."""

    def __missing__(self, key: str) -> Any:
        raise KeyboardInterrupt


def test_a_manifest_that_is_stopped_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(hook.logger, "warning", told.append)
    hook.after_run(SimpleNamespace(touch=False, globals=Stopped()), "failed")
    assert told == [
        "warning: results/run was not written (KeyboardInterrupt); try python -m saeflow manifest"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61.0, "1 min 01 s"), (7260.0, "2 h 01 min")],
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_sizes_are_written_for_people() -> None:
    assert [size_text(size) for size in (12.0, 1500.0, 2.5e9)] == ["12 bytes", "1.5 kB", "2.5 GB"]
