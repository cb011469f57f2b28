from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.running import SMOKE, copy_project, run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A copy of the project, in a folder with a space, in which the smoke run is finished.

    Tests that change it must put it back.
    """
    base = tmp_path_factory.getbasetemp()
    # All processes of pytest-xdist share one run, and each has a copy of what it left.
    shared = (base if worker_id == "master" else base.parent) / "smoke run"
    with FileLock(f"{shared}.lock"):
        if not (shared / "results/report.zip").is_file():
            run(copy_project(shared), *SMOKE)
    return Path(shutil.copytree(shared, tmp_path_factory.mktemp("smoke run") / "project"))
