"""First paragraph of the pages of the decimal bug: each sentence follows the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from saeflow.report.decimal_bug.finding import carries, decimal_finding, interpretation
from tests.decimal_tables import BUGGY, DONORS, NO_BUG, NOTHING, Told, models

NO_SITE = replace(BUGGY, site=None)


def said(told: Mapping[str, Told]) -> tuple[str, dict[str, list[str]]]:
    """The lead, and the sentences by their word."""
    found = decimal_finding(models(told))
    assert found is not None
    parts = {part["word"]: part["sentences"] for part in found["parts"]}
    return found["lead"], {
        word: [each.replace("\xa0", " ") for each in sentences] for word, sentences in parts.items()
    }


def test_a_bug_and_what_carries_it() -> None:
    lead, parts = said({"toy": BUGGY, "other": NO_BUG, "toy_untrained": NOTHING})
    assert lead == (
        "1 of 2 trained models has a bug that depends on the format: toy. A signal of the format "
        "passes through KV group 1, layer 1 of toy."
    )
    assert list(parts) == [
        *("Bug", "No bug", "Supported", "Not testable", "Untrained", "Published lists")
    ]
    (bug,) = parts["Bug"]
    assert bug == (
        "toy depends on the format: of 45 prone pairs it answers 5.0 % [1.0, 9.0] right in the Q/A "
        "formats and 95.0 % [91.0, 99.0] in the plain ones; a coin gives 50.0 %."
    )
    (none,) = parts["No bug"]
    assert none.startswith("other does not depend on the format like that: of 45 prone pairs")
    assert none.endswith("So nothing was patched.")
    site = parts["Supported"][0]
    assert "80.0 % [78.0, 82.0] of 30 Q/A prompts are answered right, where 3.0 % are with" in site
    assert "+70.0 points (p 0.0042, Holm) more than from another pair, Q/A format, " in site
    assert "+60.0 points (p 0.0042, Holm) more than from a word problem" in site
    assert (
        "+45.0 points (p 0.0062, Holm) more than from a pair whose answer looks other, Q/A" in site
    )
    assert site.endswith(
        "what is carried over is no copied answer. From pairs whose answer looks other, having more "
        "digits, 60.0 % are right if these are asked plainly and 35.0 % if in "
        "the Q/A format: the format makes a difference by itself, +25.0 points (p 0.0062, Holm). Of 15 "
        "unlike pairs asked Q/A, 90.0 % [85.0, 95.0] are right with a prone pair’s plain activations, "
        "100.0 % with their own: so it is no mere preference for the number with fewer digits."
    )
    parity, alone = parts["Not testable"]
    assert parity == (
        "Even minus odd heads of layer 1 of toy: +20.0 points of right answers; against permuted "
        "labels p is 0.333, and with so few units it cannot be below 0.333."
    )
    assert alone.startswith("At the last token of other, features")
    assert parts["Untrained"][0].startswith("toy_untrained shows no bug, as expected: of 45")


@pytest.mark.parametrize(("smallest", "word"), [(0.02, "Not supported"), (0.333, "Not testable")])
def test_parity_is_judged_where_labels_can_be_rare(smallest: float, word: str) -> None:
    _, parts = said({"toy": replace(BUGGY, smallest=smallest), "toy_untrained": NOTHING})
    assert any(each.startswith("Even minus odd heads") for each in parts[word])


def test_the_format_has_to_make_a_difference_by_itself() -> None:
    (model,) = models({"toy": replace(BUGGY, by_format=0.01)})
    text = interpretation(model.numbers)
    assert text is not None
    assert "it is not shown that the format makes a difference by itself, +1.0 points" in text


def test_models_without_a_bug() -> None:
    assert said({"other": NO_BUG})[0] == "other shows no bug that depends on the format."
    lead, parts = said({"one": NO_BUG, "two": NO_BUG})
    assert lead == "0 of 2 trained models have a bug that depends on the format."
    assert "Bug" not in parts


def test_several_models_with_a_bug() -> None:
    lead, _ = said({"one": BUGGY, "two": BUGGY})
    assert lead == (
        "2 of 2 trained models have a bug that depends on the format: one and two. A signal of "
        "the format passes through KV group 1, layer 1 of one and KV group 1, layer 1 of two."
    )


def test_a_site_that_does_not_beat_its_controls() -> None:
    lead, parts = said({"toy": replace(BUGGY, beyond=-0.01)})
    assert lead.endswith(
        "What was chosen to carry it does not beat its controls, may copy answers, or harms others."
    )
    assert any("chosen on other pairs" in each for each in parts["Not supported"])
    assert not any("chosen on other pairs" in each for each in parts.get("Supported", []))
    (model,) = models({"toy": replace(BUGGY, beyond=-0.01)})
    assert not carries(model.numbers)


def test_without_a_chosen_site_nothing_is_said_of_one() -> None:
    lead, parts = said({"toy": NO_SITE})
    assert lead == "toy has a bug that depends on the format."
    assert not any("chosen on" in each for sentences in parts.values() for each in sentences)
    (model,) = models({"toy": NO_SITE})
    assert interpretation(model.numbers) is None


@pytest.mark.parametrize(
    ("right", "wrote", "ending"),
    [
        (0.9, 0.05, "what is carried over is a signal of the format, not a copied answer."),
        (0.1, 0.8, "what is carried over is the donor’s answer, not a signal of the format."),
        (0.1, 0.1, "neither is carried over; only the same pair’s prompt can help."),
        (0.51, 0.1, "the intervals leave open whether the format is carried over."),
        (0.9, 0.49, "the intervals leave open whether the format or an answer is carried over."),
    ],
)
def test_another_pair_tells_a_format_from_a_copy(right: float, wrote: float, ending: str) -> None:
    donors = {**DONORS, "other_pair_plain": (right, wrote)}
    (model,) = models({"toy": replace(BUGGY, donors=donors, by_format=None)})
    text = interpretation(model.numbers)
    assert text is not None
    assert text.endswith(ending)
    assert f"{100 * right:.1f}\xa0% of the answers are right" in text


@pytest.mark.parametrize(
    ("wrote", "ending"),
    [
        (0.49, "the intervals leave open whether the format or an answer is carried over."),
        (0.97, "what is carried over is the donor’s answer, not a signal of the format."),
    ],
)
def test_a_site_that_may_copy_answers_carries_no_format(wrote: float, ending: str) -> None:
    """Whatever unlike pairs say, and though it beats every unrelated donor."""
    told = replace(BUGGY, donors={**DONORS, "other_pair_plain": (0.05, wrote)})
    (model,) = models({"toy": told})
    text = interpretation(model.numbers)
    assert text is not None
    assert text.endswith(ending)
    assert not carries(model.numbers)
    lead, parts = said({"toy": told})
    assert lead.endswith(
        "What was chosen to carry it does not beat its controls, may copy answers, or harms others."
    )
    assert any("chosen on other pairs" in each for each in parts["Not supported"])


def test_without_another_pair_nothing_is_interpreted() -> None:
    donors = {name: found for name, found in DONORS.items() if name != "other_pair_plain"}
    told = replace(BUGGY, donors=donors)
    (model,) = models({"toy": told})
    assert interpretation(model.numbers) is None
    assert carries(model.numbers) is None
    _, parts = said({"toy": told})
    assert any(
        each.endswith("It was not held against another pair, plain format.")
        for each in parts["Not testable"]
    )


@pytest.mark.parametrize(
    ("spared", "ending"),
    [
        (0.1, "so it makes any answer the number with fewer digits."),
        (0.52, "this leaves open whether it only prefers the number with fewer digits."),
    ],
)
def test_a_site_that_harms_pairs_that_are_not_prone_carries_no_format(
    spared: float, ending: str
) -> None:
    told = replace(BUGGY, spared=spared)
    (model,) = models({"toy": told})
    assert carries(model.numbers) is False
    _, parts = said({"toy": told})
    (text,) = (each for each in parts["Not supported"] if "chosen on other pairs" in each)
    assert text.endswith(ending)
    (model,) = models({"toy": replace(BUGGY, spared=None)})
    assert carries(model.numbers) is True


def test_a_site_that_was_held_against_some_controls_only_is_not_judged() -> None:
    told = replace(BUGGY, by_format=None)
    (model,) = models({"toy": told})
    assert carries(model.numbers) is None
    lead, parts = said({"toy": told})
    assert lead.endswith("What was chosen to carry it was not held against every control.")
    (text,) = (each for each in parts["Not testable"] if "chosen on other pairs" in each)
    assert text.endswith("It was not held against a pair whose answer looks other, Q/A format.")


def test_likeness_is_supported_beyond_the_untrained_model_only() -> None:
    _, parts = said({"toy": BUGGY, "toy_untrained": NOTHING})
    (more,) = [each for each in parts["Supported"] if "less alike" in each]
    assert "in 1 of 2 layers, at p ≤ 0.05 after Holm, and in 1 of these by more than in" in more
    assert more.endswith("toy_untrained, intervals apart (layer 1).")
    _, parts = said({"toy": BUGGY, "toy_untrained": replace(NOTHING, below=0.25)})
    (same,) = [each for each in parts["Not supported"] if "less alike" in each]
    assert same.endswith("and in 0 of these by more than in toy_untrained, intervals apart.")
    _, parts = said({"toy": replace(BUGGY, below=-0.1)})
    (none,) = [each for each in parts["Not testable"] if "less alike" in each]
    assert "in 0 of 2 layers" in none
    assert "and more alike in 1" in none
    assert none.endswith("no untrained model of its shape was run beside it.")


def test_published_lists_are_told_beside_the_untrained_models() -> None:
    _, parts = said({"toy": BUGGY, "toy_untrained": NOTHING})
    assert parts["Published lists"] == [
        "Those of toy overlap by 70.0 % on average, of toy_untrained by 70.0 %; in 1 of 2 layers they "
        "share features that are 0 and only fill them up."
    ]


def test_untrained_weights_are_never_called_supported() -> None:
    lead, parts = said({"toy_untrained": replace(BUGGY, site=None, chosen=False)})
    assert lead == "toy_untrained has a bug that depends on the format."
    assert parts["Untrained"][0].startswith("toy_untrained shows the bug with nothing learned: of")
    assert not {"Bug", "Supported"} & set(parts)


def test_nothing_asked_gives_no_paragraph() -> None:
    (model,) = models({"toy": BUGGY})
    model.numbers.rows.clear()
    assert decimal_finding([model]) is None
