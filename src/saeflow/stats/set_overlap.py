"""Overlap of the top features of two classes of texts, beside its ceiling and its floor.

Two random halves of one class do not have the same top features either, and two random sets share some, so
a Jaccard index by itself says little (methods/3, section 4.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Num
from scipy.stats import hypergeom

from saeflow.errors import SaeflowError
from saeflow.stats.selectivity import THRESHOLD, specialist_scores


class OverlapBesideCeiling(NamedTuple):
    """Jaccard index of the top features of two classes, and what it can be at most and by chance.

    Attributes
    ----------
    between, ceiling : float
        Means over splits, of sets of one half of the pairs of texts against sets of the other half: of
        the two classes, and of each class with itself. NaN where no set has a feature.
    relative : float
        `between` over `ceiling`: 1 where two classes are as alike as two halves of one. NaN where the
        ceiling is 0 or NaN.
    floor : float
        Expected of two random sets of the sizes of those of all texts; NaN where they are empty.
    splits : int
        Splits averaged.
    """

    between: float
    ceiling: float
    relative: float
    floor: float
    splits: int


def jaccard(first: Int[np.ndarray, " first"], second: Int[np.ndarray, " second"]) -> float:
    """Members of both sets over members of either; NaN where both are empty."""
    # Lists are short, where Python's sets are faster than sorting arrays.
    one, two = set(first.tolist()), set(second.tolist())
    either = len(one | two)
    return len(one & two) / either if either else float("nan")


def top_by_mean(
    means: Num[np.ndarray, " features"], top: int = 20, *, active_only: bool = False
) -> Int[np.ndarray, " listed"]:
    """Features with the largest means over the texts of a class, largest first (methods/3, 4.5 B).

    Parameters
    ----------
    means : numpy.ndarray, shape (features,)
        Mean value of each feature; of equal ones the lowest number comes first.
    top : int
        Features listed.
    active_only : bool
        Whether to list only means above 0. The study does not, so where fewer features are active the
        lowest numbers fill its lists, the same ones in all of them.
    """
    listed = np.argsort(-means.astype(np.float64), kind="stable")[:top]
    return listed[means[listed] > 0] if active_only else listed


def top_specialists(
    values: Num[np.ndarray, "texts features"],
    inside: Bool[np.ndarray, " texts"],
    outside: Bool[np.ndarray, " texts"],
    *,
    threshold: float = THRESHOLD,
    top: int = 5,
) -> Int[np.ndarray, " listed"]:
    """Features with the highest specialist scores, for the study's overlap of top-5 sets.

    How the study made these sets cannot be read (methods/3, section 4.5 B), so this is our reading: by
    score, then by largest value inside, then by number; features that score 0 or less are not listed.
    Parameters are those of `saeflow.stats.selectivity.specialist_scores`.
    """
    scores = specialist_scores(values, inside, outside, threshold)
    largest = values[inside].max(0).astype(np.float64)
    order = np.lexsort((np.arange(len(scores)), -largest, -scores))[:top]
    listed: Int[np.ndarray, " listed"] = order[scores[order] > 0]
    return listed


def expected_jaccard(pool: int, first: int, second: int) -> float:
    """Mean Jaccard index of two random sets, exact by the hypergeometric distribution.

    Parameters
    ----------
    pool : int
        Features that sets are drawn from, such as those active on any text.
    first, second : int
        Sizes of the sets.

    Raises
    ------
    SaeflowError
        If a set is larger than the pool.
    """
    if max(first, second) > pool:
        raise SaeflowError(
            f"Sets of {first} and {second} features are drawn from {pool}; expected at least as many."
        )
    if not first and not second:
        return float("nan")
    shared = np.arange(min(first, second) + 1)
    masses = hypergeom.pmf(shared, pool, first, second)
    return float((masses * shared / (first + second - shared)).sum())


def overlap_beside_ceiling(
    first: Num[np.ndarray, "first_texts features"],
    second: Num[np.ndarray, "second_texts features"],
    first_pairs: Int[np.ndarray, " first_texts"],
    second_pairs: Int[np.ndarray, " second_texts"],
    generator: np.random.Generator,
    *,
    top: int = 20,
    pool: int | None = None,
    splits: int = 20,
) -> OverlapBesideCeiling:
    """Compare the top features of two classes with those of halves of each.

    Sets of a half are noisier than those of a whole class, so the two classes are compared by halves,
    too, and never on the same pairs of texts: as the ceiling is. Sets hold active features only. Two
    classes of 35 texts of 25,000 features take 0.3 s for 20 splits, and 10 MB.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (texts, features)
        Values of the texts of each class.
    first_pairs, second_pairs : numpy.ndarray of int, shape (texts,)
        Pair of each text; both forms of a pair are in the same half.
    generator : numpy.random.Generator
        Draws the splits.
    top : int
        Features in a set.
    pool : int or None
        Features that random sets are drawn from; None for those with a mean above 0 in either class.
    splits : int
        How many to average.

    Raises
    ------
    SaeflowError
        If a class is of fewer than two pairs, or the pool smaller than a set.
    """
    names = np.union1d(first_pairs, second_pairs)
    sides = [(first, first_pairs), (second, second_pairs)]
    for _, pairs in sides:
        if len(np.unique(pairs)) < 2:
            raise SaeflowError("A class has texts of one pair only; expected two or more to halve.")
    means = [values.mean(0, dtype=np.float64) for values, _ in sides]
    whole = [top_by_mean(each, top, active_only=True) for each in means]
    pool = int(((means[0] > 0) | (means[1] > 0)).sum()) if pool is None else pool
    members = [np.isin(names, pairs) for _, pairs in sides]
    between, within = [], []
    for _ in range(splits):
        half = _half_with_both(names, members, generator)
        chosen = [np.isin(pairs, half) for _, pairs in sides]
        sets = [
            [_top_of(values, part, top) for part in (own, ~own)]
            for (values, _), own in zip(sides, chosen, strict=True)
        ]
        between += [jaccard(sets[0][0], sets[1][1]), jaccard(sets[0][1], sets[1][0])]
        within += [jaccard(*each) for each in sets]
    across, ceiling = _mean(between), _mean(within)
    return OverlapBesideCeiling(
        across,
        ceiling,
        across / ceiling if ceiling > 0 else float("nan"),
        expected_jaccard(pool, len(whole[0]), len(whole[1])),
        splits,
    )


def _top_of(
    values: Num[np.ndarray, "texts features"], chosen: Bool[np.ndarray, " texts"], top: int
) -> Int[np.ndarray, " listed"]:
    return top_by_mean(values[chosen].mean(0, dtype=np.float64), top, active_only=True)


def _half_with_both(
    names: Int[np.ndarray, " pairs"],
    members: Sequence[Bool[np.ndarray, " pairs"]],
    generator: np.random.Generator,
) -> Int[np.ndarray, " half"]:
    """Random half of the pairs: of those of both classes, of only the first, and of only the second."""
    in_first, in_second = members
    larger = int(generator.integers(2))
    both = generator.permutation(names[in_first & in_second])
    half = [both[: (len(both) + larger) // 2]]
    # An odd one goes to the other side next, so that no class has all its pairs in one half.
    larger ^= len(both) % 2
    for part in (in_first & ~in_second, in_second & ~in_first):
        some = generator.permutation(names[part])
        half.append(some[: (len(some) + larger) // 2])
    return np.concatenate(half)


def _mean(values: list[float]) -> float:
    some = [each for each in values if not np.isnan(each)]
    return float(np.mean(some)) if some else float("nan")
