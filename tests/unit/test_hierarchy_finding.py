"""First paragraph of the hierarchy study's pages: what holds, by the numbers of the tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saeflow.report.hierarchy.finding import hierarchy_finding
from saeflow.report.hierarchy.pages import HierarchyModel, finding_of, read_models
from tests.hierarchy_tables import GOOD, LEVELS, Told, comparison_of, model_tables

UNTRAINED = Told(
    levels={"operators": (31.0, 0.0, 4.0), "operator_value": (6.0, 0.0, 1.0)},
    followers={"operators": (2.0, 0.0, 9.0)},
    largest=(-0.01, -0.03, 0.02),
    p_value=0.3,
)
PUBLISHED_ONLY = Told(calibrated=False)


def models(**told: Told) -> list[HierarchyModel]:
    found = {
        name: model_tables(each, fresh=name.endswith("untrained")) for name, each in told.items()
    }
    comparison = comparison_of({name: tables.summary for name, tables in found.items()})
    return read_models(found, comparison)


def said(**told: Told) -> dict[str, str]:
    found = finding_of(models(**told))
    assert found is not None
    parts = {part["word"]: " ".join(part["sentences"]) for part in found["parts"]}
    return {"lead": found["lead"], **parts}


def test_what_holds_and_what_does_not_stand_apart() -> None:
    found = said(toy=GOOD, toy_untrained=UNTRAINED)
    assert found["lead"].startswith("Some of what was tested holds")
    follow = (
        "41 follow an operator (permuted 4.5, at most 9; untrained 2: +19.5 [+15.0, "
        "+24.0]), beyond every permutation, and, by more than permutations and "
        "sites move either, a larger share than in the untrained model."
    )
    assert follow in found["Supported"]
    assert "22 follow an operand (permuted 12.5, at most 25), not beyond" in found["Not supported"]
    # As many in the untrained model: nothing that was learned.
    operators = "31 tell the set of operators best (permuted 2, at most 4"
    beside = "untrained 31: 0.0 [−6.7, +6.7]"
    assert f"{operators}; {beside}" in found["Not supported"]
    assert (
        "beyond every permutation, but not, by more than permutations and sites move either, a "
        "larger share than in the untrained model." in found["Not supported"]
    )
    assert f"{operators})" in said(toy=GOOD)["Supported"]
    assert (
        "3 tell the sequence of operators best (permuted 2.5, at most 5" in found["Not supported"]
    )
    # One more than in the untrained model is, at the nearest ends, no larger share.
    together = "7 tell operator and value together best (permuted 0.5, at most 1"
    beside = "untrained 6: +1.7 [0.0, +3.3]"
    assert f"{together}; {beside}" in found["Not supported"]
    # Neither measured nor by chance: nothing that could have failed.
    assert "tell a value best" not in " ".join(found.values())
    # That no feature follows an operand is told.
    nothing = said(toy=replace(GOOD, followers={"operands": (0.0, 0.0, 0.0)}))
    assert "0 follow an operand (permuted 0, at most 0), not beyond" in nothing["Not supported"]


def test_a_difference_over_sites_is_told_with_its_interval() -> None:
    (toy, _) = models(toy=GOOD, toy_untrained=UNTRAINED)
    (subject,) = toy.subjects
    metric = "n_specialists.operators"
    (held,) = subject.counts[metric].held
    by_site = {**held.difference, "value": 0.184, "ci_low": -0.012, "ci_high": 0.38}
    told = subject.counts[metric]._replace(held=[held._replace(by_site=by_site, beyond=False)])
    found = hierarchy_finding([subject._replace(counts={metric: told})])
    assert found is not None
    (text,) = (part["sentences"][0] for part in found["parts"] if part["word"] == "Not supported")
    words = "untrained 2: +18.4 [−1.2, +38.0])"
    assert f"{words}, beyond every permutation, but not, by more than" in text


def test_the_published_rule_below_chance_is_not_said_to_exceed_it() -> None:
    text = said(toy=GOOD)["Published rules"]
    assert "calls 12 specialised, beside the 13.5 that as many random problems" in text
    assert "10 of them fire on 4 problems or fewer" not in text
    assert "8 of them fire on 4 problems or fewer" in text
    assert "With ties counted these are 6, by chance 6.8." in text
    assert "types 38 “mixed”, of as many random problems 2." in text


@pytest.mark.parametrize(
    ("specialised", "words"),
    [
        (20.0, "more than the 13.5"),
        (14.0, "within the range of the 13.5"),
        (13.0, "within the range of the 13.5"),
        (6.0, "fewer than the 13.5"),
    ],
)
def test_the_published_rule_is_told_beside_the_range_of_random_problems(
    specialised: float, words: str
) -> None:
    text = said(toy=Told(specialised=specialised, reach=5.0))["Published rules"]
    assert (
        f"specialised, {words} (95 % range 8.5 to 18.5 if independent) that as many random" in text
    )


def test_an_effect_that_holds_is_told_with_its_interval_and_its_p_value() -> None:
    text = said(toy=GOOD, toy_untrained=UNTRAINED)["Supported"]
    assert "At layer 1, step s2 of toy, a site chosen on other problems, ablating a set" in text
    assert "on 31 reported problems by −0.432 nats beside matched random features" in text
    assert "one-sided p = 0.012), which holds, against matched features and beyond the" in text
    assert "Untrained: −0.010 nats; trained minus untrained −0.422, 95 % interval −0." in text
    alone = said(toy=GOOD)["Supported"]
    assert "p = 0.012), which holds against matched features." in alone


def test_an_effect_that_the_untrained_model_shows_too_is_not_supported() -> None:
    found = said(toy=GOOD, toy_untrained=replace(UNTRAINED, largest=(-0.4, -0.5, -0.3)))
    words = "which holds against matched features, but the untrained model shows as much."
    assert words in found["Not supported"]
    assert "nats beside matched" not in found["Supported"]


@pytest.mark.parametrize(
    "told",
    [
        Told(p_value=0.2),
        Told(largest=(-0.1, -0.3, 0.1)),
        Told(largest=(0.2, 0.1, 0.3), p_value=0.999),
        Told(largest=(-0.1, None, None)),
    ],
)
def test_an_effect_that_does_not_hold_is_said_not_to(told: Told) -> None:
    found = said(toy=told)
    assert "which does not hold" in found["Not supported"]
    assert "which holds" not in " ".join(found.values())


def test_p_values_of_trained_models_are_adjusted_together() -> None:
    both = {"toy": Told(p_value=0.03), "other": Told(p_value=0.04), "toy_untrained": UNTRAINED}
    text = said(**both)["Not supported"]
    assert "p = 0.030, 0.060 after Holm over 2 trained banks), which does not hold" in text
    assert "p = 0.040, 0.060 after Holm over 2 trained banks), which does not hold" in text
    alone = said(toy=Told(p_value=0.03), toy_untrained=UNTRAINED)
    assert "p = 0.030), which holds, against" in alone["Supported"]


def test_leads_depend_on_what_was_tested() -> None:
    assert said(toy=PUBLISHED_ONLY)["lead"].startswith("Only the published rules ran")
    holding = replace(GOOD, followers={"operators": (41.0, 0.0, 9.0)})
    holding = replace(holding, levels={"operators": LEVELS["operators"]})
    assert said(toy=holding)["lead"].startswith("Every statement that was tested holds")
    failing = Told(followers={"operators": (4.0, 0.0, 9.0)}, levels={}, p_value=0.9)
    assert said(toy=failing)["lead"].startswith("No statement that was tested holds")


def test_untrained_models_are_told_by_themselves_only_where_none_is_trained() -> None:
    text = " ".join(said(toy=GOOD, toy_untrained=UNTRAINED).values())
    assert "toy_untrained" not in text
    assert "of toy_untrained" in " ".join(said(toy_untrained=UNTRAINED).values())
    assert hierarchy_finding([]) is None


def test_untrained_models_alone_have_a_lead_of_their_own() -> None:
    found = said(toy_untrained=GOOD)
    assert found["lead"].startswith("Untrained weights, too, exceed chance")
    assert "Supported" not in found
    assert "41 follow an operator" in found["Found without training"]
    nothing = Told(followers={"operators": (4.0, 0.0, 9.0)}, levels={}, p_value=0.9)
    assert said(toy_untrained=nothing)["lead"].startswith("With untrained weights nothing")
