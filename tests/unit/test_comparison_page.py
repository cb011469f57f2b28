"""The comparison's page and its figure: each number where it belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from saeflow.artifacts.catalog import COMPARISON
from saeflow.report.comparison import answers, write_comparison_page
from saeflow.report.dotplot import dotplot
from saeflow.report.site import Site
from tests.report_tables import TEMPLATES
from tests.unit.test_report import Page

RATES = {"big": (0.62, 0.6, 0.64, 0.31, 0.25, 0.4), "small": (0.3, 0.28, 0.33, 0.34, 0.29, 0.39)}
"""Observed with its range over seeds, permuted with its range over permutations."""


def row(question: str, model: str, other: str, metric: str, control: str, *numbers: float) -> dict:
    names = {"dataset": "d", "dictionary": "k4", "mode": "published"}
    names |= {"other_dataset": "d" if other else "", "other_dictionary": "k5" if other else ""}
    ends = dict(zip(("value", "ci_low", "ci_high"), numbers, strict=True))
    interval = "permutation_range" if control == "permuted" else "seed_range"
    own = {"question": question, "model": model, "other": other, "metric": metric}
    return {**own, **names, "control": control, **ends, "interval": interval, "n": 2}


def comparison() -> pa.Table:
    rows = []
    for model, numbers in RATES.items():
        for question in ("interpretable", "monosemantic", "number"):
            rows.append(row(question, model, "", f"{question}_rate", "none", *numbers[:3]))
            rows.append(row(question, model, "", f"{question}_rate", "permuted", *numbers[3:]))
            excess = (numbers[0] - numbers[3], -0.1, 0.1)
            rows.append(row(question, model, "", "excess", "none", *excess))
    for question in ("interpretable", "monosemantic", "number", "capacity"):
        pair = (question, "big", "small")
        rows.append(row(*pair, "difference", "none", 0.32, 0.27, 0.36))
        rows.append(row(*pair, "difference", "permuted", -0.03, -0.1, 0.08))
        rows.append(row(*pair, "excess_difference", "none", 0.35, 0.331, 0.369))
    return pa.Table.from_pylist(rows, COMPARISON.schema())


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    return answers(comparison(), ["big", "small"])


def test_numbers_of_one_model(found: list[dict[str, Any]]) -> None:
    one, two = found[0]["models"]
    assert (one["model"], two["model"], one["href"]) == ("big", "small", "gsm8k-big.html")
    assert one["observed"] == {"value": "62.0 %", "interval": "[60.0, 64.0]"}
    assert one["permuted"] == {"value": "31.0 %", "interval": "[25.0, 40.0]"}
    assert two["excess"]["value"] == "−4.0"
    assert (one["word"], two["word"]) == ("above", "inside")


def test_differences_are_told_in_points(found: list[dict[str, Any]]) -> None:
    assert [len(each["differences"]) for each in found] == [1, 1, 1, 1]
    (only,) = found[3]["differences"]
    assert only["observed"] == {"value": "+32.0", "interval": "[+27.0, +36.0]"}
    assert only["permuted"] == {"value": "−3.0", "interval": "[−10.0, +8.0]"}
    assert only["excess"] == {"value": "+35.0", "interval": "[+33.1, +36.9]"}
    assert only["word"] == "above"


def test_published_answers_and_verdict(found: list[dict[str, Any]]) -> None:
    assert [each["value"] for each in found[0]["published"]] == ["37.7 %", "41.8 %"]
    assert [bool(each["verdict"]) for each in found] == [False, False, False, True]
    # methods/1, section 2.7: the verdict is whether Llama's rate is below GPT-2's.
    assert "+2.2 points" in found[3]["verdict"]
    assert "is not the lower one" in found[3]["verdict"]
    assert "capacity hypothesis rejected" in found[3]["verdict"]


def test_page_shows_all_of_it(found: list[dict[str, Any]], tmp_path: Path) -> None:
    write_comparison_page(Site(TEMPLATES, tmp_path, []), found)
    text = Page(tmp_path / "compare.html").text
    for part in (
        "big − small",
        "+32.0 [+27.0, +36.0]",
        "−3.0 [−10.0, +8.0]",
        "+35.0",
        "+2.2 points",
    ):
        assert part in text


def test_figure_draws_what_the_rows_say(found: list[dict[str, Any]]) -> None:
    band, dots, published = found[0]["figure"]["data"]
    assert list(band["base"]) == [0.25, 0.29]
    assert list(band["x"]) == pytest.approx([0.15, 0.1])
    assert list(band["y"]) == list(dots["y"]) == [0, 1]
    assert list(dots["x"]) == [0.62, 0.3]
    assert list(dots["error_x"]["array"]) == pytest.approx([0.02, 0.03])
    assert list(dots["error_x"]["arrayminus"]) == pytest.approx([0.02, 0.02])
    assert list(published["x"]) == pytest.approx([0.3774, 0.4177], abs=1e-4)
    assert list(published["y"]) == [2, 3]
    axis = found[0]["figure"]["layout"]["yaxis"]
    assert list(axis["ticktext"]) == ["big", "small", "CODI-Llama-3.2-1B", "CODI-GPT-2"]
    assert list(axis["tickvals"]) == [0, 1, 2, 3]


def test_a_rate_that_is_not_defined_is_left_out() -> None:
    nothing = {"value": None, "ci_low": None, "ci_high": None}
    rows = [
        {"model": name, "dataset": "d", "dictionary": "k", "numbers": numbers}
        for name, numbers in (
            ("a", (nothing, nothing)),
            ("b", ({"value": 0.5, "ci_low": None, "ci_high": None}, None)),
        )
    ]
    band, dots, _ = dotplot(rows, [])["data"]
    assert list(band["y"]) == []
    assert (list(dots["x"]), list(dots["y"])) == ([0.5], [1])
    assert list(dots["error_x"]["array"]) == [0]
