"""A Slurm cluster on this machine, for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.slurm.cluster import Cluster
from tests.slurm.runs import TARGETS
from tests.workflow.running import SMOKE, artifact_digests, copy_project, run

PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sbatch")
HELP = (
    "Slurm is not installed, so nothing is run through profiles/slurm; to install it: "
    "SAEFLOW_CLUSTER=/tmp tests/slurm/cluster.sh install"
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes, two of them with GPUs, and accounting; skips where Slurm is not installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if any(shutil.which(program, path=path) is None for program in PROGRAMS):
        pytest.skip(HELP)
    # Its ports are fixed. Sockets have short paths, hence no folder of pytest's.
    with FileLock(Path(tempfile.gettempdir(), "saeflow-cluster.lock"), timeout=7200):
        root = Path(tempfile.mkdtemp(prefix="saeflow-cluster-"))
        root.chmod(0o755)
        found = Cluster(root)
        # Neither does who is told to end leave a cluster behind.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            found.start()
            yield found
        finally:
            found.stop()
            signal.signal(signal.SIGTERM, before)
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def local_digests(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the same targets give without a cluster."""
    project = copy_project(tmp_path_factory.mktemp("local"))
    try:
        run(project, *TARGETS, *SMOKE)
        return artifact_digests(project / "results")
    except subprocess.TimeoutExpired:
        pytest.fail("the run without a cluster took too long")
