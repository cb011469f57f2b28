"""How alike texts are in their words, characters and lengths, without any model.

What a bag of words already tells is the baseline of every claim that features cluster by topic
(methods/3, section 4.7, item 1). The source prints its figures without a definition. Of some three
hundred readings that were tried (ways to cut, case, counts, weights) these alone give every digit:

- *words*: lower-cased; runs of letters, digits and underscores, and every other character that is no
  blank by itself, so that ``2+2`` has three;
- *trigrams*: every three neighbouring characters as written, capitals and blanks included, nothing
  added at the ends;
- *characters*: every character, lower-cased, blanks included.

A text is the relative frequency of each term in it, so all texts of a class count the same, whatever
their lengths. A class is the mean of its texts; classes are compared by cosine, and similarities are
averaged over pairs of classes of one topic and over pairs of different topics. The published texts
give .366 within and .107 across topics for words, .428 and .194 for trigrams, .830 and .813 for
characters (methods/6, section 8). That trigrams keep their capitals while the others lose them is
odd, but lower-cased ones give .441 and .200; words by raw counts give .38 and .12.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from saeflow.errors import SaeflowError
from saeflow.stats.geometry import cosines, gram_matrix

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-cased runs of letters, digits and underscores, and single other characters."""
    return _WORD.findall(text.lower())


def trigrams(text: str) -> list[str]:
    """Every three neighbouring characters, as written; none of a text of one or two characters."""
    return [text[start : start + 3] for start in range(len(text) - 2)]


def characters(text: str) -> list[str]:
    """Every code point, lower-cased; blanks count."""
    return list(text.lower())


TERMS: dict[str, Callable[[str], list[str]]] = {
    "words": words,
    "trigrams": trigrams,
    "characters": characters,
}
"""Bags that texts are compared by, by name."""


def term_frequencies(
    texts: Sequence[str], terms: Callable[[str], list[str]]
) -> Float[np.ndarray, "texts terms"]:
    """Share of every term among the terms of each text.

    Parameters
    ----------
    texts : sequence of str
        The texts.
    terms : callable
        Cuts a text, such as `words`.

    Returns
    -------
    numpy.ndarray of float64, shape (texts, terms)
        One column a term of any text, in the order of their code points. Rows sum to 1, or to 0
        where a text has no term.
    """
    counted = [Counter(terms(text)) for text in texts]
    columns = {term: place for place, term in enumerate(sorted(set().union(*counted)))}
    frequencies = np.zeros((len(texts), len(columns)))
    for row, counts in enumerate(counted):
        total = counts.total()
        for term, count in counts.items():
            frequencies[row, columns[term]] = count / total
    return frequencies


def class_means(
    vectors: Float[np.ndarray, "texts features"], classes: Int[np.ndarray, " texts"]
) -> Float[np.ndarray, "classes features"]:
    """Mean vector of the texts of every class.

    Parameters
    ----------
    vectors : numpy.ndarray of float, shape (texts, features)
        One row a text: frequencies of terms, or activations of features.
    classes : numpy.ndarray of int, shape (texts,)
        Class of each text, numbered from 0 without a gap.

    Returns
    -------
    numpy.ndarray of float64, shape (classes, features)
        In the order of the numbers.

    Raises
    ------
    SaeflowError
        If a number is negative or a class is without a text.
    """
    if (classes < 0).any():
        raise SaeflowError(f"A class has the number {classes.min()}; expected 0 or more.")
    sizes = np.bincount(classes)
    if not sizes.all():
        raise SaeflowError(f"Class {int(sizes.argmin())} holds no text; expected at least one.")
    means = [vectors[classes == number].mean(0, dtype=np.float64) for number in range(len(sizes))]
    return np.array(means).reshape(len(sizes), vectors.shape[1])


def text_lengths(texts: Sequence[str]) -> Int[np.ndarray, "texts 2"]:
    """Words between blanks and characters of every text, as methods/3, section 4.2, counts them."""
    found = [(len(text.split()), len(text)) for text in texts]
    return np.array(found, np.int64).reshape(-1, 2)


def length_similarity(lengths: Float[np.ndarray, " items"]) -> Float[np.ndarray, "items items"]:
    """Minus the distance of every length from every other; 0 where they are equal.

    Parameters
    ----------
    lengths : numpy.ndarray of float, shape (items,)
        One number an item; logarithms, where ratios matter.
    """
    similarity: Float[np.ndarray, "items items"] = -np.abs(lengths[:, None] - lengths)
    return similarity


def lexical_similarities(
    texts: Sequence[str], classes: Int[np.ndarray, " texts"] | None = None
) -> dict[str, Float[np.ndarray, "items items"]]:
    """Every baseline of a matrix of similarities, between classes or between texts.

    Parameters
    ----------
    texts : sequence of str
        The texts.
    classes : numpy.ndarray of int, shape (texts,), optional
        Class of each text, numbered from 0 without a gap; texts themselves are compared where None.

    Returns
    -------
    dict of str to numpy.ndarray of float64, shape (items, items)
        ``words``, ``trigrams``, ``characters``: cosines of frequencies, of class means of them.
        ``word_length``, ``character_length``: `length_similarity` of log(1 + length), of class
        means of it, since lengths differ by factors of more than ten.

    Raises
    ------
    SaeflowError
        See `class_means`.
    """
    found = {}
    for name, terms in TERMS.items():
        frequencies = _per_item(term_frequencies(texts, terms), classes)
        found[name] = cosines(gram_matrix(frequencies))
    lengths = _per_item(np.log1p(text_lengths(texts)), classes)
    for column, name in enumerate(("word_length", "character_length")):
        found[name] = length_similarity(lengths[:, column])
    return found


def _per_item(
    vectors: Float[np.ndarray, "texts features"], classes: Int[np.ndarray, " texts"] | None
) -> Float[np.ndarray, "items features"]:
    return vectors if classes is None else class_means(vectors, classes)
