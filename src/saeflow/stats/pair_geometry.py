"""Form or meaning at the level of pairs of texts: retrieval across forms, and shares of variance.

A pair is one content in several forms. Whether a text lies nearest to its own content in another form does
not depend on what topics share, and pairs are what is resampled (methods/3, section 4.7).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations as orderings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma
from scipy.stats import rankdata

from saeflow.errors import SaeflowError
from saeflow.stats.exact import harmonic_number
from saeflow.stats.geometry import Square, class_gram
from saeflow.stats.resampling import cluster_means

TERMS = ("topic", "form", "pair", "residual")


class Retrieval(NamedTuple):
    """How often a text's nearest text of another form is of its own pair.

    Attributes
    ----------
    top_1, mrr : float
        Share of queries whose partner is nearest, and mean reciprocal rank of the partner.
    top_1_low, top_1_high, mrr_low, mrr_high : float
        Cluster bootstrap 95 % intervals over pairs; NaN where all pairs agree.
    top_1_chance, mrr_chance : float
        Expected where partners are drawn at random; exact.
    p_value : float
        Of the mean reciprocal rank, one-sided, with pairs permuted within each form.
    n_pairs, n_queries : int
        Pairs with two forms or more, and (text, other form) that were looked up.
    """

    top_1: float
    top_1_low: float
    top_1_high: float
    top_1_chance: float
    mrr: float
    mrr_low: float
    mrr_high: float
    mrr_chance: float
    p_value: float
    n_pairs: int
    n_queries: int


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


def expected_reciprocal_ranks(
    similarity: Float[np.ndarray, "queries candidates"],
) -> tuple[Float[np.ndarray, "queries candidates"], Float[np.ndarray, "queries candidates"]]:
    """Chance that each candidate is nearest to a query, and its mean reciprocal rank.

    Candidates that are equally near, to nine decimals, are in random order, over which both are
    averaged; so a layer on which all texts are alike gives exactly what chance does.
    """
    rounded = -np.round(similarity.astype(np.float64), 9)
    best = rankdata(rounded, method="min", axis=1)
    worst = rankdata(rounded, method="max", axis=1)
    tied = worst - best + 1
    reciprocal = (digamma(worst + 1) - digamma(best)) / tied
    return np.where(best == 1, 1 / tied, 0.0), reciprocal


def pair_retrieval(
    similarity: Square,
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> Retrieval:
    """Look up the partner of every text among the texts of every other form that has its pair.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (n, n)
        Of texts, such as `saeflow.stats.geometry.cosines`.
    forms : numpy.ndarray of int, shape (n,)
        Class of each text. Forms of two topics are two classes, so that candidates are of one topic.
    pairs : numpy.ndarray of int, shape (n,)
        Pair of each text, numbered over all topics.
    permutations : int
        How many to draw; 700 texts and 1,000 permutations take about 1 s.
    generator : numpy.random.Generator
        Draws permutations and resamples.

    Raises
    ------
    SaeflowError
        If a pair has two texts of one form, or no pair has two forms.
    """
    texts_of = {int(form): np.flatnonzero(forms == form) for form in np.unique(forms)}
    for form, texts in texts_of.items():
        if len(np.unique(pairs[texts])) < len(texts):
            raise SaeflowError(f"A pair has two texts of form {form}; expected one of each form.")
    tables = list(_look_ups(similarity, texts_of, pairs))
    if not tables:
        raise SaeflowError("No pair has texts of two forms; expected some to look up.")
    clusters = np.concatenate([table.shared for table in tables])
    found = [
        np.concatenate([table.nearest[table.query, table.target] for table in tables]),
        np.concatenate([table.reciprocal[table.query, table.target] for table in tables]),
    ]
    means = cluster_means(np.stack(found), clusters.tolist(), generator)
    sizes = [table.nearest.shape[1] for table in tables for _ in table.shared]
    by_chance = [np.mean([1 / size for size in sizes])]
    by_chance += [np.mean([harmonic_number(size) / size for size in sizes])]
    as_good = 0
    for _ in range(permutations):
        orders = {form: generator.permutation(len(texts)) for form, texts in texts_of.items()}
        drawn = [
            float(
                each.reciprocal[orders[each.one][each.query], orders[each.two][each.target]].sum()
            )
            for each in tables
        ]
        as_good += sum(drawn) / len(clusters) >= means.value[1] - 1e-9
    top_1, mrr = (
        (
            float(means.value[row]),
            float(means.low[row]),
            float(means.high[row]),
            float(by_chance[row]),
        )
        for row in range(2)
    )
    p_value = float((1 + as_good) / (1 + permutations))
    return Retrieval(*top_1, *mrr, p_value, len(np.unique(clusters)), len(clusters))


class _LookUp(NamedTuple):
    """Texts of one form looked up among those of another, which share some pairs.

    Rows are all texts of the first form and columns those of the second; `query` and `target` are the
    rows and columns of the pairs `shared`.
    """

    one: int
    two: int
    shared: Int[np.ndarray, " shared"]
    query: Int[np.ndarray, " shared"]
    target: Int[np.ndarray, " shared"]
    nearest: Float[np.ndarray, "queries candidates"]
    reciprocal: Float[np.ndarray, "queries candidates"]


def _look_ups(
    similarity: Square, texts_of: dict[int, Int[np.ndarray, " texts"]], pairs: Int[np.ndarray, " n"]
) -> Iterator[_LookUp]:
    for one, two in orderings(texts_of, 2):
        shared, query, target = np.intersect1d(
            pairs[texts_of[one]], pairs[texts_of[two]], return_indices=True
        )
        if len(shared):
            found = expected_reciprocal_ranks(similarity[np.ix_(texts_of[one], texts_of[two])])
            yield _LookUp(one, two, shared, query, target, *found)


def disjoint_pairs(
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    topics: Int[np.ndarray, " n"],
    generator: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """Choose texts such that no two forms have one pair in common: pairs are dealt out to forms.

    Forms of one topic hold the same contents, so they are alike wherever texts of one pair are. Among
    these texts they are alike only as far as their topic goes.

    Returns
    -------
    numpy.ndarray of int64, shape (chosen,)
        Texts, ascending.
    """
    chosen = []
    for topic in np.unique(topics):
        texts = np.flatnonzero(topics == topic)
        names = np.unique(forms[texts])
        dealt = generator.permutation(np.unique(pairs[texts]))
        order = generator.permutation(names)
        for place, form in enumerate(order):
            own = np.isin(pairs[texts], dealt[place :: len(order)]) & (forms[texts] == form)
            chosen.append(texts[own])
    return np.sort(np.concatenate(chosen))


def variance_decomposition(
    gram: Square,
    topics: Int[np.ndarray, " n"],
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> Decomposition:
    """Split the variance of texts' vectors into topic, form and pair within topic, and residual.

    Sums of squared distances as in a permutational analysis of variance (Anderson 2001): each topic is a
    complete table of pairs by forms, so the terms are orthogonal. Forms are permuted within each pair
    and pairs within each form of a topic; each keeps what the other term explains. Topics are permuted
    over classes (forms), whose means are of pairs that no other class has (`disjoint_pairs`): otherwise
    classes of a topic would be alike because their pairs are.

    Parameters
    ----------
    gram : numpy.ndarray of float, shape (n, n)
        Inner products of texts' vectors (`saeflow.stats.geometry.gram_matrix`), or their cosines, to
        give all texts the same length.
    topics, forms, pairs : numpy.ndarray of int, shape (n,)
        Of each text. Forms and pairs may be numbered by topic or over all.
    permutations : int
        How many to draw of each kind; 700 texts and 1,000 permutations take about 3 s.
    generator : numpy.random.Generator
        Draws them.

    Raises
    ------
    SaeflowError
        If a topic is not a complete table of two or more pairs by two or more forms.
    """
    tables = [_table(topic, topics, forms, pairs) for topic in np.unique(topics).tolist()]
    squares, degrees = _sums_of_squares(gram, tables)
    total = float(squares.sum())
    mean = squares / np.maximum(degrees, 1)
    # What forms and pairs add to a topic's mean holds the residual twice.
    by_chance = degrees * np.array([mean[1] + mean[2] - mean[3], mean[3], mean[3], np.nan])
    p_value = np.array(
        [
            _topic_p_value(gram, topics, forms, pairs, permutations, generator),
            *_within_p_values(gram, tables, permutations, generator),
            np.nan,
        ]
    )
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
    gram: Square, tables: list[Int[np.ndarray, "_ _"]]
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
        squares[1] += _form_sum(gram, table) - whole
        squares[2] += _pair_sum(gram, table) - whole
        degrees[1:] += n_forms - 1, n_pairs - 1, (n_forms - 1) * (n_pairs - 1)
    squares[3] = total - squares[:3].sum()
    return squares, degrees


def _form_sum(gram: Square, table: Int[np.ndarray, "pairs forms"]) -> float:
    return math.fsum(gram[np.ix_(texts, texts)].sum() for texts in table.T) / len(table)


def _pair_sum(gram: Square, table: Int[np.ndarray, "pairs forms"]) -> float:
    return float(gram[table[:, :, None], table[:, None, :]].sum()) / len(table.T)


def _within_p_values(
    gram: Square,
    tables: list[Int[np.ndarray, "_ _"]],
    permutations: int,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Of form and of pair; the terms that a permutation keeps make sums of squares enough to compare."""
    observed = [sum(each(gram, table) for table in tables) for each in (_form_sum, _pair_sum)]
    slack = 1e-9 * float(np.trace(gram))
    as_large = np.zeros(2, np.int64)
    for _ in range(permutations):
        by_form = sum(_form_sum(gram, generator.permuted(table, axis=1)) for table in tables)
        by_pair = sum(_pair_sum(gram, generator.permuted(table, axis=0)) for table in tables)
        as_large += by_form >= observed[0] - slack, by_pair >= observed[1] - slack
    form, pair = (1 + as_large) / (1 + permutations)
    return float(form), float(pair)


def _topic_p_value(
    gram: Square,
    topics: Int[np.ndarray, " n"],
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> float:
    names, classes = np.unique(np.stack([topics, forms], 1), axis=0, return_inverse=True)
    topic = names[:, 0]
    if len(np.unique(topic)) < 2:
        return float("nan")
    chosen = disjoint_pairs(forms, pairs, topics, generator)
    means = class_gram(gram[np.ix_(chosen, chosen)], classes[chosen])
    labels = (topic == np.unique(topic)[:, None]).astype(np.float64)
    weights = (labels / labels.sum(1, keepdims=True)).T @ labels
    observed = float((means * weights).sum())
    slack = 1e-9 * float(np.trace(means))
    as_large = 0
    for _ in range(permutations):
        order = generator.permutation(len(topic))
        as_large += int((means[np.ix_(order, order)] * weights).sum() >= observed - slack)
    return (1 + as_large) / (1 + permutations)
