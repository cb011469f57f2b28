"""First paragraph of the specialists' pages: each verdict follows from the numbers beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saeflow.report.finding import NOT_SUPPORTED, SUPPORTED
from saeflow.report.specialists.finding import (
    PUBLISHED_RULES,
    WITHOUT_TRAINING,
    specialist_finding,
)
from tests.specialist_numbers import FOUND, NOTHING, POOLING, SPARSE, Told
from tests.specialist_tables import models

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
    assert "0.920 [0.900, 0.940], where chance gives 0.5 and the untrained model 0.570" in sentence(
        "Form", **told
    )
    assert "words alone give 0.250 and the untrained model 0.350" in sentence("Topics", **told)
    assert "4 of 4 correlations" in sentence("Behaviour", **told)
    assert "(untrained model: 0 and 0)" in sentence("Behaviour", **told)
    assert "in 10 more than all three (untrained model: 0)" in sentence("Ablation", **told)


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
