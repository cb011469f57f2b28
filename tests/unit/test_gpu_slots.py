"""GPUs that jobs have for themselves: many real processes on simulated devices, some of them killed."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from saeflow import gpu_slots
from saeflow.cli import main
from saeflow.errors import SaeflowError
from saeflow.gpu import NEEDED, Gpu, visible_devices
from saeflow.gpu_slots import FOLDER, QUEUE, describe_process, holder, slot_folder, take_gpus
from saeflow.jobs import job
from tests.conftest import ROOT
from tests.unit.test_gpu import LARGE, TWO, put_nvidia_smi

WORKER = Path(__file__).with_name("gpu_worker.py")
A, B = "GPU-aaaa1111", "GPU-bbbb2222"
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "SAEFLOW_DEVICE",
    "SLURM_JOB_ID",
    NEEDED,
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two GPUs, no variables of the machine that tests run on, and a folder of its own for locks."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what a job sets is undone, too
        monkeypatch.delenv(name)
    put_nvidia_smi(tmp_path / "bin", TWO)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv(FOLDER, str(tmp_path / "slots"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setattr(gpu_slots, "_held", {})
    before = set(os.listdir("/proc/self/fd"))
    yield
    for file in set(os.listdir("/proc/self/fd")) - before:
        if os.path.exists(f"/proc/self/fd/{file}"):
            where = os.readlink(f"/proc/self/fd/{file}")
            if where.startswith(str(tmp_path / "slots")):
                os.close(int(file))


class Jobs:
    """Workers that are started on the simulated GPUs, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "events"
        self.events.touch()
        self.started: list[subprocess.Popen[bytes]] = []

    def start(
        self, wanted: int = 1, seconds: float = 600, end: str = "done", **variables: str
    ) -> subprocess.Popen[bytes]:
        number = len(self.started)
        arguments = [str(self.events), str(number), str(wanted), str(seconds), end]
        process = subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            env={**os.environ, **variables},
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def told(self, what: str) -> dict[int, tuple[float, str]]:
        """Time and word of each job's event of one kind."""
        lines = [line.split(" ") for line in self.events.read_text().splitlines()]
        return {int(job): (float(at), word) for at, job, kind, word in lines if kind == what}

    def wait_for(self, what: str, *jobs: int) -> list[str]:
        """Words of some jobs' events, once they are there."""
        while not set(jobs) <= self.told(what).keys():
            time.sleep(0.02)
        return [self.told(what)[job][1] for job in jobs]


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    for process in made.started:
        # With the children of those that were killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Turn:
    """A job's time with one GPU."""

    job: int
    gpu: str
    waits: float
    begins: float
    ends: float


def turns(jobs: Jobs) -> list[Turn]:
    waits, ends = jobs.told("waits"), jobs.told("ends")
    return [
        Turn(job, gpu, waits[job][0], at, ends[job][0])
        for job, (at, names) in jobs.told("begins").items()
        for gpu in names.split(",")
    ]


def gaps(found: Sequence[Turn]) -> Iterator[tuple[float, list[int]]]:
    """Seconds between two turns on a GPU, and the jobs that waited all that time."""
    for gpu in (A, B):
        own = sorted((turn for turn in found if turn.gpu == gpu), key=lambda turn: turn.begins)
        for before, after in itertools.pairwise(own):
            assert before.ends <= after.begins, f"{before} and {after} share a GPU"
            waiting = [
                turn.job
                for turn in found
                if turn.waits <= before.ends and turn.begins >= after.begins
            ]
            yield after.begins - before.ends, waiting


SECONDS = 0.25
HAND_OVER = 0.5
"""Idle time between jobs that is let pass, as a share of theirs: these are as short as a start of Python."""


def test_a_hundred_jobs_share_two_gpus_and_ten_of_them_are_killed(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never two on one GPU, none idle while a job waits, all free in the end."""
    ends = ["orphan" if n % 20 == 5 else "killed" if n % 20 == 15 else "done" for n in range(100)]
    started = [jobs.start(seconds=SECONDS, end=end) for end in ends]
    codes = [process.wait(timeout=300) for process in started]
    assert [code for code in codes if code] == [-signal.SIGKILL] * 10
    found = turns(jobs)
    assert sorted(turn.job for turn in found) == list(range(100))
    assert {name for _, name in jobs.told("sees").values()} == {A, B}
    assert all(jobs.told("sees")[turn.job][1] == turn.gpu for turn in found)

    # What is handed over late is measured by what jobs take: a GPU that nobody looks at, or that a dead
    # job's child keeps, is idle for whole jobs, or for ever.
    idle = [seconds for seconds, waiting in gaps(found) if waiting]
    assert len(idle) > 80
    busy = sum(turn.ends - turn.begins for turn in found)
    with capsys.disabled():
        print(f"\nidle while jobs wait: {sum(idle) / busy:.0%} of what jobs take")  # noqa: T201
    assert sum(idle) < HAND_OVER * busy
    # The orphans still live, and keep nothing.
    gpus = visible_devices()
    assert [holder(slot_folder(), gpu) for gpu in gpus] == [None, None]
    assert len(take_gpus(2)) == 2


def test_jobs_for_one_and_for_two_gpus_do_not_wait_for_each_other_for_ever(jobs: Jobs) -> None:
    for wanted in [1, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1, 1]:
        jobs.start(wanted, seconds=0.1)
    assert [process.wait() for process in jobs.started] == [0] * 12
    found = turns(jobs)
    assert len(found) == 15
    assert list(gaps(found))


def test_who_waits_for_two_gpus_is_not_passed_by(jobs: Jobs) -> None:
    """Those who come later wait behind it, though one GPU after the other becomes free."""
    for _ in range(2):
        jobs.start()
    jobs.wait_for("begins", 0, 1)
    first = jobs.start(2, seconds=0.1)
    while holder(slot_folder(), Gpu(QUEUE, QUEUE, 0.0)) != first.pid:
        time.sleep(0.02)
    later = [jobs.start(seconds=0.1) for _ in range(4)]
    jobs.wait_for("waits", 3, 4, 5, 6)
    time.sleep(0.3)  # so that they have looked
    jobs.started[0].kill()
    time.sleep(0.3)
    jobs.started[1].kill()
    assert [process.wait() for process in (first, *later)] == [0] * 5
    begins = jobs.told("begins")
    assert begins[2][0] < min(begins[job][0] for job in (3, 4, 5, 6))


def test_who_waits_for_one_gpu_does_not_keep_others_from_the_next(jobs: Jobs) -> None:
    jobs.start(CUDA_VISIBLE_DEVICES="0")
    assert jobs.wait_for("begins", 0) == [A]
    jobs.start(CUDA_VISIBLE_DEVICES="0")
    jobs.wait_for("waits", 1)
    jobs.start(CUDA_VISIBLE_DEVICES="1,0")
    assert jobs.wait_for("begins", 2) == [B]
    assert 1 not in jobs.told("begins")
    jobs.started[0].kill()
    assert jobs.wait_for("begins", 1) == [A]


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    logger = logging.getLogger("saeflow")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.INFO)
    return caplog


def test_a_job_that_waits_says_for_whom(
    jobs: Jobs, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.start(2)
    jobs.wait_for("begins", 0)
    looks = iter(range(10))

    def sleep(seconds: float) -> None:
        if next(looks) == 2:
            jobs.started[0].kill()
            jobs.started[0].wait()

    monkeypatch.setattr(gpu_slots, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert [gpu.uuid for gpu in take_gpus(1)] == [B]
    who = f"process {jobs.started[0].pid} (python gpu_worker.py in {Path.cwd()})"
    who = who.replace("python", Path(sys.executable).name)
    assert log.messages[0] == (
        f"waiting for 1 of 2 GPUs: GPU 1 ({B}) is held by {who}; GPU 0 ({A}) is held by {who}"
    )
    assert log.messages[1] == f"computing on GPU 1 ({B})"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_job_that_waits_behind_another_says_so(
    jobs: Jobs, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One GPU is free, and first in the queue is a job that wants both."""
    jobs.start()
    jobs.wait_for("begins", 0)
    first = jobs.start(2)
    while holder(slot_folder(), Gpu(QUEUE, QUEUE, 0.0)) != first.pid:
        time.sleep(0.02)
    info = logging.getLogger("saeflow").info

    def tell(*given: object) -> None:
        info(*given)
        first.kill()

    monkeypatch.setattr(logging.getLogger("saeflow"), "info", tell)
    assert [gpu.uuid for gpu in take_gpus(1)] == [B]
    told = log.messages[0]
    assert told.startswith(
        f"waiting for 1 of 2 GPUs: {A} is held by process {jobs.started[0].pid} ("
    )
    assert told.endswith(") is first in the queue")
    assert f"process {first.pid} (" in told


@pytest.mark.parametrize(
    ("given", "count", "taken", "left"),
    [
        (None, 1, [A], A),
        (None, 2, [A, B], None),
        (None, 3, [A, B], None),
        (None, 0, [], None),
        ("1,0", 1, [B], "1"),
        ("1,0", 2, [B, A], "1,0"),
        ("1", 1, [B], "1"),
        ("0,0", 1, [A], "0"),
        ("GPU-bb,GPU-aa", 1, [B], "GPU-bb"),
        (B, 1, [B], B),
        ("", 1, [], ""),
        ("-1", 1, [], "-1"),
        ("7", 1, [], "7"),
    ],
)
def test_only_visible_gpus_are_handed_out_by_the_names_that_are_given(
    given: str | None,
    count: int,
    taken: list[str],
    left: str | None,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert [gpu.uuid for gpu in take_gpus(count)] == taken
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == left
    assert ("3 GPUs were asked for, 2 can be had" in log.messages) is (count == 3)
    # What is taken is kept, and only once.
    assert [gpu.uuid for gpu in take_gpus(count)] == taken


def test_parts_of_a_gpu_are_handed_out_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-a/1/0,MIG-GPU-a/2/0")
    monkeypatch.setattr("saeflow.gpu._ask_driver", lambda name: [("GPU-a", 10.0)])
    assert [gpu.name for gpu in take_gpus(1)] == ["MIG-GPU-a/1/0"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-a/1/0"
    assert (slot_folder() / "MIG-GPU-a_1_0").is_file()


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [("cpu", []), (" CPU", []), ("mps", []), ("cuda", [A]), ("cuda:1", [B]), ("cuda:7", [])],
)
def test_the_variable_for_the_device_decides_first(
    wanted: str, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEFLOW_DEVICE", wanted)
    if not taken:
        monkeypatch.setenv(FOLDER, "/nowhere/at/all")  # not even looked at
    assert [gpu.uuid for gpu in take_gpus(1)] == taken
    if taken:
        assert os.environ["SAEFLOW_DEVICE"] == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == taken[0]


def test_on_the_cpu_nobody_waits(jobs: Jobs) -> None:
    jobs.start(2)
    jobs.wait_for("begins", 0)
    assert jobs.start(seconds=0, SAEFLOW_DEVICE="cpu").wait() == 0
    assert jobs.told("begins")[1][1] == ""
    assert jobs.started[0].poll() is None


def test_a_gpu_that_is_too_small_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NEEDED, "80")
    assert [(gpu.uuid, gpu.memory) for gpu in take_gpus(1)] == [(B, LARGE)]


def test_without_a_gpu_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert take_gpus(1) == []
    assert not Path(os.environ[FOLDER]).exists()


def test_what_dead_jobs_left_blocks_nobody(jobs: Jobs) -> None:
    jobs.start(2)
    jobs.wait_for("begins", 0)
    jobs.started[0].kill()
    jobs.started[0].wait()
    for name in (A, B):
        (slot_folder() / name).write_text("process 1")
    assert len(take_gpus(2)) == 2


def test_a_file_that_is_deleted_while_it_is_opened_is_no_lock(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone tidied up between opening and locking: others would lock the file that is there now."""
    lock, deleted = gpu_slots._lock, []

    def late(file: int, start: int, *, wait: bool = False) -> bool:
        if not wait and not deleted:
            deleted.append((slot_folder() / A).unlink())
        return lock(file, start, wait=wait)

    monkeypatch.setattr(gpu_slots, "_lock", late)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert len(take_gpus(1)) == 1
    assert deleted
    jobs.start(CUDA_VISIBLE_DEVICES="0,1")
    assert jobs.wait_for("begins", 0) == [B]


def test_slurm_decides_which_of_its_jobs_share_a_gpu(jobs: Jobs) -> None:
    for number in ("7", "8"):
        jobs.start(CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID=number)
    assert jobs.wait_for("begins", 0, 1) == [A, A]
    # A Snakemake inside of one SLURM job hands out what that job has.
    jobs.start(CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="7")
    assert jobs.wait_for("begins", 2) == [B]
    jobs.start(CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="7")
    jobs.wait_for("waits", 3)
    jobs.started[1].kill()  # of the other job
    jobs.started[1].wait()
    assert 3 not in jobs.told("begins")
    jobs.started[0].kill()
    assert jobs.wait_for("begins", 3) == [A]


def test_gpus_that_cgroups_all_call_0_are_told_apart(jobs: Jobs, tmp_path: Path) -> None:
    """With constrained devices each SLURM job sees its own as 0; here without SLURM's variables."""
    for number, line in enumerate(["0, GPU-one, H100, 81559\n", "0, GPU-two, H100, 81559\n"]):
        folder = put_nvidia_smi(tmp_path / f"node{number}", line)
        jobs.start(CUDA_VISIBLE_DEVICES="0", PATH=f"{folder}:/usr/bin:/bin")
        assert jobs.wait_for("begins", number) == [f"GPU-{['one', 'two'][number]}"]
        assert jobs.wait_for("begins", 0) == ["GPU-one"]


def refused() -> str:
    with pytest.raises(SaeflowError) as error:
        take_gpus(1)
    sentence = str(error.value)
    assert sentence.endswith(f"name another folder of this machine in {FOLDER}.")
    assert os.environ[FOLDER] in sentence
    return sentence


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, user = slot_folder(), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert f"belongs to user {user}, not to user {user + 1}" in refused()
    monkeypatch.undo()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    slot_folder().chmod(0o770)
    assert "has mode 770, expected 700" in refused()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "slots"
    path.write_text("") if kind == "file" else path.symlink_to(tmp_path)
    assert "is no folder" in refused()


def test_a_folder_that_cannot_be_made_is_one_sentence_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "absent" / "slots"))
    assert "cannot be made (no such file or directory)" in refused()
    monkeypatch.setattr("saeflow.jobs.end_with_parent", lambda tell: None)
    granted = SimpleNamespace(log=[], resources=SimpleNamespace(gpu=1))
    with pytest.raises(SystemExit), job(granted):
        pytest.fail("the job runs without its GPU")
    assert capsys.readouterr().err.count("cannot be made") == 1
    # A job that needs none does not care.
    with job(SimpleNamespace(log=[], resources=SimpleNamespace(mem_mb=1))):
        pass


def test_the_folder_is_one_for_all_jobs_of_a_user_on_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    expected = Path(f"/tmp/saeflow-gpus-{os.geteuid()}-{socket.gethostname()}")
    assert slot_folder() == expected
    assert slot_folder() == expected  # which is there by now
    assert stat.S_IMODE(expected.stat().st_mode) == 0o700


def test_a_folder_in_use_is_not_tidied_up_by_the_system(jobs: Jobs) -> None:
    """systemd-tmpfiles leaves folders alone whose lock it cannot get."""
    jobs.start()
    jobs.wait_for("begins", 0)
    file = os.open(slot_folder(), os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(file)


def test_the_command_line_shows_who_has_what(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.start(SLURM_JOB_ID="12")
    jobs.wait_for("begins", 0)
    assert main(["gpus"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{A}  26 GB  held by process {jobs.started[0].pid} (")
    assert second == f"{B}  86 GB  free"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert main(["gpus", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == [{"name": "1", "uuid": B, "memory_gb": LARGE, "process": None}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["gpus"]) == 0
    assert capsys.readouterr().out == "no GPU is visible\n"


def test_processes_that_cannot_be_seen_are_named_all_the_same() -> None:
    assert describe_process(0) == "a process of another container"
    assert describe_process(2**22 + 1) == f"process {2**22 + 1}"


IMPORTS = """
import ast, pathlib, sys, traceback
import torch
def forbidden(*given, **named):
    traceback.print_stack()
    sys.exit(f"{path} asks CUDA before its job has a GPU")
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, forbidden)
for path in sys.argv[1:]:
    body = ast.parse(pathlib.Path(path).read_text()).body
    above = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(above, []), path, "exec"), {})
"""


def test_no_gpu_job_asks_cuda_before_it_has_its_gpu() -> None:
    """CUDA reads CUDA_VISIBLE_DEVICES once; sae_lens, for one, asks it on import."""
    scripts = set()
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"^ *rule\b", path.read_text(), flags=re.M):
            if "gpu=1" in rule:
                scripts |= set(re.findall(r"\.\./scripts/\w+\.py", rule))
    paths = sorted(str(ROOT / "workflow" / "rules" / script) for script in scripts)
    assert len(paths) > 15
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
