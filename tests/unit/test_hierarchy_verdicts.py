"""What counts as beyond chance, and as beyond an untrained model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from saeflow.report.hierarchy.cells import filled, table, text_cell
from saeflow.report.hierarchy.numbers import HierarchyRun, read_runs
from saeflow.report.hierarchy.pages import read_models
from saeflow.report.hierarchy.reported import reported_table
from saeflow.report.hierarchy.verdicts import against, controls_of, set_verdicts, share_difference
from saeflow.studies.compare.hierarchy import Compared, compare_hierarchy
from tests.hierarchy_tables import BANK, GOOD, Told, comparison_of, model_tables, number, summary

LEVEL = "n_level.operators"


def run_with(value: float, low: float, high: float, n: int) -> HierarchyRun:
    """A run that has one count with its permutations."""
    fixed = {"mode": "calibrated"}
    ends = {"ci_low": low, "ci_high": high, "control": "permuted"}
    rows = [number(LEVEL, value, n, **fixed), number(LEVEL, (low + high) / 2, 50, **fixed, **ends)]
    keys = ("mode", "group", "metric", "control", "layer", "step")
    numbers: dict[tuple[Any, ...], Any] = {tuple(row[key] for key in keys): row for row in rows}
    return HierarchyRun("small", "tiny_k4", 0, numbers)


def plain(cell: dict[str, Any]) -> str:
    return str(cell["value"]).replace("\xa0", " ")


def counted(count: float, n: int) -> dict[str, float | int]:
    return {"value": count, "n": n}


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [
        # Newcombe (1998), table II, method 10, contrasts (a), (c) and (h).
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((10, 10), (0, 10), (0.6075, 1.0000)),
    ],
)
def test_intervals_of_differences_are_the_published_ones(
    first: tuple[int, int], second: tuple[int, int], ends: tuple[float, float]
) -> None:
    found = share_difference(counted(*first), counted(*second))
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)


def test_equal_shares_are_told_apart_no_more_often_than_the_interval_says() -> None:
    generator = np.random.default_rng(7)
    pairs = generator.binomial(200, 0.15, size=(2000, 2))
    above = np.mean(
        [
            share_difference(counted(float(a), 200), counted(float(b), 200)).low > 0
            for a, b in pairs.tolist()
        ]
    )
    # One side of 95 %.
    assert above < 0.025 + 4 * np.sqrt(0.025 / 2000)


def test_one_feature_beside_none_is_no_evidence() -> None:
    one = against(run_with(1.0, 0.0, 0.0, 11_444), None, LEVEL)
    assert one is not None
    assert not one.holds
    some = against(run_with(9.0, 0.0, 3.0, 11_444), None, LEVEL)
    assert some is not None
    assert some.holds
    assert some.control is None


def test_the_largest_permutation_must_be_exceeded() -> None:
    found = against(run_with(400.0, 100.0, 400.0, 1000), None, LEVEL)
    assert found is not None
    assert not found.permuted


@pytest.mark.parametrize(
    ("trained", "untrained", "beyond"),
    [
        # The interval of these shares is above 0, but permutations of either move further.
        ((9939, 171, 930, 11_444), (9369, 145, 986, 10_985), False),
        ((9939, 171, 200, 11_444), (9369, 190, 230, 10_985), True),
        # Permutations move nothing, but a feature more is none.
        ((7, 0, 0, 60), (6, 0, 0, 60), False),
        ((41, 0, 4, 200), (2, 0, 4, 200), True),
        # A smaller share, of more features.
        ((50, 0, 0, 1000), (40, 0, 0, 100), False),
    ],
)
def test_the_untrained_model_is_beaten_beyond_both_scatters(
    trained: tuple[int, int, int, int], untrained: tuple[int, int, int, int], beyond: bool
) -> None:
    runs = [
        run_with(float(value), float(low), float(high), n)
        for value, low, high, n in (trained, untrained)
    ]
    found = against(runs[0], runs[1], LEVEL)
    assert found is not None
    assert found.permuted
    assert found.control is beyond
    assert found.holds is beyond


def test_what_was_not_measured_has_no_verdict() -> None:
    assert against(HierarchyRun("small", "tiny_k4", 0), None, LEVEL) is None


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
