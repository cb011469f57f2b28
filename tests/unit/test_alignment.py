"""Which token of a prompt corresponds to which of another (`saeflow.models.alignment`)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from saeflow.artifacts.decimal_bug import ALIGNMENT
from saeflow.datasets.comparisons.formats import GIVEN, ORDERS, SWAPPED, TEMPLATES
from saeflow.datasets.comparisons.pairs import comparison_pairs, published_pair
from saeflow.datasets.comparisons.prompts import Prompt, comparison_prompts
from saeflow.errors import SaeflowError
from saeflow.models.alignment import (
    AlignmentRow,
    align,
    align_prompts,
    alignment_rows,
    key_text,
    prompt_keys,
    token_keys,
)
from saeflow.models.tokenizer import byte_tokenizer
from tests.conftest import ROOT
from tests.sentences import check_sentence

PAIRS = comparison_pairs(0, 5000, 4)
SHIPPED = ("llama", "gpt2")


def shipped(name: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(
        ROOT / "resources" / "models" / name, local_files_only=True
    )


@pytest.fixture(scope="module", params=SHIPPED)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return shipped(request.param)


@pytest.fixture(scope="module", params=[*SHIPPED, "bytes"])
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return byte_tokenizer() if request.param == "bytes" else shipped(request.param)


def cutting(pattern: str) -> PreTrainedTokenizerBase:
    """Tokenizer whose tokens are the matches of a pattern, and what is between them."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="[UNK]")


def asked(form: str, order: str = GIVEN, left: str = "9.8", right: str = "9.11") -> Prompt:
    (prompt,) = comparison_prompts([published_pair(left, right)], [form], [order])
    return prompt


def aligned_texts(
    tokenizer: PreTrainedTokenizerBase, source: Prompt, target: Prompt, **how: str
) -> list[tuple[str, str]]:
    """Texts of corresponding tokens, the begin-of-text token as an empty one."""
    spans = [
        [
            prompt.text[a:b]
            for a, b in tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"]
        ]
        for prompt in (source, target)
    ]
    pairs = align_prompts(tokenizer, source, target, **(how or {"numbers": "value"}))
    return [(spans[0][a], spans[1][b]) for a, b in pairs]


def test_published_prompts_by_hand(tokenizer: PreTrainedTokenizerBase) -> None:
    begin = [("", "")] if tokenizer.bos_token else []
    rest = [" is", " bigger", ":", " ", "9", ".", "8", " or", " ", "9", ".", "11", "?\n", ":"]
    found = aligned_texts(tokenizer, asked("qa_which"), asked("plain_which"))
    assert found == [*begin, (" Which", "Which"), *((text, text) for text in rest)]
    keys = [key_text(key) for key in prompt_keys(tokenizer, asked("qa_which"))]
    assert keys == [
        *(["begin"] if begin else []), "'Q' opening 0", "':' opening 0", "'Which' opening 0",
        "'is' opening 0", "adjective 0", "':' before first 0", "' ' before first 0", "first 0",
        "first 1", "first 2", "'or' before second 0", "' ' before second 0", "second 0", "second 1",
        "second 2", "'?\\n' end 0", "'A' end 0", "last",
    ]  # fmt: skip


def test_other_order_of_words_pairs_no_strangers(tokenizer: PreTrainedTokenizerBase) -> None:
    # The colon of Q: is not that of "bigger:", nor the blank before 9.8 that before 9.11.
    found = aligned_texts(tokenizer, asked("qa_order"), asked("plain_which"))
    begin = [("", "")] if tokenizer.bos_token else []
    rest = ["9", ".", "8", " or", " ", "9", ".", "11", " bigger", "?\n", ":"]
    assert found == [*begin, *((text, text) for text in rest)]


@pytest.mark.parametrize("numbers", ["value", "place"])
def test_swapped_numbers_by_value_and_by_place(
    tokenizer: PreTrainedTokenizerBase, numbers: str
) -> None:
    given_, swapped = asked("qa_which"), asked("qa_which", SWAPPED)
    found = aligned_texts(tokenizer, given_, swapped, numbers=numbers)
    if numbers == "value":
        assert all(a == b for a, b in found)
    else:
        differ = [(a, b) for a, b in found if a != b]
        assert differ == [("8", "11"), ("11", "8")]
    places = dict(align_prompts(tokenizer, given_, swapped, numbers=numbers))
    assert set(places) == set(range(len(tokenizer(given_.text)["input_ids"])))
    crossed = [places[a] > places[b] for a, b in itertools.pairwise(sorted(places))]
    assert any(crossed) == (numbers == "value")


def test_every_format_pairs_fields_and_ends(any_tokenizer: PreTrainedTokenizerBase) -> None:
    for pair in PAIRS[:7]:
        prompts = comparison_prompts([pair], [*TEMPLATES], ORDERS)
        # Every format and order against that of another place in the list, and against itself.
        shift = pair.item % len(prompts)
        for source, target in zip(prompts, [*prompts[shift:], *prompts[:shift]], strict=True):
            found = align_prompts(any_tokenizer, source, target, numbers="value")
            offsets = [
                any_tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"]
                for prompt in (source, target)
            ]
            assert found[-1] == (len(offsets[0]) - 1, len(offsets[1]) - 1)
            assert len({b for _, b in found}) == len(found)
            assert [a for a, _ in found] == sorted({a for a, _ in found})
            back = align_prompts(any_tokenizer, target, source, numbers="value")
            assert sorted((b, a) for a, b in found) == back
            same = align_prompts(any_tokenizer, source, source, numbers="value")
            assert same == [(place, place) for place in range(len(offsets[0]))]
            for a, b in found[:-1]:
                texts = [
                    prompt.text[slice(*offset[place])].strip(" ")
                    for prompt, offset, place in zip((source, target), offsets, (a, b), strict=True)
                ]
                assert texts[0] == texts[1]
            covered = {offsets[0][a] for a, _ in found}
            for start, end in source.spans.values():
                inside = [each for each in offsets[0] if start < each[1] <= end]
                assert inside
                assert set(inside) <= covered


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from("Q: x9.?\nAor"), min_size=1, max_size=6).map("".join),
    st.lists(st.sampled_from("0123456789"), min_size=1, max_size=4).map("".join),
    st.text(alphabet="Q:x9.é? \n", max_size=5),
    st.text(alphabet="Q:x9.é? \n", min_size=1, max_size=5),
)
def test_keys_differ_and_fields_are_whole(before: str, first: str, between: str, end: str) -> None:
    text = f"{before}{first}{between}"
    second = (len(text), len(text) + 3)
    spans = {"first": (len(before), len(before) + len(first)), "second": second}
    text = f"{text}9.8{end}"
    read = byte_tokenizer()(text, return_offsets_mapping=True)["offset_mapping"]
    keys = token_keys(byte_tokenizer(), text, spans)
    assert len(keys) == len(set(keys)) == len(read)
    for field, (start, stop) in spans.items():
        places = [place for place, key in enumerate(keys) if key[0] == field]
        assert [keys[place][1] for place in places] == list(range(stop - start))
        assert "".join(text[slice(*read[place])] for place in places) == text[start:stop]
    assert keys[-1] == ("last",)


def test_numbers_of_other_pairs_by_place(tokenizer: PreTrainedTokenizerBase) -> None:
    other = asked("plain_which", left="3.25", right="3.4")
    other = replace(other, item=8)
    found = aligned_texts(tokenizer, asked("qa_which"), other, numbers="place")
    assert [(a, b) for a, b in found if a != b] == [
        (" Which", "Which"), ("9", "3"), ("8", "25"), ("9", "3"), ("11", "4")
    ]  # fmt: skip
    with pytest.raises(SaeflowError) as caught:
        align_prompts(tokenizer, asked("qa_which"), other, numbers="value")
    check_sentence(
        caught.value, "9.8 and 9.11", "3.25 and 3.4", "qa_which", "plain_which", "pair 8"
    )
    with pytest.raises(SaeflowError) as caught:
        align_prompts(
            tokenizer, asked("qa_which"), asked("chat", left="3", right="4"), numbers="place"
        )
    check_sentence(caught.value, "qa_which", "chat", "1 tokens", "3", "cannot be aligned")


def test_a_text_that_compares_nothing_shares_begin_and_last(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    problem = token_keys(tokenizer, "Tom is bigger: 9.8 or 9.11?\nWhich is Q:", {})
    found = align(problem, prompt_keys(tokenizer, asked("qa_which")))
    last = (len(problem) - 1, len(tokenizer(asked("qa_which").text)["input_ids"]) - 1)
    assert found == ([(0, 0), last] if tokenizer.bos_token else [last])


def test_only_a_begin_of_text_token_is_one(tokenizer: PreTrainedTokenizerBase) -> None:
    keys = prompt_keys(tokenizer, asked("plain_order"))
    assert (keys[0] == ("begin",)) == bool(tokenizer.bos_token)
    assert keys[bool(tokenizer.bos_token)] == ("first", 0)
    if tokenizer.bos_token:
        twice = token_keys(tokenizer, f"{tokenizer.bos_token}x y", {})
        assert twice[:2] == [("begin",), ("text", tokenizer.bos_token, "whole", 0)]


def test_a_number_in_one_token() -> None:
    tokenizer = cutting(r"\d+\.\d\d|\d+| ?\p{L}+|[^\p{L}\d]")
    found = aligned_texts(tokenizer, asked("qa_which"), asked("plain_order"))
    shared = [" bigger", "9", ".", "8", " or", " ", "9.11", "?", "\n", ":"]
    assert found == [(text, text) for text in shared]
    # By place, three tokens would face one.
    with pytest.raises(SaeflowError) as caught:
        align_prompts(tokenizer, asked("qa_which"), asked("qa_which", SWAPPED), numbers="place")
    check_sentence(
        caught.value, "qa_which, given", "qa_which, swapped", "field", "into 3", "into 1"
    )


def test_a_token_with_its_blank_is_the_same_number() -> None:
    tokenizer = cutting(r" ?\d+\.\d+| ?\p{L}+|[^\s\p{L}\d]|\n")
    source, target = asked("plain_order"), asked("qa_which")
    assert tokenizer.tokenize(source.text)[0] != " 9.8"
    found = aligned_texts(tokenizer, source, target)
    assert found[0] == ("9.8", " 9.8")


def test_a_number_that_is_cut_otherwise_at_the_start_is_told() -> None:
    tokenizer = cutting(r" \d+\.\d+|\d+| ?\p{L}+|[^\s\p{L}\d]|\n")
    with pytest.raises(SaeflowError) as caught:
        align_prompts(tokenizer, asked("plain_order"), asked("plain_which"), numbers="value")
    check_sentence(
        caught.value, "plain_order, given", "plain_which, given", "first field", "as many"
    )


@pytest.mark.parametrize(
    ("pattern", "form", "order", "parts"),
    [
        (r"8\?", "qa_number", SWAPPED, ("'8?'", "'9.8'", "second field")),
        (r"bigger:", "qa_which", GIVEN, ("'bigger:'", "'bigger'", "adjective field")),
        (r": 9", "plain_which", GIVEN, ("': 9'", "'9.8'", "first field")),
        (r"8 or 9", "qa_order", GIVEN, ("'8 or 9'", "'9.8'", "first field")),
        (r"9\.11 ", "plain_order", SWAPPED, ("'9.11 '", "'9.11'", "first field")),
    ],
)
def test_a_token_across_a_border_is_told(
    pattern: str, form: str, order: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(SaeflowError) as caught:
        prompt_keys(cutting(rf"{pattern}|.|\n"), asked(form, order))
    check_sentence(caught.value, f"{form}, {order}", *parts)


def test_what_has_nothing_in_common_or_no_token_is_told() -> None:
    keys = token_keys(byte_tokenizer(), "ab", {})
    with pytest.raises(SaeflowError, match="no token of the one"):
        align(keys[:-1], keys[-1:])
    with pytest.raises(SaeflowError, match="has no token"):
        token_keys(byte_tokenizer(), "", {})
    with pytest.raises(SaeflowError, match="ends in the first field"):
        token_keys(byte_tokenizer(), "a9", {"first": (1, 2)})


def test_slow_tokenizer_is_told() -> None:
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    slow = Slow(tokenizer_object=cutting("x")._tokenizer)
    with pytest.raises(SaeflowError) as caught:
        token_keys(slow, "x", {})
    check_sentence(caught.value, "Slow", "fast")


def test_rows_of_the_alignment_table(tokenizer: PreTrainedTokenizerBase) -> None:
    source, target = asked("qa_which"), asked("plain_which")
    rows = alignment_rows(tokenizer, source, target, numbers="value")
    assert AlignmentRow._fields == tuple(field.name for field in ALIGNMENT.schema())
    assert [row.token for row in rows] == list(range(len(rows)))
    assert "".join(row.text for row in rows).removeprefix(tokenizer.bos_token or "") == source.text
    assert {(row.form, row.order, row.item, row.other_form) for row in rows} == {
        ("qa_which", GIVEN, source.item, "plain_which")
    }
    without = [row.text for row in rows if row.other_token is None]
    assert without == ["Q", ":", "A"]
    pairs = [(row.token, row.other_token) for row in rows if row.other_token is not None]
    assert pairs == align_prompts(tokenizer, source, target, numbers="value")
