"""`saeflow plan` against what Snakemake would run, and the sentence of a machine without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from saeflow.config.root import parse_config
from saeflow.plan import jobs
from tests.configs import default_values
from tests.conftest import ROOT
from tests.workflow.running import SMOKE, copy_project, environment, planned, snakemake

pytestmark = pytest.mark.workflow

# Two starts of Snakemake for each: make soak asks for all of them.
PRESETS = sorted(
    path
    for path in (ROOT / "workflow/presets").rglob("*.yaml")
    if path.name == "paper.yaml" or os.environ.get("SAEFLOW_SOAK")
)
NEEDY = "compute: {gpu_memory_gb: 24}\n"
SENTENCE = "this configuration needs a GPU with 24 GB of memory"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("plan") / "a project")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))


def saeflow(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line of a copy of the project."""
    return subprocess.run(
        [sys.executable, "-m", "saeflow", *arguments],
        cwd=project,
        env=environment() | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def plan(project: Path, *arguments: str) -> dict[str, Any]:
    done = saeflow(project, "plan", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def files(folder: Path) -> dict[str, float]:
    """Everything below a folder but compiled modules, with the time of the last change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path.is_file()
    } | {
        str(path.relative_to(folder)): 0.0
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path.is_dir()
    }


def options(path: Path) -> list[str]:
    """What gives a preset, or one in its small form, to both commands."""
    whole = [] if path.parent.name == "presets" else [f"workflow/presets/{path.name}"]
    return ["--configfile", *whole, str(path.relative_to(ROOT))]


@pytest.mark.parametrize("path", [None, *PRESETS], ids=str)
def test_jobs_are_those_of_a_dry_run(project: Path, path: Path | None) -> None:
    given = [] if path is None else options(path)
    found = plan(project, *given)
    dry = planned(project, *given)
    assert {row["rule"]: row["jobs"] for row in found["rules"]} == dry
    assert found["jobs"] == sum(dry.values()) > 20
    assert found["gpu_jobs"] < found["jobs"]
    assert found["disk"]["unknown_models"] == []
    assert not (project / "results/models").exists()
    # Limits that a large machine has: no preset asks for the impossible.
    assert 2000 <= found["mem_mb"] < 64_000
    assert 0 < found["time"]["critical_s"] <= found["time"]["elapsed_s"] <= found["time"]["total_s"]


def test_shards_are_planned(project: Path) -> None:
    targets = ["results/capture/llama/generated", "results/saes/llama/llama_wide/seed0"]
    asked = ["--set-scatter", "capture=4", "training=2"]
    found = plan(project, *targets, *asked)
    rules = {row["rule"]: row for row in found["rules"]}
    assert {name: row["jobs"] for name, row in rules.items()} == planned(project, *targets, *asked)
    assert rules["capture_thoughts_shard"]["jobs"] == 4
    assert rules["train_wide_llama_documents_0_shard"]["jobs"] == 2
    whole = plan(project, *targets)
    for told in ("bytes", "kinds"):
        assert found["disk"][told] == whole["disk"][told]
    assert found["gpu_memory"]["gb"] < whole["gpu_memory"]["gb"]
    refused = saeflow(project, "plan", "--set-scatter", "captures=2")
    assert refused.returncode != 0
    assert "set-scatter names 'captures'; expected one of capture" in refused.stderr


def test_nothing_is_written_and_no_model_library_is_loaded(project: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from saeflow.cli import main; code = main(sys.argv[1:]); "
        "found = [m for m in ('torch', 'transformers', 'sae_lens') if m in sys.modules]; "
        "print(found, file=sys.stderr); sys.exit(code)"
    )
    empty, missing = tmp_path / "empty run", tmp_path / "missing"
    empty.mkdir()
    before = files(project)
    for folder in (empty, missing):
        done = subprocess.run(
            [sys.executable, "-c", script, "plan", "-d", str(folder)],
            cwd=project,
            env=environment() | {"PYTHONPATH": str(project / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr.split("\n")[-2]) == (0, "[]"), done.stderr
    assert list(empty.iterdir()) == []
    assert not missing.exists()
    plan(project)
    after = files(project)
    changed = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
    # Any Snakemake drops what a dry run before it left in its cache.
    assert not {name for name in changed if not name.startswith(".snakemake/iocache/")}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("written", ["locks/0.input.lock", "metadata/cmVzdWx0"])
def test_a_run_that_starts_meanwhile_keeps_what_it_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, written: str
) -> None:
    state = tmp_path / ".snakemake"
    if there:
        (state / "metadata").mkdir(parents=True)

    def built(*_: object) -> jobs.Planned:
        for name in ("locks", "metadata", "incomplete"):
            (state / name).mkdir(parents=True, exist_ok=True)
        (state / written).write_text("of the run")
        return jobs.Planned(parse_config(default_values()), [], 0)

    monkeypatch.setattr(jobs, "_built", built)
    jobs.planned_jobs(ROOT, [], [], tmp_path)
    assert (state / written).read_text() == "of the run"
    assert (state / "incomplete").is_dir()


def test_lines_for_people_say_all(project: Path) -> None:
    done = saeflow(project, "plan", "--configfile", "workflow/presets/codi.yaml", "--cores", "8")
    assert done.returncode == 0
    for part in ("jobs  ", "memory", "GPU     16 GB of memory are needed", "8 cores and 1 GPU"):
        assert part in done.stdout
    assert "models from the hub" in done.stdout
    assert done.stderr == ""


def test_targets_and_machines_count(project: Path) -> None:
    whole, one = plan(project), plan(project, "gsm8k")
    assert one["jobs"] < whole["jobs"]
    fast = plan(project, "gsm8k", "--cores", "64")
    slow = plan(project, "gsm8k", "--cores", "1", "--gpus", "1")
    assert fast["time"]["critical_s"] == slow["time"]["critical_s"]
    assert fast["time"]["elapsed_s"] < slow["time"]["elapsed_s"] == slow["time"]["total_s"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["scalin"], "did you mean 'scaling'?"),
        (["--configfile", "absent.yaml"], "absent.yaml does not exist"),
        (["--configfile", "{wrong}"], "compute.threadz is no known key; did you mean 'threads'?"),
        (["-d", "config.yaml"], "config.yaml is a file"),
    ],
)
def test_errors_are_one_sentence(
    project: Path, tmp_path: Path, arguments: list[str], part: str
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("compute: {threadz: 2}\n")
    done = saeflow(project, "plan", *(each.format(wrong=wrong) for each in arguments))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_finished_run_has_no_jobs_left(finished: Path) -> None:
    found = plan(finished, *SMOKE)
    assert (found["jobs"], found["rules"], found["mem_mb"]) == (0, [], 0)
    assert found["disk"]["bytes"] == found["time"]["elapsed_s"] == 0
    assert found["up_to_date"] > 20
    told = saeflow(finished, "plan", *SMOKE).stdout
    assert told.startswith("0 jobs: ")


def test_what_was_measured_is_used(finished: Path) -> None:
    pages = finished / "workflow/report/page.css"
    text = pages.read_text()
    pages.write_text(f"{text}\n/* changed */\n")
    try:
        found = plan(finished, *SMOKE)
        assert [row["rule"] for row in found["rules"]] == ["write_report"]
        assert found["time"]["measured_jobs"] == 1
        assert 0 < found["time"]["elapsed_s"] < 600
    finally:
        pages.write_text(text)


@pytest.fixture
def needy(project: Path) -> Path:
    path = project / "needy.yaml"
    path.write_text(NEEDY)
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def start(project: Path, folder: Path, *arguments: str, device: str) -> tuple[int, str]:
    """Start a run in a folder of its own."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-d", str(folder), *arguments]
    done = subprocess.run(
        command,
        cwd=project,
        env=environment() | {"SAEFLOW_DEVICE": device},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return done.returncode, done.stdout


@pytest.mark.usefixtures("no_gpu")
def test_a_run_without_the_gpu_that_it_needs_stops_before_its_first_job(
    project: Path, needy: Path, tmp_path: Path
) -> None:
    target = "results/capture/llama/generated"
    code, told = start(project, tmp_path, target, "--configfile", str(needy), device="")
    assert code != 0
    assert told.count(SENTENCE) == 1, told
    assert "no CUDA device is visible" in told
    assert "SAEFLOW_DEVICE=cpu" in told
    assert "Traceback" not in told
    assert not any((tmp_path / "results").rglob("*.parquet"))
    # The folder is free again.
    assert not any((tmp_path / ".snakemake").glob("locks/*"))


def test_a_gpu_that_is_too_small_is_told(
    project: Path, needy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '0, GPU-aaaa, NVIDIA T4, 16384'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    target = "results/capture/llama/generated"
    code, told = start(project, tmp_path / "run", target, "--configfile", str(needy), device="")
    assert code != 0
    assert "the largest of this machine has 17 GB" in told


@pytest.mark.usefixtures("no_gpu")
def test_a_dry_run_and_jobs_without_a_gpu_need_none(
    project: Path, needy: Path, tmp_path: Path
) -> None:
    dry = start(project, tmp_path, "-n", "--configfile", str(needy), device="")
    assert (dry[0], SENTENCE in dry[1]) == (0, False)
    target = "results/datasets/generated/problems.parquet"
    code, told = start(project, tmp_path, target, "--configfile", str(needy), device="")
    assert (code, SENTENCE in told) == (0, False), told
    assert (tmp_path / target).is_file()


@pytest.mark.usefixtures("no_gpu")
def test_the_variable_computes_on_the_cpu_with_a_warning(
    project: Path, needy: Path, tmp_path: Path
) -> None:
    target = "results/decimal_bug/llama/answers.parquet"
    given = (target, "--configfile", str(needy), "tests/config/smoke.yaml")
    code, told = start(project, tmp_path, *given, device="cpu")
    assert code == 0, told
    assert told.count("warning: SAEFLOW_DEVICE=cpu") == 1
    assert (tmp_path / target).is_file()
    # What a GPU needs rebuilds nothing.
    again = snakemake(
        project, "-n", target, "-d", str(tmp_path), "--configfile", "tests/config/smoke.yaml"
    )
    assert "Nothing to be done" in again.stdout


@pytest.mark.usefixtures("no_gpu")
def test_a_job_on_another_node_says_it_itself(project: Path, needy: Path, tmp_path: Path) -> None:
    """Hooks of Snakemake do not run in the process that SLURM starts on a node."""
    target = "results/decimal_bug/llama/answers.parquet"
    given = ("--no-hooks", target, "--configfile", str(needy))
    code, told = start(project, tmp_path, *given, device="")
    assert code != 0
    assert SENTENCE in told
    assert "Traceback" not in told
    assert not (tmp_path / target).exists()
