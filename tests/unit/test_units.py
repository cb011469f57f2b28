"""Units of long jobs: kept, read again, shared, and never those of another job."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.schema import Artifact, Column
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.units import Unit, Units, name_of
from saeflow.saes.bank import Site
from saeflow.shards import shard_range
from saeflow.studies.decimal_bug.patch_plan import Trial
from saeflow.studies.decimal_bug.patching import _Tried
from saeflow.studies.hierarchy.maximal import InputSearch
from saeflow.unit_jobs import open_units
from tests.scripts.adapters import Names

NUMBERS = Artifact("numbers", 1, "Some.", (Column("n", pa.int64(), "One."),), ("n",))
HERE = Provenance("made")


class Work:
    """Units of two rows in descending order, which count how often they are computed."""

    def __init__(self, count: int) -> None:
        self.done: list[int] = []
        self.units = [
            Unit(f"unit{number}", NUMBERS, lambda number=number: self._compute(number))
            for number in range(count)
        ]

    def _compute(self, number: int) -> pa.Table:
        self.done.append(number)
        return pa.table({"n": [2 * number + 1, 2 * number]})


def test_units_are_computed_once_and_keep_their_order(tmp_path: Path) -> None:
    work = Work(3)
    expected = [1, 0, 3, 2, 5, 4]
    for _ in range(2):
        units = Units(tmp_path / "made", "f", HERE)
        assert units.joined(work.units, "numbers", NUMBERS)["n"].to_pylist() == expected
    assert work.done == [0, 1, 2]
    assert Units().joined(work.units, "numbers", NUMBERS)["n"].to_pylist() == expected
    units.finish([pa.table({"n": expected})], [NUMBERS], [str(tmp_path / "made.parquet")])
    assert [path.name for path in tmp_path.iterdir()] == ["made.parquet"]
    assert read_table(tmp_path / "made.parquet", NUMBERS)["n"].to_pylist() == sorted(expected)


def test_units_of_another_fingerprint_are_discarded(tmp_path: Path) -> None:
    work = Work(2)
    Units(tmp_path / "made", "f", HERE).tables(work.units, "numbers")
    Units(tmp_path / "made", "g", HERE).tables(work.units, "numbers")
    assert work.done == [0, 1, 0, 1]


def test_a_shard_of_another_fingerprint_is_not_read_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(2)
    shard = Units(tmp_path / "shard", "f", HERE, portion=range)
    shard.tables(work.units, "numbers")
    shard.finish((), (), ())
    assert Units(tmp_path / "one", "f", HERE, [tmp_path / "shard"]).has(work.units[1])
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "saeflow"):
        two = Units(tmp_path / "two", "g", HERE, [tmp_path / "shard"])
    assert not two.has(work.units[1])
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path / 'shard'}: made by other code")


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_together_do_every_unit_once(tmp_path: Path, count: int) -> None:
    work, more = Work(5), Work(1)
    made = []
    for number in range(count):
        item = f"{number + 1}-of-{count}"
        shard = Units(tmp_path / item, "f", HERE, portion=partial(shard_range, item))
        shard.tables(shard.mine(work.units, []), "numbers")
        shard.finish((), (), ())
        made.append(tmp_path / item)
    assert sorted(work.done) == list(range(5))
    whole = Units(tmp_path / "whole", "f", HERE, made)
    found = whole.joined(work.units, "numbers", NUMBERS)
    assert found.equals(Units().joined(Work(5).units, "numbers", NUMBERS))
    assert sorted(work.done) == list(range(5))
    # What no shard has made is computed.
    assert whole.table(more.units[0])["n"].to_pylist() == [1, 0]


@pytest.mark.parametrize("of", ["job", "shard"])
def test_a_damaged_unit_alone_is_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    work = Work(2)
    portion = None if of == "job" else range
    units = Units(tmp_path / "made", "f", HERE, portion=portion)
    expected = units.tables(work.units, "numbers")
    if of == "shard":
        units.finish((), (), ())
        units = Units(tmp_path / "whole", "f", HERE, [tmp_path / "made"])
    folder = tmp_path / ("made.partial" if of == "job" else "made")
    path = folder / "unit0.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    assert [units.has(unit) for unit in work.units] == [False, True]
    with caplog.at_level(logging.WARNING, "saeflow"):
        for _ in range(2):
            assert units.tables(work.units, "numbers") == expected
    assert work.done == [0, 1, 0]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; it is computed again."
    ]


@pytest.mark.parametrize(
    "changed", ["code", "weights", "table", "part", "provenance", "device", "nothing"]
)
def test_what_a_job_goes_on_from_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    quality = tmp_path / "bank" / "quality.parquet"
    quality.parent.mkdir()
    quality.write_text("weights", "utf-8")
    table, part = tmp_path / "table.parquet", tmp_path / "features" / "layer0.parquet"
    part.parent.mkdir()
    for path in (table, part):
        path.write_text("rows", "utf-8")
    given = {"bank": str(quality.parent), "features": str(part.parent), "asked": [str(table)]}

    def opened(code: str = "c", provenance: Provenance = HERE) -> Units:
        snakemake = SimpleNamespace(
            input=Names(**given, shards=[], model="not read"),
            output=[str(tmp_path / "made.parquet")],
            params=SimpleNamespace(code=code),
            wildcards=SimpleNamespace(),
        )
        return open_units(snakemake, provenance)

    work = Work(1)
    opened().tables(work.units, "numbers")
    if changed == "weights":
        quality.write_text("other weights", "utf-8")
    if changed == "table":
        table.write_text("other rows", "utf-8")
    if changed == "part":
        part.write_text("other rows", "utf-8")
    if changed == "device":
        monkeypatch.setattr("saeflow.unit_jobs.resolve_device", lambda: SimpleNamespace(type="x"))
    more: dict[str, dict[str, Any]] = {
        "code": {"code": "d"},
        "provenance": {"provenance": Provenance("other")},
    }
    again = opened(**more.get(changed, {}))
    assert again.portion is None
    assert again.has(work.units[0]) == (changed == "nothing")


def test_names_tell_what_units_do() -> None:
    one = Trial("map", "own", "choose", "to_plain", "other", 3, "head", (1, 2))
    probe = SimpleNamespace(site=Site(1, 2), index=7, sign=1)
    names = [
        *planned(one),
        *planned(one._replace(units=(1, 3))),
        *planned(one._replace(layer=2)),
        *searching(probe),
        *searching(SimpleNamespace(**{**vars(probe), "index": 8})),
        *searching(SimpleNamespace(**{**vars(probe), "sign": -1})),
        *searching(SimpleNamespace(**{**vars(probe), "site": Site(1, 3)})),
    ]
    assert len(set(names)) == len(names) == 7
    assert planned(one) == names[:1]
    assert searching(probe) == names[3:4]
    assert name_of("a0", 1).startswith("a0_")


def planned(trial: Trial) -> list[str]:
    job: Any = SimpleNamespace(_table=dict)
    return [unit.name for unit in _Tried.planned(job, "report", [trial])]


def searching(probe: Any) -> list[str]:
    job: Any = SimpleNamespace(_searched=dict, probes=[probe])
    return [unit.name for unit in InputSearch.units(job)]


def test_a_shard_does_its_range(tmp_path: Path) -> None:
    snakemake = SimpleNamespace(
        input=Names(shards=[]),
        output=[str(tmp_path / "2-of-2")],
        params=SimpleNamespace(code="c"),
        wildcards=SimpleNamespace(scatteritem="2-of-2"),
    )
    units, work = open_units(snakemake, HERE), Work(5)
    units.tables(units.mine(work.units, Work(1).units), "numbers")
    assert work.done == [2, 3, 4]
    units.finish((), (), ())
    assert [path.name for path in tmp_path.iterdir()] == ["2-of-2"]
