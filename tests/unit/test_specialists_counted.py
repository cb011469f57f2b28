"""Shares and means over specialists: what is resampled, beside slow versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from saeflow.artifacts.specialist_effects import SPECIALIST_ANSWERS
from saeflow.datasets.matched.published import MatchedText
from saeflow.stats.resampling import wilson_of_shares
from saeflow.studies.specialists.counted import (
    BEYOND_OTHERS,
    NEGATIVE,
    POSITIVE,
    behaviour_rows,
    effect_rows,
    growth_rows,
    token_rows,
)
from saeflow.studies.specialists.rows import clustered_share_row
from saeflow.studies.specialists.summarise import answer_rows
from saeflow.studies.specialists.texts import StudyTexts
from tests.planted_study import one
from tests.specialist_claims import SAID, judged

BANK = {"dictionary": "tokens", "seed": 0}
TOPICS = [f"topic {number}" for number in range(7)]
BLOCKS = (0, 3, 6, 9)
Row = dict[str, Any]


def of_topics(values: list[float], blank: Row, column: str = "class") -> list[Row]:
    """A row per topic and block, each with a form of its own; topics have one value at all blocks."""
    return [
        BANK | blank | {column: f"{topic}: form {block}", "layer": block, "value": value}
        for topic, value in zip(TOPICS, values, strict=True)
        for block in BLOCKS
    ]


def width(row: Row) -> float:
    return float(row["ci_high"] - row["ci_low"])


def bootstrap_width(values: list[float]) -> float:
    """Width of a percentile interval of the mean over topics, one draw at a time."""
    rng = np.random.default_rng(5)
    drawn = [np.mean(rng.choice(values, len(values))) for _ in range(2000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(high - low)


SPREAD = [0.0, 0.1, 0.2, 0.5, 0.6, 0.8, 0.9]


def test_token_shares_are_resampled_by_topic_whatever_the_form() -> None:
    blank = {"part": "tokens", "metric": "syntactic_share", "mode": "calibrated", "control": "none"}
    (row,) = token_rows(of_topics(SPREAD, blank, "group"))
    assert row["value"] == pytest.approx(np.mean(SPREAD))
    assert row["n"] == 7
    assert width(row) == pytest.approx(bootstrap_width(SPREAD), rel=0.1)


def test_flips_are_resampled_by_topic() -> None:
    blank = {
        "mode": "calibrated", "condition": "zero", "control": "none", "metric": "flip",
        "ci_low": None, "ci_high": None,
    }  # fmt: skip
    rows = [row | {"group": row["class"].split(":")[0]} for row in of_topics(SPREAD, blank)]
    row = one(list(effect_rows(rows)), metric="flip", control="none")
    assert width(row) == pytest.approx(bootstrap_width(SPREAD), rel=0.1)


def test_growth_is_resampled_by_topic() -> None:
    blank = {
        "part": "discovery", "metric": "auroc", "mode": "calibrated", "control": "none",
        "pooling": "max",
    }  # fmt: skip
    rows = [
        BANK | blank | {"group": f"{name}, {of}", "layer": layer, "value": value * (layer > 0)}
        for number, value in enumerate(SPREAD)
        for name, of in (
            *(("pairs", f"{TOPICS[number]}: form {form}") for form in range(3)),
            ("categories", f"category {number}"),
        )
        for layer in (0, 3)
    ]
    for row in growth_rows(rows):
        assert (row["n"], row["value"]) == (7, pytest.approx(np.mean(SPREAD)))
        assert width(row) == pytest.approx(bootstrap_width(SPREAD), rel=0.1)


def cloze_tests(passing: int, *, blocks: int = 4) -> list[Row]:
    """Tests of cloze lines, of which the first topics pass at as many blocks."""
    blank = {
        "mode": "calibrated", "group": "cloze arithmetic", "outcome": "margin",
        "metric": "spearman", "p_value": None, "other_features": 0.0,
    }  # fmt: skip
    rows = of_topics([0.5] * 7, blank)
    passed = {f"{topic}: form {block}" for topic in TOPICS[:passing] for block in BLOCKS[:blocks]}
    return [row | {"q_value": 0.01 if row["class"] in passed else 0.9} for row in rows]


def test_shares_of_tests_are_resampled_by_topic() -> None:
    rows = list(behaviour_rows(cloze_tests(6)))
    row = one(rows, metric=POSITIVE)
    assert (row["value"], row["n"]) == (pytest.approx(6 / 7), 28)
    assert row["interval"] == "cluster bootstrap 95 %"
    # Of 28 tests for themselves it would be far narrower.
    assert width(row) == pytest.approx(bootstrap_width([1.0] * 6 + [0.0]), rel=0.1)
    alone = wilson_of_shares(np.repeat([1.0, 0.0], [24, 4]))
    assert width(row) > 1.5 * (alone[1] - alone[0])
    none = one(rows, metric=NEGATIVE)
    assert (none["value"], none["interval"]) == (0.0, "wilson 95 %")
    assert (none["ci_low"], none["ci_high"]) == wilson_of_shares(np.zeros(7))
    assert one(rows, metric=BEYOND_OTHERS)["ci_low"] == wilson_of_shares(np.ones(7))[0]


@pytest.mark.parametrize(
    ("passing", "blocks", "expected"),
    [
        (7, 4, "supported"),
        (6, 4, "supported"),
        # 20 of 28 tests, but all of five topics.
        (5, 4, "not distinguishable from chance"),
        (0, 4, "not distinguishable from chance"),
        # 6 of 28 are more than by chance, but not most.
        (6, 1, "contradicted"),
        # Topics agree, so that nothing can be resampled: seven count, of which not all are there.
        (7, 3, "not distinguishable from chance"),
    ],
)
def test_cloze_is_decided_by_topics(passing: int, blocks: int, expected: str) -> None:
    rows = cloze_tests(passing, blocks=blocks)
    given = {"alignment": [], "effects": [], "behaviour": rows}
    anchor = {**BANK, "part": "sparsity", "group": "any", "metric": "l0", "mode": "calibrated"}
    anchor |= {"control": "none", "layer": 0, "pooling": "max", "value": 1.0}
    found = judged([anchor], own_weights="gpt2", **given)["cloze"]
    assert found["verdict"] == expected


def answered(right: list[list[bool]]) -> tuple[StudyTexts, pa.Table]:
    """Answers to contents in three forms, by content and form."""
    pairs = [
        MatchedText(f"{pair} {form}", "Math", f"form {form}", pair, "", "1")
        for pair in range(len(right))
        for form in range(3)
    ]
    flat = [each for some in right for each in some]
    blank = {column.name: None for column in SPECIALIST_ANSWERS.columns}
    rows = [
        blank | {"text": number, "contained": each, "judged": each}
        for number, each in enumerate(flat)
    ]
    columns = {name: [row[name] for row in rows] for name in blank}
    return StudyTexts(tuple(pairs)), pa.table(columns)


def test_all_answers_are_resampled_by_content() -> None:
    """Where the forms of a content are right together, they are not three answers."""
    right = [[number % 2 == 0] * 3 for number in range(36)]
    rows = list(answer_rows(*answered(right), 0))
    row = one(rows, group="all", metric="judged")
    assert (row["value"], row["n"]) == (0.5, 108)
    assert width(row) == pytest.approx(bootstrap_width([float(each[0]) for each in right]), rel=0.1)
    published = one(rows, group="all", metric="contained")
    assert (published["value"], published["n"], published["ci_low"]) == (0.5, 108, None)
    found = judged(rows, own_weights="gpt2")["no_right_answers"]
    assert (found["value"], found["published_value"]) == (0.5, 0.5)
    assert found["verdict"] == "contradicted"
    assert {each["group"] for each in rows} == {"all", *(f"Math: form {each}" for each in range(3))}


def test_no_right_answer_at_all_has_an_interval_over_contents() -> None:
    rows = list(answer_rows(*answered([[False] * 3] * 36), 0))
    row = one(rows, group="all", metric="judged")
    assert (row["ci_low"], row["ci_high"]) == wilson_of_shares(np.zeros(36))
    assert judged(rows, own_weights="gpt2")["no_right_answers"]["verdict"] == "supported"
    assert SAID["no_right_answers"].about == "gpt2"


def test_nothing_asked_has_no_answers() -> None:
    assert not list(answer_rows(*answered([]), 0))


def test_a_share_of_nothing_has_no_value() -> None:
    key = {
        **BANK,
        "part": "tasks",
        "mode": "calibrated",
        "layer": None,
        "pooling": "",
        "group": "all",
    }
    row = clustered_share_row(key, "judged", np.zeros(0), [], np.random.default_rng(0))
    assert (row["value"], row["n"], row["ci_low"]) == (None, 0, None)
