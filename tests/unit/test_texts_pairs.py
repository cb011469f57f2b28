"""Category texts and matched pairs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import pytest

from saeflow.datasets.texts.categories import category_texts
from saeflow.datasets.texts.pairs import pair_texts
from saeflow.datasets.texts.pairs.slots import distinct
from saeflow.datasets.texts.text import HELD_OUT, TRAIN, Text
from saeflow.errors import SaeflowError
from tests.conftest import ROOT

PAIRS, CATEGORIES = 210, 300
REFERENCE = ROOT.parent / "shared/data/matched_pairs"
FORMS = {
    "Math_Simple": ("symbolic", "verbal", "prose"),
    "Math_Complex": ("symbolic", "verbal", "prose"),
    "Python": ("code", "pseudo"),
    "Non_English": ("spanish", "french", "german"),
    "Social": ("full_social", "partial_social", "standard"),
    "Formal": ("highly_formal", "moderately_formal", "plain"),
    "Conversational": ("first_person", "third_person", "neutral"),
}
KINDS = ("Python", "URLs", "Math", "Non-English", "Social", "Formal", "Conversational")


@pytest.fixture(scope="module", params=[0, 1])
def pairs(request: pytest.FixtureRequest) -> list[Text]:
    return pair_texts(seed=request.param, n_per_topic=PAIRS)


@pytest.fixture(scope="module", params=[0, 1])
def categories(request: pytest.FixtureRequest) -> list[Text]:
    return category_texts(seed=request.param, n_per_category=CATEGORIES)


def by_class(texts: list[Text]) -> dict[tuple[str, str], list[Text]]:
    found = defaultdict(list)
    for text in texts:
        found[text.group, text.form].append(text)
    return found


def test_the_classes_and_their_counts(pairs: list[Text], categories: list[Text]) -> None:
    assert Counter((text.group, text.form) for text in pairs) == {
        (topic, form): PAIRS for topic, forms in FORMS.items() for form in forms
    }
    assert Counter((t.group, t.form) for t in categories) == {(k, ""): CATEGORIES for k in KINDS}
    assert {text.part for text in pairs} == {"pairs"}
    assert {text.part for text in categories} == {"categories"}


def test_every_topic_reaches_300_pairs_and_every_category_600_texts() -> None:
    assert len(pair_texts(seed=5, n_per_topic=300)) == 20 * 300
    assert len(category_texts(seed=5, n_per_category=600)) == 7 * 600


def test_too_many_are_refused_in_a_sentence() -> None:
    with pytest.raises(SaeflowError, match="not enough distinct texts of Math_Simple"):
        pair_texts(seed=0, n_per_topic=10**4)
    with pytest.raises(SaeflowError, match="not enough distinct texts of Greetings"):
        list(distinct(lambda: ("Hello",), 2, "Greetings"))


def test_a_pair_shares_its_number_and_split_and_its_forms_differ(pairs: list[Text]) -> None:
    found = defaultdict(list)
    for text in pairs:
        found[text.group, text.item].append(text)
    assert {item for _, item in found} == set(range(PAIRS))
    for (topic, _), texts in found.items():
        assert tuple(text.form for text in texts) == FORMS[topic]
        assert len({text.split for text in texts}) == 1
        assert len({text.text for text in texts}) == len(texts)


def test_no_text_comes_twice_in_its_class(pairs: list[Text], categories: list[Text]) -> None:
    for texts in (*by_class(pairs).values(), *by_class(categories).values()):
        held_out = {text.text for text in texts if text.split == HELD_OUT}
        train = {text.text for text in texts if text.split == TRAIN}
        assert not held_out & train
        assert len(held_out) + len(train) == len(texts)


def test_about_a_third_is_held_out(pairs: list[Text], categories: list[Text]) -> None:
    for name, texts in (by_class(pairs) | by_class(categories)).items():
        share = sum(text.split == HELD_OUT for text in texts) / len(texts)
        assert 1 / 4 <= share <= 5 / 12, name


def test_held_out_sentences_are_made_of_words_seen_in_training(pairs: list[Text]) -> None:
    for (topic, form), texts in by_class(pairs).items():
        if form in ("symbolic", "code"):
            continue  # not written in words
        words = [(t.split, w) for t in texts for w in t.text.replace("-", " ").split()]
        seen = {word for split, word in words if split == TRAIN}
        asked = [word for split, word in words if split == HELD_OUT]
        assert sum(word in seen for word in asked) > 0.95 * len(asked), (topic, form)


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed, n: pair_texts(seed=seed, n_per_topic=n),
        lambda seed, n: category_texts(seed=seed, n_per_category=n),
    ],
    ids=["pairs", "categories"],
)
def test_more_only_appends_and_the_seed_decides(draw: Callable[[int, int], list[Text]]) -> None:
    few, many = draw(3, 20), draw(3, 60)
    assert draw(3, 20) == few
    assert [text for text in many if text.item < 20] == few
    assert draw(4, 20) != few


def test_texts_are_clean_and_short(pairs: list[Text], categories: list[Text]) -> None:
    for text in (*pairs, *categories):
        assert text.text
        assert text.text == text.text.strip()
        assert text.text.encode().decode() == text.text
        assert not text.prompt
        assert not text.distractors
        assert "$" not in text.text
        assert 1 <= len(text.text.split()) <= 18, text.text
        if text.group != "Python":
            assert "\n" not in text.text
            assert "  " not in text.text
    assert all("\n" not in text.text for text in pairs)
    assert all(text.text.count("\n") < 4 for text in categories)


def strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from strings(child)


@pytest.mark.data
def test_no_text_is_one_of_the_reference_texts(pairs: list[Text], categories: list[Text]) -> None:
    if not REFERENCE.is_dir():
        pytest.skip(f"{REFERENCE} is absent.")
    theirs = {
        string.strip().casefold().rstrip(".!?")
        for path in REFERENCE.glob("*.json")
        for string in strings(json.loads(path.read_text(encoding="utf-8")))
    }
    assert len(theirs) > 300
    ours = {text.text.casefold().rstrip(".!?") for text in (*pairs, *categories)}
    assert not ours & theirs
