"""Cloze scores against one unpadded forward pass for each ending, and classes of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.specialist_effects import SPECIALIST_TASKS
from saeflow.datasets.matched.published import MatchedText
from saeflow.datasets.matched.token_classes import (
    BLANKS,
    BRACKETS,
    CLASSES,
    CONTENT,
    DIGITS,
    FUNCTION_WORDS,
    KEYWORDS,
    OPERATORS,
    PUNCTUATION,
    token_classes,
)
from saeflow.datasets.mixture import mixture_texts
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from saeflow.models.codi import CodiModel
from saeflow.preflight import read_mixture
from saeflow.studies.specialists.cloze import (
    ClozeScores,
    chance_of,
    cloze_table,
    contained,
    content_of,
    ending_covariates,
    held_out_items,
    published_answers,
    published_prompts,
    score_cloze,
    training_lines,
)
from tests.sentences import check_sentence
from tests.small_models import FAMILIES, small_model
from tests.unit.test_pooling import bytes_with_begin, with_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def item(
    prompt: str, target: str, *distractors: str, number: int = 0, split: str = HELD_OUT
) -> Text:
    return Text("cloze", "arithmetic", "symbols", number, split, prompt, target, distractors, 1)


ITEMS = [
    item("2", " 3", " 14", " 5"),
    item("seven minus one is", " six", " five", number=1),
    item("今日 😀", " é", " ab", " 😀😀", " c", number=2),
    item("Which is it? (A) x (B) yy Answer:", " A", " B", number=3),
]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    """The Llama's tokenizer puts a token before every text, whose id is 0; GPT-2's puts none."""
    made = small_model(request.param)
    if request.param == "gpt2":
        return made
    return with_tokenizer(made, bytes_with_begin(0, eos_token="<s>"))


@torch.no_grad()
def log_probability(model: CodiModel, prompt: str, ending: str) -> float:
    """Mean over the ending's tokens, by the formula, of one text without padding."""
    before = model.tokenizer(prompt)["input_ids"]
    behind = model.tokenizer(ending, add_special_tokens=False)["input_ids"]
    logits = model.language_model(torch.tensor([[*before, *behind]])).logits[0].double().numpy()
    total = 0.0
    for place, token in enumerate(behind):
        row = logits[len(before) + place - 1]
        total += row[token] - np.log(np.exp(row - row.max()).sum()) - row.max()
    return total / len(behind)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_are_those_of_one_ending_at_a_time(model: CodiModel, batch_size: int) -> None:
    """Batches of any size are padded on the right; lengths of endings differ."""
    found = score_cloze(model, ITEMS, batch_size=batch_size)
    for row, each in enumerate(ITEMS):
        right = log_probability(model, each.prompt, each.target)
        wrong = [log_probability(model, each.prompt, ending) for ending in each.distractors]
        assert found.target[row] == pytest.approx(right, abs=1e-5)
        np.testing.assert_allclose(found.distractors[row, : len(wrong)], wrong, atol=1e-5)
        assert np.isnan(found.distractors[row, len(wrong) :]).all()
        assert found.margin[row] == pytest.approx(right - max(wrong), abs=1e-5)
        assert found.mean_margin[row] == pytest.approx(right - sum(wrong) / len(wrong), abs=1e-5)
        assert found.correct[row] == (right > max(wrong))
        assert found.prompt_tokens[row] == len(model.tokenizer(each.prompt)["input_ids"])
        tokens = model.tokenizer(each.target, add_special_tokens=False)["input_ids"]
        assert found.target_tokens[row] == len(tokens)


def test_an_item_scores_the_same_in_any_company(model: CodiModel) -> None:
    together = score_cloze(model, ITEMS, batch_size=64)
    for row, each in enumerate(ITEMS):
        alone = score_cloze(model, [each], batch_size=64)
        assert alone.target[0] == pytest.approx(together.target[row], abs=1e-5)
        assert alone.margin[0] == pytest.approx(together.margin[row], abs=1e-5)


def test_the_right_ending_among_its_equals_is_not_correct(model: CodiModel) -> None:
    """A tie is no margin."""
    found = score_cloze(model, [item("x y", " 3", " 3")], batch_size=8)
    assert found.margin[0] == 0
    assert not found.correct[0]


def test_what_a_table_says(model: CodiModel) -> None:
    found = score_cloze(model, ITEMS, batch_size=8)
    covariates = ending_covariates(model, ITEMS, ["2 3"])
    table = cloze_table(ITEMS, found, covariates)
    assert table.schema == SPECIALIST_TASKS.schema()
    rows = table.to_pylist()
    assert [row["task"] for row in rows] == list(range(len(ITEMS)))
    assert [row["prompt_tokens"] for row in rows] == found.prompt_tokens.tolist()
    np.testing.assert_allclose([row["log_frequency"] for row in rows], covariates[:, 2])
    np.testing.assert_allclose([row["chance"] for row in rows], chance_of(ITEMS))
    assert [row["prompt"] for row in rows] == [each.prompt for each in ITEMS]
    for row in rows:
        assert row["log_probability"] - row["best_distractor"] == pytest.approx(row["margin"])
        assert row["best_distractor"] >= row["mean_distractor"] - 1e-12
        assert row["correct"] == (row["margin"] > 0)
    np.testing.assert_allclose(chance_of(ITEMS), [1 / 3, 1 / 2, 1 / 4, 1 / 2])
    empty = score_cloze(model, [], batch_size=8)
    assert cloze_table([], empty, ending_covariates(model, [], [])).num_rows == 0


@torch.no_grad()
def greedy(model: CodiModel, prompt: str, count: int) -> str:
    ids = list(model.tokenizer(prompt)["input_ids"])
    written: list[int] = []
    for _ in range(count):
        logits = model.language_model(torch.tensor([[*ids, *written]])).logits[0, -1]
        written.append(int(logits[: model.tokens.end].argmax()))
        if written[-1] == model.tokenizer.eos_token_id:
            break
    return str(model.texts([written])[0])


@pytest.mark.parametrize("count", [3, 5])
def test_answers_are_greedy_and_in_order(model: CodiModel, count: int) -> None:
    """Shorter prompts of a batch are padded on the left."""
    prompts = [each.prompt for each in ITEMS]
    found = published_answers(model, prompts, batch_size=3, max_new_tokens=count)
    assert found == [greedy(model, prompt, count) for prompt in prompts]


def test_contained_as_published() -> None:
    answers = ["15 is", "it is six.", "", " 9"]
    assert contained([" 5", "six", "1", "8"], answers).tolist() == [True, True, False, False]


def test_published_prompts() -> None:
    rows = [
        MatchedText("5+3", "Math_Simple", "symbolic", 0, "addition", "8"),
        MatchedText("five plus three", "Math_Simple", "verbal", 0, "addition", "8"),
        MatchedText("hola", "Non_English", "spanish", 1),
    ]
    found = published_prompts(rows)
    assert [each.prompt for each in found] == ["5+3=", "five plus three is"]
    assert [each.target for each in found] == ["8", "8"]
    assert content_of(found[0]) == content_of(found[1]), "forms of a content are one"


def test_covariates(model: CodiModel) -> None:
    training = ["3 3 3", " 3 is 14"]
    found = ending_covariates(model, ITEMS, training)
    scores = score_cloze(model, ITEMS, batch_size=8)
    np.testing.assert_array_equal(found[:, 0], scores.prompt_tokens)
    np.testing.assert_array_equal(found[:, 1], scores.target_tokens)

    def tokens(text: str) -> Sequence[int]:
        return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    seen = [token for text in training for token in tokens(text)]

    def frequency(ending: str) -> float:
        return float(np.mean([np.log(1 + seen.count(token)) for token in tokens(ending)]))

    expected = frequency(" 3") - (frequency(" 14") + frequency(" 5")) / 2
    assert found[0, 2] == pytest.approx(expected)


def test_only_held_out_items_and_enough_of_them(root: Path) -> None:
    mixture = read_mixture(root / "resources" / "mixture.yaml")
    texts = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    items = held_out_items(texts)
    trained = set(training_lines(texts))
    assert not [each for each in items if each.text in trained]
    count = {group: sum(each.group == group for each in items) for group in ("arithmetic", "other")}
    assert count["arithmetic"] >= 250
    assert count["other"] >= 100
    cloze = [each for each in items if each.part == "cloze"]
    assert sum(each.group == "arithmetic" for each in cloze) >= 250, "cloze lines alone are enough"
    assert sum(each.group == "other" for each in cloze) >= 100
    assert all(each.distractors for each in items)
    assert {each.level for each in cloze if each.group == "arithmetic"} == {1, 2, 3, 4, 5}
    few = [each for each in texts if each.group != "arithmetic"]
    with pytest.raises(SaeflowError) as error:
        held_out_items(few)
    check_sentence(error.value, "0 held-out arithmetic items", "250")
    assert held_out_items([item("a", " b", " c", split=TRAIN)], least={}) == []


def test_what_cannot_be_scored(model: CodiModel) -> None:
    has_begin = bool(model.tokenizer("")["input_ids"])
    cases = [
        (item("a", " b"), ["no distractor"]),
        (item("A b", "", " c"), ["The ending ''", "no token"]),
        (item("A b", " c", ""), ["The ending ''", "no token"]),
        (item("x" * (160 - has_begin), " c", " d"), ["takes 162 positions", "160"]),
    ]
    if not has_begin:
        cases.append((item("", " c", " d"), ["The prompt ''", "no token"]))
    for case, parts in cases:
        with pytest.raises(SaeflowError) as error:
            score_cloze(model, [ITEMS[0], case], batch_size=4)
        check_sentence(error.value, *parts)
    if has_begin:
        scores = score_cloze(model, [item("", " c", " d")], batch_size=4)
        assert isinstance(scores, ClozeScores)
        assert np.isfinite(scores.margin[0]), "a begin-of-text token alone is a prompt"
    else:
        with pytest.raises(SaeflowError) as error:
            published_answers(model, ["a", ""], batch_size=4)
        check_sentence(error.value, "no token")


WORDS = {
    "this is 12": [FUNCTION_WORDS, FUNCTION_WORDS, DIGITS],
    "xy² + 3": [CONTENT, OPERATORS, DIGITS],
    "cats , dogs": [CONTENT, PUNCTUATION, CONTENT],
    "( a ]": [BRACKETS, FUNCTION_WORDS, BRACKETS],
    "class of 😀": [CONTENT, FUNCTION_WORDS, CONTENT],
    "今日 は": [CONTENT, CONTENT],
}


def spans_of(text: str) -> list[tuple[int, int]]:
    """Words between blanks."""
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


@pytest.mark.parametrize("text", WORDS)
def test_classes_of_words(text: str) -> None:
    assert token_classes(text, spans_of(text), "plain") == WORDS[text]


def test_a_form_chooses_its_list() -> None:
    spans = spans_of("die class in la")
    assert token_classes("die class in la", spans, "german") == [
        FUNCTION_WORDS, CONTENT, FUNCTION_WORDS, CONTENT,
    ]  # fmt: skip
    assert token_classes("die class in la", spans, "code") == [CONTENT, KEYWORDS, KEYWORDS, CONTENT]
    assert token_classes("die class in la", spans) == [CONTENT, CONTENT, FUNCTION_WORDS, CONTENT]


def test_a_piece_of_a_word_is_of_its_word() -> None:
    """However a tokenizer cuts: the "is" of "this" is no function word of its own, nor is one lost."""
    text = "thistle is);\n\n"
    spans = [(0, 2), (2, 4), (4, 7), (7, 10), (10, 11), (10, 12), (12, 14), (7, 9), (3, 3)]
    assert token_classes(text, spans) == [
        CONTENT, CONTENT, CONTENT, FUNCTION_WORDS, BRACKETS, PUNCTUATION, BLANKS, FUNCTION_WORDS,
        BLANKS,
    ]  # fmt: skip


def test_apostrophes_join_words() -> None:
    assert token_classes("don't", [(0, 2), (2, 5)]) == [FUNCTION_WORDS, FUNCTION_WORDS]
    assert token_classes("l'eau", [(0, 1), (1, 2), (2, 5)], "french") == [
        FUNCTION_WORDS, PUNCTUATION, CONTENT,
    ]  # fmt: skip


@given(text=st.text(max_size=30), form=st.sampled_from(["plain", "code", "german", "french"]))
def test_every_character_has_one_class(text: str, form: str) -> None:
    found = token_classes(text, [(n, n + 1) for n in range(len(text))], form)
    assert set(found) <= set(CLASSES)
    for character, name in zip(text, found, strict=True):
        assert (name == BLANKS) == character.isspace()
        if character in "0123456789":
            assert name == DIGITS
    assert token_classes(text, [(0, len(text))], form)[0] in CLASSES
