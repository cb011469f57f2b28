"""Jobs that share interventions, and one that is killed: the same bytes, and nothing done twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from saeflow.artifacts.digest import file_digest
from tests.workflow.running import SMOKE, environment, planned, run
from tests.workflow.test_kills import kill_jobs

pytestmark = pytest.mark.workflow
BANK = "results/hierarchy/llama/parts/generated/llama_k100/seed0"
INTERVENED = [f"{BANK}/{name}.parquet" for name in ("trials", "screening", "maximal")]
SPECIALISTS = "results/specialists/llama/parts/llama_resid/seed0"
SHARED = [
    *INTERVENED,
    *(
        f"{SPECIALISTS}/{name}.parquet"
        for name in ("activations", "behaviour", "effects", "examples", "tried")
    ),
    "results/decimal_bug/llama/patches.parquet",
    *(f"results/scaling/llama/{name}.parquet" for name in ("continuations", "steering")),
]
JOBS = {"intervene": 1, "try_specialists": 1, "patch_decimals": 1, "steer_scaling": 1}


class Removed:
    """Results that are removed; what is made instead must be the same, and gets their times."""

    def __init__(self, project: Path, paths: list[str]) -> None:
        self.paths = [project / path for path in paths]
        self.kept = [(file_digest(path), path.stat().st_mtime_ns) for path in self.paths]
        for path in self.paths:
            path.unlink()

    def made_again(self) -> None:
        for path, (digest, when) in zip(self.paths, self.kept, strict=True):
            assert file_digest(path) == digest, path
            # Otherwise all that follows would be older.
            os.utime(path, ns=(when, when))


def left_over(project: Path) -> Iterator[Path]:
    yield from (project / "results").rglob("*.partial*")
    yield from (path for path in (project / "results/shards").rglob("*") if path.is_file())


def test_shards_make_the_same_and_their_number_rebuilds_nothing(finished: Path) -> None:
    removed = Removed(finished, SHARED)
    two = (*SMOKE, "--set-scatter", "ablation=2", "--", *SHARED)
    # Two stages of interventions, the second of which waits for the first.
    shards = {"intervene_shard": 4, "try_specialists_shard": 2}
    shards |= {"patch_decimals_shard": 2, "steer_scaling_shard": 2}
    assert planned(finished, *two) == JOBS | shards
    assert planned(finished, *SMOKE, "--", *SHARED) == JOBS
    run(finished, *two)
    removed.made_again()
    assert not list(left_over(finished))
    for count in (1, 2, 3):
        other = (*SMOKE, "--set-scatter", f"ablation={count}", "--", *SHARED)
        assert planned(finished, *other) == {}


def test_interventions_go_on_where_they_were_killed(finished: Path) -> None:
    removed = Removed(finished, INTERVENED)
    target = INTERVENED[0]
    main = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *SMOKE, "--", target],
        cwd=finished,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = finished / BANK / "trials.partial"
    while len(list(partial.glob("chosen*.parquet"))) < 1:
        assert main.poll() is None, "the interventions ended before they could be killed"
        time.sleep(0.02)
    kill_jobs(main)
    assert not (finished / target).exists()
    units = len(list(partial.glob("chosen*.parquet")))
    run(finished, *SMOKE, "--", target)
    log = finished / "results/logs/hierarchy/llama/generated/llama_k100/seed0/trials.log"
    (known,) = re.findall(r"choosing: (\d+) of \d+ units are there already", log.read_text())
    assert int(known) == units
    removed.made_again()
    assert not list(left_over(finished))
