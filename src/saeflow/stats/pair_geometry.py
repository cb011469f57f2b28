"""Form or meaning at the level of pairs of texts: retrieval across forms.

A pair is one content in several forms. Whether a text lies nearest to its own content in another form does
not depend on what topics share, and pairs are what is resampled (methods/3, section 4.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations as orderings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import digamma
from scipy.stats import rankdata

from saeflow.errors import SaeflowError
from saeflow.stats.exact import harmonic_number
from saeflow.stats.geometry import Square
from saeflow.stats.resampling import resample_counts, resampled_means


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


class RetrievalDesign(NamedTuple):
    """What is looked up among what, and how pairs are permuted and resampled: the same for all matrices.

    Attributes
    ----------
    look_ups : tuple of LookUp
        For each two forms, in either order, that share a pair.
    orders : dict of int to numpy.ndarray of int64, shape (permutations, texts)
        By form: which of its texts comes in the place of each.
    counts : numpy.ndarray of int64, shape (resamples, pairs)
        How often each pair is drawn.
    """

    look_ups: tuple[LookUp, ...]
    orders: dict[int, Int[np.ndarray, "permutations _"]]
    counts: Int[np.ndarray, "resamples pairs"]


class LookUp(NamedTuple):
    """Texts of one form looked up among those of another, which share some pairs.

    Attributes
    ----------
    one, two : int
        Forms.
    rows, columns : numpy.ndarray of int64
        All texts of each.
    shared : numpy.ndarray of int64, shape (shared,)
        Pairs with a text of both.
    query, target : numpy.ndarray of int64, shape (shared,)
        Their places in `rows` and in `columns`.
    """

    one: int
    two: int
    rows: Int[np.ndarray, " rows"]
    columns: Int[np.ndarray, " columns"]
    shared: Int[np.ndarray, " shared"]
    query: Int[np.ndarray, " shared"]
    target: Int[np.ndarray, " shared"]


def retrieval_design(
    forms: Int[np.ndarray, " n"],
    pairs: Int[np.ndarray, " n"],
    permutations: int,
    generator: np.random.Generator,
) -> RetrievalDesign:
    """Draw permutations and resamples of pairs.

    Parameters
    ----------
    forms : numpy.ndarray of int, shape (n,)
        Class of each text. Forms of two topics are two classes, so that candidates are of one topic.
    pairs : numpy.ndarray of int, shape (n,)
        Pair of each text, numbered over all topics.
    permutations : int
        How many to draw; 700 texts and 1,000 permutations take about 0.1 s, and 10 MB.
    generator : numpy.random.Generator
        Draws them.

    Raises
    ------
    SaeflowError
        If a pair has two texts of one form, or no pair has two forms.
    """
    texts_of = {int(form): np.flatnonzero(forms == form) for form in np.unique(forms)}
    for form, texts in texts_of.items():
        if len(np.unique(pairs[texts])) < len(texts):
            raise SaeflowError(f"A pair has two texts of form {form}; expected one of each form.")
    look_ups = []
    for one, two in orderings(texts_of, 2):
        rows, columns = texts_of[one], texts_of[two]
        found = np.intersect1d(pairs[rows], pairs[columns], return_indices=True)
        if len(found[0]):
            look_ups.append(LookUp(one, two, rows, columns, *found))
    if not look_ups:
        raise SaeflowError("No pair has texts of two forms; expected some to look up.")
    counts = resample_counts(len(_shared(look_ups)), generator)
    orders = {form: np.zeros((permutations, len(each)), int) for form, each in texts_of.items()}
    for number in range(permutations):
        for order in orders.values():
            order[number] = generator.permutation(order.shape[1])
    return RetrievalDesign(tuple(look_ups), orders, counts)


def pair_retrieval(similarity: Square, design: RetrievalDesign) -> Retrieval:
    """Look up the partner of every text among the texts of every other form that has its pair.

    700 texts and 1,000 permutations take about 0.1 s.

    Parameters
    ----------
    similarity : numpy.ndarray of float, shape (n, n)
        Of texts, such as `saeflow.stats.geometry.cosines`.
    design : RetrievalDesign
        As `retrieval_design` draws it for these texts.
    """
    clusters = np.concatenate([each.shared for each in design.look_ups])
    found: list[list[Float[np.ndarray, " shared"]]] = [[], []]
    drawn = np.zeros(len(next(iter(design.orders.values()))))
    for each in design.look_ups:
        nearest, reciprocal = expected_reciprocal_ranks(similarity[np.ix_(each.rows, each.columns)])
        found[0].append(nearest[each.query, each.target])
        found[1].append(reciprocal[each.query, each.target])
        rows = design.orders[each.one][:, each.query]
        drawn += reciprocal[rows, design.orders[each.two][:, each.target]].sum(1)
    queries = np.stack([np.concatenate(each) for each in found])
    means = resampled_means(queries, clusters.tolist(), design.counts)
    sizes = np.repeat(
        [len(each.columns) for each in design.look_ups],
        [len(each.shared) for each in design.look_ups],
    )
    by_chance = (
        (1 / sizes).mean(),
        np.mean([harmonic_number(size) / size for size in sizes.tolist()]),
    )
    as_good = int((drawn / len(clusters) >= means.value[1] - 1e-9).sum())
    top_1, mrr = (
        (
            float(means.value[row]),
            float(means.low[row]),
            float(means.high[row]),
            float(by_chance[row]),
        )
        for row in range(2)
    )
    p_value = float((1 + as_good) / (1 + len(drawn)))
    return Retrieval(*top_1, *mrr, p_value, len(_shared(design.look_ups)), len(clusters))


def _shared(look_ups: Sequence[LookUp]) -> Int[np.ndarray, " pairs"]:
    """Pairs that are looked up, each once."""
    return np.unique(np.concatenate([each.shared for each in look_ups]))


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
