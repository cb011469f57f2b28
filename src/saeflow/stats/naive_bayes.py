"""Which group a text is of, told by its words alone: multinomial naive Bayes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from saeflow.errors import SaeflowError
from saeflow.stats.lexical import words


@dataclass(frozen=True)
class WordClassifier:
    """A classifier of texts by their words, whatever their order.

    Attributes
    ----------
    groups : tuple of str
        What it tells apart.
    vocabulary : dict of str to int
        Column of each word; others are passed over.
    log_probability : numpy.ndarray of float64, shape (groups, words)
        Of a word, given the group.
    """

    groups: tuple[str, ...]
    vocabulary: dict[str, int]
    log_probability: Float[np.ndarray, "groups words"]

    def probabilities(self, texts: Sequence[str]) -> Float[np.ndarray, "texts groups"]:
        """Probability of each group, all being equally likely before a text is read.

        Returns
        -------
        numpy.ndarray of float64, shape (texts, groups)
            Rows sum to 1; equal where a text has no known word.
        """
        scores = np.zeros((len(texts), len(self.groups)))
        for row, text in enumerate(texts):
            known = [self.vocabulary[word] for word in words(text) if word in self.vocabulary]
            scores[row] = self.log_probability[:, known].sum(1)
        found: Float[np.ndarray, "texts groups"] = np.exp(log_softmax(scores, axis=1))
        return found

    def accuracy(self, texts: Sequence[str], groups: Sequence[str]) -> float:
        """Share of texts whose group is the likeliest; NaN of none. Ties go to the first group."""
        if not texts:
            return float("nan")
        best = self.probabilities(texts).argmax(1)
        named = [self.groups[place] for place in best.tolist()]
        return float(np.mean([one == other for one, other in zip(named, groups, strict=True)]))


def fit_words(
    texts: Sequence[str], groups: Sequence[str], *, smoothing: float = 1.0
) -> WordClassifier:
    """Count the words of each group.

    Groups are taken for equally likely, however many texts they have.

    Parameters
    ----------
    texts : sequence of str
        Cut by `saeflow.stats.lexical.words`; punctuation counts.
    groups : sequence of str
        Of each text, two different ones at least.
    smoothing : float
        Added to each count, so that no word is impossible; above 0.

    Raises
    ------
    SaeflowError
        If there are more or fewer groups than texts, only one, or `smoothing` is not above 0.
    """
    names = tuple(dict.fromkeys(groups))
    if len(groups) != len(texts) or len(names) < 2 or not smoothing > 0:
        raise SaeflowError(
            f"{len(names)} different groups are named for {len(texts)} texts by {len(groups)} names, "
            f"with a smoothing of {smoothing}; expected two groups at least, a name for each text, and "
            "a smoothing above 0."
        )
    counted: dict[str, Counter[str]] = {name: Counter() for name in names}
    for text, group in zip(texts, groups, strict=True):
        counted[group].update(words(text))
    vocabulary = {word: place for place, word in enumerate(sorted(set().union(*counted.values())))}
    counts = np.full((len(names), len(vocabulary)), smoothing)
    for row, name in enumerate(names):
        for word, count in counted[name].items():
            counts[row, vocabulary[word]] += count
    return WordClassifier(names, vocabulary, np.log(counts / counts.sum(1, keepdims=True)))
