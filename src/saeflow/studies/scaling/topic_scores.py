"""How much a text is on a topic, without a look at any feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline

from saeflow.errors import SaeflowError
from saeflow.stats.lexical import words
from saeflow.stats.repetition import listed_share


@dataclass(frozen=True)
class TopicScorer:
    """What tells topics apart.

    Attributes
    ----------
    lexicons : mapping of str to frozenset of str
        Lower-case words of each topic that has a list.
    classifier : sklearn.pipeline.Pipeline
        Multinomial naive Bayes by words (`saeflow.stats.lexical.words`; punctuation counts), made of
        documents of the corpus, none of which is continued. Topics are equally likely before a text
        is read, however many documents they have; words that no document holds are passed over.
    """

    lexicons: Mapping[str, frozenset[str]]
    classifier: Pipeline

    @property
    def classes(self) -> tuple[str, ...]:
        """Topics that the classifier tells apart, in the order of its columns."""
        return tuple(self.classifier.classes_.tolist())

    def lexicon_share(self, text: str, topic: str) -> float:
        """Share of the words of a text that are on a topic's list; NaN where it has none."""
        listed = self.lexicons.get(topic)
        return float("nan") if listed is None else listed_share(text, listed)

    def class_probabilities(
        self, texts: Sequence[str], topics: Sequence[str]
    ) -> Float[np.ndarray, "texts topics"]:
        """Probability of each topic, text by text; NaN for a topic that is no class."""
        found = self.classifier.predict_proba(texts)
        known = {name: place for place, name in enumerate(self.classes)}
        columns = [
            found[:, known[topic]] if topic in known else np.full(len(texts), np.nan)
            for topic in topics
        ]
        return np.stack(columns, axis=1)

    def hits(self, texts: Sequence[str], groups: Sequence[str]) -> Bool[np.ndarray, " texts"]:
        """Whether a text's group is the classifier's likeliest; for texts that did not make it."""
        found: Bool[np.ndarray, " texts"] = self.classifier.predict(texts) == np.array(groups)
        return found


def topic_scorer(
    texts: Sequence[str],
    groups: Sequence[str],
    lexicons: Mapping[str, Sequence[str]],
    topics: Sequence[str],
) -> TopicScorer:
    """Make scores of topics from documents.

    Parameters
    ----------
    texts, groups : sequence of str
        Documents of the corpus's training split, and the topic of each.
    lexicons : mapping of str to sequence of str
        Words of topics, such as `saeflow.datasets.texts.documents.TOPIC_WORDS`.
    topics : sequence of str
        Those that are going to be scored.

    Raises
    ------
    SaeflowError
        If a topic has neither words nor documents, or documents are not of two groups or have no word.
    """
    for topic in topics:
        if topic not in lexicons and topic not in groups:
            raise SaeflowError(
                f"the topic {topic!r} has neither a list of words nor documents; expected one of "
                f"{', '.join(dict.fromkeys([*lexicons, *groups]))}."
            )
    lists = {name: frozenset(word.lower() for word in listed) for name, listed in lexicons.items()}
    names = sorted(set(groups))
    if len(names) < 2 or not any(map(words, texts)):
        raise SaeflowError(
            f"the {len(texts)} documents that make a classifier of topics are of {len(names)} groups "
            f"({', '.join(names)}); expected two groups at least, and a word."
        )
    classifier = make_pipeline(CountVectorizer(analyzer=words), MultinomialNB(fit_prior=False))
    return TopicScorer(lists, classifier.fit(texts, groups))
