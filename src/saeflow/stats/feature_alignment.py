"""Which features of two models go together on texts that both read, each number beside its chance.

Tokenizers differ, so models meet at texts: row i of both matrices is text i, a column is a feature.
What is chosen is chosen on one half of the texts and reported on the other. Chance is what is left when
texts of the second model are exchanged, whole clusters at a time (design, section 8). What two models
share as a whole is in `saeflow.stats.shared_subspaces`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.errors import SaeflowError
from saeflow.stats.matching import Matches, best_matching, correlations
from saeflow.stats.text_clusters import (
    NullTest,
    TextClusters,
    against_exchanges,
    at_least,
    null_test,
)

Rule = Literal["nearest", "mutual", "one_to_one"]
RULES: tuple[Rule, ...] = get_args(Rule)
"""nearest: of each feature of the first model, the one that correlates most; mutual: those pairs that
are nearest in both directions; one_to_one: the pairing with the largest sum (Hungarian)."""
BLOCK = 1024
"""Features of the first model whose correlations are held at a time, where not all are needed."""


class HeldOutPairs(NamedTuple):
    """Pairs chosen on one half of the texts, and their correlations on the other.

    Attributes
    ----------
    first, second : numpy.ndarray of int64, shape (pairs,)
        Columns that were paired; of directions, their ranks.
    chosen : numpy.ndarray of float64, shape (pairs,)
        Correlation on the texts that the pairs were chosen on: too large, shown for comparison.
    held_out : numpy.ndarray of float64, shape (pairs,)
        Correlation on the other texts; 0 where one does not vary there.
    p_value : numpy.ndarray of float64, shape (pairs,)
        Of each pair by itself, one-sided, not adjusted for their number.
    mean : NullTest
        Mean of `held_out`; NaN with p-value 1 if there is no pair.
    """

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    chosen: Float[np.ndarray, " pairs"]
    held_out: Float[np.ndarray, " pairs"]
    p_value: Float[np.ndarray, " pairs"]
    mean: NullTest


def choose_partners(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    rule: Rule,
) -> Matches:
    """Pair features of two models by their correlation on the given texts.

    Features that do not vary have no partner, nor has one whose best correlation is not above 0. Of
    4,096 × 4,096 features on 350 texts a rule takes about half a second on one core; ``one_to_one``
    takes twice that, and holds 8 bytes per pair of features (134 MB), the others those of `BLOCK`
    features.

    Parameters
    ----------
    first, second : numpy.ndarray of float, shape (texts, features), (texts, others)
        The same texts.
    rule : {"nearest", "mutual", "one_to_one"}
        See `RULES`.

    Returns
    -------
    Matches
        With their correlations on these texts, which are too large: the partners were chosen by them.

    Raises
    ------
    SaeflowError
        If the matrices do not fit each other or hold NaN.
    """
    check_shared(first, second)
    ours, theirs = (np.flatnonzero(np.ptp(each, axis=0) > 0) for each in (first, second))
    if not len(ours) or not len(theirs):
        none = np.zeros(0, np.int64)
        return Matches(none, none, np.zeros(0))
    if rule == "one_to_one":
        found = best_matching(correlations(first[:, ours], second[:, theirs]))
    else:
        found, back = _nearest(standardised(first[:, ours]), standardised(second[:, theirs]))
        if rule == "mutual":
            found = _kept(found, back[found.second] == found.first)
    found = _kept(found, found.similarity > 0)
    return Matches(ours[found.first], theirs[found.second], found.similarity)


def held_out_partners(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    rule: Rule,
    *,
    clusters: TextClusters,
    half: Bool[np.ndarray, " texts"],
    generator: np.random.Generator,
    permutations: int = 999,
) -> HeldOutPairs:
    """Choose partners on one half of the texts and test how they correlate on the other.

    The null exchanges texts of the second model in the other half and keeps the partners, so it asks
    whether *these* pairs go together, and costs little: 999 permutations of 4,096 pairs and 350
    texts take about 8 s on one core.

    Parameters
    ----------
    first, second : numpy.ndarray of float, shape (texts, features), (texts, others)
        The same texts.
    rule : {"nearest", "mutual", "one_to_one"}
        See `RULES`.
    clusters : TextClusters
        Of all these texts.
    half : numpy.ndarray of bool, shape (texts,)
        Texts that partners are chosen on, such as `TextClusters.half` draws them.
    generator : numpy.random.Generator
        Draws the permutations.
    permutations : int
        How many.

    Raises
    ------
    SaeflowError
        If the matrices do not fit each other or hold NaN, a half has fewer than 3 texts or cuts a
        cluster, or no two clusters of the other half can be exchanged.
    """
    check_shared(first, second, clusters)
    check_half(half, clusters)
    found = choose_partners(first[half], second[half], rule)
    pairs = (first[~half][:, found.first], second[~half][:, found.second])
    return held_out_pairs(found, *pairs, clusters.select(~half), generator, permutations)


def neighbours_again(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "texts others"],
    *,
    clusters: TextClusters,
    half: Bool[np.ndarray, " texts"],
    generator: np.random.Generator,
    permutations: int = 39,
) -> NullTest:
    """Share of mutual nearest neighbours of one half of the texts that are such on the other, too.

    Their number by itself says nothing: of n × n features that share nothing, about a half of n are
    nearest in both directions. Each permutation correlates all features anew: about half a second
    for 4,096 × 4,096 on one core, hence few by default.

    Parameters
    ----------
    first, second, clusters, half, generator, permutations
        As for `held_out_partners`, which also raises what this does.

    Returns
    -------
    NullTest
        NaN with p-value 1 where there are no mutual nearest neighbours.
    """
    check_shared(first, second, clusters)
    check_half(half, clusters)
    found = choose_partners(first[half], second[half], "mutual")
    if not len(found.first):
        return null_test(np.nan, np.zeros(permutations))
    x, y = standardised(first[~half]), standardised(second[~half])

    def share(order: Int[np.ndarray, " texts"]) -> float:
        nearest, back = _nearest(x, y[order])
        again = (nearest.second[found.first] == found.second) & (back[found.second] == found.first)
        return float((again & (nearest.similarity[found.first] > 0)).mean())

    return against_exchanges(share, clusters.select(~half), generator, permutations)


def held_out_pairs(
    found: Matches,
    first: Float[np.ndarray, "texts pairs"],
    second: Float[np.ndarray, "texts pairs"],
    clusters: TextClusters,
    generator: np.random.Generator,
    permutations: int,
) -> HeldOutPairs:
    """Correlate partners on texts that had no say in their choice, and on exchanged ones.

    Parameters
    ----------
    found : Matches
        The partners, with their correlations where they were chosen.
    first, second : numpy.ndarray of float, shape (texts, pairs)
        Partner beside partner.
    clusters : TextClusters
        Of these texts.
    generator : numpy.random.Generator
        Draws the permutations.
    permutations : int
        How many; no correlations of different permutations are held at once.
    """
    x, y = standardised(first), standardised(second)
    value = np.einsum("tp,tp->p", x, y)
    reached = np.zeros(len(value), np.int64)
    means = np.full(permutations, np.nan)
    for number in range(permutations if len(value) else 0):
        drawn = np.einsum("tp,tp->p", x, y[clusters.exchange(generator)])
        reached += at_least(drawn, value)
        means[number] = drawn.mean()
    mean = null_test(float(value.mean()) if len(value) else np.nan, means)
    p_value = (1 + reached) / (1 + permutations)
    return HeldOutPairs(found.first, found.second, found.similarity, value, p_value, mean)


def standardised(values: Float[np.ndarray, "texts columns"]) -> Float[np.ndarray, "texts columns"]:
    """Centred columns of length 1, so that products are correlations; 0 for one that does not vary."""
    varies = np.ptp(values, axis=0) > 0 if len(values) else np.zeros(values.shape[1], dtype=bool)
    wide = values.astype(np.float64)
    # A column of equal values leaves rounding errors behind, which would correlate at random.
    centred = np.where(varies, wide - wide.mean(0), 0.0)
    lengths = np.linalg.norm(centred, axis=0)
    scaled: Float[np.ndarray, "texts columns"] = centred / np.where(lengths > 0, lengths, 1.0)
    return scaled


def check_shared(
    first: Float[np.ndarray, "texts features"],
    second: Float[np.ndarray, "others more"],
    clusters: TextClusters | None = None,
) -> None:
    """Refuse matrices of different texts, and values that are no numbers."""
    counts = {len(first), len(second), len(first if clusters is None else clusters)}
    if len(counts) > 1 or min(counts) < 2:
        named = "" if clusters is None else f" and {len(clusters)} have clusters"
        raise SaeflowError(
            f"the models have {len(first)} and {len(second)} texts{named}; expected the same texts, "
            "2 at least."
        )
    for name, values in (("first", first), ("second", second)):
        if not np.isfinite(values).all():
            text, feature = np.argwhere(~np.isfinite(values))[0]
            raise SaeflowError(
                f"feature {feature} of the {name} model is {values[text, feature]} on text {text}; "
                "expected finite numbers."
            )


def check_half(half: Bool[np.ndarray, " texts"], clusters: TextClusters) -> None:
    """Refuse a half with too few texts to correlate, or that shares a cluster with the other."""
    if min(half.sum(), (~half).sum()) < 3:
        raise SaeflowError(
            f"{half.sum()} of {len(half)} texts are to choose on, {(~half).sum()} to report on; "
            "expected 3 of each at least."
        )
    if cut := clusters.cut(half):
        raise SaeflowError(
            f"cluster {cut[0]!r} has texts in both halves; expected halves of whole clusters, as "
            "TextClusters.half draws them."
        )


def _nearest(
    x: Float[np.ndarray, "texts features"], y: Float[np.ndarray, "texts others"]
) -> tuple[Matches, Int[np.ndarray, " others"]]:
    """Nearest of each standardised column of `x`, and of each of `y`; of equal ones the first."""
    nearest, similarity = np.zeros(x.shape[1], np.int64), np.zeros(x.shape[1])
    back, best = np.zeros(y.shape[1], np.int64), np.full(y.shape[1], -np.inf)
    places = np.arange(y.shape[1])
    for start in range(0, x.shape[1], BLOCK):
        some = slice(start, min(start + BLOCK, x.shape[1]))
        found = x[:, some].T @ y
        nearest[some] = found.argmax(1)
        similarity[some] = found[np.arange(len(found)), nearest[some]]
        rows = found.argmax(0)
        better = found[rows, places] > best
        back[better], best[better] = rows[better] + start, found[rows, places][better]
    return Matches(np.arange(x.shape[1]), nearest, similarity), back


def _kept(found: Matches, chosen: Bool[np.ndarray, " matches"]) -> Matches:
    return Matches(found.first[chosen], found.second[chosen], found.similarity[chosen])
