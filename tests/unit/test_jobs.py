"""Scripts' context, locks and checks before the DAG."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from saeflow import jobs, preflight, runlock
from saeflow.config.root import Config, parse_config
from saeflow.device import resolve_device
from saeflow.errors import SaeflowError
from saeflow.jobs import job, run_keys
from saeflow.progress import progress
from saeflow.runlock import clear_stale_lock, record_owner
from saeflow.stopping import is_snakemake
from tests.configs import changed
from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(autouse=True)
def outlive_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "end_with_parent", lambda tell: None)


def run(error: BaseException | None, log: Path) -> int:
    """Exit code of a script whose body raises."""
    try:
        with job(SimpleNamespace(log=[str(log)])) as logger:
            logger.info("begun")
            if error is not None:
                raise error
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (SaeflowError("k is too large."), "error: k is too large."),
        (OSError(errno.ENOSPC, "x", "a/b"), "a/b cannot be written: the disk is full"),
        (OSError(errno.EDQUOT, "x", "a/b"), "a/b cannot be written: the disk quota is used up"),
        (OSError(errno.EROFS, "x", "a/b"), "a/b cannot be written: the file system is read-only"),
        (PermissionError(errno.EACCES, "x", "a/b"), "a/b cannot be written: permission is denied"),
        (OSError(errno.ENOSPC, "x"), "a result cannot be written: the disk is full"),
        (
            RuntimeError("I/O error: x (os error 28)"),
            "a result cannot be written: the disk is full",
        ),
        (MemoryError(), "memory is used up"),
    ],
)
def test_known_error_is_one_sentence_in_log_and_on_stderr(
    error: BaseException, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error, tmp_path / "logs" / "a.log") == 1
    text = (tmp_path / "logs" / "a.log").read_text(encoding="utf-8")
    assert "begun" in text
    assert sentence in text
    assert sentence in capsys.readouterr().err
    assert "Traceback" not in text
    assert "started: job, process" in text.splitlines()[0]
    assert "ended: " in text.splitlines()[-1]
    assert text.count("error: ") == 1


@pytest.mark.parametrize(
    "error",
    [
        KeyError("surprise"),
        OSError(errno.EIO, "surprise"),
        OSError("surprise"),
        RuntimeError("surprise (os error 5)"),
    ],
)
def test_other_error_leaves_its_traceback(error: BaseException, tmp_path: Path) -> None:
    assert run(error, tmp_path / "a.log") == 1
    text = (tmp_path / "a.log").read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "surprise" in text.splitlines()[-2]
    lost = isinstance(error, OSError)
    assert text.splitlines()[-1].endswith(
        "ended: file system" if lost else "ended: error in saeflow"
    )


def test_success_logs_and_a_second_run_starts_anew(tmp_path: Path) -> None:
    assert run(None, tmp_path / "a.log") == 0
    assert run(None, tmp_path / "a.log") == 0
    assert (tmp_path / "a.log").read_text(encoding="utf-8").count("begun") == 1


def test_script_without_a_log_still_tells(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), job(SimpleNamespace(log=[])):
        raise SaeflowError("ö")
    assert capsys.readouterr().err == "error: ö\n"


def test_progress_goes_to_the_log(tmp_path: Path) -> None:
    with job(SimpleNamespace(log=[str(tmp_path / "a.log")])):
        assert list(progress(range(25), description="work", total=25, unit="jobs")) == list(
            range(25)
        )
    lines = (tmp_path / "a.log").read_text(encoding="utf-8").splitlines()
    assert lines[-2].endswith("work: 25 of 25 jobs")
    assert 12 <= len(lines) <= 16


def test_run_keys_come_from_the_path() -> None:
    wildcards = SimpleNamespace(dataset="d", dictionary="k", seed="7")
    keys = run_keys(SimpleNamespace(wildcards=wildcards))
    assert keys == {"dataset": "d", "dictionary": "k", "seed": 7, "mode": "published"}


SLEEP = "import time; time.sleep(60)"
CHILD = """
import sys, time
from types import SimpleNamespace
from saeflow.jobs import job
with job(SimpleNamespace(log=[])):
    print("ready", flush=True)
    time.sleep(60)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[-1]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().strip(), flush=True)
child.wait()
"""


@pytest.fixture
def fake_snakemake(tmp_path: Path) -> Iterator[Any]:
    """Start a process that looks like a Snakemake, running some code in a folder."""
    script = tmp_path / "snakemake"
    started: list[subprocess.Popen[str]] = []

    def start(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        script.write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_orphan_ends_itself(fake_snakemake: Any, tmp_path: Path) -> None:
    parent = fake_snakemake(PARENT, tmp_path, CHILD)
    pid, ready = parent.stdout.readline().split()
    child = psutil.Process(int(pid))
    assert ready == "ready"
    time.sleep(1.2)
    assert child.is_running()  # it does not end while its Snakemake lives
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the orphan lives on"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-m", "snakemake", "--cores", "1"], True),
        (["/env/bin/python3.11", "/env/bin/snakemake", "all"], True),
        (["snakemake"], True),
        (["python", "-m", "pytest", "tests/snakemake/x.py"], False),
        (["vim", "a", "b", "c", "snakemake"], False),
        ([], False),
    ],
)
def test_snakemake_is_recognised_by_its_command(command: list[str], expected: bool) -> None:
    process = psutil.Process()
    process.cmdline = lambda: command  # type: ignore[method-assign]
    assert is_snakemake(process) is expected


def lock(folder: Path) -> Path:
    path = folder / ".snakemake" / "locks" / "0.input.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_folder_without_a_lock_is_left_alone(tmp_path: Path) -> None:
    assert clear_stale_lock(tmp_path) is False
    record_owner(tmp_path)
    assert clear_stale_lock(tmp_path) is False


@pytest.mark.parametrize("owner", ["gone", "unknown", "garbled"])
def test_stale_lock_is_removed(owner: str, tmp_path: Path) -> None:
    path = lock(tmp_path)
    if owner == "gone":
        ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                               capture_output=True, text=True, check=True)  # fmt: skip
        text = f"{socket.gethostname()}\n{ended.stdout.strip()}\n0.00\n"
        (tmp_path / runlock.OWNER).write_text(text)
    elif owner == "garbled":
        (tmp_path / runlock.OWNER).write_text("nonsense")
    assert clear_stale_lock(tmp_path) is True
    assert not path.exists()


def test_lock_of_a_live_run_stays(fake_snakemake: Any, tmp_path: Path) -> None:
    path = lock(tmp_path)
    process = fake_snakemake(f"print('up', flush=True)\n{SLEEP}", tmp_path)
    process.stdout.readline()
    with pytest.raises(SaeflowError, match=f"in use by process {process.pid}"):
        clear_stale_lock(tmp_path)
    assert path.exists()


def test_live_run_elsewhere_does_not_count(fake_snakemake: Any, tmp_path: Path) -> None:
    lock(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    process = fake_snakemake(f"print('up', flush=True)\n{SLEEP}", tmp_path / "elsewhere")
    process.stdout.readline()
    assert clear_stale_lock(tmp_path) is True


def test_lock_of_another_host_stays(tmp_path: Path) -> None:
    path = lock(tmp_path)
    record_owner(tmp_path)
    owner = tmp_path / runlock.OWNER
    assert owner.read_text().splitlines()[:2] == [socket.gethostname(), str(os.getpid())]
    owner.write_text("another-host\n12\n0.00\n")
    with pytest.raises(SaeflowError, match="process 12 of host another-host"):
        clear_stale_lock(tmp_path)
    assert path.exists()


def config_with_paths(root: Path, **changes: Any) -> Config:
    run = "studies.gsm8k.published.models.m"
    (root / "resources").mkdir(exist_ok=True)
    (root / "resources" / "mixture.yaml").touch()
    return parse_config(
        changed(
            {
                "models.m": {"weights": "path", "path": "model"},
                "datasets.p": {"source": "path", "path": "p.jsonl"},
                "datasets.unused": {"source": "path", "path": "absent"},
                "models.unused": {"weights": "path", "path": "absent"},
                "models.untrained": {"of": "m", "weights": "fresh"},
                run: {"datasets": ["p"], "dictionaries": ["llama_k100"]},
                **changes,
            }
        )
    )


def test_paths_that_studies_read_must_exist(tmp_path: Path) -> None:
    config = config_with_paths(tmp_path)
    steps = [
        ("datasets.p.path is 'p.jsonl', which does not exist", tmp_path / "p.jsonl"),
        ("models.m.path is 'model', which does not exist", tmp_path / "model"),
        ("holds no config.json", tmp_path / "model" / "config.json"),
        ("holds no weights", tmp_path / "model" / "pytorch_model.bin"),
        ("names no number of layers", None),
    ]
    for part, path in steps:
        with pytest.raises(SaeflowError, match=part):
            preflight.check_paths(config, tmp_path)
        if path is not None:
            path.mkdir() if path.name == "model" else path.write_text("{}")
        if path == tmp_path / "model" / "config.json":
            # The projection alone is no weights.
            (tmp_path / "model" / "codi_projection.safetensors").touch()
    (tmp_path / "model" / "config.json").write_text('{"n_layer": 3}')
    preflight.check_paths(config, tmp_path)
    layers = {"studies.gsm8k.published.layers": [3]}
    with pytest.raises(SaeflowError, match="model 'm' has the layers 0 to 2"):
        preflight.check_paths(config_with_paths(tmp_path, **layers), tmp_path)
    found = preflight.input_files(config.models["m"], tmp_path)
    assert [Path(path).name for path in found] == [
        "codi_projection.safetensors",
        "config.json",
        "pytorch_model.bin",
    ]
    assert not any(Path(path).is_absolute() for path in found)


def test_control_of_a_missing_directory_names_the_model_it_is_of(tmp_path: Path) -> None:
    run = "studies.gsm8k.published.models"
    (tmp_path / "p.jsonl").touch()
    only = {run: {"untrained": {"datasets": ["p"], "dictionaries": ["llama_k100"]}}}
    config = config_with_paths(tmp_path)
    config = parse_config(changed(only, config.model_dump(mode="json")))
    with pytest.raises(SaeflowError, match=r"models\.m\.path is 'model', which does not exist"):
        preflight.check_paths(config, tmp_path)
    (tmp_path / "model").mkdir()
    with pytest.raises(SaeflowError, match=r"models\.m\.path is .* no config\.json"):
        preflight.check_paths(config, tmp_path)


def test_results_must_be_a_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_environment(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SaeflowError, match="is read-only"):
        preflight.check_environment(tmp_path)
    (tmp_path / "results").touch()
    with pytest.raises(SaeflowError, match="results is a file"):
        preflight.check_environment(tmp_path)


def test_lists_of_what_studies_read() -> None:
    config = parse_config(changed({}))
    assert preflight.study_datasets(config) == ["balanced", "generated"]
    assert preflight.study_dictionaries(config)[:2] == [
        ("llama", "llama_k100", 0),
        ("llama", "llama_k100", 1),
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("cpu", "cpu"), (" CPU ", "cpu"), ("", None), ("cuda:99", "error"), ("x", "error")],
)
def test_device_follows_the_environment(
    wanted: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEFLOW_DEVICE", wanted)
    if found == "error":
        with pytest.raises(SaeflowError, match="SAEFLOW_DEVICE is"):
            resolve_device()
    else:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        assert resolve_device().type == (found or default)
