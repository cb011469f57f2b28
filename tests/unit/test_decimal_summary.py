"""Summaries of answers and patches, and the claims that follow, on hand-made tables."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from scipy.stats import binomtest

from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, DECIMAL_BUG, PATCHES, PROMPTS
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.studies.decimal_bug.behaviour_summary import behaviour_rows
from saeflow.studies.decimal_bug.names import NO_ITEM, Site
from saeflow.studies.decimal_bug.patching_summary import (
    chosen_rows,
    patch_rows,
    subset_rows,
)

PAIRS = 20
FORMS = ("qa_which", "plain_which")


def prompts() -> pa.Table:
    rows = []
    for item in range(-1, PAIRS):
        for form, order in itertools.product(FORMS, ("given", "swapped")):
            stratum = "prone_dates" if item < 10 else "integers"
            spans = dict.fromkeys(
                [n for n in PROMPTS.column_names() if n[-4:] in ("tart", "_end")], 0
            )
            rows.append(
                {"form": form, "order": order, "item": item, "stratum": stratum, "half": "report",
                 "adjective": "bigger", "first": "9.8", "second": "9.11", "truth": "9.8",
                 "other": "9.11", "text": "?", **spans}
            )  # fmt: skip
    return pa.Table.from_pylist(rows, PROMPTS.schema())


def answers() -> pa.Table:
    """Q/A is wrong about prone pairs; of plain prompts only the given order of pair 0 is wrong."""
    rows = []
    for item in range(-1, PAIRS):
        for form, order, sample in itertools.product(FORMS, ("given", "swapped"), range(3)):
            wrong = form == "qa_which" and item < 10
            wrong |= form == "plain_which" and item == 0 and order == "given"
            if sample:
                wrong = False
            rows.append(
                {"form": form, "order": order, "item": item, "sample": sample, "answer": "",
                 "verdict": "wrong" if wrong else "right", "fallback": "right",
                 "gibberish": item == 3, "logit_difference": None if sample else float(item)}
            )  # fmt: skip
    return pa.Table.from_pylist(rows, DECIMAL_ANSWERS.schema())


def keyed(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by group, metric, control and mode; each combination is there once."""
    names = ("part", "layer", "group", "metric", "control", "mode")
    found = {tuple(each[name] for name in names): each for each in rows}
    assert len(found) == len(rows)
    pa.Table.from_pylist(rows, DECIMAL_BUG.schema())
    return found


def behaviour(group: str, metric: str, control: str = "none", mode: str = "calibrated") -> Any:
    rows = keyed(list(behaviour_rows(prompts(), answers(), 0)))
    return rows["behaviour", None, group, metric, control, mode]


def test_a_pair_counts_once_with_wilsons_interval() -> None:
    row = behaviour("plain_which, prone", "right")
    wanted = binomtest(9, 10).proportion_ci(method="wilson").low
    assert row["value"] == pytest.approx(0.95)
    assert row["n"] == 10
    assert row["ci_low"] == pytest.approx(wanted)  # 9.5 is rounded outwards
    assert behaviour("qa_which, prone", "wrong")["value"] == 1
    assert behaviour("qa_which, integers", "wrong")["value"] == 0
    assert behaviour("qa_which, all", "right")["value"] == pytest.approx(0.5)
    assert behaviour("qa_which, all", "right")["n"] == PAIRS
    assert behaviour("qa_which, prone", "right", "sampled")["value"] == 1
    assert behaviour("qa_which, prone", "right", "chance")["value"] == 0.5
    assert behaviour("qa_which, all", "gibberish")["value"] == pytest.approx(1 / PAIRS)


def test_the_studys_own_pair_stands_by_itself() -> None:
    row = behaviour("Q&A", "wrong", mode="published")
    assert (row["value"], row["n"], row["ci_low"]) == (1, 1, None)
    assert behaviour("Simple", "right", mode="published")["value"] == 1
    # Not among the drawn pairs, where it would be a fraction of all.
    difference = behaviour("qa_which, all", "logit_difference")
    assert difference["value"] == pytest.approx(sum(range(PAIRS)) / PAIRS)
    assert difference["ci_low"] < difference["value"] < difference["ci_high"]


def patch(**changes: Any) -> dict[str, Any]:
    base = {"part": "map", "mode": "calibrated", "half": "report", "direction": "plain_to_buggy",
            "donor": "same_pair_plain", "layer": 0, "kind": "attn_out", "units": "all",
            "phase": "both", "weight": 1.0, "set": "", "form": "qa_which", "order": "given",
            "item": 0, "verdict": "right", "logit_difference": 2.0, "clean_logit_difference": -1.0,
            "wrote_donor": False, "donor_item": NO_ITEM}  # fmt: skip
    return base | changes


def patches() -> pa.Table:
    rows = []
    for item in range(PAIRS):
        rows.append(patch(item=item, verdict="wrong" if item == 0 else "right"))
        rows.append(patch(item=item, donor="other_pair_buggy", verdict="wrong"))
        rows.append(patch(item=item, layer=1, verdict="wrong"))
        rows.append(patch(item=item, layer=1, donor="other_pair_buggy", verdict="wrong"))
        # Unit 0 is needed, and 1 does it with it; unit 2 does nothing.
        for size in range(4):
            for units in itertools.combinations(range(3), size):
                works = {0, 1} <= set(units)
                rows.append(
                    patch(part="subsets", kind="head", units=",".join(map(str, units)), item=item,
                          verdict="right" if works else "wrong")
                )  # fmt: skip
    return pa.Table.from_pylist(rows, PATCHES.schema())


def test_donors_are_controls_of_the_same_pair() -> None:
    rows = keyed(list(patch_rows(patches(), PatchSettings())))
    group = "plain_to_buggy, attn_out, both"
    same = rows["patching", 0, group, "right", "none", "calibrated"]
    assert same["value"] == pytest.approx(0.95)
    assert same["n"] == PAIRS
    other = rows["patching", 0, group, "right", "other_pair_buggy", "calibrated"]
    assert other["value"] == 0
    change = rows["patching", 0, group, "logit_change", "none", "calibrated"]
    assert change["value"] == pytest.approx(3)
    assert change["interval"] == "none"  # all pairs agree


def chosen(table: pa.Table, layers: dict[str, int]) -> list[dict[str, Any]]:
    return list(chosen_rows(table, layers, Site(2, "head", (2,)), PatchSettings()))


def test_a_chosen_layer_is_tested_on_the_reported_half() -> None:
    (row,) = chosen(patches(), {"attn_out": 0})
    assert row["metric"] == "right_beyond_other_pair_buggy"
    assert row["value"] == pytest.approx(0.95)
    assert row["q_value"] < 0.001
    (row,) = chosen(patches(), {"attn_out": 1})
    assert (row["value"], row["p_value"]) == (0, 1)
    for column, other in (("half", "choose"), ("direction", "buggy_to_plain")):
        elsewhere = patches().to_pandas()
        elsewhere[column] = other
        table = pa.Table.from_pandas(elsewhere, PATCHES.schema(), preserve_index=False)
        assert chosen(table, {"attn_out": 0}) == []


def test_the_studys_own_pair_is_one_prompt_without_an_interval() -> None:
    own = patch(part="own", half="own", mode="published", item=-1, layer=2, weight=0.6,
                logit_difference=0.5)  # fmt: skip
    made = pa.Table.from_pylist([own, *patches().to_pylist()], PATCHES.schema())
    rows = keyed(list(patch_rows(made, PatchSettings())))
    group = "own: plain_to_buggy, attn_out, both, weight 0.6"
    right = rows["patching", 2, group, "right", "none", "published"]
    assert (right["value"], right["n"], right["ci_low"], right["interval"]) == (1, 1, None, "none")
    assert rows["patching", 2, group, "logit_change", "none", "published"]["value"] == 1.5


def test_a_chosen_site_stands_beside_every_donor_and_is_tested_beyond_unrelated_ones() -> None:
    right = {"same_pair_plain": 16, "other_pair_plain": 15, "other_pair_buggy": 2,
             "unlike_pair_plain": 12, "unlike_pair_buggy": 8, "word_problem": 14,
             "identity": 0}  # fmt: skip
    rows = [
        patch(part="site", kind="head", units="2", layer=2, donor=donor, item=item, phase=phase,
              verdict="right" if item < count * (phase == "both") else "wrong",
              wrote_donor=donor == "other_pair_plain" and item < 3)
        for donor, count in right.items() for item in range(PAIRS) for phase in ("both", "decode")
    ]  # fmt: skip
    # In another order, as a table may have it: donors belong together by pair.
    rows.reverse()
    table = pa.Table.from_pylist([*rows[7:], *rows[:7], *patches().to_pylist()], PATCHES.schema())
    found = keyed(chosen(table, {"attn_out": 0}))

    def of(metric: str, control: str = "none") -> dict[str, Any]:
        return found["patching", 2, "chosen site: head 2", metric, control, "calibrated"]

    assert of("right")["value"] == pytest.approx(0.8)
    assert of("right", "word_problem")["value"] == pytest.approx(0.7)
    assert of("right", "identity")["value"] == 0
    assert of("wrote_donor", "other_pair_plain")["value"] == pytest.approx(0.15)
    # Numbers that a prompt cannot but hold are nobody else's.
    writers = {key[4] for key in found if key[3] == "wrote_donor"}
    assert writers == {f"{pair}_pair_{form}" for pair, form in (
        ("other", "plain"), ("other", "buggy"), ("unlike", "plain"), ("unlike", "buggy")
    )}  # fmt: skip
    assert of("logit_change")["value"] == pytest.approx(3)
    beyond = {"other_pair_buggy": 0.7, "unlike_pair_buggy": 0.4, "word_problem": 0.1}
    for donor, value in beyond.items():
        assert of(f"right_beyond_{donor}")["value"] == pytest.approx(value)
    assert of("right_by_format")["value"] == pytest.approx(0.2)
    problem = of("right_beyond_word_problem")
    assert problem["p_value"] == pytest.approx(0.5, abs=0.03)  # two pairs, each sign
    assert problem["q_value"] == problem["p_value"]
    # One family with the layer's.
    tested = [row for row in found.values() if row["p_value"] is not None]
    assert len(tested) == 4 + 1
    assert min(row["q_value"] for row in tested) == pytest.approx(
        5 * min(row["p_value"] for row in tested)
    )
    assert of("right_beyond_other_pair_buggy")["q_value"] < 0.01
    phases = keyed(list(patch_rows(table, PatchSettings())))
    group = "site: plain_to_buggy, head 2, decode"
    assert phases["patching", 2, group, "right", "none", "calibrated"]["value"] == 0
    assert not any(key[2].startswith("site: ") and key[2].endswith("both") for key in phases)


def test_pairs_that_share_a_donor_count_once() -> None:
    """Five donors decide for four pairs each, so there are five trials and not twenty."""
    rows = [
        patch(part="site", kind="head", units="2", layer=2, donor=donor, item=item,
              donor_item=100 + item % 5 if donor.startswith("unlike") else item,
              verdict="right" if donor == "unlike_pair_plain" and item % 5 < 4 else "wrong")
        for item in range(PAIRS)
        for donor in ("same_pair_plain", "unlike_pair_plain", "unlike_pair_buggy")
    ]  # fmt: skip
    found = keyed(chosen(pa.Table.from_pylist(rows, PATCHES.schema()), {}))
    key = ("patching", 2, "chosen site: head 2")
    plain = found[*key, "right", "unlike_pair_plain", "calibrated"]
    assert (plain["value"], plain["n"]) == (pytest.approx(0.8), 5)
    expected = binomtest(4, 5).proportion_ci(method="wilson")
    assert (plain["ci_low"], plain["ci_high"]) == pytest.approx((expected.low, expected.high))
    form = found[*key, "right_by_format", "none", "calibrated"]
    assert (form["value"], form["n"]) == (pytest.approx(0.8), 5)
    assert form["p_value"] == pytest.approx(2 * (1 / 2) ** 4)  # four donors, each sign
    assert found[*key, "right", "none", "calibrated"]["n"] == PAIRS


def test_units_are_valued_by_all_subsets() -> None:
    rows = keyed(list(subset_rows(patches(), SubsetSettings())))
    values = [
        rows["subsets", 0, f"head, unit {n}", "shapley", "none", "calibrated"] for n in range(3)
    ]
    assert [each["value"] for each in values] == pytest.approx([0.5, 0.5, 0])
    parity = rows["subsets", 0, "head, even minus odd units", "shapley", "none", "calibrated"]
    assert parity["value"] == pytest.approx(0)
    assert parity["p_value"] == 1
    two = rows["subsets", 0, "head, 2 of 3 units", "right", "none", "calibrated"]
    assert two["value"] == pytest.approx(1 / 3)
    smallest = rows[
        "subsets", 0, "head, even minus odd units", "smallest_p_value", "none", "calibrated"
    ]
    assert smallest["value"] == pytest.approx(1 / 3)
