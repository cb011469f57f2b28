"""Cloze lines, questions with options and documents of the training mixture."""

import re
from collections import Counter
from itertools import combinations

import pytest

from saeflow.datasets.texts.choices import choice_texts
from saeflow.datasets.texts.cloze import cloze_texts
from saeflow.datasets.texts.documents import TOPIC_WORDS, document_texts
from saeflow.datasets.texts.documents.drawing import TOPICS
from saeflow.datasets.texts.documents.neutral import NEUTRAL
from saeflow.datasets.texts.facts import FACTS, FRAMES
from saeflow.datasets.texts.numerals import number_words
from saeflow.datasets.texts.text import HELD_OUT, TRAIN
from saeflow.errors import SaeflowError

NUMBERS = {number_words(number): number for number in range(301)}
SIGNS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}
SENTENCES = {
    r"The sum of (\d+) and (\d+) is": "{0} + {1}",
    r"If you add (\d+) to (\d+), you get": "{1} + {0}",
    r"The difference between (\d+) and (\d+) is": "{0} - {1}",
    r"If you take (\d+) from (\d+), you get": "{1} - {0}",
    r"The product of (\d+) and (\d+) is": "{0} * {1}",
    r"If you multiply (\d+) by (\d+), you get": "{0} * {1}",
    r"The result of dividing (\d+) by (\d+) is": "{0} / {1}",
    r"If you divide (\d+) by (\d+), you get": "{0} / {1}",
    r"The sum of (\d+) and the product of (\d+) and (\d+) is": "{0} + {1} * {2}",
    r"If you add (\d+) to the product of (\d+) and (\d+), you get": "{0} + {1} * {2}",
    r"The product of (\d+) and (\d+), less (\d+), is": "{0} * {1} - {2}",
    r"If you take (\d+) from the product of (\d+) and (\d+), you get": "{1} * {2} - {0}",
}


@pytest.fixture(scope="module")
def cloze():
    return cloze_texts(seed=7, n_arithmetic=3000, n_other=1200)


@pytest.fixture(scope="module")
def everything():
    """More lines than the mixture needs, so that second wordings and all facts are among them."""
    return cloze_texts(seed=7, n_arithmetic=9000, n_other=2000)


@pytest.fixture(scope="module")
def choices():
    return choice_texts(seed=7, n=2400)


@pytest.fixture(scope="module")
def documents():
    return document_texts(seed=7, n_per_topic=300)


def of_group(texts, group):
    return [text for text in texts if text.group == group]


def value(told: str) -> int:
    told = told.strip()
    return int(told) if told.isdigit() else NUMBERS[told]


def expression(line: str) -> str:
    """The calculation of a prompt in digits and signs, read from the prompt alone."""
    for pattern, symbols in SENTENCES.items():
        if found := re.fullmatch(pattern, line):
            return symbols.format(*found.groups())
    line = re.sub(r"^What is |\?.*$| (=|equals|is|makes)$", "", line)
    pieces = re.split(r" (plus|minus|times|divided by|[-+*/]) ", line)
    told = [
        SIGNS.get(piece, piece) if place % 2 else str(value(piece))
        for place, piece in enumerate(pieces)
    ]
    return " ".join(told)


def calculated(symbols: str) -> float:
    assert re.fullmatch(r"[-+*/ \d]+", symbols)
    return eval(symbols)


def operation(symbols: str) -> str:
    """One name for a sum or product and its mirror image."""
    pieces = symbols.split()
    if len(pieces) == 3 and pieces[1] in "+*":
        return " ".join(sorted(pieces))
    return symbols


def test_same_seed_same_texts_and_another_seed_others(cloze, choices, documents):
    again = {"n_arithmetic": 3000, "n_other": 1200}
    assert cloze_texts(seed=7, **again) == cloze
    assert choice_texts(seed=7, n=2400) == choices
    assert document_texts(seed=7, n_per_topic=300) == documents
    assert cloze_texts(seed=8, **again) != cloze
    assert choice_texts(seed=8, n=2400) != choices
    assert document_texts(seed=8, n_per_topic=300) != documents


def test_asking_for_more_only_appends(cloze, choices, documents):
    fewer = cloze_texts(seed=7, n_arithmetic=700, n_other=301)
    assert fewer[:700] == of_group(cloze, "arithmetic")[:700]
    assert fewer[700:] == of_group(cloze, "other")[:301]
    assert choice_texts(seed=7, n=501) == choices[:501]
    for topic in TOPIC_WORDS:
        short = of_group(document_texts(seed=7, n_per_topic=40), topic)
        assert short == of_group(documents, topic)[:40]


def test_parts_and_groups_are_as_asked(cloze, choices, documents):
    assert Counter(text.group for text in cloze) == {"arithmetic": 3000, "other": 1200}
    assert Counter(text.group for text in choices) == {"arithmetic": 1200, "other": 1200}
    assert ", ".join(TOPIC_WORDS) == (
        "medicine, law, cooking, football, astronomy, music, gardening, banking"
    )
    assert Counter(text.group for text in documents) == dict.fromkeys(TOPIC_WORDS, 300)
    for part, texts in {"cloze": cloze, "choices": choices, "documents": documents}.items():
        assert {text.part for text in texts} == {part}
        assert {text.split for text in texts} == {TRAIN, HELD_OUT}


def test_texts_are_distinct_and_cleanly_cut(everything, choices, documents):
    texts = [*everything, *choices, *documents]
    assert len({text.text for text in texts}) == len(texts)
    for text in texts:
        assert text.text == text.text.strip()
        assert "  " not in text.text
        assert not re.search(r"[{}_]", text.text)


def test_arithmetic_is_right(everything, choices):
    for text in of_group(everything, "arithmetic"):
        assert calculated(expression(text.prompt)) == value(text.target), text.text
    for text in of_group(choices, "arithmetic"):
        options = dict(re.findall(r"\((\w)\) ([\w -]+?)(?= \(| Answer)", text.prompt))
        assert len({value(option) for option in options.values()}) == 3
        right = value(options[text.target.strip()])
        assert calculated(expression(text.prompt)) == right, text.text


def test_arithmetic_has_all_levels_and_forms(cloze):
    arithmetic = of_group(cloze, "arithmetic")
    levels = Counter(text.level for text in arithmetic)
    assert set(levels) == {1, 2, 3, 4, 5}
    assert min(levels.values()) > 300
    assert set(Counter(text.form for text in arithmetic)) == {"symbols", "words", "sentence"}
    assert max(value(text.target) for text in arithmetic) <= 300


def test_distractors_are_wrong_and_of_the_targets_kind(everything):
    answers = {}
    for fact in FACTS:
        answers.setdefault(fact.kind, set()).add(f" {fact.answer}")
    for text in everything:
        assert len({text.target, *text.distractors}) == 4
        if text.group == "arithmetic":
            kinds = {wrong.strip().isdigit() for wrong in (text.target, *text.distractors)}
            assert kinds == {text.form != "words"}
            digits = {len(str(value(wrong))) for wrong in (text.target, *text.distractors)}
            assert len(digits) == 1, text
        else:
            assert {text.target, *text.distractors} <= answers[text.form]
            assert all(wrong.startswith(" ") for wrong in text.distractors)


def test_held_out_operations_are_trained_nowhere(everything, choices):
    splits = {}
    for text in of_group([*everything, *choices], "arithmetic"):
        splits.setdefault(operation(expression(text.prompt)), set()).add(text.split)
    assert all(len(split) == 1 for split in splits.values())
    held_out = {name for name, split in splits.items() if split == {HELD_OUT}}
    assert 0.05 < len(held_out) / len(splits) < 0.2
    for text in of_group([*everything, *choices], "arithmetic"):
        product = re.search(r"\d+ \* \d+", expression(text.prompt))
        if text.split == TRAIN and product:
            assert operation(product.group()) not in held_out, text.text


def test_held_out_facts_are_trained_in_another_frame(cloze):
    for count in (250, 600, 1200):
        texts = of_group(cloze, "other")[:count]
        trained = {text.item for text in texts if text.split == TRAIN}
        held_out = [text for text in texts if text.split == HELD_OUT]
        assert {text.item for text in held_out} <= trained
    lines = {text.prompt for text in texts if text.split == TRAIN}
    assert not any(text.prompt in lines for text in held_out)


def test_no_held_out_line_is_told_inside_a_training_line(everything, choices):
    texts = [*everything, *choices]
    held_out = {text.text.lower() for text in texts if text.split == HELD_OUT}
    for text in texts:
        if text.split == TRAIN:
            # Whole words are compared, so that 5 + 2 = 7 is not found in 15 + 2 = 17.
            words = text.text.lower().split()
            parts = combinations(range(len(words) + 1), 2)
            assert held_out.isdisjoint(" ".join(words[a:b]) for a, b in parts), text.text


def test_enough_is_held_out(cloze):
    held_out = Counter(text.group for text in cloze if text.split == HELD_OUT)
    assert held_out["arithmetic"] >= 250
    assert held_out["other"] >= 100


def test_facts_are_asked_once_and_told_in_several_frames():
    subjects = Counter((fact.family, fact.subject) for fact in FACTS)
    assert max(subjects.values()) == 1
    assert len(FACTS) >= 130
    assert set(FRAMES) == {fact.kind for fact in FACTS}
    assert min(len(frames) for frames in FRAMES.values()) >= 3


@pytest.mark.parametrize(("arithmetic", "other"), [(10**6, 0), (0, 10**4)])
def test_too_many_cloze_lines_are_refused(arithmetic, other):
    with pytest.raises(SaeflowError, match="There are only"):
        cloze_texts(seed=7, n_arithmetic=arithmetic, n_other=other)


def test_too_many_questions_are_refused():
    with pytest.raises(SaeflowError, match="There are only"):
        choice_texts(seed=7, n=10**5)


def test_letters_are_balanced(choices):
    for group in ("arithmetic", "other"):
        letters = Counter(text.target for text in of_group(choices, group))
        assert letters == {" A": 400, " B": 400, " C": 400}
    for text in choices:
        assert {text.target, *text.distractors} == {" A", " B", " C"}


def test_other_questions_point_at_the_right_option(choices):
    answers = {(fact.kind, fact.answer) for fact in FACTS}
    for text in of_group(choices, "other"):
        options = dict(re.findall(r"\((\w)\) (\w+)", text.prompt))
        right = options[text.target.strip()]
        asked = [
            fact
            for fact in FACTS
            if fact.kind == text.form
            and fact.answer == right
            and re.search(rf"\b{fact.subject}\b", text.prompt.partition("?")[0])
        ]
        assert asked, text.text
        assert len(set(options.values())) == 3
        assert {(text.form, option) for option in options.values()} <= answers


def test_held_out_questions_are_not_trained_in_another_order(choices):
    splits = {}
    for text in of_group(choices, "other"):
        question, _, options = text.prompt.partition("?")
        key = (question, tuple(sorted(re.findall(r"\) (\w+)", options))))
        splits.setdefault(key, set()).add(text.split)
    assert all(len(split) == 1 for split in splits.values())


def words_of(texts):
    return set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join(texts).lower()))


def all_phrases(topic):
    return [
        re.sub(r"\{\w+\}", " ", line)
        for line in (topic.opening, *topic.frames, *(p for q in topic.lists.values() for p in q))
    ]


def test_topic_words_are_used_by_their_topic_only(documents):
    for topic in TOPICS:
        own = set(topic.words)
        assert len(own) == len(topic.words) >= 40
        assert own <= words_of(all_phrases(topic))
        for other in (*TOPICS, NEUTRAL):
            if other is not topic:
                assert not own & words_of(all_phrases(other)), other.name
        elsewhere = [text.text for text in documents if text.group != topic.name]
        assert not own & words_of(elsewhere)


def test_topics_are_large_enough():
    for topic in TOPICS:
        assert len(topic.frames) >= 24
        assert len(topic.lists) >= 10
        assert min(len(phrases) for phrases in topic.lists.values()) >= 8
        gaps = set(re.findall(r"\{(\w+)\}", " ".join([topic.opening, *topic.frames])))
        assert gaps == set(topic.lists)


def test_documents_show_their_topic(documents):
    for topic, words in TOPIC_WORDS.items():
        texts = of_group(documents, topic)
        showing = [text for text in texts if len(set(words) & words_of([text.text])) >= 2]
        assert len(showing) > 0.95 * len(texts), topic


def test_documents_have_the_wanted_shape(documents):
    for topic in TOPIC_WORDS:
        texts = of_group(documents, topic)
        assert [text.item for text in texts] == list(range(300))
        opened = sum(text.text.startswith("I am a") for text in texts) / len(texts)
        assert 0.22 < opened < 0.45
        assert 0.04 < sum(text.split == HELD_OUT for text in texts) / len(texts) < 0.17
    for text in documents:
        assert 30 <= len(text.text.split()) <= 70
        assert 3 <= len(re.findall(r"\.(?: |$)", text.text)) <= 6
