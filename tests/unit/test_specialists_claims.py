"""What a model's tables say of the sentences published about specialists, on hand-made rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from saeflow.artifacts.claims import CLAIMS
from saeflow.studies.claims.judge import OTHER_SIZES
from saeflow.studies.claims.sentences import Published, Wanted
from saeflow.studies.claims.verdicts import NEVER_MEASURED, NOT_TESTABLE, VERDICTS
from saeflow.studies.specialists.claims import OTHER_SAES, OTHER_WEIGHTS, judge_claims
from saeflow.studies.specialists.published_claims import PUBLISHED

BANK = {"dictionary": "tokens", "seed": 0}
SAID = {each.claim: each for each in PUBLISHED}
LAYERS = (2, 5, 8, 11)
Row = dict[str, Any]


def measured(wanted: Wanted | None, value: float, spread: float | None = 0.05, **more: Any) -> Row:
    """A row that a sentence reads; `spread` None: it has no interval."""
    assert wanted is not None
    layer = None if wanted.layer is None else LAYERS[round(float(wanted.layer) * 3)]
    ends = (None, None) if spread is None else (value - spread, value + spread)
    return {
        **BANK, "part": wanted.part, "group": wanted.group, "metric": wanted.metric,
        "mode": wanted.mode, "control": wanted.control, "layer": layer,
        "pooling": wanted.pooling or "", "value": value, "ci_low": ends[0], "ci_high": ends[1],
        "interval": "none" if spread is None else "of a test", "n": 20, "p_value": None,
        "q_value": None, **more,
    }  # fmt: skip


def blocks() -> list[Row]:
    """Rows that tell which layers are read."""
    anywhere = Wanted("sparsity", "any", "l0", pooling="max")
    return [measured(anywhere, 1.0, None, layer=layer) for layer in LAYERS]


def judged(rows: Sequence[Row], *, own_weights: str = "", **tables: Any) -> dict[str, Row]:
    given = {"behaviour": [], "effects": [], "alignment": []} | tables
    found = judge_claims([*blocks(), *rows], **given, own_weights=own_weights)
    assert found.schema == CLAIMS.schema()
    return {each["claim"]: each for each in found.to_pylist()}


def verdict(name: str, rows: Sequence[Row], **options: Any) -> str:
    return str(judged(rows, **options)[name]["verdict"])


def test_every_sentence_has_a_verdict_and_is_named_once() -> None:
    found = judged([])
    frame = pd.DataFrame(found.values())
    assert list(frame["claim"]) == [each.claim for each in PUBLISHED]
    assert frame["claim"].is_unique
    assert set(frame["study"]) == {"specialists"}
    assert set(frame["scope"]) == {"procedure", "model"}
    assert frame[["source", "statement", "published", "rule"]].map(bool).all(axis=None)
    assert set(frame["verdict"]) == {NOT_TESTABLE, NEVER_MEASURED}
    assert set(frame["verdict"]) <= set(VERDICTS)


def test_what_no_code_does_was_never_measured() -> None:
    never = [each.claim for each in PUBLISHED if each.scope == "none"]
    assert never == ["strength_weighting"]
    assert verdict("strength_weighting", [], own_weights="gpt2") == NEVER_MEASURED


def every_row() -> list[Row]:
    """A row for everything that any sentence wants; what claims are of several rows they share."""
    wanted = [
        each
        for said in PUBLISHED
        for each in (said.found, said.by_procedure, said.null, *said.further)
        if each is not None
    ]
    rows = []
    for each in dict.fromkeys(wanted):
        more = {"part": each.part} if each.part != "alignment" else {}
        rows.append(measured(each, 0.4, **more))
    return rows


def test_claims_of_other_weights_saes_and_sizes_have_an_analogue_and_no_verdict() -> None:
    rows = [each for each in every_row() if each["part"] != "alignment"]
    for own in ("", "gpt2"):
        found = judged(rows, own_weights=own)
        for said in PUBLISHED:
            if said.scope != "model" or (own and not said.saes and not said.sizes):
                continue
            row = found[said.claim]
            assert row["verdict"] == NOT_TESTABLE, said.claim
            assert row["value"] is None
            if said.found is not None and said.found.part != "alignment":
                assert row["analogue_value"] == 0.4, said.claim
                assert row["metric"] == said.found.metric
            measures = said.found is not None or said.by_procedure is not None
            rule = OTHER_SIZES if said.sizes else OTHER_SAES if own else OTHER_WEIGHTS
            assert row["rule"] == (rule if measures else "This run does not measure it.")


def test_own_weights_decide_what_specialists_do_and_no_features_of_other_saes() -> None:
    decided = {
        "no_right_answers", "scored_answers", "cloze", "cloze_correlation", "ablations", "flips",
        "selective_is_not_causal",
    }  # fmt: skip
    model = {each.claim for each in PUBLISHED if each.scope == "model"}
    assert {name for name in model if not (SAID[name].saes or SAID[name].sizes)} - decided == {
        "math_feature", "without_mask",
    }  # fmt: skip


def test_claims_about_the_small_model_are_not_decided_by_the_large_one() -> None:
    rows = [each for each in every_row() if each["part"] != "alignment"]
    small = {each.claim for each in PUBLISHED if each.about == "gpt2"}
    assert small == {"no_right_answers", "selective_is_not_causal"}
    for name in small:
        assert judged(rows, own_weights="gemma-2-9b")[name]["rule"] == OTHER_WEIGHTS
        assert judged(rows, own_weights="gpt2")[name]["rule"] != OTHER_WEIGHTS


@pytest.mark.parametrize("name", [each.claim for each in PUBLISHED if each.scope == "procedure"])
def test_what_is_missing_is_not_testable(name: str) -> None:
    assert verdict(name, []) == NOT_TESTABLE
    said = SAID[name]
    assert verdict(name, [measured(said.found, 0.0) | {"value": None}]) == NOT_TESTABLE
    assert verdict(name, [measured(said.found, 0.3, None)]) == NOT_TESTABLE


ORDINARY = [
    *("forms_share_few", "ceiling_below_one", "cloze_correlation", "selective_is_not_causal")
]


@pytest.mark.parametrize("name", ORDINARY)
def test_intervals_are_held_against_a_fixed_number(name: str) -> None:
    said = SAID[name]
    assert said.fixed is not None
    away = -0.2 if said.below else 0.2
    for shift, expected in (
        (away, "supported"),
        (0.03, "not distinguishable from chance"),
        (-away, "contradicted"),
    ):
        row = measured(said.found, said.fixed + shift)
        found = judged([row], own_weights="gpt2")[name]
        assert found["verdict"] == expected
        assert (found["value"], found["null"]) == (row["value"], said.fixed)
    assert verdict(name, [measured(said.found, 3.0, None)], own_weights="gpt2") == NOT_TESTABLE


def by_rule(held: float, every: float, null: tuple[float, float] | None, name: str) -> list[Row]:
    said = SAID[name]
    rows = [measured(said.found, held, 1.0), measured(said.by_procedure, every, None)]
    if null is not None:
        rows.append(measured(said.null, sum(null) / 2, (null[1] - null[0]) / 2))
    return rows


@pytest.mark.parametrize("name", ["rule_finds_categories", "rule_finds_forms"])
@pytest.mark.parametrize(
    ("held", "every", "null", "expected"),
    [
        (15, 18, (4, 9), "supported"),
        (15, 9, (4, 9), "not distinguishable from chance"),
        # More than by chance on the texts that chose, and no more on others.
        (9, 18, (4, 9), "not distinguishable from chance"),
        (1, 18, (4, 9), "contradicted"),
        (15, 3, (4, 9), "contradicted"),
        (15, 18, None, NOT_TESTABLE),
    ],
)
def test_the_study_s_rule_is_held_against_classes_drawn_anew(
    name: str, held: float, every: float, null: tuple[float, float] | None, expected: str
) -> None:
    found = judged(by_rule(held, every, null, name))[name]
    assert found["verdict"] == expected
    assert (found["value"], found["published_value"]) == (held, every)


@pytest.mark.parametrize(
    ("growth", "by_rule", "calibrated", "expected"),
    [
        (0.2, 5, 4, "supported"),
        (0.02, 5, 4, "not distinguishable from chance"),
        (-0.2, 5, 4, "contradicted"),
        # All have one at the first block already: no depth, however areas grow.
        (0.2, 7, 4, "contradicted"),
        (0.2, 0, 7, "contradicted"),
        (0.2, None, None, "supported"),
    ],
)
def test_depth_is_read_under_the_corrected_pooling(
    growth: float, by_rule: float | None, calibrated: float | None, expected: str
) -> None:
    said = SAID["depth"]
    wanted = (said.found, said.by_procedure, *said.further)
    assert {each.pooling for each in wanted if each} == {"encode_then_average"}
    rows = [measured(said.found, growth)]
    for each, value in zip(wanted[1:], (by_rule, calibrated), strict=True):
        if value is not None:
            rows.append(measured(each, value, None, n=7))
    assert verdict("depth", rows) == expected


@pytest.mark.parametrize(
    ("area", "forms", "topics", "expected"),
    [
        (0.8, 19, 19, "supported"),
        (0.8, 11, 19, "not distinguishable from chance"),
        (0.52, 19, 19, "not distinguishable from chance"),
        # Told from other topics, but from no other form: specialists of the topic.
        (0.8, 3, 19, "contradicted"),
        (0.5, 0, 19, "contradicted"),
        # Nothing is found at all.
        (0.5, 0, 1, "not distinguishable from chance"),
        (0.8, 19, None, NOT_TESTABLE),
    ],
)
def test_specialists_of_forms_tell_forms_of_one_topic_apart(
    area: float, forms: int, topics: int | None, expected: str
) -> None:
    said = SAID["specialists_of_forms"]
    rows = [measured(said.found, area), measured(said.further[0], forms, None)]
    if topics is not None:
        rows.append(measured(said.further[1], topics, None))
    assert verdict("specialists_of_forms", rows) == expected


@pytest.mark.parametrize(
    ("value", "p_value", "q_value", "expected"),
    [
        (0.3, 0.01, 0.03, "supported"),
        (0.3, 0.01, None, "supported"),
        # Certain by itself, but not as one of all blocks.
        (0.3, 0.04, 0.16, "not distinguishable from chance"),
        (0.05, 0.3, 0.3, "not distinguishable from chance"),
        (-0.3, 0.99, 0.99, "contradicted"),
        (0.3, None, None, NOT_TESTABLE),
    ],
)
@pytest.mark.parametrize("name", ["topics_cluster", "words_cluster", "trigrams_cluster"])
def test_clusters_are_held_against_permuted_classes(
    name: str, value: float, p_value: float | None, q_value: float | None, expected: str
) -> None:
    said = SAID[name]
    rows = [measured(said.found, value, None, p_value=p_value, q_value=q_value)]
    if said.null is not None:
        rows.append(measured(said.null, 0.0, 0.1))
    assert verdict(name, rows) == expected


def test_clusters_must_leave_the_middle_of_what_permutations_give() -> None:
    said = SAID["topics_cluster"]
    found = measured(said.found, 0.05, None, p_value=0.04, q_value=0.04)
    rows = [found, measured(said.null, 0.0, 0.1)]
    assert verdict("topics_cluster", rows) == "not distinguishable from chance"


def test_topics_must_cluster_beyond_words() -> None:
    """Another number of the same geometry, however large, decides nothing."""
    said = SAID["topics_cluster"]
    assert said.found is not None
    assert said.found.metric == "difference_beyond_words"
    plain = Wanted("geometry", "topics", "difference", layer=1.0, pooling="encode_then_average")
    row = measured(plain, 0.9, None, p_value=0.001, q_value=0.001)
    assert verdict("topics_cluster", [row]) == NOT_TESTABLE


def shares(name: str, *values: float | None) -> list[Row]:
    """Found share, then those that the rule reads besides, with Wilson's width of 20 tests."""
    said: Published = SAID[name]
    wanted = (said.found, *said.further)
    return [
        measured(each, value) | {"ci_low": max(0.0, value - 0.18), "ci_high": value + 0.18}
        for each, value in zip(wanted, values, strict=False)
        if value is not None
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.0, 0.8), "supported"),
        # One significant test of twenty is what chance gives.
        ((0.05, 0.0, 0.8), "not distinguishable from chance"),
        ((0.6, 0.0, 0.8), "not distinguishable from chance"),
        ((0.28, 0.0, 0.8), "contradicted"),
        ((0.9, 0.0, 0.1), "not distinguishable from chance"),
        ((0.9, 0.0, None), "not distinguishable from chance"),
        ((0.05, 0.6, 0.8), "contradicted"),
    ],
)
def test_cloze_must_hold_in_most_tests_and_more_than_of_other_features(
    values: tuple[float | None, ...], expected: str
) -> None:
    assert verdict("cloze", shares("cloze", *values), own_weights="gpt2") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.55, 0.0), "supported"),
        ((0.05, 0.05), "not distinguishable from chance"),
        ((0.0, 0.4), "contradicted"),
        ((0.1, None), "not distinguishable from chance"),
    ],
)
def test_ablations_are_counted_in_one_direction(
    values: tuple[float | None, ...], expected: str
) -> None:
    assert verdict("ablations", shares("ablations", *values), own_weights="gpt2") == expected


def test_scored_answers_have_no_calibrated_number() -> None:
    """The published tests count every form of a content for itself, which decides nothing."""
    row = measured(SAID["scored_answers"].by_procedure, 0.125)
    found = judged([row], own_weights="gpt2")["scored_answers"]
    assert (found["verdict"], found["published_value"]) == (NOT_TESTABLE, 0.125)
    assert found["value"] is None


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.0, 0.0, 0.07, "supported"),
        (0.02, 0.0, 0.1, "supported"),
        (0.3, 0.2, 0.42, "contradicted"),
        (0.0, 0.0, 0.66, "not distinguishable from chance"),
    ],
)
def test_right_answers_are_as_rare_as_published(
    value: float, low: float, high: float, expected: str
) -> None:
    row = measured(SAID["no_right_answers"].found, value) | {"ci_low": low, "ci_high": high}
    assert verdict("no_right_answers", [row], own_weights="gpt2") == expected


@pytest.mark.parametrize(
    ("mean", "upper", "expected"),
    [
        ((0.01, 0.02), 0.04, "supported"),
        ((0.01, 0.02), 0.3, "not distinguishable from chance"),
        # Its rate is small enough, the end of its interval is not.
        ((0.01, 0.02), 0.08, "not distinguishable from chance"),
        ((0.06, 0.2), 0.3, "contradicted"),
        ((0.01, 0.02), None, NOT_TESTABLE),
        ((None, None), 0.0, "supported"),
    ],
)
def test_flips_of_every_cell_are_below_the_largest_published_one(
    mean: tuple[float | None, float | None], upper: float | None, expected: str
) -> None:
    said = SAID["flips"]
    rows = [measured(said.found, 0.015) | {"ci_low": mean[0], "ci_high": mean[1]}]
    if upper is not None:
        rows.append(measured(said.further[0], upper / 2) | {"ci_high": upper})
    assert verdict("flips", rows, own_weights="gpt2") == expected


def test_layers_are_those_at_the_same_place_among_the_blocks_that_are_read() -> None:
    said = [SAID[f"categories_layer_{layer}"] for layer in (6, 8, 10, 11)]
    rows = [measured(each.found, layer / 20) for each, layer in zip(said, LAYERS, strict=True)]
    # Another part may name blocks that no SAE reads.
    cascade = Wanted("cascade", "all", "relative_change_31")
    found = judged([*rows, measured(cascade, 1.0, None, layer=31)])
    for each, layer in zip(said, LAYERS, strict=True):
        assert found[each.claim]["layer"] == layer
        assert found[each.claim]["analogue_value"] == layer / 20


def test_the_first_bank_is_read_and_words_belong_to_none() -> None:
    said = SAID["words_cluster"]
    row = measured(said.found, 0.3, None, p_value=0.01)
    assert verdict("words_cluster", [row | {"dictionary": "", "seed": 0}]) == "supported"
    assert verdict("words_cluster", [row | {"seed": 1}]) == NOT_TESTABLE


def test_claims_across_sizes_read_the_first_two_models() -> None:
    said = SAID["sparsity"]
    row = measured(said.found, 0.87, layer=4, other_layer=1, pooling="max")
    del row["part"]
    rows = [
        row | {"model": "large", "other_model": other, "value": value}
        for other, value in (("small", 0.87), ("smaller", 0.1))
    ]
    rows.append(rows[0] | {"layer": 0, "value": 0.2})
    found = judged([], alignment=rows, own_weights="gpt2")["sparsity"]
    assert (found["analogue_value"], found["layer"]) == (0.87, 4)
    assert found["verdict"] == NOT_TESTABLE
