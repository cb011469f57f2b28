"""What counts as beyond chance, and as beyond an untrained model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from saeflow.report.cells import filled, table, text_cell
from saeflow.report.hierarchy.numbers import ModelTables, read_runs
from saeflow.report.hierarchy.pages import read_models
from saeflow.report.hierarchy.reported import reported_table
from saeflow.report.hierarchy.verdicts import controls_of, count_verdicts, set_verdicts
from saeflow.studies.compare.hierarchy import Compared, compare_hierarchy
from tests.hierarchy_tables import BANK, GOOD, Told, comparison_of, model_tables, summary

COUNT, SHARE = "n_level.operators", "share_level.operators"


def plain(cell: dict[str, Any]) -> str:
    return str(cell["value"]).replace("\xa0", " ")


def told_of(operators: tuple[float, float, float]) -> ModelTables:
    return model_tables(replace(GOOD, levels={"operators": operators}))


def counts_of(tables: dict[str, ModelTables], *trained: Compared) -> dict[Any, Any]:
    summaries = {name: each.summary for name, each in tables.items()}
    found = count_verdicts(compare_hierarchy(summaries, trained))
    return {(key[0], key[2]): each for key, each in found.items()}


@pytest.mark.parametrize(
    ("own", "other", "permuted", "holds"),
    [
        ((41.0, 0.0, 4.0), (2.0, 0.0, 4.0), True, True),
        ((41.0, 0.0, 41.0), (2.0, 0.0, 4.0), False, False),
        # As much without training, at the nearest ends of both ranges.
        ((41.0, 0.0, 4.0), (37.0, 0.0, 4.0), True, False),
        ((42.0, 0.0, 4.0), (37.0, 0.0, 4.0), True, True),
    ],
)
def test_verdicts_on_counts_are_those_of_the_comparison(
    own: tuple[float, float, float],
    other: tuple[float, float, float],
    permuted: bool,
    holds: bool,
) -> None:
    tables = {"toy": told_of(own), "toy_untrained": told_of(other)}
    found = counts_of(tables, Compared("toy", ["toy_untrained"]))
    verdict = found["toy", "tiny_k4"][COUNT]
    assert (verdict.permuted, verdict.holds) == (permuted, holds)
    (held,) = verdict.held
    assert (held.control, held.beyond) == ("untrained", holds)
    assert held.counted["value"] == other[0]
    difference = held.difference
    assert (difference["metric"], difference["other"]) == (
        f"{SHARE}.minus_untrained",
        "toy_untrained",
    )
    assert verdict.unbeaten == (() if held.beyond else ("untrained",))
    # Permutations alone stand beside the untrained model's own counts.
    alone = found["toy_untrained", "tiny_k4"][COUNT]
    assert (alone.permuted, alone.held) == (other[0] > other[2], [])


def test_every_control_has_to_be_beaten() -> None:
    tables = {
        "toy": told_of((41.0, 0.0, 4.0)),
        "toy_untrained": told_of((2.0, 0.0, 4.0)),
        "frozen": told_of((39.0, 0.0, 4.0)),
    }
    frozen = tables.pop("frozen").summary.to_pandas().assign(dictionary="tiny_k4_frozen")
    schema = tables["toy"].summary.schema
    both = [tables["toy"].summary, pa.Table.from_pandas(frozen, schema, preserve_index=False)]
    tables["toy"] = replace(tables["toy"], summary=pa.concat_tables(both))
    controls = {"tiny_k4": {"frozen_decoder": "tiny_k4_frozen"}}
    found = counts_of(tables, Compared("toy", ["toy_untrained"], controls))
    assert ("toy", "tiny_k4_frozen") not in found
    verdict = found["toy", "tiny_k4"][COUNT]
    assert [held.control for held in verdict.held] == ["untrained", "frozen_decoder"]
    assert verdict.permuted
    assert verdict.unbeaten == ("frozen_decoder",)
    assert not verdict.holds
    assert [held.counted["value"] for held in verdict.held] == [2.0, 39.0]


def test_what_was_not_measured_has_no_verdict() -> None:
    tables = {"toy": model_tables(Told(calibrated=False))}
    assert not counts_of(tables, Compared("toy", []))
    tables = {"toy": told_of((41.0, 0.0, 4.0))}
    found = counts_of(tables, Compared("toy", []))["toy", "tiny_k4"]
    assert set(found) == {COUNT, "n_specialists.operators", "n_specialists.operands"}
    assert found[COUNT].holds
    assert not found[COUNT].held


def test_of_two_controls_that_which_was_compared_is_told() -> None:
    """The first has another dictionary, so that the comparison takes the second."""
    other = summary(Told(largest=(-0.3, -0.4, -0.2))).to_pandas().assign(dictionary="tiny_k8")
    tables = {
        "toy": model_tables(GOOD),
        "first": model_tables(Told(), fresh=True),
        "second": model_tables(replace(GOOD, largest=(-0.05, -0.1, 0.0)), fresh=True),
    }
    named = pa.Table.from_pandas(other, tables["first"].summary.schema, preserve_index=False)
    tables["first"] = replace(tables["first"], summary=named)
    summaries = {name: each.summary for name, each in tables.items()}
    comparison = compare_hierarchy(summaries, [Compared("toy", ["first", "second"])])
    key = (BANK["dataset"], BANK["dictionary"], BANK["seed"])
    assert controls_of(comparison) == {("toy", *key): "second"}
    models = {model.name: model for model in read_models(tables, comparison)}
    (subject,) = models["toy"].subjects
    assert subject.control_name == "second"
    assert subject.control is models["second"].subjects[0].run
    verdicts = set_verdicts(comparison)
    assert set(verdicts) == {("toy", *key), ("second", *key)}
    assert verdicts["toy", *key].beyond
    assert verdicts["second", *key].beyond is None


def test_published_counts_stand_beside_those_of_their_rule() -> None:
    told = {"toy": GOOD}
    tables = {name: model_tables(each) for name, each in told.items()}
    comparison = comparison_of({name: each.summary for name, each in tables.items()})
    (model,) = read_models(tables, comparison)
    rows = [[plain(cell) for cell in row] for row in reported_table(list(model.subjects))["rows"]]
    high = rows[0]
    assert high[:5] == [
        "impact HIGH",
        "the 10 most frequent",
        "3 of 10 (30.0 %)",
        "toy",
        "9 of 36 (25.0 %)",
    ]
    assert high[5:] == ["9 by mean activation alone", "set ablated: −0.432 [−0.600, −0.200] nats"]
    swept = [row for row in rows if row[1].startswith("k 50")]
    assert swept[0][2] == "29 of 149 (19.5 %), 27 of which on at most 4 problems"
    # SAEs of this run have no such k.
    assert swept[0][3:] == ["–"] * 4
    (run,) = read_runs(tables["toy"])
    run.sweep = {(50, *key[1:]): row for key, row in run.sweep.items() if key[0] == 4}
    subject = model.subjects[0]._replace(run=run)
    found = [[plain(cell) for cell in row] for row in reported_table([subject])["rows"]]
    assert next(row[3:] for row in found if row[1].startswith("k 50")) == [
        "toy",
        "5 of 14 (35.7 %)",
        "3.5 [1, 6]",
        "7 follow an operator; permuted 1 [0, 2]",
    ]


def test_columns_without_a_number_are_left_out() -> None:
    cells = [[text_cell(text) for text in line] for line in (("–", "1", "–"), ("–", "–", "–"))]
    found = filled(table([("a", False), ("b", True), ("c", True)], cells))
    assert [head["title"] for head in found["heads"]] == ["a", "b"]
    assert [[cell["value"] for cell in row] for row in found["rows"]] == [["–", "1"], ["–", "–"]]
