"""GPUs that Snakemake's jobs have for themselves, on two simulated devices."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saeflow.gpu_slots import FOLDER
from tests.unit.test_gpu import TWO, put_nvidia_smi
from tests.workflow.running import ROOT, SMOKE, copy_project

A, B = "GPU-aaaa1111", "GPU-bbbb2222"
# Jobs as this project's: a rule with gpu, and a script in the context that all scripts have. The fourth
# dies with its GPU in its hands, and is tried again.
SNAKEFILE = """
rule all:
    input: expand("done/{number}", number=range(8))

rule compute:
    output: "done/{number}"
    log: "logs/{number}.log"
    retries: 1
    resources: gpu=lambda wildcards: 2 if wildcards.number == "6" else 1
    script: "compute.py"
"""
SCRIPT = """
import os, signal, time
from pathlib import Path
from saeflow.jobs import job

def note(what):
    line = f"{time.monotonic()} {os.getpid()} {what} {os.environ['CUDA_VISIBLE_DEVICES']}\\n"
    os.write(events, line.encode())

events = os.open("events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
with job(snakemake):
    note("begins")
    time.sleep(0.3)
    died = Path("died")
    note("ends")
    if snakemake.wildcards.number == "3" and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    Path(snakemake.output[0]).touch()
    os._exit(0)
"""


@pytest.fixture(autouse=True)
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_DEVICE_ORDER", "SAEFLOW_DEVICE", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(put_nvidia_smi(tmp_path / "bin", TWO)), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv(FOLDER, str(tmp_path / "slots"))


def snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def turns(folder: Path) -> Iterator[tuple[str, float, float]]:
    """GPU, begin and end of each process that had one."""
    begun: dict[str, float] = {}
    for line in (folder / "events").read_text().splitlines():
        at, process, what, names = line.split()
        if what == "begins":
            begun[process] = float(at)
        else:
            yield from ((gpu, begun[process], float(at)) for gpu in names.split(","))


@pytest.mark.workflow
@pytest.mark.parametrize("limit", [2, 8])
def test_no_two_jobs_have_the_same_gpu(limit: int, tmp_path: Path) -> None:
    """Also where Snakemake starts more of them than there are GPUs."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "compute.py").write_text(SCRIPT)
    snakemake(tmp_path, "--cores", "8", "--resources", f"gpu={limit}")
    found = list(turns(tmp_path))
    assert len(found) == 8 + 1 + 1  # one job tried again, one with both
    for gpu in ("0", "1"):
        own = sorted(turn[1:] for turn in found if turn[0] == gpu)
        assert own
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(own))
    for number in range(8):
        log = (tmp_path / f"logs/{number}.log").read_text()
        assert re.search(r"computing on GPU \d \(GPU-", log)
        assert ("GPU 0 (GPU-aaaa1111) and GPU 1 (GPU-bbbb2222)" in log) is (number == 6)


@pytest.mark.workflow
def test_jobs_of_this_workflow_say_which_gpu_they_have(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    targets = [f"results/capture/{model}/generated" for model in ("llama", "gpt2")]
    told = snakemake(project, "--cores", "4", "--resources", "gpu=2", *SMOKE, "--", *targets)
    assert "warning:" not in told
    logs = [path.read_text() for path in (project / "results/logs/capture").rglob("*.log")]
    gpus = [re.findall(r"computing on GPU \d \((\S+)\)", log) for log in logs]
    assert len(gpus) == 2
    assert all(each in ([A], [B]) for each in gpus)
