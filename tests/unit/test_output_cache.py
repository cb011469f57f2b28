"""Snakemake's between-workflow cache: what is refused before a run, and which folder is whose."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saeflow import output_cache
from saeflow.config.root import parse_config
from saeflow.errors import SaeflowError
from saeflow.output_cache import LOCATION, share_outputs
from tests.configs import changed
from tests.sentences import check_sentence

CONFIG = parse_config(changed({}))
COMMIT = "0123456789" * 4
NAMES = ("capture_thoughts", "capture_tokens")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOCATION, str(tmp_path))
    monkeypatch.setenv("SAEFLOW_DEVICE", "cpu")
    return tmp_path


def workflow(asked: list[str] | None, shards: int = 1, main: bool = True) -> Any:
    rules = {name: SimpleNamespace(_benchmark="x.tsv") for name in NAMES}
    return SimpleNamespace(
        workflow_settings=SimpleNamespace(cache=asked),
        get_rule=rules.__getitem__,
        resource_settings=SimpleNamespace(overwrite_scatter={"capture": shards, "training": 4}),
        is_main_process=main,
    )


def test_nothing_changes_without_the_option(cache: Path) -> None:
    found = workflow(None)
    share_outputs(found, CONFIG, NAMES)
    assert os.environ[LOCATION] == str(cache)
    assert not list(cache.iterdir())
    assert all(found.get_rule(name)._benchmark for name in NAMES)


@pytest.mark.parametrize("asked", [[], ["capture_tokens"]])
def test_asked_rules_have_no_benchmark(cache: Path, asked: list[str]) -> None:
    found = workflow(asked)
    share_outputs(found, CONFIG, NAMES)
    # Named, so that jobs on a cluster are told.
    assert found.workflow_settings.cache == (asked or list(NAMES))
    kept = [name for name in NAMES if found.get_rule(name)._benchmark]
    assert kept == ([] if not asked else ["capture_thoughts"])


def test_each_device_and_version_has_a_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder() -> str:
        share_outputs(workflow([]), CONFIG, NAMES)
        return os.environ[LOCATION]

    first = folder()
    assert Path(first).parent == cache
    # A job inherits what the run has set.
    assert folder() == first
    monkeypatch.setenv("SAEFLOW_DEVICE", "cuda:1")
    second = folder()
    assert Path(second).parent == cache
    assert second != first
    monkeypatch.delenv("SAEFLOW_DEVICE")
    monkeypatch.setattr(output_cache, "visible_gpus", lambda: [80.0])
    assert folder() == second
    monkeypatch.setattr(output_cache, "visible_gpus", list)
    assert folder() == first
    monkeypatch.setattr(output_cache, "package_version", lambda name: f"9-{name}")
    assert folder() not in (first, second)


def test_a_folder_is_open_to_those_that_the_cache_is_open_to(cache: Path) -> None:
    cache.chmod(0o2775)
    before = os.umask(0o077)
    try:
        share_outputs(workflow([]), CONFIG, NAMES)
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(os.environ[LOCATION]).stat().st_mode) == 0o2775


def test_a_relative_cache_is_found_from_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv(LOCATION, "shared")
    share_outputs(workflow([]), CONFIG, NAMES)
    assert Path(os.environ[LOCATION]).parent == tmp_path / "shared"


def test_what_cannot_work_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LOCATION, raising=False)
    with pytest.raises(SaeflowError, match=f"{LOCATION} is not set"):
        share_outputs(workflow([]), CONFIG, NAMES)
    monkeypatch.setenv(LOCATION, str(tmp_path / "absent"))
    with pytest.raises(SaeflowError, match="absent', which is no folder"):
        share_outputs(workflow([]), CONFIG, NAMES)
    with pytest.raises(SaeflowError, match="names train_bank; expected capture_thoughts or"):
        share_outputs(workflow(["train_bank"]), CONFIG, NAMES)


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ({"revision": "main"}, "models.mine.revision is 'main'"),
        ({"revision": COMMIT[:39]}, "models.mine.revision is '0123"),
        (
            {"revision": COMMIT, "checkpoint": "codi", "base": {"repo": "o/b", "revision": "v1"}},
            "models.mine.base.revision is 'v1'",
        ),
        ({"revision": COMMIT}, ""),
    ],
)
def test_a_branch_is_refused(cache: Path, block: dict[str, Any], key: str) -> None:
    given = {"weights": "hub", "repo": "someone/mine", **block}
    config = parse_config(changed({"models.mine": given}))
    # Without the option a branch is as good as ever.
    share_outputs(workflow(None), config, NAMES)
    if not key:
        share_outputs(workflow([]), config, NAMES)
        return
    with pytest.raises(SaeflowError, match=re.escape(key)) as refused:
        share_outputs(workflow([]), config, NAMES)
    check_sentence(refused.value)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("block", "refused"),
    [
        ({"revision": "main"}, True),
        ({"revision": "main", "content_sha256": "0" * 64}, False),
        ({}, False),
    ],
)
def test_problems_of_a_branch_are_refused(
    cache: Path, block: dict[str, Any], refused: bool
) -> None:
    config = parse_config(changed({"datasets.mine": {"source": "hub", **block}}))
    if not refused:
        share_outputs(workflow([]), config, NAMES)
        return
    with pytest.raises(SaeflowError, match=r"datasets\.mine\.revision is 'main'"):
        share_outputs(workflow([]), config, NAMES)


def test_captures_in_shards_are_warned_of(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(output_cache.logger, "warning", told.append)
    share_outputs(workflow([]), CONFIG, NAMES)
    share_outputs(workflow(None, shards=2), CONFIG, NAMES)
    # Jobs read the Snakefile, too.
    share_outputs(workflow([], shards=2, main=False), CONFIG, NAMES)
    assert not told
    share_outputs(workflow([], shards=2), CONFIG, NAMES)
    assert len(told) == 1
    assert "set-scatter capture" in told[0]
