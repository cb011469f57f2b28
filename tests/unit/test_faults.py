"""How exceptions, signals, logs and SLURM's states become kinds of faults, and sentences."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from saeflow import failures, stopping
from saeflow.artifacts.damage import damaged
from saeflow.device import resolve_device
from saeflow.errors import SaeflowError
from saeflow.failures import Failure, Failures, ask_slurm, judge, read_end, told
from saeflow.faults import ADVICE, PERMANENT, Asked, Fault, Kind, fault_of
from saeflow.gpu import GpuError, check_memory, why_none
from saeflow.models.hub_errors import HubError
from saeflow.stopping import stopped_by
from tests.conftest import ROOT

CUDA_FULL = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB of which "
    "12.31 MiB is free. Including non-PyTorch memory, this process has 78.10 GiB memory in use. Of the "
    "allocated memory 77.00 GiB is allocated by PyTorch"
)
SNAKEMAKE = SimpleNamespace(
    rule="capture_thoughts",
    params=SimpleNamespace(spec={"model": {"batch_size": 64}, "threads": 2}),
    wildcards=SimpleNamespace(model="llama"),
    resources=SimpleNamespace(mem_mb=3000, runtime=60),
)
ASKED = Asked.of(SNAKEMAKE)


def wrapped(cause: BaseException, error: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException as found:
            raise error from found
    except BaseException as found:
        return found


def hidden(cause: BaseException, error: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except BaseException:
            raise error from None
    except BaseException as found:
        return found


def raised(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


def test_asked_is_what_snakemake_gave() -> None:
    batch = "batch_size (64 now) of models.llama"
    assert Asked("capture_thoughts", 3000, 60, batch) == ASKED
    nested = SimpleNamespace(spec={"model": {"model": {"batch_size": 8}}})
    assert "(8 now)" in Asked.of(SimpleNamespace(params=nested)).batch
    odd = SimpleNamespace(mem_mb="<TBD>", runtime=float("nan"))
    assert Asked.of(SimpleNamespace(resources=odd)) == Asked()


OUT_OF_MEMORY: dict[str, Callable[[], BaseException]] = {
    "python": MemoryError,
    "numpy": lambda: raised(lambda: np.empty(10**15)),
    "pyarrow": lambda: raised(lambda: pa.allocate_buffer(10**16)),
    "torch": lambda: raised(lambda: torch.empty(10**15)),
    "the system": lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
    "rust": lambda: RuntimeError("Cannot allocate memory (os error 12)"),
    "a blamed file": lambda: hidden(MemoryError(), SaeflowError("x is damaged.")),
}


@pytest.mark.parametrize("source", OUT_OF_MEMORY)
def test_memory_of_the_machine(source: str) -> None:
    fault = fault_of(OUT_OF_MEMORY[source](), ASKED)
    assert fault.kind == Kind.MEMORY
    assert fault.sentence is not None
    assert "memory is used up: this job held up to" in fault.sentence
    assert "asked for mem_mb=3000" in fault.sentence
    assert "lower batch_size (64 now) of models.llama" in fault.sentence
    assert "--set-resources capture_thoughts:mem_mb=6000" in fault.sentence
    if source in ("numpy", "pyarrow", "torch"):
        assert "more were wanted" in fault.sentence


def test_limit_of_the_shell_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**31, 2**31))
    assert "(ulimit -v) is 2,147 MB" in str(fault_of(MemoryError()).sentence)


def test_memory_of_the_gpu() -> None:
    fault = fault_of(torch.OutOfMemoryError(CUDA_FULL), ASKED)
    assert fault == Fault(
        Kind.GPU_MEMORY,
        "the GPU's memory is used up, 20.00 MiB more were wanted, of 79.15 GiB, 12.31 MiB were free, this "
        "job held 78.10 GiB; lower batch_size (64 now) of models.llama, keep other programs off the GPU, "
        "or use a larger one.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA",
        "CUDA out of memory.",
    ],
)
def test_memory_of_the_gpu_as_libraries_tell_it(text: str) -> None:
    for error in (RuntimeError(text), torch.AcceleratorError(text)):
        assert fault_of(error).kind == Kind.GPU_MEMORY
    assert fault_of(wrapped(RuntimeError(text), ValueError("x"))).kind == Kind.GPU_MEMORY
    assert fault_of(hidden(RuntimeError(text), SaeflowError("x"))).kind == Kind.GPU_MEMORY


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "not built for"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "another program holds"),
        ("CUDA error: uncorrectable ECC error encountered", "memory is damaged"),
        ("CUDA error: unspecified launch failure\nmore", "(unspecified launch failure)"),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling x", "card or its driver"),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "(CUDNN_STATUS_INTERNAL_ERROR)"),
        ("No CUDA GPUs are available", "names no GPU"),
        ("CUDA driver version is insufficient for CUDA runtime version", "too old"),
    ],
)
def test_gpu_that_fails(text: str, part: str) -> None:
    fault = fault_of(RuntimeError(text))
    assert fault.kind == Kind.GPU
    assert part in str(fault.sentence)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        KeyError("x"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_error_of_the_program_keeps_its_traceback(error: BaseException) -> None:
    assert fault_of(error) == Fault(Kind.BUG, None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "a/b"),
        OSError(errno.ENOSPC, "No space left on device", "source", None, "a/b"),
    ],
)
def test_full_disk_names_what_could_not_be_written(error: OSError) -> None:
    fault = fault_of(error)
    assert fault.kind == Kind.DISK
    assert str(fault.sentence).startswith("a/b cannot be written: the disk is full")


@pytest.mark.parametrize(
    "error",
    [
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
        hidden(OSError(errno.ENOSPC, "x"), SaeflowError("x cannot be read.")),
        OSError(errno.EDQUOT, "x"),
    ],
)
def test_full_disk_however_it_is_wrapped(error: BaseException) -> None:
    assert fault_of(error).kind == Kind.DISK


def test_other_faults_of_the_system() -> None:
    assert fault_of(PermissionError(errno.EACCES, "x", "a")).kind == Kind.REFUSED
    assert fault_of(OSError(errno.EROFS, "x", "a")).kind == Kind.REFUSED
    assert fault_of(OSError(errno.ESTALE, "x")) == Fault(Kind.FILES)
    for error in (OSError("surprise"), OSError(errno.EBUSY, "x", "a"), FileNotFoundError("a")):
        assert fault_of(error) == Fault(Kind.FILES)
    assert fault_of(hidden(OSError(errno.EIO, "x"), SaeflowError("y"))) == Fault(Kind.FILES, "y")
    # What a sentence was made of does not decide, but for a full disk and memory.
    assert fault_of(hidden(PermissionError(errno.EACCES, "x"), SaeflowError("y"))) == Fault(
        Kind.INPUT, "y"
    )


def test_errors_of_ours_know_their_kind() -> None:
    assert fault_of(SaeflowError("k is 0.")) == Fault(Kind.INPUT, "k is 0.")
    assert fault_of(GpuError("none.")).kind == Kind.NO_GPU
    assert fault_of(HubError("gated.")).kind == Kind.HUB
    assert fault_of(damaged(Path("x.parquet"), "is truncated")).kind == Kind.DAMAGED


def test_every_kind_has_advice_and_no_advice_ends_twice() -> None:
    assert set(ADVICE) == set(Kind) - {Kind.DONE}
    assert not [each for each in ADVICE.values() if each.endswith(".")]


@pytest.mark.parametrize(
    ("environment", "built_for", "part"),
    [
        (None, None, "built without CUDA"),
        ("", "13.0", "hides all; was gpu=1 asked for"),
        ("NoDevFiles", "13.0", "hides all"),
        (None, "13.0", "the driver shows none"),
    ],
)
def test_missing_gpu_says_why(
    environment: str | None, built_for: str | None, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("saeflow.gpu._ask_nvidia_smi", list)
    if environment is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", environment)
    with pytest.raises(GpuError, match=part):
        check_memory(40.0, [], why_none(built_for))


def test_gpu_that_only_the_driver_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("saeflow.gpu._ask_nvidia_smi", lambda: [("0", "GPU-1", "H100", 80.0)])
    assert "the driver shows 1, but torch for CUDA 13.0 cannot use any" in why_none("13.0")


def test_gpu_that_lies_idle_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SAEFLOW_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr("saeflow.gpu._ask_nvidia_smi", lambda: [("0", "GPU-1", "H100", 80.0)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert resolve_device().type == "cpu"
    assert "although CUDA_VISIBLE_DEVICES is 0: node " in caplog.text
    assert "the driver shows 1" in caplog.text
    caplog.clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert resolve_device().type == "cpu"
    assert "although" not in caplog.text


@pytest.mark.parametrize(
    ("number", "minutes", "asked", "kind", "part"),
    [
        (signal.SIGTERM, 59.6, 60, Kind.TIME, "its time limit"),
        (signal.SIGTERM, 1.0, 1, Kind.TIME, "after 1.0 of the 1 minutes"),
        (signal.SIGTERM, 30.0, 60, Kind.STOPPED, "scancel, a preemption"),
        (signal.SIGTERM, 99.0, None, Kind.STOPPED, "after 99.0 minutes"),
        (signal.SIGINT, 2.0, 60, Kind.STOPPED, "Ctrl-C"),
        (signal.SIGINT, 60.0, 60, Kind.STOPPED, "Ctrl-C"),
        (signal.SIGHUP, 99.0, 60, Kind.STOPPED, "its terminal is gone"),
        (signal.SIGUSR1, 59.9, 60, Kind.TIME, "SIGUSR1"),
        (signal.SIGXCPU, 2.0, 60, Kind.TIME, "ulimit -t"),
    ],
)
def test_signal_says_what_it_may_be(
    number: int,
    minutes: float,
    asked: int | None,
    kind: Kind,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_minutes", lambda: minutes)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    fault = stopped_by(number, Asked(minutes=asked))
    assert fault.kind == kind
    assert part in str(fault.sentence)
    assert "run the same command to go on." in str(fault.sentence)


def test_no_signal_is_a_time_limit_on_a_workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_minutes", lambda: 99.0)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert stopped_by(signal.SIGTERM, Asked(minutes=60)).kind == Kind.STOPPED
    assert stopped_by(signal.SIGXCPU, Asked(minutes=60)).kind == Kind.TIME


JOB = """
import contextlib, os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from saeflow import stopping
from saeflow.artifacts.files import atomic_folder
from saeflow.jobs import job

mode, folder = sys.argv[1], Path(sys.argv[2])
stopping.GRACE_SECONDS = 1.0 if mode == "deaf" else 60.0
with job(SimpleNamespace(log=[str(folder / "a.log")], rule="x")):
    with atomic_folder(folder / "made") as partial:
        (partial / "half").touch()
        if mode != "twice":
            print("ready", flush=True)
        if mode == "fork":
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(writer, b"x")
                time.sleep(60)
                os._exit(1)
            # Python forgets a signal that comes before the child has begun.
            os.read(reader, 1)
            os.kill(child, signal.SIGTERM)
            _, status = os.waitpid(child, 0)
            assert os.WTERMSIG(status) == signal.SIGTERM, status
            (folder / "outlived").touch()
        if mode == "deaf":
            with contextlib.suppress(BaseException):
                time.sleep(60)
            time.sleep(60)
        if mode == "twice":
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("tidying", flush=True)
                time.sleep(0.5)
                (folder / "tidied").touch()
        time.sleep(0 if mode == "fork" else 60)
"""


def listen() -> None:
    """Take signals that whoever started the tests ignores, as a shell does behind an `&`."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def stopped(tmp_path: Path, mode: str, number: int) -> tuple[subprocess.Popen[str], str]:
    """Start a job, send it a signal, wait for its end; the process and its log."""
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, mode, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if mode == "twice":
        assert process.stdout.readline() == "tidying\n"
        process.send_signal(number)
    process.communicate(timeout=60)
    return process, (tmp_path / "a.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_stopped_job_says_so_and_leaves_nothing_half_made(tmp_path: Path, number: int) -> None:
    process, log = stopped(tmp_path, "plain", number)
    assert process.returncode == 128 + number
    assert f"error: the job was told to stop ({signal.Signals(number).name})" in log
    assert log.splitlines()[-1].endswith("ended: stopped")
    assert log.count("ended: ") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["a.log"]


def test_job_that_does_not_listen_is_ended(tmp_path: Path) -> None:
    process, log = stopped(tmp_path, "deaf", signal.SIGTERM)
    assert process.returncode == 143
    assert log.splitlines()[-1].endswith("ended: stopped")


def test_second_signal_does_not_cut_tidying_short(tmp_path: Path) -> None:
    process, _ = stopped(tmp_path, "twice", signal.SIGTERM)
    assert process.returncode == 143
    assert (tmp_path / "tidied").exists()


def test_signal_to_a_forked_child_ends_that_child_alone(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", JOB, "fork", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "outlived").exists()
    assert (tmp_path / "a.log").read_text().splitlines()[-1].endswith("ended: done")


LOG = "10:00:00 started: x, process 1 on h\n10:00:01 work: 1 of 2\n"
ENDS = {
    "": None,
    "no log of ours\n": None,
    LOG: Fault(Kind.KILLED),
    LOG + "10:00:02 ended: done\n": Fault(Kind.DONE),
    LOG + "10:00:02 error: k is 0.\n10:00:02 ended: input or configuration\n": Fault(
        Kind.INPUT, "k is 0."
    ),
    LOG + "10:00:02 Traceback\nKeyError: 'a'\n\n10:00:02 ended: error in saeflow\n": Fault(
        Kind.BUG, "KeyError: 'a'"
    ),
    LOG + "10:00:02 ended: by aliens\n": Fault(Kind.BUG, "work: 1 of 2"),
    LOG + "Fatal Python error: Bus error\n\nThread 1:\n": Fault(
        Kind.CRASH, "Fatal Python error: Bus error"
    ),
}


@pytest.mark.parametrize("text", ENDS)
def test_end_of_a_log(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(text)
    assert read_end(str(path)) == ENDS[text]
    assert read_end(str(path), failures._stamp(str(path))) is None


def test_log_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert read_end(str(tmp_path / "absent")) is None
    assert read_end("") is None
    (tmp_path / "a").write_bytes(
        LOG.encode() + b"\xff\xfe" * 100_000 + b"\n10:00:02 ended: stopped\n"
    )
    assert read_end(str(tmp_path / "a")) is not None


KILLED, STOPPED = Fault(Kind.KILLED), Fault(Kind.STOPPED, "told to stop.")


@pytest.mark.parametrize(
    ("left", "state", "signalled", "kind"),
    [
        (KILLED, "", "SIGKILL", Kind.KILLED),
        (KILLED, "", "", Kind.KILLED),
        (None, "", "SIGKILL", Kind.KILLED),
        (None, "", "", Kind.SILENT),
        (None, "", "SIGTERM", Kind.STOPPED),
        (KILLED, "", "SIGSEGV", Kind.CRASH),
        (Fault(Kind.DONE), "", "", Kind.UNSEEN),
        (Fault(Kind.DONE), "", "SIGKILL", Kind.KILLED),
        (Fault(Kind.DONE), "", "SIGSEGV", Kind.CRASH),
        (Fault(Kind.INPUT, "x"), "", "", Kind.INPUT),
        (KILLED, "OUT_OF_MEMORY", "", Kind.MEMORY),
        (STOPPED, "TIMEOUT", "", Kind.TIME),
        (STOPPED, "PREEMPTED", "", Kind.PREEMPTED),
        (STOPPED, "CANCELLED", "", Kind.CANCELLED),
        (KILLED, "NODE_FAIL", "", Kind.NODE),
        (None, "NODE_FAIL", "", Kind.NODE),
        (None, "CANCELLED", "", Kind.CANCELLED),
        (Fault(Kind.INPUT, "x"), "TIMEOUT", "", Kind.INPUT),
        (Fault(Kind.BUG, "x"), "FAILED", "", Kind.BUG),
        (KILLED, "FAILED", "", Kind.KILLED),
    ],
)
def test_who_knows_best_why(left: Fault | None, state: str, signalled: str, kind: Kind) -> None:
    assert judge(left, state, signalled).kind == kind


def test_sentence_of_a_stopped_job_outlives_the_state() -> None:
    assert judge(STOPPED, "TIMEOUT", "").sentence == "told to stop."
    assert judge(KILLED, "NODE_FAIL", "").sentence == "SLURM's state is NODE_FAIL."


def record(event: str, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.ERROR, "", 0, more.pop("text", ""), None, None)
    vars(made).update(event=event, **more)
    return made


def failed(log: str, **more: Any) -> logging.LogRecord:
    said = {"jobid": 1, "rule_name": "capture", "rule_msg": None, "log": [log], "aux": {}}
    return record("job_error", **(said | more))


@pytest.fixture
def heard(tmp_path: Path) -> tuple[Failures, Path, list[int]]:
    """A listener that has heard of a job's start, its log and those it gave up."""
    log, given_up = tmp_path / "a.log", list[int]()
    listener = Failures(given_up.append)
    listener.emit(record("job_info", jobid=1, log=[str(log)], wildcards={"model": "llama"}))
    return listener, log, given_up


def test_listener_counts_tries_and_forgets_what_was_mended(
    heard: tuple[Failures, Path, list[int]],
) -> None:
    listener, log, given_up = heard
    log.write_text(LOG)
    listener.emit(record("error", text="died with <Signals.SIGKILL: 9>."))
    listener.emit(failed(str(log)))
    assert listener.found[1] == Failure(
        "capture",
        {"model": "llama"},
        str(log),
        Fault(Kind.KILLED, "the job was killed (SIGKILL)."),
    )
    listener.emit(failed(str(log)))
    assert listener.found[1].tries == 2
    assert given_up == []
    listener.emit(record("job_finished", job_id=1))
    assert listener.found == {}


def test_unseen_end_replaces_the_reason_of_an_earlier_try(
    heard: tuple[Failures, Path, list[int]],
) -> None:
    listener, log, _ = heard
    unseen = Failure("capture", {}, str(log), failures.UNSEEN, 2)
    log.write_text(LOG)
    listener.emit(failed(str(log)))
    listener.add_unseen(1, unseen)
    assert listener.found[1].fault.kind == Kind.KILLED
    listener.emit(record("job_info", jobid=1, log=[str(log)], wildcards={}))
    listener.add_unseen(1, unseen)
    assert listener.found[1] == unseen
    listener.forget([1, 2])
    assert listener.found == {}


@pytest.mark.parametrize("kind", sorted(PERMANENT))
def test_listener_gives_up_what_cannot_succeed(
    heard: tuple[Failures, Path, list[int]], kind: str
) -> None:
    listener, log, given_up = heard
    log.write_text(f"{LOG}10:00:01 error: x.\n10:00:01 ended: {kind}\n")
    listener.emit(failed(str(log)))
    assert given_up == [1]


@pytest.mark.parametrize(("slurm", "tried_no_more"), [("", [1]), ("7", [])])
def test_another_node_may_be_allowed_to_write(
    slurm: str, tried_no_more: list[int], heard: tuple[Failures, Path, list[int]]
) -> None:
    listener, log, given_up = heard
    log.write_text(f"{LOG}10:00:01 error: x.\n10:00:01 ended: {Kind.REFUSED}\n")
    listener.emit(failed(str(log), aux={"external_jobid": slurm}))
    assert given_up == tried_no_more


def test_listener_hears_the_kernel(
    heard: tuple[Failures, Path, list[int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listener, log, _ = heard
    counter = tmp_path / "vmstat"
    counter.write_text("nr 1\noom_kill 3\n")
    monkeypatch.setattr(failures, "VMSTAT", counter)
    listener.emit(record("job_info", jobid=1, log=[str(log)], wildcards={}))
    log.write_text(LOG)
    listener.emit(failed(str(log)))
    assert listener.found[1].fault.kind == Kind.KILLED
    counter.write_text("nr 1\noom_kill 4\n")
    listener.emit(failed(str(log)))
    assert listener.found[1].fault.kind == Kind.MEMORY
    # On a cluster it was another machine's kernel.
    listener.emit(failed(str(log), aux={"external_jobid": "7"}))
    assert listener.found[1].fault.kind == Kind.KILLED
    counter.unlink()
    assert failures.memory_kills() == 0


def test_listener_reads_slurms_state(heard: tuple[Failures, Path, list[int]]) -> None:
    listener, log, _ = heard
    log.write_text(LOG)
    message = "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Reason: x."
    listener.emit(failed(str(log), rule_msg=message, aux={"external_jobid": "7"}))
    assert (listener.found[1].fault.kind, listener.found[1].slurm) == (Kind.TIME, "7")


def test_listener_never_fails(heard: tuple[Failures, Path, list[int]]) -> None:
    listener, _, _ = heard
    listener.emit(record("job_error"))
    listener.emit(record("job_info", jobid=2, log=None))
    assert listener.found == {}


def sacct(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "sacct"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_accounting_tells_state_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        "7|FAILED|1:0||4G",
        "7.batch|FAILED|1:0|90K|",
        "7.0|OUT_OF_MEMORY|0:125|4100M|",
        "8|CANCELLED by 0|0:15||",
    )
    sacct(tmp_path, "\n".join(f"echo '{row}'" for row in rows), monkeypatch)
    killed = Fault(Kind.KILLED, "the job was killed.")
    asked = [Failure("a", {}, "", killed, slurm=number) for number in ("7", "8", "9", "")]
    first, second, third, local = ask_slurm(asked)
    assert first.fault.kind == Kind.MEMORY
    assert str(first.fault.sentence).endswith("It held 4100M at most (sampled), of 4G asked for.")
    assert second.fault.kind == Kind.CANCELLED
    assert (third, local) == (asked[2], asked[3])


@pytest.mark.parametrize("body", ["exit 1", "echo nonsense", "sleep 30"])
def test_accounting_that_does_not_answer_changes_nothing(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sacct(tmp_path, body, monkeypatch)
    monkeypatch.setattr(failures, "SECONDS", 0.3)
    asked = [Failure("a", {}, "", KILLED, slurm="7")]
    assert ask_slurm(asked) == asked


def test_table_is_cut() -> None:
    many = [
        Failure("a", {"seed": number}, f"{number}.log", Fault(Kind.INPUT, "x."))
        for number in range(50)
    ]
    lines = list(told(many))
    assert lines[0] == "50 jobs failed:"
    assert "  and 30 more, told above." in lines
    assert len(lines) == 1 + 3 * failures.SHOWN + 3
    assert list(told([])) == []


def test_small_jobs_do_not_import_heavy_packages() -> None:
    code = (
        "import sys, saeflow.jobs, saeflow.failures; print({'torch', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
