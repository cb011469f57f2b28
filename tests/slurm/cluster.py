"""What the tests ask of the cluster that cluster.sh makes."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

SCRIPT = Path(__file__).with_name("cluster.sh")


@dataclass(frozen=True)
class Job:
    """A job of Slurm, by what squeue or sacct says of it."""

    number: str
    state: str
    node: str
    rule: str
    wildcards: str


class Cluster:
    """Three nodes on this machine; n2 and n3 have GPUs.

    Parameters
    ----------
    root : Path
        Where everything that it writes lies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        path = os.pathsep.join((str(root / "bin"), os.environ["PATH"], "/usr/sbin"))
        self.environment = {
            "SAEFLOW_CLUSTER": str(root),
            "SLURM_CONF": str(root / "etc/slurm.conf"),
            "PATH": path,
        }

    def _ask(self, *command: str | Path, check: bool = True) -> str:
        env = os.environ | self.environment
        # Not captured from what starts daemons: they would hold the pipe open.
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=check)
        return done.stdout

    def _script(self, *arguments: str) -> None:
        env = os.environ | self.environment
        with (self.root / "cluster.log").open("a") as log:
            subprocess.run([SCRIPT, *arguments], env=env, stdout=log, stderr=log, check=True)

    def start(self) -> None:
        """Start it and wait until all nodes are idle."""
        self._script("start")

    def stop(self) -> None:
        """End every job and every daemon."""
        self._script("stop")

    def kill_node(self, node: str) -> None:
        """Kill a node and what runs on it; Slurm has to notice by itself."""
        self._script("kill-node", node)

    def start_node(self, node: str) -> None:
        """Bring a node back."""
        self._script("start-node", node)

    def control(self, *arguments: str) -> None:
        """Run scontrol."""
        self._ask("scontrol", *arguments)

    def cancel(self, job: Job) -> None:
        """Cancel a job as its user would."""
        self._ask("scancel", job.number)

    def start_soon(self, job: Job) -> None:
        """Do not let a job that was put back into the queue wait for two minutes."""
        self._ask("scontrol", "update", f"JobId={job.number}", "StartTime=now", check=False)

    def occupy(self, node: str) -> None:
        """Let a job of a partition with precedence have a whole node for a moment."""
        options = ("--partition", "gpu", "--nodelist", node, "--exclusive", "--time", "5")
        self._ask("sbatch", *options, "--output", "/dev/null", "--wrap", "sleep 1")

    def running(self) -> list[Job]:
        """Jobs that run now."""
        lines = self._ask("squeue", "-h", "-t", "RUNNING", "-o", "%A|%T|%N|%k", check=False)
        return [_job(*line.split("|", 3)) for line in lines.splitlines()]

    def is_idle(self) -> bool:
        """Whether no job waits, runs or ends just now."""
        return not self._ask("squeue", "-h", "-o", "%A").strip()

    def history(self, *fields: str) -> list[tuple[Job, list[str]]]:
        """Every job since the start and its other fields; one that was requeued, once per attempt."""
        names = ",".join(("JobID", "State", "NodeList", "Comment", *fields))
        lines = self._ask("sacct", "-XDnP", "-S", "now-1days", "-o", names).splitlines()
        rows = [line.split("|") for line in lines]
        return [(_job(*row[:4]), row[4:]) for row in rows]


def _job(number: str, state: str, node: str, comment: str) -> Job:
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    # "CANCELLED by 0"
    return Job(number, state.split(" ")[0], node, rule, wildcards)


def script_of(job: Job) -> psutil.Process | None:
    """The process of a job that runs a workflow script, if it has come so far."""
    for process in psutil.process_iter():
        try:
            if not any("/.snakemake/scripts/" in part for part in process.cmdline()):
                continue
            command = process.cmdline()[0]
            if "python" not in command:
                continue  # the shell around it
            if process.environ().get("SLURM_JOB_ID") == job.number:
                return process
        except psutil.Error:
            continue
    return None


def freeze(process: psutil.Process) -> None:
    """Keep a script from ending before something happens to it."""
    process.send_signal(signal.SIGSTOP)
