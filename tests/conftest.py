"""Fixtures of every test, and how much hypothesis tries."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"

CHECKS = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile(
    "default",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=CHECKS,
)
settings.register_profile(
    "soak", max_examples=2000, deadline=None, database=None, suppress_health_check=CHECKS
)
settings.load_profile("soak" if os.environ.get("SAEFLOW_SOAK") else "default")


LONGEST = ("test_kills", "test_smoke", "test_bad_input", "test_incrementality", "test_plan")
"""Files of tests that take minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first: the process that got one last would still run when the others are done."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        name = item.path.stem
        number = LONGEST.index(name) if name in LONGEST else len(LONGEST)
        return item.path.parent.name != "workflow", number

    items.sort(key=place)


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Jobs set the log up for their whole process; here many follow one another in one."""
    yield
    log = logging.getLogger("saeflow")
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()
    log.setLevel(logging.NOTSET)
    log.propagate = True


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def gsm8k_data() -> Path:
    """Folder of the real train.jsonl and test.jsonl; skips where it is absent."""
    folder = DATA / "gsm8k"
    if not (folder / "train.jsonl").is_file():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another cost more than products of small matrices.

    Of a whole module, so that what its fixtures compute has the same last bits as what tests do.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
