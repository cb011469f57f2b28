"""Pairs, formats and prompts of the study of the decimal bug (`saeflow.datasets.comparisons`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from decimal import Decimal

import pytest

from saeflow.artifacts.decimal_bug import PROMPTS
from saeflow.datasets.comparisons.formats import (
    CHAT,
    CHAT_TEMPLATE,
    FAMILIES,
    FORMS,
    GIVEN,
    ORDER,
    ORDERS,
    PLAIN_COUNTERPARTS,
    PUBLISHED,
    SWAPPED,
    TEMPLATES,
    WORDING,
    paraphrases,
    usable_forms,
)
from saeflow.datasets.comparisons.pairs import (
    CHOOSE,
    PUBLISHED_ITEM,
    REPORT,
    comparison_pairs,
    published_pair,
)
from saeflow.datasets.comparisons.prompts import comparison_prompts
from saeflow.datasets.texts.decimals import (
    ADJECTIVES,
    BUGGY_FORMATS,
    PLAIN_FORMATS,
    STRATA,
    decimal_texts,
    is_bigger,
)
from saeflow.datasets.texts.text import HELD_OUT
from saeflow.errors import SaeflowError
from saeflow.models.chat import chat_renderer
from saeflow.models.tokenizer import byte_tokenizer, train_tokenizer
from tests.sentences import check_sentence

PER_STRATUM = 30
PAIRS = comparison_pairs(0, 5000, PER_STRATUM)


def test_pairs_are_the_first_held_out_ones_of_each_kind_in_the_mixture() -> None:
    texts = decimal_texts(seed=0, n_pairs=5000, buggy=True)
    mixture = {(text.item, text.group, text.prompt) for text in texts if text.split == HELD_OUT}
    for stratum in STRATA:
        items = sorted({item for item, group, _ in mixture if group == stratum})
        assert [pair.item for pair in PAIRS if pair.stratum == stratum] == items[:PER_STRATUM]
    # Prompts of the mixture, letter by letter: numbers, their order and the adjective are the same.
    prompts = comparison_prompts(PAIRS, [*BUGGY_FORMATS, *PLAIN_FORMATS], [GIVEN])
    assert {(prompt.item, prompt.stratum, prompt.text) for prompt in prompts} <= mixture
    trained = {text.prompt for text in texts if text.split != HELD_OUT}
    swapped = comparison_prompts(PAIRS, [*BUGGY_FORMATS, *PLAIN_FORMATS], [SWAPPED])
    assert not trained & {prompt.text for prompt in [*prompts, *swapped]}


def test_pairs_are_balanced_and_say_what_is_true() -> None:
    assert len(PAIRS) == 210
    counts = Counter((pair.stratum, pair.half) for pair in PAIRS)
    assert counts == {(stratum, half): 15 for stratum in STRATA for half in (CHOOSE, REPORT)}
    words = Counter((pair.stratum, pair.adjective) for pair in PAIRS)
    assert set(words) == {(stratum, word) for stratum in STRATA for word in ADJECTIVES}
    assert min(words.values()) >= 4
    for pair in PAIRS:
        assert {pair.truth, pair.other} == {pair.left, pair.right}
        assert Decimal(pair.truth) > Decimal(pair.other)
        assert pair.prone == is_bigger(pair.other, pair.truth, as_version=True)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_more_pairs_only_append(n: int) -> None:
    assert comparison_pairs(0, 5000, n) == PAIRS[: 7 * n]
    assert comparison_pairs(0, 9000, n) == PAIRS[: 7 * n]


def test_halves_depend_on_the_seed_and_on_no_order() -> None:
    halves = [pair.half for pair in PAIRS if pair.stratum == "integers"]
    blocks = list(zip(halves[::2], halves[1::2], strict=True))
    assert set(blocks) == {(CHOOSE, REPORT), (REPORT, CHOOSE)}
    firsts = {tuple(pair.half for pair in comparison_pairs(seed, 5000, 1)) for seed in range(4)}
    assert len(firsts) == 4


def test_a_kind_that_cannot_be_filled_is_told() -> None:
    with pytest.raises(SaeflowError) as caught:
        comparison_pairs(0, 200, 30)
    check_sentence(caught.value, "200 drawn", "prone_dates", "per_stratum: 30")


def test_published_formats_are_those_of_the_study_byte_for_byte() -> None:
    prompts = comparison_prompts([published_pair("9.8", "9.11")], list(PUBLISHED.values()), [GIVEN])
    assert dict(zip(PUBLISHED, (prompt.text for prompt in prompts), strict=True)) == {
        "Q&A": "Q: Which is bigger: 9.8 or 9.11?\nA:",
        "Simple": "Which is bigger: 9.8 or 9.11?\nAnswer:",
        "Chat": "<|start_header_id|>user<|end_header_id|>\n\nWhich is bigger: 9.8 or 9.11?"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    }
    assert {prompt.item for prompt in prompts} == {PUBLISHED_ITEM}
    assert PUBLISHED_ITEM not in {pair.item for pair in PAIRS}


@pytest.mark.parametrize(
    ("left", "right", "stratum", "truth"),
    [
        ("9.8", "9.11", "prone_dates", "9.8"),
        ("10.11", "10.9", "prone_dates", "10.9"),
        ("8.7", "8.5", "equal_digits", "8.7"),
        ("3", "12", "integers", "12"),
    ],
)
def test_published_pair_may_be_any_other(left: str, right: str, stratum: str, truth: str) -> None:
    pair = published_pair(left, right)
    assert (pair.stratum, pair.truth, pair.left, pair.adjective) == (stratum, truth, left, "bigger")


@pytest.mark.parametrize(
    "numbers",
    [("9.8", "9"), ("a", "9.8"), ("9.8", "9.80"), ("9.8.1", "9.8"), ("٩", "8"), ("", "1")],
)
def test_what_cannot_be_compared_is_told(numbers: tuple[str, str]) -> None:
    with pytest.raises(SaeflowError) as caught:
        published_pair(*numbers)
    check_sentence(caught.value, *map(repr, numbers), "9.11")


def render(question: str) -> str:
    return f"<user>{question}</user>"


def test_spans_and_orders() -> None:
    prompts = comparison_prompts(PAIRS[:20], FORMS, ORDERS, render=render)
    assert len(prompts) == 20 * len(FORMS) * 2
    keys = [(prompt.item, prompt.form, prompt.order) for prompt in prompts]
    assert keys == [
        (pair.item, form, order) for pair in PAIRS[:20] for form in FORMS for order in ORDERS
    ]
    pairs = {pair.item: pair for pair in PAIRS}
    for prompt in prompts:
        pair = pairs[prompt.item]
        numbers = (pair.left, pair.right) if prompt.order == GIVEN else (pair.right, pair.left)
        assert (prompt.first, prompt.second) == numbers
        assert (prompt.truth, prompt.other, prompt.half) == (pair.truth, pair.other, pair.half)
        found = {field: prompt.text[start:end] for field, (start, end) in prompt.spans.items()}
        assert found == {"first": numbers[0], "second": numbers[1], "adjective": pair.adjective}
        assert prompt.spans["first"][1] <= prompt.spans["second"][0]


def test_prompts_fit_their_table() -> None:
    (prompt,) = comparison_prompts(PAIRS[:1], [CHAT], [GIVEN])
    names = [field.name for field in PROMPTS.schema()]
    assert sorted(asdict(prompt)) == sorted(names)


def test_counterparts_ask_in_the_same_words() -> None:
    assert set(PLAIN_COUNTERPARTS) == {*BUGGY_FORMATS, CHAT, CHAT_TEMPLATE}
    for form in BUGGY_FORMATS:
        buggy, plain = TEMPLATES[form], TEMPLATES[PLAIN_COUNTERPARTS[form]]
        assert buggy == f"Q: {plain.removesuffix('Answer:')}A:"
    assert TEMPLATES[PLAIN_COUNTERPARTS[CHAT]].removesuffix("\nAnswer:") in TEMPLATES[CHAT]


def test_paraphrases_stay_in_the_family() -> None:
    assert sorted(form for family in FAMILIES.values() for form in family) == sorted(FORMS)
    assert paraphrases("qa_number", GIVEN) == [
        (WORDING, "qa_which", GIVEN),
        (WORDING, "qa_order", GIVEN),
        (ORDER, "qa_number", SWAPPED),
    ]
    assert paraphrases(CHAT, SWAPPED, [*TEMPLATES]) == [(ORDER, CHAT, GIVEN)]
    assert paraphrases(CHAT, GIVEN)[0] == (WORDING, CHAT_TEMPLATE, GIVEN)


def test_chat_template_is_the_tokenizers() -> None:
    tokenizer = train_tokenizer(["Which is bigger"], 1500, adds_begin=True)
    assert chat_renderer(tokenizer) is None
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}[{{ date_string }} 9.8 {{ message.role }}] "
        "{{ message.content }}{% endfor %}{% if add_generation_prompt %} AI:{% endif %}"
    )
    made = chat_renderer(tokenizer)
    (prompt,) = comparison_prompts(
        [published_pair("9.8", "9.11")], [CHAT_TEMPLATE], [GIVEN], render=made
    )
    # The tokenizer adds the begin-of-text token, which must not come twice.
    assert prompt.text == "[26 Jul 2024 9.8 user] Which is bigger: 9.8 or 9.11? AI:"
    assert prompt.text[prompt.first_start :].startswith("9.8 or")
    plain = byte_tokenizer()
    plain.bos_token = plain.eos_token
    plain.chat_template = tokenizer.chat_template
    kept = chat_renderer(plain)
    assert kept is not None
    assert kept("x").startswith("<|endoftext|>[")


def test_a_format_without_a_template_is_left_out_and_said() -> None:
    assert usable_forms(FORMS, has_template=True) == (FORMS, "")
    assert usable_forms(["chat"], has_template=False) == (("chat",), "")
    forms, note = usable_forms([CHAT_TEMPLATE, "chat"], has_template=False)
    assert forms == ("chat",)
    assert CHAT_TEMPLATE in note


@pytest.mark.parametrize(
    ("forms", "orders", "made", "parts"),
    [
        (["qa_wich"], ORDERS, None, ("'qa_wich'", "'qa_which'")),
        (["chat"], ["swaped"], None, ("'swaped'", "'swapped'")),
        ([CHAT_TEMPLATE], ORDERS, None, (CHAT_TEMPLATE, "no chat template")),
        ([CHAT_TEMPLATE], ORDERS, str.upper, ("0 times", CHAT_TEMPLATE)),
        ([CHAT_TEMPLATE], ORDERS, lambda asked: asked * 2, ("2 times", CHAT_TEMPLATE)),
    ],
)
def test_what_cannot_be_written_is_told(forms, orders, made, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SaeflowError) as caught:
        comparison_prompts(PAIRS[:1], forms, orders, render=made)
    check_sentence(caught.value, *parts)


def test_prompts_are_as_flat_as_a_row() -> None:
    (prompt,) = comparison_prompts(PAIRS[:1], ["qa_which"], [GIVEN])
    assert type(prompt)(**asdict(prompt)) == prompt
    assert replace(prompt, item=3).item == 3
    assert {type(value) for value in asdict(prompt).values()} == {int, str}
