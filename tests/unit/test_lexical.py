"""Lexical baselines against slow references, the published figures, planted structure and nulls."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.datasets.matched.published import MatchedText, read_matched_pairs
from saeflow.errors import SaeflowError
from saeflow.stats.geometry import group_difference, published_geometry
from saeflow.stats.lexical import (
    TERMS,
    characters,
    class_means,
    length_similarity,
    lexical_similarities,
    term_frequencies,
    text_lengths,
    trigrams,
    words,
)
from tests.conftest import DATA

TEXT = st.text(max_size=12)


@pytest.fixture(scope="module")
def published() -> list[MatchedText]:
    path = DATA / "matched_pairs" / "matched_pairs.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return read_matched_pairs(path)


def numbered(rows: list[MatchedText]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, topic of each class, class of each text."""
    classes = list(dict.fromkeys((row.topic, row.form) for row in rows))
    places = np.array([classes.index((row.topic, row.form)) for row in rows])
    topics = np.unique([topic for topic, _ in classes], return_inverse=True)[1]
    return [row.text for row in rows], topics, places


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "within", "across"),
    [("words", 0.366, 0.107), ("trigrams", 0.428, 0.194), ("characters", 0.830, 0.813)],
)
def test_the_published_figures(
    published: list[MatchedText], name: str, within: float, across: float
) -> None:
    texts, topics, classes = numbered(published)
    found = published_geometry(lexical_similarities(texts, classes)[name], topics)
    assert (found.n_within, found.n_across) == (19, 171)
    assert round(found.within, 3) == within
    assert round(found.across, 3) == across


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("words", 0, 1e-3), ("trigrams", 0, 1e-3), ("characters", 0.16, 0.22)],
)
def test_the_published_p_values(
    published: list[MatchedText], name: str, low: float, high: float
) -> None:
    """Topics exchanged among the 20 classes; the source gives 1e-4 for words, .19 for characters."""
    texts, topics, classes = numbered(published)
    similarity = lexical_similarities(texts, classes)[name]
    found = group_difference(similarity, topics, 3999, np.random.default_rng(0))
    assert low < found.p_value <= high


@pytest.mark.data
def test_the_published_lengths(published: list[MatchedText]) -> None:
    texts, _, classes = numbered(published)
    lengths = text_lengths(texts)
    medians = np.array([np.median(lengths[classes == each], axis=0) for each in range(20)])
    assert medians.min(0).tolist() == [1, 3]
    assert medians.max(0).tolist() == [15, 75]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("2+2", ["2", "+", "2"]),
        ("That's SO_cool!!", ["that", "'", "s", "so_cool", "!", "!"]),
        ("¿Qué pasa? 😂😂", ["¿", "qué", "pasa", "?", "😂", "😂"]),
        ("x^2 + 2x", ["x", "^", "2", "+", "2x"]),
        ("猫が好き", ["猫が好き"]),
        (" \n", []),
    ],
)
def test_words(text: str, cut: list[str]) -> None:
    assert words(text) == cut


def test_trigrams_and_characters() -> None:
    assert trigrams("Ab cd") == ["Ab ", "b c", " cd"]
    assert trigrams("ab") == trigrams("") == []
    assert characters("Ab C") == ["a", "b", " ", "c"]


@pytest.mark.parametrize("name", TERMS)
@given(st.lists(TEXT, min_size=1, max_size=8))
def test_class_cosines_equal_a_slow_count(name: str, texts: list[str]) -> None:
    """Fractions in dictionaries, with cuts written anew."""
    classes = [place % 3 for place in range(len(texts))]
    cuts = {
        "words": lambda text: re.findall(r"[\w]+|[^\s\w]", text.lower()),
        "trigrams": lambda text: list(map("".join, zip(text, text[1:], text[2:], strict=False))),
        "characters": lambda text: [*text.lower()],
    }
    means: dict[int, dict[str, Fraction]] = {}
    for each in range(max(classes) + 1):
        total: defaultdict[str, Fraction] = defaultdict(Fraction)
        own = [
            cuts[name](text) for text, number in zip(texts, classes, strict=True) if number == each
        ]
        for terms in own:
            for term, count in Counter(terms).items():
                total[term] += Fraction(count, len(terms) * len(own))
        means[each] = total
    found = lexical_similarities(texts, np.array(classes))[name]
    assert found.shape == (len(means), len(means))
    for a, b in itertools.product(means, repeat=2):
        products = sum(means[a][term] * means[b][term] for term in set(means[a]) & set(means[b]))
        norms = [math.sqrt(sum(share**2 for share in means[each].values())) for each in (a, b)]
        expected = float(products) / (norms[0] * norms[1]) if all(norms) else 0.0
        assert found[a, b] == pytest.approx(expected, abs=1e-12)


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_frequencies_sum_to_one_or_nothing(texts: list[str]) -> None:
    for terms in TERMS.values():
        found = term_frequencies(texts, terms)
        expected = [1.0 if terms(text) else 0.0 for text in texts]
        np.testing.assert_allclose(found.sum(1), expected, atol=1e-12)
        assert (found.sum(0) > 0).all()


def test_texts_count_the_same_whatever_their_lengths() -> None:
    long = "a a a a a a a a b"
    found = class_means(term_frequencies([long, "b"], words), np.array([0, 0]))
    np.testing.assert_allclose(found, [[4 / 9, 5 / 9]])


def test_nothing_to_compare() -> None:
    assert term_frequencies([], words).shape == (0, 0)
    empty = lexical_similarities(["", "ab"])
    assert empty["trigrams"].tolist() == [[0, 0], [0, 0]]
    np.testing.assert_allclose(empty["words"], [[0, 0], [0, 1]])
    assert empty["word_length"].tolist() == [[0, -math.log(2)], [-math.log(2), 0]]
    assert class_means(np.zeros((0, 4)), np.zeros(0, int)).shape == (0, 4)


def test_class_numbers_with_a_gap_or_below_0_are_told() -> None:
    with pytest.raises(SaeflowError, match="Class 1 holds no text; expected at least one"):
        class_means(np.zeros((2, 3)), np.array([0, 2]))
    with pytest.raises(SaeflowError, match="A class has the number -1; expected 0 or more"):
        class_means(np.zeros((2, 3)), np.array([0, -1]))


def drawn(rng: np.random.Generator, share: float) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts of 4 topics in 3 forms; a share of the words is the topic's own, the others anybody's."""
    texts, classes = [], []
    for number in range(12):
        for _ in range(30):
            own = rng.random(6) < share
            names = [
                f"topic{number // 3}word{rng.integers(8)}" if each else f"word{rng.integers(60)}"
                for each in own
            ]
            texts.append(" ".join(names))
            classes.append(number)
    return texts, np.arange(12) // 3, np.array(classes)


def test_planted_words_of_topics_are_found_and_none_where_none_is() -> None:
    rng = np.random.default_rng(5)
    texts, topics, classes = drawn(rng, 0.5)
    found = published_geometry(lexical_similarities(texts, classes)["words"], topics)
    assert found.within > found.across + 0.3
    gaps = []
    for _ in range(10):
        texts, topics, classes = drawn(rng, 0.0)
        null = published_geometry(lexical_similarities(texts, classes)["words"], topics)
        gaps.append(null.within - null.across)
    assert abs(np.mean(gaps)) < 0.01


def test_lengths_of_classes_are_means_of_logarithms() -> None:
    texts = ["a", "a b c", "a b", "a  b\n"]
    assert text_lengths(texts).tolist() == [[1, 1], [3, 5], [2, 3], [2, 5]]
    found = lexical_similarities(texts, np.array([0, 0, 1, 1]))
    means = [(math.log(2) + math.log(4)) / 2, math.log(3)]
    assert found["word_length"][0, 1] == pytest.approx(-abs(means[0] - means[1]))
    means = [(math.log(2) + math.log(6)) / 2, (math.log(4) + math.log(6)) / 2]
    assert found["character_length"][1, 0] == pytest.approx(-abs(means[0] - means[1]))
    similarity = length_similarity(np.array([1.0, 3.0, 1.0]))
    assert similarity.tolist() == [[0, -2, 0], [-2, 0, -2], [0, -2, 0]]
