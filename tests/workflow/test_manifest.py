"""What a run leaves about itself: after it ended, well or not, and when it is asked for again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saeflow.artifacts.run import RUN_FOLDER, RUN_TABLES
from saeflow.artifacts.tables import read_table
from tests.workflow.running import SMOKE, artifact_digests, environment, planned, snakemake

pytestmark = pytest.mark.workflow


def rows(project: Path, name: str) -> list[dict[str, object]]:
    path = project / RUN_FOLDER / f"{name}.parquet"
    return read_table(path, RUN_TABLES[name]).to_pylist()


def about(project: Path) -> dict[str, str]:
    return {str(row["name"]): str(row["value"]) for row in rows(project, "environment")}


def saeflow(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = environment() | {"PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-m", "saeflow", *arguments]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


def test_a_finished_run_is_told(finished: Path) -> None:
    told = about(finished)
    assert told["status"] == "finished"
    assert told["SAEFLOW_DEVICE"] == "cpu"
    files = {row["path"]: row for row in rows(finished, "artifacts")}
    digests = artifact_digests(finished / "results")
    assert {f"results/{name}": digest for name, digest in digests.items()} == {
        path: row["sha256"] for path, row in files.items()
    }
    assert all(row["rule"] for row in files.values())
    jobs = rows(finished, "jobs")
    assert {row["job"] for row in jobs} == {
        path.relative_to(finished / "results/benchmarks").with_suffix("").as_posix()
        for path in (finished / "results/benchmarks").rglob("*.tsv")
    }
    assert all(row["seconds"] and row["threads"] for row in jobs)
    devices = {row["device"] for row in jobs if row["rule"] == "capture_thoughts"}
    assert devices == {"cpu"}
    page = (finished / "results/report/run.html").read_text(encoding="utf-8")
    assert "results/gsm8k/llama/summary.parquet" in page
    models = {row["name"]: row for row in rows(finished, "sources") if row["kind"] == "model"}
    assert all(row["revision"] for row in models.values())


def test_a_failed_run_is_told(finished: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    table = project / "results/datasets/generated/problems.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    done = snakemake(
        project, "results/datasets/generated/cot_tokens.parquet", "--forcerun", "cut_tokens", *SMOKE
    )
    assert done.returncode
    told = about(project)
    assert told["status"] == "failed"
    assert told["targets"] == "results/datasets/generated/cot_tokens.parquet"
    # What was there before is still told of.
    assert {row["path"] for row in rows(project, "artifacts")} >= {
        "results/gsm8k/llama/summary.parquet",
        "results/report/index.html",
    }
    assert "failed" in (project / "results/report/run.html").read_text(encoding="utf-8")


def test_a_manifest_that_cannot_be_written_fails_no_run(finished: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    shutil.rmtree(project / RUN_FOLDER)
    (project / RUN_FOLDER).write_text("in the way")
    (project / "results/datasets/generated/cot_tokens.parquet").unlink()
    done = snakemake(project, "results/datasets/generated/cot_tokens.parquet", *SMOKE)
    assert done.returncode == 0, done.stdout
    assert "warning: results/run was not written" in done.stdout


def test_the_command_tells_the_same_and_finds_what_changed(finished: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    before = rows(project, "artifacts"), rows(project, "configuration")
    shutil.rmtree(project / RUN_FOLDER)
    done = saeflow(project, "manifest", *SMOKE)
    assert done.returncode == 0, done.stderr
    assert (rows(project, "artifacts"), rows(project, "configuration")) == before
    assert planned(project, *SMOKE) == {}
    checked = saeflow(project, "manifest", "--check")
    assert checked.returncode == 0, checked.stdout
    (project / "results/compare/gsm8k.parquet").unlink()
    checked = saeflow(project, "manifest", "--check")
    assert checked.returncode == 1
    assert "results/compare/gsm8k.parquet: is gone" in checked.stdout
