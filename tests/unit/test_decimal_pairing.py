"""Which pairs give activations to which others in the study of the decimal bug."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from transformers import AutoTokenizer

from saeflow.datasets.comparisons.pairs import comparison_pairs, published_pair
from saeflow.datasets.comparisons.prompts import comparison_prompts
from saeflow.datasets.texts.decimals import FORMATS, UNEQUAL
from saeflow.errors import SaeflowError
from saeflow.models.alignment import prompt_keys
from saeflow.models.tokenizer import byte_tokenizer
from saeflow.studies.decimal_bug.pairing import (
    _assigned,
    other_pairs,
    prone_prompts,
    unlike_prompts,
)
from tests.conftest import ROOT
from tests.sentences import check_sentence

PROMPTS = comparison_prompts(
    [published_pair("9.8", "9.11"), *comparison_pairs(0, 2000, 6)], list(FORMATS)
)


def check_even(donors: Sequence[int], n_pairs: int) -> None:
    """No pair gives its activations to many where others could."""
    assert max(Counter(donors).values()) <= 1 + -(-len(donors) // n_pairs)


def test_no_donor_serves_many_where_others_can() -> None:
    assert _assigned(np.zeros((4, 2))).count(0) == 2
    assert sorted(_assigned(np.zeros((5, 2)))) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
    # The cheap donor is everyone's best; nobody else can serve the last one.
    costs = np.array([[0.0, 5.0, np.inf], [0.0, 5.0, 9.0], [0.0, np.inf, np.inf]])
    assert _assigned(costs) == [1, 2, 0]
    assert _assigned(np.array([[0.0, np.inf], [0.0, np.inf], [0.0, 1.0]])) == [0, 0, 1]
    # That one has to serve two is no reason for others to.
    forced, free = [0.0, np.inf, np.inf], [np.inf, 0.0, np.inf]
    assert _assigned(np.array([forced, forced, free, [np.inf, 0.0, 5.0]])) == [0, 0, 1, 2]


def test_unlike_pairs_have_the_longer_number_for_an_answer_in_the_other_place() -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "resources" / "models" / "llama")
    for half in ("choose", "report"):
        chosen = prone_prompts(PROMPTS, half, 99)
        keys = {form: [prompt_keys(tokenizer, p) for p in some] for form, some in chosen.items()}
        found = unlike_prompts(chosen, keys, PROMPTS, tokenizer, 0)
        assert found == unlike_prompts(chosen, keys, PROMPTS, tokenizer, 0)
        every = {each.item for each in PROMPTS if (each.stratum, each.half) == (UNEQUAL, half)}
        check_even([each.item for each in found["plain"]], len(every))
        for form, some in found.items():
            for own, other in zip(chosen[form], some, strict=True):
                assert (other.form, other.half) == (own.form, half)
                assert not {own.first, own.second} & {other.first, other.second}
                assert (own.first == own.truth) != (other.first == other.truth)
                assert len(own.truth) < len(own.other)
                assert len(other.truth) > len(other.other)
                # Token by token they correspond.
                shapes = [
                    [key[:1] for key in prompt_keys(tokenizer, each)] for each in (own, other)
                ]
                assert shapes[0] == shapes[1]
        for buggy, plain in zip(*found.values(), strict=True):
            assert (buggy.item, buggy.order) == (plain.item, plain.order)
    prone = [each for each in PROMPTS if each.stratum.startswith("prone")]
    with pytest.raises(SaeflowError, match="unlike_pair_plain") as caught:
        unlike_prompts(chosen, keys, prone, tokenizer, 0)
    check_sentence(caught.value)


def test_other_pairs_share_no_number_and_have_the_answer_in_the_other_place() -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "resources" / "models" / "llama")
    for half in ("choose", "report"):
        chosen = prone_prompts(PROMPTS, half, 99)
        assert len(chosen["buggy"]) == 9
        keys = {form: [prompt_keys(tokenizer, p) for p in some] for form, some in chosen.items()}
        others = other_pairs(chosen, keys, 0)
        check_even(others, len(others))
        for row, other in enumerate(others):
            one, two = chosen["buggy"][row], chosen["buggy"][other]
            assert one.item != two.item
            assert two.half == half
            assert not {one.first, one.second} & {two.first, two.second}
            assert (one.first == one.truth) != (two.first == two.truth)
        assert other_pairs(chosen, keys, 0) == others
        assert any(other_pairs(chosen, keys, seed) != others for seed in range(1, 5))


def test_tokenizers_that_leave_no_other_place_are_told_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Byte by byte the bigger number of a prone pair is the shorter one.
    tokenizer = byte_tokenizer()
    pairs = comparison_pairs(0, 8000, 40)
    chosen = prone_prompts(comparison_prompts(pairs, list(FORMATS)), "choose", 99)
    keys = {form: [prompt_keys(tokenizer, p) for p in some] for form, some in chosen.items()}
    with caplog.at_level(logging.INFO, "saeflow"):
        others = other_pairs(chosen, keys, 0)
    assert "60 of 60 pairs of the half choose" in caplog.text
    for row, other in enumerate(others):
        one, two = chosen["plain"][row], chosen["plain"][other]
        assert (len(one.first), len(one.second)) == (len(two.first), len(two.second))
        assert not {one.first, one.second} & {two.first, two.second}
    alone = {form: some[:1] for form, some in chosen.items()}
    with pytest.raises(SaeflowError, match="no other prone pair of the half choose"):
        other_pairs(alone, keys, 0)
