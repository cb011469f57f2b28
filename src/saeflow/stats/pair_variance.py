"""Shares of the variance of texts: of their topic, their form and the pair that they are of.

A pair is one content in several forms; pairs are what is resampled (methods/3, section 4.7).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from saeflow.errors import SaeflowError
from saeflow.stats.geometry import Square, class_gram
from saeflow.stats.pair_geometry import disjoint_pairs

TERMS = ("topic", "form", "pair", "residual")


class Decomposition(NamedTuple):
    """Shares of the variance of vectors; one row for each of `TERMS`.

    Attributes
    ----------
    share : numpy.ndarray of float64, shape (4,)
        Sum of squares over the total; they add up to 1.
    chance_share : numpy.ndarray of float64, shape (4,)
        What the share would be on average had the term no effect, by expected mean squares; NaN for
        the residual.
    degrees : numpy.ndarray of int64, shape (4,)
        Degrees of freedom.
    p_value : numpy.ndarray of float64, shape (4,)
        One-sided, by permutation; NaN for the residual, and for topic where there is one.
    """

    share: Float[np.ndarray, " terms"]
    chance_share: Float[np.ndarray, " terms"]
    degrees: Int[np.ndarray, " terms"]
    p_value: Float[np.ndarray, " terms"]


class VarianceDesign(NamedTuple):
    """Tables of texts, and how they are permuted: the same for all matrices.

    Attributes
    ----------
    tables : tuple of numpy.ndarray of int64, shape (pairs, forms)
        Texts of each topic.
    by_form, by_pair : tuple of numpy.ndarray of int64, shape (permutations, pairs, forms)
        The same with the forms of each pair permuted, and with the pairs of each form.
    chosen : numpy.ndarray of int64, shape (chosen,)
        Texts of which no two classes have a pair in common (`disjoint_pairs`).
    classes : numpy.ndarray of int64, shape (chosen,)
        Class of each of these.
    topics : numpy.ndarray of int64, shape (1 + permutations, classes)
        Topic of each class, from 0; the first row is the observed one.
    """

    tables: tuple[Int[np.ndarray, "_ _"], ...]
    by_form: tuple[Int[np.ndarray, "permutations _ _"], ...]
    by_pair: tuple[Int[np.ndarray, "permutations _ _"], ...]
    chosen: Int[np.ndarray, " chosen"]
    classes: Int[np.ndarray, " chosen"]
    topics: Int[np.ndarray, "drawn classes"]


def variance_design(
    topics: Int[np.ndarray, " n"],
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> VarianceDesign:
    """Permute forms within each pair, pairs within each form of a topic, and topics over classes.

    Each permutation keeps what the other terms explain. Topics are permuted over classes (forms), whose
    means are of pairs that no other class has (`disjoint_pairs`): otherwise classes of a topic would be
    alike because their pairs are.

    Parameters
    ----------
    topics, forms, pairs : numpy.ndarray of int, shape (n,)
        Of each text. Forms and pairs may be numbered by topic or over all.
    permutations : int
        How many to draw of each kind; 700 texts and 1,000 permutations take about 0.3 s, and 11 MB.
    generator : numpy.random.Generator
        Draws them.

    Raises
    ------
    SaeflowError
        If a topic is not a complete table of two or more pairs by two or more forms.
    """
    tables = tuple(_table(topic, topics, forms, pairs) for topic in np.unique(topics).tolist())
    names, classes = np.unique(np.stack([topics, forms], 1), axis=0, return_inverse=True)
    topic = np.unique(names[:, 0], return_inverse=True)[1]
    chosen = disjoint_pairs(forms, pairs, topics, generator)
    drawn = np.tile(topic, (1 + permutations, 1))
    for row in drawn[1:]:
        row[generator.permutation(len(topic))] = topic
    by_form, by_pair = (
        tuple(np.zeros((permutations, *table.shape), np.int64) for table in tables)
        for _ in range(2)
    )
    for number in range(permutations):
        for axis, permuted in ((1, by_form), (0, by_pair)):
            for each, table in zip(permuted, tables, strict=True):
                each[number] = generator.permuted(table, axis=axis)
    return VarianceDesign(tables, by_form, by_pair, chosen, classes[chosen], drawn)


def variance_decomposition(gram: Square, design: VarianceDesign) -> Decomposition:
    """Split the variance of texts' vectors into topic, form and pair within topic, and residual.

    Sums of squared distances as in a permutational analysis of variance (Anderson 2001): each topic is a
    complete table of pairs by forms, so the terms are orthogonal. 700 texts and 1,000 permutations take
    about 0.1 s, and 5 MB.

    Parameters
    ----------
    gram : numpy.ndarray of float, shape (n, n)
        Inner products of texts' vectors (`saeflow.stats.geometry.gram_matrix`), or their cosines, to
        give all texts the same length.
    design : VarianceDesign
        As `variance_design` draws it for these texts.
    """
    squares, degrees = _sums_of_squares(gram, design.tables)
    total = float(squares.sum())
    mean = squares / np.maximum(degrees, 1)
    # What forms and pairs add to a topic's mean holds the residual twice.
    by_chance = degrees * np.array([mean[1] + mean[2] - mean[3], mean[3], mean[3], np.nan])
    p_value = np.array([_topic_p_value(gram, design), *_within_p_values(gram, design), np.nan])
    if total <= 1e-12 * float(np.trace(gram)):  # all texts alike, but for rounding
        total = float("nan")
    shares, by_chance = squares / total, by_chance / total
    return Decomposition(shares, by_chance, degrees, p_value)


def _table(
    topic: int,
    topics: Int[np.ndarray, " n"],
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
) -> Int[np.ndarray, "pairs forms"]:
    """Texts of one topic, pairs down and forms across."""
    texts = np.flatnonzero(topics == topic)
    rows, row = np.unique(pairs[texts], return_inverse=True)
    columns, column = np.unique(forms[texts], return_inverse=True)
    table = np.full((len(rows), len(columns)), -1)
    table[row, column] = texts
    if len(texts) != table.size or (table < 0).any() or min(table.shape) < 2:
        raise SaeflowError(
            f"Topic {topic} has {len(texts)} texts of {len(rows)} pairs in {len(columns)} forms; "
            "expected one text of each pair in each form, and two or more of both."
        )
    return table


def _sums_of_squares(
    gram: Square, tables: tuple[Int[np.ndarray, "_ _"], ...]
) -> tuple[Float[np.ndarray, " terms"], Int[np.ndarray, " terms"]]:
    """Sums of squares and degrees of freedom of all terms."""
    total = float(np.trace(gram) - gram.sum() / len(gram))
    squares, degrees = np.zeros(4), np.zeros(4, np.int64)
    squares[0] = -gram.sum() / len(gram)
    degrees[0] = len(tables) - 1
    for table in tables:
        n_pairs, n_forms = table.shape
        block = gram[np.ix_(table.ravel(), table.ravel())]
        whole = block.sum() / table.size
        squares[0] += whole
        squares[1] += _form_sums(gram, table[None])[0] - whole
        squares[2] += _pair_sums(gram, table[None])[0] - whole
        degrees[1:] += n_forms - 1, n_pairs - 1, (n_forms - 1) * (n_pairs - 1)
    squares[3] = total - squares[:3].sum()
    return squares, degrees


def _form_sums(
    gram: Square, drawn: Int[np.ndarray, "drawn pairs forms"]
) -> Float[np.ndarray, " drawn"]:
    """Squared lengths of the sums of forms' vectors, over the number of pairs."""
    texts = np.sort(drawn[0], axis=None)
    block = gram[np.ix_(texts, texts)]
    places = np.searchsorted(texts, drawn)
    found = np.zeros(len(drawn))
    for form in range(drawn.shape[2]):
        present = np.zeros((len(drawn), len(texts)))
        np.put_along_axis(present, places[:, :, form], 1.0, axis=1)
        found += ((present @ block) * present).sum(1)
    found /= drawn.shape[1]
    return found


def _pair_sums(
    gram: Square, drawn: Int[np.ndarray, "drawn pairs forms"]
) -> Float[np.ndarray, " drawn"]:
    """The same of pairs, over the number of forms; of few texts each, so that single products do."""
    sums: Float[np.ndarray, " drawn"] = gram[drawn[..., None], drawn[:, :, None]].sum((1, 2, 3))
    sums /= drawn.shape[2]
    return sums


def _within_p_values(gram: Square, design: VarianceDesign) -> tuple[float, float]:
    """Of form and of pair; the terms that a permutation keeps make sums of squares enough to compare."""
    slack = 1e-9 * float(np.trace(gram))
    found = []
    for sums_of, permuted in ((_form_sums, design.by_form), (_pair_sums, design.by_pair)):
        observed = sum(float(sums_of(gram, table[None])[0]) for table in design.tables)
        drawn = np.sum([sums_of(gram, each) for each in permuted], axis=0)
        found.append(float((1 + (drawn >= observed - slack).sum()) / (1 + len(drawn))))
    return found[0], found[1]


def _topic_p_value(gram: Square, design: VarianceDesign) -> float:
    if len(design.tables) < 2:
        return float("nan")
    means = class_gram(gram[np.ix_(design.chosen, design.chosen)], design.classes)
    labels = (design.topics[..., None] == np.arange(len(design.tables))).astype(np.float64)
    within = np.einsum("dct,dct->dt", means @ labels, labels) / labels.sum(1)
    sums = within.sum(1)
    slack = 1e-9 * float(np.trace(means))
    return float((sums >= sums[0] - slack).sum() / len(sums))
