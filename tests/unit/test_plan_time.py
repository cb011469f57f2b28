"""Time of a plan, on graphs that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeflow.plan.jobs import Job
from saeflow.plan.summary import duration, size_text
from saeflow.plan.time import Machine, planned_time


def job(number: int, *needs: int, minutes: int = 1, **asked: int) -> Job:
    """A job that asks for one core and nothing else by default."""
    wanted = {"cores": 1, "gpu": 0, "model_jobs": 0, "mem_mb": 0, **asked}
    return Job(
        number=number, rule=f"rule{number}", minutes=minutes, inputs=[], outputs=[], banks=[],
        model=None, benchmark=f"results/benchmarks/{number}.tsv", needs=needs, **wanted,
    )  # fmt: skip


def seconds(
    jobs: list[Job], *, cores: int = 8, gpus: int | None = None, folder: str = "/nowhere"
) -> tuple[float, float, float]:
    found = planned_time(jobs, Path(folder), Machine(cores, gpus))
    return found.total, found.critical, found.elapsed


def test_a_chain_takes_its_sum_whatever_the_machine() -> None:
    chain = [job(0), job(1, 0, minutes=2), job(2, 1, minutes=3)]
    assert seconds(chain) == (360, 360, 360)
    assert seconds(chain[::-1], cores=1) == (360, 360, 360)


def test_independent_jobs_share_cores() -> None:
    jobs = [job(number) for number in range(6)]
    assert seconds(jobs, cores=6) == (360, 60, 60)
    assert seconds(jobs, cores=4) == (360, 60, 120)
    assert seconds(jobs, cores=1) == (360, 60, 360)


def test_gpus_are_waited_for_only_where_they_are_counted() -> None:
    jobs = [job(number, gpu=1) for number in range(3)] + [job(3)]
    assert seconds(jobs)[2] == 60
    assert seconds(jobs, gpus=1)[2] == 180
    assert seconds(jobs, gpus=2)[2] == 120
    assert seconds(jobs, gpus=0)[2] == 60


def test_large_models_come_one_by_one() -> None:
    assert seconds([job(0, model_jobs=1), job(1, model_jobs=1), job(2)])[2] == 120


def test_a_job_that_asks_for_more_cores_than_there_are_runs_all_the_same() -> None:
    assert seconds([job(0, cores=16), job(1, cores=16)], cores=2) == (120, 60, 120)


def test_a_diamond_waits_for_its_longer_side() -> None:
    jobs = [job(0), job(1, 0, minutes=5), job(2, 0), job(3, 1, 2)]
    assert seconds(jobs) == (480, 420, 420)


def test_long_chains_and_empty_plans() -> None:
    chain = [job(number, *([number - 1] if number else [])) for number in range(3000)]
    assert seconds(chain[::-1])[1] == 180_000
    assert seconds([]) == (0, 0, 0)


def test_what_was_measured_stands_in_place_of_limits(tmp_path: Path) -> None:
    folder = tmp_path / "results/benchmarks"
    folder.mkdir(parents=True)
    (folder / "0.tsv").write_text("s\th:m:s\tmax_rss\n12.5\t0:00:12\t9.0\n")
    (folder / "1.tsv").write_text("not a table")
    found = planned_time([job(0), job(1, 0), job(2, 1)], tmp_path, Machine(1))
    assert found.seconds == {0: 12.5, 1: 60, 2: 60}
    assert (found.measured, found.known, found.elapsed) == (1, 12.5, 132.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(99.0), "99 s"),
        (duration(600.0), "10 min"),
        (duration(7200.0), "2 h"),
        (size_text(5.1e6), "5 MB"),
        (size_text(2.34e9), "2.3 GB"),
        (size_text(1.5e12), "1.5 TB"),
    ],
)
def test_units_read_well(text: str, expected: str) -> None:
    assert text == expected
