"""Scores of topics that know no feature, and how much a text repeats itself."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.datasets.texts.documents import TOPIC_WORDS, document_texts, neutral_prompts
from saeflow.datasets.texts.documents.neutral import NEUTRAL
from saeflow.errors import SaeflowError
from saeflow.stats.lexical import words
from saeflow.stats.repetition import distinct_share, listed_share, repeated_share
from saeflow.studies.scaling.topic_scores import topic_scorer
from tests.sentences import check_sentence

TEXTS = ["The star is a sun.", "A star, a comet!", "Bake the pie.", "Fry the egg, bake the pie."]
GROUPS = ["sky", "sky", "food", "food"]


def test_probabilities_are_those_of_bayes_rule():
    found = topic_scorer(TEXTS, GROUPS, {}, [])
    vocabulary = {word for text in TEXTS for word in words(text)}
    text = "Bake a star! Nothing else known."
    likelihood = []
    for group in ("sky", "food"):
        counts = Counter(
            word
            for each, name in zip(TEXTS, GROUPS, strict=True)
            if name == group
            for word in words(each)
        )
        total = counts.total() + len(vocabulary)
        known = [word for word in words(text) if word in vocabulary]
        likelihood.append(math.prod((counts[word] + 1) / total for word in known))
    expected = np.array(likelihood) / sum(likelihood)
    probabilities = found.class_probabilities([text], ["sky", "food"])
    np.testing.assert_allclose(probabilities[0], expected, rtol=1e-9)
    assert set(found.classes) == {"sky", "food"}
    assert found.hits(["Bake", "a star", "a comet"], ["food", "sky", "food"]).tolist() == [
        True,
        True,
        False,
    ]


def test_topics_are_equally_likely_before_a_known_word_is_read():
    for texts, groups in ((TEXTS, GROUPS), ([*TEXTS, *TEXTS[2:] * 3], [*GROUPS, *GROUPS[2:] * 3])):
        found = topic_scorer(texts, groups, {}, []).class_probabilities(["", "Xyzzy?"], ["sky"])
        np.testing.assert_allclose(found, 0.5)


@pytest.mark.parametrize(
    ("texts", "groups", "parts"),
    [
        (["a"], ["x"], ("1 documents", "1 groups (x)")),
        ([], [], ("0 documents", "0 groups")),
        (["", " "], ["x", "y"], ("2 groups (x, y)", "a word")),
    ],
)
def test_a_classifier_of_nothing_is_refused(texts, groups, parts):
    with pytest.raises(SaeflowError) as error:
        topic_scorer(texts, groups, {}, [])
    check_sentence(error.value, *parts, "two groups at least")


def test_unseen_documents_are_told_apart_and_neutral_prompts_are_not():
    documents = document_texts(seed=0, n_per_topic=60)
    by_topic = {topic: [text for text in documents if text.group == topic] for topic in TOPIC_WORDS}
    train = [text for texts in by_topic.values() for text in texts[:40]]
    rest = [text for texts in by_topic.values() for text in texts[40:]]
    assert Counter(text.group for text in train) == dict.fromkeys(TOPIC_WORDS, 40)
    scorer = topic_scorer(
        [text.text for text in train],
        [text.group for text in train],
        TOPIC_WORDS,
        list(TOPIC_WORDS),
    )
    assert scorer.hits([text.text for text in rest], [text.group for text in rest]).mean() > 0.95
    prompts = neutral_prompts(seed=0, n=20)
    for topic in TOPIC_WORDS:
        assert max(scorer.lexicon_share(prompt, topic) for prompt in prompts) == 0
    assert scorer.class_probabilities(prompts, list(TOPIC_WORDS)).mean(0).max() < 0.4
    unknown = scorer.class_probabilities(prompts, ["nothing", "law"])
    assert np.isnan(unknown[:, 0]).all()
    assert math.isnan(scorer.lexicon_share("star", "nothing"))


def test_a_topic_that_nothing_tells_is_refused():
    with pytest.raises(SaeflowError, match="'nothing' has neither"):
        topic_scorer(TEXTS, GROUPS, {}, ["sky", "nothing"])


def test_neutral_prompts_are_different_and_more_only_append():
    few, many = neutral_prompts(seed=3, n=5), neutral_prompts(seed=3, n=40)
    assert many[:5] == few
    assert len(set(many)) == 40
    assert neutral_prompts(seed=4, n=5) != few
    starts = {frame.split("{")[0] for frame in NEUTRAL.frames if not frame.startswith("{")}
    first = neutral_prompts(seed=3, n=len(NEUTRAL.frames))
    assert all(any(prompt.startswith(start) for prompt in first) for start in starts)
    with pytest.raises(SaeflowError, match="expected fewer"):
        neutral_prompts(seed=0, n=1000)


def test_listed_words_are_whole_words():
    listed = {"star", "light-years", "sun's"}
    assert listed_share("Star light-years starry", listed) == pytest.approx(2 / 3)
    assert listed_share("The SUN'S star.", listed) == pytest.approx(2 / 3)
    assert listed_share("light years", listed) == 0
    assert listed_share(" .,!", listed) == 0


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 3))
def test_repetition_is_what_counting_gives(items, n):
    runs = list(zip(*(items[start:] for start in range(n)), strict=False))
    if not runs:
        assert math.isnan(distinct_share(items, n))
        assert math.isnan(repeated_share(items, n))
        return
    assert distinct_share(items, n) == len(set(runs)) / len(runs)
    assert repeated_share(items, n) == sum(runs.count(run) > 1 for run in runs) / len(runs)


def test_repetition_of_a_text_that_goes_in_circles():
    items = list("abab")
    assert distinct_share(items, 2) == repeated_share(items, 2) == 2 / 3
    assert list(pairwise(items)).count(("a", "b")) == 2
