from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job sets in its process, such as small numbers that become 0, would last for all tests."""
    monkeypatch.setattr("saeflow.device.set_threads", lambda threads: None)
