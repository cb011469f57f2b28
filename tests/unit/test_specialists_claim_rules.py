"""Rules of single sentences about specialists, on hand-made rows."""

from __future__ import annotations

import pytest

from saeflow.studies.claims.sentences import Published, Wanted
from saeflow.studies.claims.verdicts import NOT_TESTABLE
from tests.specialist_claims import SAID, Row, judged, measured, verdict


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
        # More than by chance, and not of nearly every class.
        (15, 15, (0, 1), "supported"),
        (12, 12, (0, 1), "not distinguishable from chance"),
        (11, 4, (0, 0), "contradicted"),
        # Few, and no more than by chance: nothing is found.
        (11, 4, (0, 4), "not distinguishable from chance"),
        (1, 0, (0, 1), "not distinguishable from chance"),
        (15, 18, None, NOT_TESTABLE),
    ],
)
def test_the_study_s_rule_is_held_against_classes_drawn_anew(
    name: str, held: float, every: float, null: tuple[float, float] | None, expected: str
) -> None:
    found = judged(by_rule(held, every, null, name))[name]
    assert found["verdict"] == expected
    assert (found["value"], found["published_value"]) == (held, every)
    for wanted in (SAID[name].found, SAID[name].by_procedure, SAID[name].null):
        assert wanted is not None
        assert (wanted.mode, wanted.pooling) == ("published", "average_then_encode")


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (7, "supported"),
        (6, "not distinguishable from chance"),
        (4, "not distinguishable from chance"),
    ],
)
def test_few_categories_need_a_specialist_each(every: int, expected: str) -> None:
    name = "rule_finds_categories"
    rows = [each | {"n": 7} for each in by_rule(5.5, every, (0, 1), name)]
    found = judged(rows)[name]
    assert found["verdict"] == expected
    for said in (f"{every} of 7", "0.5 (0 to 1)", "5.5 hold"):
        assert said in found["rule"]


def test_a_rule_that_is_split_once_has_no_interval() -> None:
    name = "rule_finds_forms"
    _, *rest = by_rule(15, 18, (4, 9), name)
    assert verdict(name, [measured(SAID[name].found, 15, None), *rest]) == NOT_TESTABLE


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


@pytest.mark.parametrize(
    ("value", "p_value", "expected"),
    [
        (-0.5, 0.01, "supported"),
        # Few topics make a bootstrap too narrow.
        (-0.5, 0.2, "not distinguishable from chance"),
        (-0.03, 0.01, "not distinguishable from chance"),
        (0.5, 0.2, "not distinguishable from chance"),
        (0.5, 0.01, "contradicted"),
        (-0.5, None, NOT_TESTABLE),
    ],
)
def test_selectivity_is_held_against_permuted_topics_as_well(
    value: float, p_value: float | None, expected: str
) -> None:
    name = "selective_is_not_causal"
    row = measured(SAID[name].found, value, p_value=p_value)
    found = judged([row], own_weights="gpt2")[name]
    assert found["verdict"] == expected
    if p_value is not None:
        assert f"p {p_value}" in found["rule"]
    assert verdict(name, [row | {"ci_low": None}], own_weights="gpt2") == NOT_TESTABLE
