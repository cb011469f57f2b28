"""Work that is cut up for several jobs: who makes what, and the same bytes whoever does."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from saeflow import shards
from saeflow.artifacts import captures
from saeflow.artifacts.capture_shards import gather_chunks
from saeflow.artifacts.captures import Shard, capture_all
from saeflow.artifacts.catalog import ANSWERS
from saeflow.artifacts.chunks import count_chunks
from saeflow.artifacts.files import link_folder
from saeflow.errors import SaeflowError
from saeflow.shard_records import leave_out_shards
from saeflow.shards import bank_of_shards, check_asked, origin_of, shard_names
from saeflow.shards import shard_range as range_of
from tests.unit.test_captures import PROVENANCE, problems_of, think

N_PROBLEMS, SIZE = 10, 2


@pytest.mark.parametrize("n_pieces", [0, 1, 5, 8, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 40])
def test_each_piece_is_in_one_shard(n_pieces: int, count: int) -> None:
    parts = [range_of(name, n_pieces) for name in shard_names(count)]
    assert [piece for part in parts for piece in part] == list(range(n_pieces))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_job_makes_all() -> None:
    assert range_of(None, 7) == range(7)


def test_no_shard_is_planned_that_would_be_empty() -> None:
    assert shard_names(3) == ["1-of-3", "2-of-3", "3-of-3"]
    assert shard_names(8, 2) == ["1-of-2", "2-of-2"]
    assert shard_names(8, 0) == ["1-of-1"]


def test_origin_tells_what_decides() -> None:
    first = origin_of("code", {"a": 1, "b": 2}, ["x"])
    assert first == origin_of("code", {"b": 2, "a": 1}, ["x"])
    others = [("other", {"a": 1, "b": 2}, ["x"]), ("code", {"a": 2, "b": 1}, ["x"])]
    others.append(("code", {"a": 1, "b": 2}, ["y"]))
    assert len({first, *(origin_of(*other) for other in others)}) == 4


def test_unknown_kinds_and_counts_are_named() -> None:
    check_asked({"capture": 8}, ["capture", "training"])
    with pytest.raises(SaeflowError, match="'captre'; expected one of capture, training"):
        check_asked({"captre": 8}, ["capture", "training"])
    with pytest.raises(SaeflowError, match="capture is 0; expected at least 1"):
        check_asked({"capture": 0}, ["capture"])


def test_records_of_inputs_leave_shards_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake import persistence

    def record(self: object, job: SimpleNamespace) -> list[str]:
        return sorted(job.input)

    monkeypatch.setattr(persistence.PersistenceBase, "_input", record)
    job = SimpleNamespace(input=["results/shards/a/1-of-2", "results/a", "data/results/shards/a"])
    for _ in range(2):
        leave_out_shards()
        found = persistence.PersistenceBase._input(None, job)
        assert found == ["data/results/shards/a", "results/a"]


def test_shards_that_are_gone_go_by_the_record_of_what_they_are_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from snakemake import persistence

    def recorded(self: object, job: SimpleNamespace, path: str) -> set[str | None]:
        return {job.recorded}

    monkeypatch.setattr(persistence.PersistenceBase, "input_checksums", recorded)
    monkeypatch.setattr(persistence.PersistenceBase, "_input", lambda self, job: job.input)
    monkeypatch.chdir(tmp_path)
    leave_out_shards()
    jobs = {
        "whole": ("results/a", "new"),
        "second": ("results/shards/a/second", "old"),
        "first": ("results/shards/a/first", None),
    }
    whole, second, first = (Job(output=[path], recorded=of) for path, of in jobs.values())
    users = {first: {second: set(), whole: set()}, second: {whole: set()}}
    dag = SimpleNamespace(dag=SimpleNamespace(depending=users))
    checksums = partial(persistence.PersistenceBase.input_checksums, dag)
    assert [checksums(job, "x") for job in (first, second, whole)] == [{"new"}] * 3
    Path(second.output[0]).mkdir(parents=True)
    assert checksums(second, "x") == {"old"}


class Job(SimpleNamespace):
    """A job as Snakemake's graph has it."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_a_snakemake_that_keeps_records_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake import persistence

    monkeypatch.delattr(persistence.PersistenceBase, "_input")
    with pytest.raises(SaeflowError, match=r"no Persistence\._input\); expected the version of"):
        leave_out_shards()


def test_a_job_that_gathers_removes_what_other_shards_left(tmp_path: Path) -> None:
    origin, older, stages = "0" * 12, "a" * 12, ("choosing", "reporting")
    base = tmp_path / "shards/m"
    own = [base / origin / stage / name for stage in stages for name in shard_names(2)]
    kept = [*own, base / "d" / older / "1-of-2", tmp_path / "shards/n" / older / "1-of-2"]
    left = [base / older / "choosing/1-of-2", base / origin / "choosing/1-of-3"]
    left.append(base / origin / "reporting/2-of-2.partial")
    for folder in (*kept, *left):
        folder.mkdir(parents=True)
        (folder / "table").touch()
    given = SimpleNamespace(shards=list(map(str, own)))
    shard = SimpleNamespace(input=given, output=SimpleNamespace(shard="s"), log=[])
    shards.remove_other_shards(shard)
    shards.remove_other_shards(SimpleNamespace(input=SimpleNamespace(), output=SimpleNamespace()))
    assert all((folder / "table").is_file() for folder in (*kept, *left))
    shards.remove_other_shards(SimpleNamespace(input=given, output=SimpleNamespace()))
    assert all((folder / "table").is_file() for folder in kept)
    assert not any(folder.exists() for folder in left)
    file = base / origin / "1-of-2.parquet"
    for name in ("1-of-2.parquet", "1-of-3.parquet"):
        file.with_name(name).touch()
    tables = SimpleNamespace(shards=[str(file)])
    shards.remove_other_shards(SimpleNamespace(input=tables, output=SimpleNamespace()))
    assert [path.name for path in (base / origin).iterdir()] == [file.name]


def shard_job(name: str, folder: Path) -> SimpleNamespace:
    names = SimpleNamespace(model="m", dataset="d", scatteritem=name)
    return SimpleNamespace(wildcards=names, output=SimpleNamespace(shard=str(folder)))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    monkeypatch.setattr(captures, "CHUNK", SIZE)

    def make(count: int, *, device: str = "cpu", only: tuple[int, ...] = ()) -> list[Path]:
        folders = []
        for place, name in enumerate(shard_names(count)):
            folder = tmp_path / "shards" / name
            folders.append(folder)
            own = range_of(name, count_chunks(N_PROBLEMS, SIZE))
            if only and place not in only:
                continue
            if own:
                shard = Shard(own, folder)
                capture_all(problems_of(N_PROBLEMS), tmp_path / "capture", think, shard=shard,
                            fingerprint=f"f {device}", provenance=PROVENANCE)  # fmt: skip
            else:
                shards.capture_shard(shard_job(name, folder), count_chunks(N_PROBLEMS, SIZE))
        assert only or all(folder.is_dir() for folder in folders)
        return folders

    return make


def written(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def gather(shards: list[Path], target: Path) -> None:
    gather_chunks(shards, target, ANSWERS, count_chunks(N_PROBLEMS, SIZE))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_captures_of_shards_are_those_of_one_job(
    made: Callable[..., list[Path]], tmp_path: Path, count: int
) -> None:
    whole = tmp_path / "whole"
    capture_all(problems_of(N_PROBLEMS), whole, think, fingerprint="f cpu", provenance=PROVENANCE)
    gather(made(count), tmp_path / "capture")
    found = written(tmp_path / "capture")
    assert found == written(whole)
    assert len(found) > N_PROBLEMS / SIZE
    assert not (tmp_path / "capture.partial").exists()


def test_chunks_of_shards_serve_another_count(
    made: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(5, only=(1, 3))
    asked: list[str] = []

    def watched(questions: list[str]) -> captures.ChunkCapture:
        asked.append(questions[0])
        return think(questions)

    target = tmp_path / "capture"
    capture_all(
        problems_of(N_PROBLEMS), target, watched, fingerprint="f cpu", provenance=PROVENANCE
    )
    assert asked == ["q0", "q4", "q8"]


def test_gathering_takes_no_room_and_can_be_repeated(
    made: Callable[..., list[Path]], tmp_path: Path
) -> None:
    shards = made(2)
    gather(shards, tmp_path / "capture")
    first = tmp_path / "capture/resid_post/layer0/chunk0.parquet"
    assert first.stat().st_ino == (shards[0] / "resid_post/layer0/chunk0.parquet").stat().st_ino
    expected = written(tmp_path / "capture")
    gather(shards, tmp_path / "capture")
    assert written(tmp_path / "capture") == expected


def test_file_systems_without_hard_links_get_copies(
    made: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(made(2), tmp_path / "capture")
    expected = written(tmp_path / "capture")

    def refused(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refused)
    gather([tmp_path / "shards" / name for name in shard_names(2)], tmp_path / "capture")
    assert written(tmp_path / "capture") == expected


def test_shards_of_two_kinds_of_device_do_not_mix(
    made: Callable[..., list[Path]], tmp_path: Path
) -> None:
    made(2, device="cpu", only=(0,))
    shards = made(2, device="cuda", only=(1,))
    with pytest.raises(SaeflowError, match=r"1-of-2 and .*2-of-2 were computed on different kinds"):
        gather(shards, tmp_path / "capture")
    assert not (tmp_path / "capture").exists()


def test_absent_chunks_are_named(made: Callable[..., list[Path]], tmp_path: Path) -> None:
    shards = made(3, only=(0, 2))
    with pytest.raises(SaeflowError, match=r"holds no answers/chunk1\.parquet; expected 5 chunks"):
        gather(shards, tmp_path / "capture")


def test_times_are_kept_only_of_shards_that_are_there(tmp_path: Path) -> None:
    times = tmp_path / "results/benchmarks/shards/a"
    made = tmp_path / "results/shards/a"
    for folder in (times, made / "1-of-3"):
        folder.mkdir(parents=True)
    (made / "2-of-3.parquet").touch()
    for name in shard_names(3):
        (times / f"{name}.tsv").touch()
    shards.forget_times(tmp_path)
    assert sorted(path.name for path in times.iterdir()) == ["1-of-3.tsv", "2-of-3.tsv"]
    shards.forget_times(tmp_path / "new")


def test_an_empty_shard_makes_its_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "shards" / "1-of-8"
    target, shard = shards.capture_shard(shard_job("1-of-8", folder), 3)
    assert written(folder) == {}
    assert folder.is_dir()
    assert target == Path("results/capture/m/d")
    assert shard is not None
    assert not shard.chunks


def test_banks_of_shards_are_found_by_number(tmp_path: Path) -> None:
    for shard, number in (("1-of-2", 0), ("2-of-2", 1)):
        (tmp_path / shard / str(number)).mkdir(parents=True)
        (tmp_path / shard / str(number) / "weights").write_text(f"of {number}")
    (tmp_path / "2-of-2/1/.snakemake_timestamp").touch()
    folders = [tmp_path / name for name in shard_names(2)]
    link_folder(bank_of_shards(folders, 1), tmp_path / "bank")
    assert written(tmp_path / "bank") == {"weights": b"of 1"}
    with pytest.raises(SaeflowError, match="holds no bank 2"):
        bank_of_shards(folders, 2)
