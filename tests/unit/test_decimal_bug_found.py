"""Whether there is a bug: from answers made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS
from saeflow.datasets.comparisons.pairs import comparison_pairs, published_pair
from saeflow.datasets.comparisons.prompts import Prompt, comparison_prompts
from saeflow.datasets.texts.decimals import BUGGY_FORMATS, FORMATS
from saeflow.errors import SaeflowError
from saeflow.stats.resampling import wilson_of_shares
from saeflow.studies.decimal_bug.bug import find_bug

PROMPTS = comparison_prompts(
    [published_pair("9.8", "9.11"), *comparison_pairs(0, 2000, 12)], [*FORMATS, "chat"]
)


def answers(verdict: Callable[[Prompt], str], **changes: Any) -> pa.Table:
    rows = [
        {
            "form": each.form,
            "order": each.order,
            "item": each.item,
            "sample": sample,
            "answer": "",
            # Drawn answers are all right, and must not count.
            "verdict": "right" if sample else verdict(each),
            "fallback": "right",
            "gibberish": False,
            "logit_difference": None,
        }
        | changes
        for each in PROMPTS
        for sample in (0, 1)
    ]
    return pa.Table.from_pylist(rows, DECIMAL_ANSWERS.schema())


def planted(prompt: Prompt) -> str:
    """The bug as it is planted; the study's own pair and other prompts have it the other way."""
    if prompt.item == -1 or prompt.form == "chat" or not prompt.stratum.startswith("prone"):
        return "wrong" if prompt.form not in BUGGY_FORMATS else "right"
    return "wrong" if prompt.form in BUGGY_FORMATS else "right"


@pytest.mark.parametrize("half", ["choose", "report"])
def test_planted_bug_is_found_in_prone_pairs_alone(half: str) -> None:
    bug = find_bug(PROMPTS, answers(planted), half)
    assert bug.found
    assert (bug.buggy.share, bug.plain.share, bug.n) == (0, 1, 18)
    assert bug.sentence.startswith("The model has the bug: of 18 prone pairs")


def test_model_that_is_right_everywhere_or_wrong_everywhere_has_no_bug() -> None:
    def always(verdict: str) -> Callable[[Prompt], str]:
        return lambda _: verdict

    for verdict in ("right", "wrong", "unclear"):
        bug = find_bug(PROMPTS, answers(always(verdict)), "choose")
        assert not bug.found
        assert "no bug" in bug.sentence


def test_bug_of_plain_formats_is_not_this_bug() -> None:
    def mirrored(prompt: Prompt) -> str:
        return "right" if planted(prompt) == "wrong" else "wrong"

    assert not find_bug(PROMPTS, answers(mirrored), "choose").found


def test_intervals_are_over_pairs_and_one_half_is_read() -> None:
    rng = np.random.default_rng(3)
    drawn = {(p.form, p.order, p.item): bool(rng.integers(2)) for p in PROMPTS}

    def verdict(prompt: Prompt) -> str:
        return "right" if drawn[prompt.form, prompt.order, prompt.item] else "unclear"

    bug = find_bug(PROMPTS, answers(verdict), "report")
    shares: dict[int, list[bool]] = {}
    for each in PROMPTS:
        prone = each.item >= 0 and each.stratum.startswith("prone") and each.half == "report"
        if prone and each.form in BUGGY_FORMATS:
            shares.setdefault(each.item, []).append(drawn[each.form, each.order, each.item])
    assert all(len(each) == 6 for each in shares.values())
    expected = np.array([np.mean(each) for each in shares.values()])
    assert bug.buggy.share == pytest.approx(expected.mean())
    assert (bug.buggy.low, bug.buggy.high) == wilson_of_shares(expected)
    assert bug.n == len(expected)

    def other_half_changed(prompt: Prompt) -> str:
        return verdict(prompt) if prompt.half == "report" else "wrong"

    assert find_bug(PROMPTS, answers(other_half_changed), "report") == bug


def test_missing_answers_are_named() -> None:
    plain = [each for each in PROMPTS if each.form not in BUGGY_FORMATS]
    with pytest.raises(SaeflowError, match=r"no prone pair of the half choose .* qa_which"):
        find_bug(plain, answers(planted), "choose")
