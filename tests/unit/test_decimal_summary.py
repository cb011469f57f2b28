"""Summaries of answers and patches, and the claims that follow, on hand-made tables."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from saeflow.artifacts.decimal_bug import CLAIMS, DECIMAL_ANSWERS, DECIMAL_BUG, PATCHES, PROMPTS
from saeflow.config.decimal_bug import PatchSettings, SubsetSettings
from saeflow.studies.decimal_bug.behaviour_summary import behaviour_rows
from saeflow.studies.decimal_bug.claims import PUBLISHED, claims_table, judge_claims
from saeflow.studies.decimal_bug.names import Site
from saeflow.studies.decimal_bug.patching_summary import (
    chosen_rows,
    patch_rows,
    site_rows,
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
            "wrote_donor": False}  # fmt: skip
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
        rows.append(
            patch(part="subsets", mode="published", kind="block", units="0,2", set="even", item=item,
                  verdict="right" if item < 5 else "wrong")
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


def test_a_chosen_layer_is_tested_on_the_reported_half() -> None:
    (row,) = chosen_rows(patches(), {"attn_out": 0}, PatchSettings())
    assert row["value"] == pytest.approx(0.95)
    assert row["q_value"] < 0.001
    (row,) = chosen_rows(patches(), {"attn_out": 1}, PatchSettings())
    assert (row["value"], row["p_value"]) == (0, 1)
    elsewhere = patches().to_pandas()
    elsewhere["half"] = "choose"
    table = pa.Table.from_pandas(elsewhere, PATCHES.schema(), preserve_index=False)
    assert list(chosen_rows(table, {"attn_out": 0}, PatchSettings())) == []


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
             "word_problem": 14, "identity": 0}  # fmt: skip
    rows = [
        patch(part="site", kind="head", units="2", layer=1, donor=donor, item=item,
              verdict="right" if item < count else "wrong",
              wrote_donor=donor == "other_pair_plain" and item < 3)
        for donor, count in right.items() for item in range(PAIRS)
    ]  # fmt: skip
    # In another order, as a table may have it: donors belong together by pair.
    rows.reverse()
    table = pa.Table.from_pylist([*rows[7:], *rows[:7]], PATCHES.schema())
    found = keyed(list(site_rows(table, Site(1, "head", (2,)), PatchSettings())))

    def of(metric: str, control: str = "none") -> dict[str, Any]:
        return found["patching", 1, "chosen site: head 2", metric, control, "calibrated"]

    assert of("right")["value"] == pytest.approx(0.8)
    assert of("right", "word_problem")["value"] == pytest.approx(0.7)
    assert of("right", "identity")["value"] == 0
    assert of("wrote_donor", "other_pair_plain")["value"] == pytest.approx(0.15)
    assert of("logit_change")["value"] == pytest.approx(3)
    buggy, problem = (of(f"right_beyond_{each}") for each in ("other_pair_buggy", "word_problem"))
    assert (buggy["value"], problem["value"]) == (pytest.approx(0.7), pytest.approx(0.1))
    assert problem["p_value"] == pytest.approx(0.5, abs=0.03)  # two pairs, each sign
    assert problem["q_value"] == problem["p_value"]
    assert buggy["q_value"] == pytest.approx(2 * buggy["p_value"])
    assert buggy["q_value"] < 0.001


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
    named = rows["subsets", 0, "block, even: 0,2", "right", "none", "published"]
    assert named["value"] == pytest.approx(0.25)


def summary(value: float = 0.9, low: float = 0.8, high: float = 0.95) -> list[dict[str, Any]]:
    shown = {"value": value, "ci_low": low, "ci_high": high, "interval": "wilson 95 %", "n": 20}
    base = {"part": "behaviour", "layer": None, "mode": "calibrated", **shown}
    return [
        {**base, "group": "qa_which, prone", "metric": "wrong", "control": "none"},
        {**base, "group": "qa_which, unequal_digits", "metric": "wrong", "control": "none",
         "value": 0.05},
        {**base, "group": "Q&A", "metric": "wrong", "control": "none", "mode": "published",
         "value": 1.0, "n": 1},
    ]  # fmt: skip


def claim(name: str, rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    found = judge_claims(rows, **({"own_weights": False, "chosen": None} | options))
    (one,) = (each for each in found if each["claim"] == name)
    return one


def test_claims_about_other_weights_have_an_analogue_and_no_verdict() -> None:
    found = claim("qa_wrong", summary())
    assert found["verdict"] == "not testable in this run"
    assert found["analogue_value"] == 0.9
    assert (found["ci_low"], found["ci_high"]) == (0.8, 0.95)
    assert found["value"] is None
    assert found["published_value"] == 1.0
    assert found["null"] == 0.05


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.8, 0.95), "supported"),
        ((0.01, 0.95), "not distinguishable from chance"),
        ((0.001, 0.04), "contradicted"),
    ],
)
def test_claims_about_own_weights_are_held_against_their_control(
    ends: tuple[float, float], verdict: str
) -> None:
    rows = summary(value=sum(ends) / 2, low=ends[0], high=ends[1])
    found = claim("qa_wrong", rows, own_weights=True)
    assert found["verdict"] == verdict
    assert found["value"] == pytest.approx(sum(ends) / 2)


def test_what_was_never_measured_is_called_so() -> None:
    for name in ("feature_head_correlations", "feature_ids"):
        assert claim(name, summary(), own_weights=True)["verdict"] == "reported but never measured"
    assert claim("repeats", summary())["verdict"] == "contradicted"
    assert claim("mixed_features", summary(), own_weights=True)["verdict"] == (
        "not testable in this run"
    )


def likeness(layer: int | None, value: float, control: str = "none") -> dict[str, Any]:
    ends = {"ci_low": value - 0.1, "ci_high": value + 0.1, "interval": "bootstrap", "n": 20}
    return {"part": "overlap", "group": "last", "metric": "jaccard", "mode": "calibrated",
            "layer": layer, "control": control, "value": value, **ends}  # fmt: skip


def test_claims_about_named_layers_read_the_layer_at_their_relative_depth() -> None:
    rows = [likeness(layer, layer / 32) for layer in reversed(range(32))]
    rows += [likeness(layer, 0.9, "wording") for layer in range(32)]
    rows.append(likeness(None, 0.77))
    for name, layer in (("layers_discriminate", 7), ("bottleneck", 10)):
        found = claim(name, rows)
        assert found["analogue_value"] == pytest.approx(layer / 32)
        assert found["null"] == 0.9
    assert claim("overlap_is_shared_features", rows)["value"] == 0.77
    # Formats that are less alike than other wordings are what the one says, and not the other.
    assert claim("layers_discriminate", rows, own_weights=True)["verdict"] == "supported"
    assert claim("bottleneck", rows, own_weights=True)["verdict"] == "contradicted"
    quarter = [likeness(layer, layer / 8) for layer in range(8)]
    assert claim("layers_discriminate", quarter)["analogue_value"] == pytest.approx(1 / 8)


def test_overlap_of_lists_is_judged_by_counting_what_fills_them() -> None:
    found = claim("overlap_is_shared_features", [likeness(None, 0.5)])
    assert found["verdict"] == "contradicted"
    assert "80 % shared and the Jaccard index is 0.50" in found["rule"]


def test_sets_that_the_study_tried_are_found_whatever_their_size() -> None:
    shown = {"value": 0.25, "ci_low": 0.1, "ci_high": 0.5, "interval": "wilson 95 %", "n": 20}
    row = {"part": "patching", "mode": "published", "layer": 2, "metric": "right",
           "control": "none", **shown}  # fmt: skip
    rows = [
        row | {"group": f"own: plain_to_buggy, block {units} ({name}), both", "value": value}
        for units, name, value in (("0", "first_1_even", 0.9), ("0,1", "first_2", 0.25))
    ]
    assert claim("first_half", rows, chosen=2)["published_value"] == 0.25
    assert claim("first_half", rows, chosen=1)["published_value"] is None
    assert claim("first_half", rows)["published_value"] is None


def test_every_claim_has_a_verdict_and_can_be_written() -> None:
    table = claims_table(judge_claims(summary(), own_weights=False, chosen=0))
    assert table.schema == CLAIMS.schema()
    frame = pd.DataFrame(table.to_pylist())
    assert len(frame) == len(PUBLISHED)
    assert frame["claim"].is_unique
    assert frame["verdict"].notna().all()
