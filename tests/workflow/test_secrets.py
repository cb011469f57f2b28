"""Tokens and keys of the environment are in nothing that a run says or leaves behind, well or badly ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.fake_endpoint import Asked, Reply, failed, said, serving
from tests.fake_hub import COMMIT, FakeHub, running
from tests.workflow.running import SMOKE, snakemake

pytestmark = pytest.mark.workflow

TOKEN = "hf_CanaryCanaryCanary00123456789"
KEY = "sk-CanaryCanaryCanary00987654321"
ANSWERS = "results/specialists/llama/answers.parquet"


@pytest.fixture(scope="module")
def project(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of its own, and an environment that holds a token and a key."""
    made = Path(shutil.copytree(finished, tmp_path_factory.mktemp("secrets") / "project"))
    before = dict(os.environ)
    os.environ.update(HF_TOKEN=TOKEN, SAEFLOW_JUDGE_KEY=KEY)
    yield made
    os.environ.clear()
    os.environ.update(before)


def left_behind(project: Path, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Where a run told or wrote one of the two."""
    found = [each for each in (TOKEN, KEY) if each in done.stdout]
    return found + [str(path) for path in project.rglob("*") if path.is_file() and holds(path)]


def holds(path: Path) -> bool:
    """Whether a file has one of the two in it, or in what it compresses."""
    return any(each.encode() in content for content in contents(path) for each in (TOKEN, KEY))


def contents(path: Path) -> Iterator[bytes]:
    """Bytes of a file; of a table also texts and metadata, of an archive also its files."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name)
    elif path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        yield repr(file.schema_arrow.to_string(truncate_metadata=False)).encode()
        yield repr(file.schema_arrow.metadata).encode()
        # Numbers, of which captures have millions, hold no text.
        for field in file.schema_arrow:
            if re.search("string|binary|dictionary", str(field.type)):
                yield repr(file.read([field.name]).to_pylist()).encode()


@pytest.mark.parametrize("secret", [TOKEN, KEY])
@pytest.mark.parametrize("place", ["cell", "list", "metadata", "archive", "text"])
def test_planted_secret_is_found(tmp_path: Path, place: str, secret: str) -> None:
    text = f"said {secret} " * 20
    path = tmp_path / {"archive": "x.zip", "text": "x.log"}.get(place, "x.parquet")
    for planted in (text, "nothing"):
        if place == "archive":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("inside.txt", planted)
        elif place == "text":
            path.write_text(planted)
        else:
            kinds: dict[str, list[Any]] = {"cell": [planted] * 50, "list": [[planted]] * 50}
            cells = kinds.get(place, [1, 2])
            table = pa.table({"numbers": range(len(cells)), "cells": cells})
            if place == "metadata":
                table = table.replace_schema_metadata({"told": planted})
            pq.write_table(table, path, compression="zstd")
        assert holds(path) == (planted == text)


@pytest.fixture(scope="module")
def hub(project: Path) -> Iterator[FakeHub]:
    folder = project / "resources/models/llama"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    repos = {f"someone/{name}": files for name in ("open", "gated", "busy")}
    made = FakeHub(repos)
    made.gated.add("someone/gated")
    with running(made):
        os.environ.update(made.environment(project.parent / "cache"))
        yield made


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("open", ""), ("gated", "gated"), ("lost", "someone/lost"), ("busy", "someone/busy")],
)
def test_token_of_the_hub(
    project: Path, hub: FakeHub, tmp_path: Path, name: str, sentence: str
) -> None:
    block = {"weights": "hub", "repo": f"someone/{name}", "revision": COMMIT}
    given = tmp_path / "overlay.yaml"
    given.write_text(yaml.safe_dump({"models": {name: block}}), encoding="utf-8")
    hub.busy = [403] * 40 if name == "busy" else []
    done = snakemake(project, f"results/models/{name}", *SMOKE, str(given))
    hub.busy = []
    assert (done.returncode == 0) == (not sentence), done.stdout[-3000:]
    assert sentence in done.stdout
    assert f"Bearer {TOKEN}" in hub.authorizations
    assert left_behind(project, done) == []


def quoting(asked: Asked, _: int) -> Reply:
    """An endpoint that repeats what it got, the key with it."""
    return failed(400, f"cannot read {asked.headers['Authorization']}")


@pytest.mark.parametrize("answers", ["well", "badly"])
def test_key_of_an_endpoint(project: Path, tmp_path: Path, answers: str) -> None:
    reply = quoting if answers == "badly" else (lambda asked, before: said("yes"))
    with serving(reply) as endpoint:
        judge = {"kind": "endpoint", "url": endpoint.url, "model": "m"}
        study = {"published": {"judge": {**judge, "key_variable": "SAEFLOW_JUDGE_KEY"}}}
        given = tmp_path / "overlay.yaml"
        given.write_text(yaml.safe_dump({"studies": {"specialists": study}}), encoding="utf-8")
        done = snakemake(project, ANSWERS, *SMOKE, str(given))
    assert (done.returncode == 0) == (answers == "well"), done.stdout[-3000:]
    assert endpoint.asked
    assert endpoint.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    if answers == "badly":
        assert "cannot read" in done.stdout
        assert "***" in done.stdout
    assert left_behind(project, done) == []


@pytest.mark.parametrize(
    "values",
    [
        {"models": {"x": {"weights": "hub", "repo": "someone/x", "revision": TOKEN}}},
        {"api_key": KEY},
        {"datasets": {"x": {"source": "hub", "token": TOKEN}}},
    ],
)
def test_key_in_the_configuration(project: Path, tmp_path: Path, values: dict[str, object]) -> None:
    given = tmp_path / "overlay.yaml"
    given.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = snakemake(project, "-n", *SMOKE, str(given))
    assert done.returncode == 1
    assert "looks like a key or token, which has no place in the configuration" in done.stdout
    assert "Traceback" not in done.stdout
    assert left_behind(project, done) == []
