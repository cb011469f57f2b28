"""First paragraph of the specialists' pages: each verdict follows from the numbers beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED
from saeflow.report.specialists.finding import (
    PUBLISHED_RULES,
    WITHOUT_TRAINING,
    specialist_finding,
)
from saeflow.report.specialists.model import SpecialistModel, read_specialist_models
from saeflow.report.specialists.verdicts import (
    TOO_FEW,
    UNTOLD,
    above,
    gain_of_forms,
    if_most,
    reach,
    too_few,
)
from tests.specialist_numbers import FOUND, NOTHING, POOLING, SPARSE, Row, Told
from tests.specialist_tables import models, tables

SUBJECTS = ("Form", "Topics", "Meaning", "Behaviour", "Ablation")


def verdicts(**told: Told) -> dict[str, str]:
    """Word of each sentence about `toy` by its subject."""
    said = specialist_finding(models(told), POOLING)
    assert said is not None
    return {
        sentence.partition(":")[0]: part["word"]
        for part in said["parts"]
        for sentence in part["sentences"]
    }


def sentence(subject: str, **told: Told) -> str:
    said = specialist_finding(models(told), POOLING)
    assert said is not None
    (found,) = (
        each for part in said["parts"] for each in part["sentences"] if each.startswith(subject)
    )
    return str(found).replace("\xa0", " ")


def test_what_is_planted_is_supported() -> None:
    found = verdicts(toy=FOUND)
    assert {found[each] for each in SUBJECTS} == {SUPPORTED}
    said = specialist_finding(models({"toy": FOUND}), POOLING)
    assert said is not None
    assert said["lead"].replace("\xa0", " ") == (
        "Form or meaning? toy (layer 2): 3 of 4 forms have a feature of their own, 45.0 % of texts lie "
        "nearest to their own content in another form, with words alone 35.0 % and meaning is told beyond "
        "words."
    )


def test_nothing_is_supported_where_nothing_is_found() -> None:
    found = verdicts(toy=NOTHING)
    assert {found[each] for each in SUBJECTS} == {NOT_SUPPORTED}


def test_untrained_weights_that_give_the_same_refute() -> None:
    found = verdicts(toy=FOUND, toy_untrained=FOUND)
    assert {each: found[each] for each in ("Form", "Topics", "Meaning")} == dict.fromkeys(
        ("Form", "Topics", "Meaning"), NOT_SUPPORTED
    )
    beside = verdicts(toy=FOUND, toy_untrained=NOTHING)
    assert (beside["Form"], beside["Meaning"]) == (SUPPORTED, SUPPORTED)


@pytest.mark.parametrize("against", [0.53, 0.5, 0.3])
def test_meaning_needs_its_whole_interval(against: float) -> None:
    assert verdicts(toy=replace(FOUND, against=against))["Meaning"] == NOT_SUPPORTED


def test_meaning_needs_its_test() -> None:
    assert verdicts(toy=replace(FOUND, tested=0.06))["Meaning"] == NOT_SUPPORTED


def test_numbers_stand_beside_chance_words_and_the_untrained() -> None:
    told = {"toy": FOUND, "toy_untrained": NOTHING}
    assert (
        "for 45.0 % of texts (chance 3.0 %, words 35.0 % and the untrained model 45.0 %)"
        in sentence("Meaning", **told)
    )
    assert "3 of 4 forms (by chance 0.2) have a feature" in sentence("Form", **told)
    assert (
        "0.920 [0.900, 0.940] over splits, where chance gives 0.5 and the untrained model 0.570"
        in sentence("Form", **told)
    )
    assert "words alone give 0.250 and the untrained model 0.350" in sentence("Topics", **told)
    assert "0.125 [0.085, 0.165] beside 0.020 [-0.020, 0.060]" in sentence("Topics", **told)
    assert "larger by 0.350 (p 0.016 by sign flips of 7 topics)" in sentence("Form", **told)
    behaviour, ablation = (sentence(each, **told) for each in ("Behaviour", "Ablation"))
    assert "of 2 correlations of a maths specialist" in behaviour
    assert "2 have p ≤ 0.05 after Holm (0 positive, 2 negative)" in behaviour
    assert "specialists of other topics 2 of 2 on the same tasks" in behaviour
    assert "untrained model’s maths specialists 0 of 2" in behaviour
    assert "in 4 cells of toy" in ablation
    assert "in 4 more than all three" in ablation
    assert "on texts of other topics 2 of 2; on tasks 4 of 4" in ablation
    assert "(untrained model: 0 of 4, 0 of 2 and 0 of 4)" in ablation
    assert "right or likeliest" in ablation


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_sentence_says_that_no_untrained_model_stands_beside(subject: str) -> None:
    assert "o untrained model stands beside." in sentence(subject, toy=FOUND)
    assert "stands beside" not in sentence(subject, toy=FOUND, toy_untrained=NOTHING)


def test_the_lead_tells_no_meaning_where_the_sentence_does_not() -> None:
    said = specialist_finding(models({"toy": FOUND, "toy_untrained": FOUND}), POOLING)
    assert said is not None
    assert "no meaning is shown beyond words and untrained weights" in said["lead"]
    said = specialist_finding(models({"toy": FOUND, "toy_untrained": NOTHING}), POOLING)
    assert said is not None
    assert "meaning is told beyond words and untrained weights" in said["lead"]


@pytest.mark.parametrize(("untrained", "word"), [(0.04, SUPPORTED), (0.05, NOT_SUPPORTED)])
def test_topics_need_more_than_two_bare_numbers(untrained: float, word: str) -> None:
    """0.125 - 0.04 lies above 0.04 + 0.04, not above 0.05 + 0.04."""
    told = {"toy": FOUND, "toy_untrained": replace(FOUND, beyond=untrained)}
    assert verdicts(**told)["Topics"] == word


def test_forms_that_are_seldom_found_are_not_supported() -> None:
    assert verdicts(toy=replace(FOUND, areas=0.6))["Form"] == NOT_SUPPORTED
    better = {"toy": FOUND, "toy_untrained": replace(FOUND, areas=0.95)}
    assert verdicts(**better)["Form"] == NOT_SUPPORTED


def told_of(table: str, passes: Callable[[Row], bool]) -> list[SpecialistModel]:
    """A model of which only some rows of a table pass Holm."""
    found = tables(FOUND)
    rows = [
        {**row, "holm": row["holm"] and (0.01 if passes(row) else 0.9)}
        for row in getattr(found, table).to_pylist()
    ]
    schema = getattr(found, table).schema
    changed = found._replace(**{table: pa.Table.from_pylist(rows, schema)})
    return read_specialist_models({"toy": changed}, {})


def said_of(subject: str, told: list[SpecialistModel]) -> tuple[str, str]:
    said = specialist_finding(told, POOLING)
    assert said is not None
    return next(
        (part["word"], each)
        for part in said["parts"]
        for each in part["sentences"]
        if each.startswith(subject)
    )


def own_texts(row: Row) -> bool:
    return bool(row["class"].startswith(f"{row['group']}: "))


def test_only_texts_of_their_own_topic_decide_on_ablation() -> None:
    word, text = said_of("Ablation", told_of("effects", own_texts))
    assert word == SUPPORTED
    assert "in 4 more than all three" in text
    assert "on texts of other topics 0 of 2; on tasks 0 of 4" in text
    word, text = said_of("Ablation", told_of("effects", lambda row: not own_texts(row)))
    assert word == NOT_SUPPORTED
    assert "on texts of other topics 2 of 2; on tasks 4 of 4" in text
    one_control = told_of("effects", lambda row: row["control"] == "random_feature")
    assert said_of("Ablation", one_control)[0] == NOT_SUPPORTED


def test_only_maths_and_arithmetic_decide_on_behaviour() -> None:
    def asked(row: Row) -> bool:
        return row["class"].startswith("Math_Simple") and row["group"].endswith("arithmetic")

    word, text = said_of("Behaviour", told_of("behaviour", asked))
    assert word == SUPPORTED
    assert "of specialists of other topics 0 of 2" in text
    word, text = said_of("Behaviour", told_of("behaviour", lambda row: not asked(row)))
    assert word == NOT_SUPPORTED
    assert "of specialists of other topics 2 of 2" in text


@pytest.mark.parametrize(("right", "word"), [(0.36, SUPPORTED), (0.34, UNTOLD)])
def test_behaviour_is_told_of_tasks_that_the_model_does(right: float, word: str) -> None:
    """Intervals end 0.1 below; chance gives 0.25."""
    assert verdicts(toy=replace(FOUND, right=right))["Behaviour"] == word


@pytest.mark.parametrize(("contents", "word"), [(6, TOO_FEW), (8, NOT_SUPPORTED)])
def test_what_no_test_could_pass_is_not_refuted(contents: int, word: str) -> None:
    """Of six tests of six contents the best is 6 * 2 / 2**6 after Holm, of eight 6 * 2 / 2**8."""
    told = replace(FOUND, contents=contents, tested=0.8)
    assert verdicts(toy=told)["Ablation"] == word
    assert ("too few contents" in sentence("Ablation", toy=told)) is (word == TOO_FEW)


def test_of_few_contents_those_that_holm_could_pass_are_told_apart() -> None:
    """The last of ten is not adjusted where all others may be smaller."""
    assert too_few([30] * 9 + [6]) == [False] * 10
    assert too_few([30] * 9 + [5]) == [False] * 9 + [True]
    assert too_few([6] * 2) == [True] * 2
    assert too_few([7] * 2 + [30]) == [False] * 3
    assert too_few([]) == []


def test_most_have_to_pass_and_open_ones_leave_it_open() -> None:
    assert [if_most(*each) for each in ((3, 4, 0), (2, 4, 0), (2, 4, 1), (0, 4, 2))] == [
        SUPPORTED,
        NOT_SUPPORTED,
        TOO_FEW,
        NOT_SUPPORTED,
    ]


def test_an_interval_that_is_missing_lies_above_nothing() -> None:
    low, high = ({"value": each, "ci_low": None, "ci_high": None} for each in (0.1, 0.9))
    assert not above(high, low)
    assert reach(high, low) is None


def test_forms_of_one_topic_are_flipped_together() -> None:
    areas = {f"{topic}: {form}": 0.9 for topic in "abcdef" for form in "xyz"}
    gain = gain_of_forms(areas, dict.fromkeys(areas, 0.5))
    assert gain is not None
    assert (gain.topics, gain.p_value) == (6, pytest.approx(2 / 2**6))
    assert gain.value == pytest.approx(0.4)
    assert gain_of_forms(areas, {}) is None


def test_the_published_rule_is_told_of_categories_or_of_classes() -> None:
    (rule,) = (sentence("At layer", toy=each) for each in (replace(FOUND, poolings=(POOLING,)),))
    assert rule == (
        "At layers 0, 2 of toy the study’s rule finds a specialist for 6, 6 of 7 categories (drawn anew: "
        "0.8, 0.8) by “encode, then average”."
    )
    assert (
        "At layer 1 of toy the study’s rule finds a specialist for 3 of 4 topics and forms"
        in sentence("At layer", toy=SPARSE)
    )


def test_an_untrained_model_alone_is_told_as_such() -> None:
    found = verdicts(toy_untrained=NOTHING)
    assert set(found.values()) == {WITHOUT_TRAINING}


def test_what_was_not_measured_is_not_told() -> None:
    found = verdicts(toy=SPARSE)
    assert set(found) == {"Form", "Topics", "Meaning"} | {
        each for each in found if each.startswith("At layer")
    }
    assert PUBLISHED_RULES in found.values()
    every = ("top_1", "n_specialists", "difference", "found_against_words")
    said = specialist_finding(models({"toy": replace(SPARSE, drop=every)}), POOLING)
    assert said == {"lead": "Nothing was found to tell form from meaning by.", "parts": []}


def test_no_model_has_no_finding() -> None:
    assert specialist_finding([], POOLING) is None
