"""The tokenizers of our own models."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeflow.models.tokenizer import NUMBERS, train_tokenizer

TEXTS = ["The cat sat on the mat.", "How many apples are left? <<12+7=19>>", "naïve café 日本"] * 20


@pytest.fixture(scope="module", params=[False, True], ids=["gpt2", "llama"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 1500, adds_begin=request.param)


def test_numbers_up_to_999_are_single_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for number in range(1000):
        for text in (f"{number}", f"a {number}.", f"<<{number}+1"):
            assert str(number) in tokenizer.tokenize(text)
    assert tokenizer.tokenize("12345.05") == ["123", "45", ".", "05"]
    assert len(NUMBERS) == 1110


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_survives_a_round_trip(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_only_one_adds_a_begin_token(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("The cat")["input_ids"]
    plain = tokenizer("The cat", add_special_tokens=False)["input_ids"]
    assert ids == ([tokenizer.bos_token_id] if tokenizer.bos_token else []) + plain


def test_size_is_what_was_asked_for_at_most(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer) <= 1500
    assert tokenizer.eos_token_id is not None


def test_a_saved_tokenizer_is_the_same(tokenizer: PreTrainedTokenizerBase, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "How many cats sat at 313 < 12?"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
