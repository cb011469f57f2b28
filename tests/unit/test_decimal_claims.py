"""What a model's summary says of the published sentences, on hand-made rows."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from saeflow.artifacts.claims import CLAIMS
from saeflow.studies.claims.judge import claims_table
from saeflow.studies.claims.sentences import Wanted
from saeflow.studies.decimal_bug.claims import judge_claims
from saeflow.studies.decimal_bug.published_claims import PUBLISHED


def summary(value: float = 0.9, low: float = 0.8, high: float = 0.95) -> list[dict[str, Any]]:
    shown = {"value": value, "ci_low": low, "ci_high": high, "interval": "wilson 95 %", "n": 20}
    base = {"part": "behaviour", "layer": None, "mode": "calibrated", **shown}
    return [
        {**base, "group": "qa_which, prone", "metric": "wrong", "control": "none"},
        {**base, "group": "qa_which, unequal_digits", "metric": "wrong", "control": "none",
         "value": 0.05, "ci_low": 0.02, "ci_high": 0.1},
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
        ((0.08, 0.95), "not distinguishable from chance"),
        ((0.001, 0.015), "contradicted"),
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
    for name in ("feature_head_correlations", "feature_ids", "random_plots"):
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
    # Even beside the study's weights they are about SAEs that are not read.
    for name in ("layers_discriminate", "bottleneck"):
        found = claim(name, rows, own_weights=True)
        assert found["verdict"] == "not testable in this run"
        assert "Llama Scope" in found["rule"]
        assert (found["value"], found["metric"]) == (None, "jaccard")
        assert found["analogue_value"] is not None
    quarter = [likeness(layer, layer / 8) for layer in range(8)]
    assert claim("layers_discriminate", quarter)["analogue_value"] == pytest.approx(1 / 8)


def test_overlap_of_lists_is_judged_by_counting_what_fills_them() -> None:
    found = claim("overlap_is_shared_features", [likeness(None, 0.5)])
    assert found["verdict"] == "contradicted"
    assert "80 % shared and the Jaccard index is 0.50" in found["rule"]


def measured(wanted: Wanted, value: float, spread: float = 0.05) -> dict[str, Any]:
    """A row that a claim reads."""
    named = wanted.group.replace(r"[\d,]+", "0").replace(r"\d+", "2")
    group = re.sub(r"\\([()])", r"\1", named)
    layer = wanted.layer
    if isinstance(layer, float):
        layer = round(layer * 32) - 1
    return {
        "part": wanted.part, "group": group, "metric": wanted.metric, "mode": wanted.mode,
        "control": wanted.control, "layer": 31 if layer == "chosen" else layer, "value": value,
        "ci_low": value - spread, "ci_high": value + spread, "interval": "wilson 95 %", "n": 20,
        "p_value": 0.01, "q_value": None,
    }  # fmt: skip


HELD = {"value": 0.9, "null": 0.1}
LOW_HELD = {"value": 0.1, "null": 0.9}
NOTHING_HELD = {"value": 0.1, "null": 0.08}
DIRECTIONS = {
    **dict.fromkeys(("qa_wrong", "chat_wrong", "sampling", "simple_right"), HELD),
    **dict.fromkeys(("one_layer_suffices", "layer_15", "mlp_suffices", "blending"), HELD),
    **dict.fromkeys(("reverse", "every_fourth"), HELD),
    "other_phrases": LOW_HELD,
    **dict.fromkeys(("residual_swap", "first_half", "other_pairs"), NOTHING_HELD),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_claims_hold_in_the_direction_of_their_sentence(name: str) -> None:
    (published,) = (each for each in PUBLISHED if each.claim == name)
    assert published.found is not None
    assert published.null is not None

    def verdict(value: float, null: float) -> str:
        # A model of 32 layers, as the study's.
        deepest = Wanted("overlap", "last", "any", layer=1.0)
        rows = [measured(published.found, value), measured(published.null, null)]
        rows.append(measured(deepest, 0.5))
        found = claim(name, rows, own_weights=True, chosen=31)
        assert (found["value"], found["null"]) == (value, null)
        return str(found["verdict"])

    assert verdict(**DIRECTIONS[name]) == "supported"
    opposite = {"value": 0.9, "null": 0.08} if DIRECTIONS[name] is NOTHING_HELD else {
        "value": DIRECTIONS[name]["null"], "null": DIRECTIONS[name]["value"]
    }  # fmt: skip
    assert verdict(**opposite) == "contradicted"


@pytest.mark.parametrize(
    ("name", "value", "null", "verdict"),
    [
        # 2 and 3 of 30 beside none and 1 of 30: equal rates give such a difference often.
        ("layer_15", (2 / 30, 0.018, 0.213), (0.0, 0.0, 0.114), "not distinguishable from chance"),
        ("first_half", (0.1, 0.035, 0.256), (1 / 30, 0.006, 0.167), "supported"),
        # More than its control, and yet not what "suffices" says.
        ("layer_15", (0.3, 0.2, 0.4), (0.05, 0.0, 0.1), "contradicted"),
        ("layer_15", (0.6, 0.45, 0.75), (0.05, 0.0, 0.1), "not distinguishable from chance"),
        ("first_half", (0.6, 0.45, 0.75), (0.5, 0.35, 0.65), "not distinguishable from chance"),
    ],
)
def test_verdicts_heed_the_error_of_the_control(
    name: str,
    value: tuple[float, float, float],
    null: tuple[float, float, float],
    verdict: str,
) -> None:
    (published,) = (each for each in PUBLISHED if each.claim == name)
    assert published.found is not None
    assert published.null is not None
    rows = [
        measured(wanted, 0.0) | dict(zip(("value", "ci_low", "ci_high"), found, strict=True))
        for wanted, found in ((published.found, value), (published.null, null))
    ]
    rows.append(measured(Wanted("overlap", "last", "any", layer=1.0), 0.5))
    assert claim(name, rows, own_weights=True, chosen=31)["verdict"] == verdict


@pytest.mark.parametrize(
    ("value", "p_value", "verdict"),
    [
        (0.7, 0.01, "supported"),
        (-0.7, 0.01, "contradicted"),
        (0.7, 0.667, "not distinguishable from chance"),
    ],
)
def test_even_heads_are_held_against_other_labels(
    value: float, p_value: float, verdict: str
) -> None:
    (published,) = (each for each in PUBLISHED if each.claim == "even_heads")
    row = measured(published.found, value) | {"p_value": p_value}
    assert claim("even_heads", [row], own_weights=True, chosen=31)["verdict"] == verdict


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
    assert claim("even_heads", rows, chosen=2)["published_value"] == 0.9


def test_every_claim_has_a_verdict_and_can_be_written() -> None:
    table = claims_table(judge_claims(summary(), own_weights=False, chosen=0))
    assert table.schema == CLAIMS.schema()
    frame = pd.DataFrame(table.to_pylist())
    assert len(frame) == len(PUBLISHED)
    assert frame["claim"].is_unique
    assert frame["verdict"].notna().all()
