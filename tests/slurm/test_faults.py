"""The smoke configuration on a real Slurm, where everything goes wrong once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.slurm.cluster import Cluster, Job, freeze, script_of
from tests.slurm.runs import TARGETS
from tests.workflow.running import SMOKE, artifact_digests, copy_project, environment

SECONDS = 3600 if TARGETS else 10800
"""After which a run is taken for hanging."""
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(2 * SECONDS)]
OPTIONS = (
    # As on a real cluster, but for jobs that last seconds.
    *("--workflow-profile", "slurm", "--slurm-init-seconds-before-status-checks", "8"),
    *("--jobs", "4", "--latency-wait", "20"),
)


def cancel(cluster: Cluster, job: Job) -> None:
    cluster.cancel(job)


def kill_node(cluster: Cluster, job: Job) -> None:
    cluster.kill_node(job.node)


def requeue(cluster: Cluster, job: Job) -> None:
    # As an administrator may, whatever the profile says; Slurm would wait two minutes.
    cluster.control("update", f"JobId={job.number}", "Requeue=1")
    cluster.control("requeue", job.number)


def run_out_of_memory(cluster: Cluster, job: Job) -> None:
    # No limit is enforced here; the kernel, too, sends this signal to the process that grew.
    script = script_of(job)
    assert script is not None
    script.send_signal(signal.SIGKILL)


def run_out_of_time(cluster: Cluster, job: Job) -> None:
    # What is frozen runs on until its minute is over.
    cluster.control("update", f"JobId={job.number}", "TimeLimit=1")


CONTROLS = "encode_controls_llama_generated_llama_k100_seed0"
FAULTS: dict[str, Callable[[Cluster, Job], None]] = {
    "draw_texts": run_out_of_memory,
    "load_texts": run_out_of_time,
    "cut_tokens": requeue,
    "capture_thoughts": kill_node,
    CONTROLS: cancel,
}
"""What happens to the first job of a rule."""


class Controller:
    """Lets each fault happen once while a run goes on."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.struck: dict[str, Job] = {}
        self.mended: set[Job] = set()
        self.frozen: dict[str, psutil.Process] = {}

    def look(self) -> None:
        running = self.cluster.running()
        for job in running:
            if job.rule in self.struck and job.number in self.frozen:
                self.frozen.pop(job.number).send_signal(signal.SIGCONT)  # another was struck
            if job.rule not in FAULTS or job.rule in self.struck:
                continue
            script = script_of(job)
            if script is None:
                continue
            # What is over before it is struck would be no test.
            freeze(script)
            # One fault for each job: a node does not die under one that is to run out of time.
            others = {each.rule for each in running if each.node == job.node} - {job.rule}
            if FAULTS[job.rule] is kill_node and others & set(FAULTS):
                self.frozen[job.number] = script
                continue
            self.frozen.pop(job.number, None)
            FAULTS[job.rule](self.cluster, job)
            self.struck[job.rule] = job
        self.mend()

    def mend(self) -> None:
        """Bring back a node that Slurm gave up, and let what was requeued start at once."""
        for rule in {"capture_thoughts", "cut_tokens"} & set(self.struck):
            job = self.struck[rule]
            if job in self.mended:
                continue
            states = [each.state for each, _ in self.cluster.history() if each.number == job.number]
            if "NODE_FAIL" in states:
                self.cluster.start_node(job.node)
                self.mended.add(job)
            elif "REQUEUED" in states:
                self.cluster.start_soon(job)
                self.mended.add(job)


def submit(
    project: Path, cluster: Cluster, targets: tuple[str, ...] = TARGETS
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", *targets, *SMOKE, *OPTIONS]
    with (project / "run.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=project,
            env=environment() | cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def told(project: Path) -> str:
    return (project / "run.log").read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def survived(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Controller]:
    """A folder in which the run is finished, and what happened to its jobs."""
    project = copy_project(tmp_path_factory.mktemp("cluster") / "a run")
    controller = Controller(cluster)
    deadline = time.monotonic() + SECONDS
    for _ in ("the run", "one rerun"):
        main = submit(project, cluster)
        try:
            while main.poll() is None:
                assert time.monotonic() < deadline, f"hangs:\n{told(project)[-6000:]}"
                controller.look()
                time.sleep(0.5)
        finally:
            if main.poll() is None:
                os.killpg(main.pid, signal.SIGKILL)
        if main.returncode == 0:
            break
    assert main.returncode == 0, told(project)[-8000:]
    return project, controller


def test_everything_went_wrong_once(cluster: Cluster, survived: tuple[Path, Controller]) -> None:
    _, controller = survived
    assert set(controller.struck) == set(FAULTS)
    history = cluster.history("ReqMem")
    states = {
        rule: next(job.state for job, _ in history if job.number == struck.number)
        for rule, struck in controller.struck.items()
    }
    assert states == {
        "draw_texts": "FAILED",
        "load_texts": "TIMEOUT",
        "cut_tokens": "REQUEUED",
        "capture_thoughts": "NODE_FAIL",
        CONTROLS: "CANCELLED",
    }


def test_a_second_attempt_has_more_memory_and_time(
    cluster: Cluster, survived: tuple[Path, Controller]
) -> None:
    _, controller = survived
    history = cluster.history("ReqMem", "TimelimitRaw")
    for rule in ("draw_texts", "load_texts"):
        struck = controller.struck[rule]
        asked = [
            (int(re.sub(r"\D", "", memory)), int(minutes))
            for job, (memory, minutes) in history
            if (job.rule, job.wildcards) == (rule, struck.wildcards)
        ]
        assert len(asked) >= 2
        assert asked[1][0] == 2 * asked[0][0]
        # The first limit of load_texts was cut by the test.
        assert asked[1][1] == (120 if rule == "load_texts" else 2 * asked[0][1])


def test_the_bytes_are_those_of_a_local_run(
    survived: tuple[Path, Controller], local_digests: dict[str, str]
) -> None:
    project, _ = survived
    assert len(local_digests) > 20
    assert artifact_digests(project / "results") == local_digests


def test_gpu_jobs_run_on_gpu_nodes_and_see_their_device(
    cluster: Cluster, survived: tuple[Path, Controller]
) -> None:
    project, _ = survived
    history = cluster.history("AllocTRES", "Partition")
    with_gpu = {job.rule for job, (tres, _) in history if "gres/gpu=1" in tres}
    loops = {"train_controls_llama_llama_k100_seed0", "train_wide_llama_documents_0", CONTROLS}
    assert loops | {"capture_thoughts", "train_bank"} <= with_gpu
    placed = {(job.rule in with_gpu, partition) for job, (_, partition) in history}
    assert placed == {(True, "gpu"), (False, "cpu")}
    nodes = {node for job, _ in history if job.rule in with_gpu for node in job.node.split(",")}
    assert nodes <= {"n2", "n3"}
    # What the scripts themselves say of the place where they ran.
    pattern = re.compile(r"Slurm job (\d+) on node (\w+), CUDA devices (\S+)\.")
    logs = "\n".join(path.read_text() for path in (project / "results/logs").rglob("*.log"))
    rules = {job.number: job for job, _ in history}
    seen = {number: (node, devices) for number, node, devices in pattern.findall(logs)}
    assert {rules[number].rule for number in seen} == {job.rule for job, _ in history}
    for number, (node, devices) in seen.items():
        job = rules[number]
        assert node == job.node
        assert (devices in ("0", "1")) == (job.rule in with_gpu), (job, devices)


def test_logs_of_what_failed_are_kept(survived: tuple[Path, Controller]) -> None:
    project, controller = survived
    kept = {path.stem for path in (project / "results/logs/slurm").rglob("*.log")}
    failed = {job.number for rule, job in controller.struck.items() if rule != "cut_tokens"}
    assert failed <= kept


def test_nothing_is_left_to_do_and_nothing_in_the_queue(
    cluster: Cluster, survived: tuple[Path, Controller]
) -> None:
    project, _ = survived
    assert cluster.is_idle()
    main = submit(project, cluster)
    assert main.wait(timeout=600) == 0
    assert "Nothing to be done" in told(project)


def test_a_preempted_job_runs_again(cluster: Cluster, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "preempted")
    profile = project / "profiles/slurm/profile.yaml"
    text = profile.read_text(encoding="utf-8")
    # As docs/cluster.md says.
    for before, after in (("slurm-no-requeue:", "slurm-requeue:"), ("\"'cpu'\"", "\"'low'\"")):
        assert before in text
        text = text.replace(before, after)
    profile.write_text(text, encoding="utf-8")
    main = submit(project, cluster, ("results/datasets/generated/problems.parquet",))
    struck = None
    deadline = time.monotonic() + SECONDS
    try:
        while main.poll() is None:
            assert time.monotonic() < deadline, f"hangs:\n{told(project)[-6000:]}"
            jobs = [job for job in cluster.running() if job.rule == "load_problems"]
            if struck is None and jobs and (script := script_of(jobs[0])):
                struck = jobs[0]
                freeze(script)
                cluster.occupy(struck.node)
            elif struck is not None:
                cluster.start_soon(struck)
            time.sleep(0.5)
    finally:
        if main.poll() is None:
            os.killpg(main.pid, signal.SIGKILL)
    assert main.returncode == 0, told(project)[-6000:]
    assert struck is not None
    states = [job.state for job, _ in cluster.history() if job.number == struck.number]
    assert states == ["PREEMPTED", "COMPLETED"]


def test_jobs_of_a_killed_run_keep_its_lock(cluster: Cluster, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "killed")

    def unlock() -> subprocess.CompletedProcess[str]:
        env = environment() | cluster.environment | {"PYTHONPATH": str(project / "src")}
        command = [sys.executable, "-m", "saeflow", "unlock"]
        return subprocess.run(
            command, cwd=project, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    main = submit(project, cluster, ("results/datasets/generated/problems.parquet",))
    deadline = time.monotonic() + SECONDS
    try:
        while not (jobs := cluster.running()):
            assert time.monotonic() < deadline, told(project)[-6000:]
            assert main.poll() is None, told(project)[-6000:]
            time.sleep(0.2)
    finally:
        os.killpg(main.pid, signal.SIGKILL)
    main.wait(timeout=60)
    locks = project / ".snakemake/locks"
    assert list(locks.glob("*.lock"))
    refused = unlock()
    assert refused.returncode != 0
    assert f"scancel {jobs[0].number}" in refused.stderr
    assert list(locks.glob("*.lock"))
    cluster.cancel(jobs[0])
    while not cluster.is_idle():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    cleared = unlock()
    assert cleared.returncode == 0, cleared.stderr
    assert not list(locks.glob("*.lock"))
