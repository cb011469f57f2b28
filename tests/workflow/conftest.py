from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.running import SMOKE, copy_project, run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in a folder with a space, in which the smoke run is finished.

    Tests that change it must put it back.
    """
    project = copy_project(tmp_path_factory.mktemp("smoke run"))
    run(project, *SMOKE)
    return project
