"""Which features are selective for a class of texts: as the study found them, and calibrated.

The study takes the five features with the largest value inside a class, counts texts above a fixed
threshold, and scores a feature on the texts that it was picked on (methods/3, section 4.4), so a score of
1 of 33 texts makes a specialist. Calibrated, a feature's rank in the class is its measure, chosen on one
half of the pairs of texts and read on the other. `selectivity_null` says what chance gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.stats import rankdata

from saeflow.errors import SaeflowError

THRESHOLD = 5.0
"""Value above which a text counts, at every layer of every model (methods/3, section 4.4)."""
CANDIDATES = 5
CHUNK = 2048
"""Features that are ranked at a time."""


class Leaders(NamedTuple):
    """The study's first three criteria.

    Attributes
    ----------
    strongest, frequent, selective : int
        Feature with the largest value; with a value above 0 on the most texts; and with one above the
        threshold on the fewest, but on some. Of equal ones the lowest number. The last is -1 where no
        value is above the threshold.
    maximum : float
        Largest value.
    n_active, n_above : int
        Texts on which `frequent` is above 0, and on which `selective` is above the threshold.
    """

    strongest: int
    frequent: int
    selective: int
    maximum: float
    n_active: int
    n_above: int


class Specialist(NamedTuple):
    """The study's specialist of one class.

    Attributes
    ----------
    feature : int
        -1 where all candidates score -1 or less.
    score : int
        Texts above the threshold inside the class less those outside; -1 where there is no feature.
    inside, outside : int
        These counts; 0 where there is no feature.
    found : bool
        Whether the score is above 0, so that the study calls the feature a specialist.
    candidates : numpy.ndarray of int64, shape (candidates,)
        Features with the largest values inside the class, largest first.
    """

    feature: int
    score: int
    inside: int
    outside: int
    found: bool
    candidates: Int[np.ndarray, " candidates"]


class NestedScores(NamedTuple):
    """Features chosen on half A of each split and scored on half B.

    Attributes
    ----------
    feature : numpy.ndarray of int64, shape (splits, classes)
        With the largest area on half A; of equal ones that with the largest d', then the lowest number.
    chosen_auroc : numpy.ndarray of float64, shape (splits, classes)
        On half A, where it was chosen: too high, and shown only beside the next.
    auroc, d_prime : numpy.ndarray of float64, shape (splits, classes)
        On half B.
    """

    feature: Int[np.ndarray, "splits classes"]
    chosen_auroc: Float[np.ndarray, "splits classes"]
    auroc: Float[np.ndarray, "splits classes"]
    d_prime: Float[np.ndarray, "splits classes"]


def published_leaders(
    values: Num[np.ndarray, "texts features"], threshold: float = THRESHOLD
) -> Leaders:
    """Strongest, most frequent and most selective feature of a set of texts (methods/3, 4.4)."""
    largest = values.max(0)
    active, above = (values > 0).sum(0), (values > threshold).sum(0)
    strongest, frequent = int(largest.argmax()), int(active.argmax())
    selective = int(np.where(above > 0, above, len(values) + 1).argmin()) if above.any() else -1
    n_above = int(above[selective]) if selective >= 0 else 0
    return Leaders(
        strongest, frequent, selective, float(largest[strongest]), int(active[frequent]), n_above
    )


def specialist_scores(
    values: Num[np.ndarray, "texts features"],
    inside: Bool[np.ndarray, " texts"],
    outside: Bool[np.ndarray, " texts"],
    threshold: float = THRESHOLD,
) -> Int[np.ndarray, " features"]:
    """Texts inside a class above the threshold less those outside, for every feature.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Of whole texts.
    inside, outside : numpy.ndarray of bool, shape (texts,)
        Texts of the class and those that it is contrasted with; texts of neither take no part.
    threshold : float
        Texts with exactly this value do not count.
    """
    require_both(inside, outside)
    scores: Int[np.ndarray, " features"] = (values[inside] > threshold).sum(0) - (
        values[outside] > threshold
    ).sum(0)
    return scores


def published_specialist(
    values: Num[np.ndarray, "texts features"],
    inside: Bool[np.ndarray, " texts"],
    outside: Bool[np.ndarray, " texts"],
    *,
    threshold: float = THRESHOLD,
    candidates: int = CANDIDATES,
) -> Specialist:
    """Specialist of a class as the study finds it, bug for bug (methods/3, section 4.4).

    Of equal maxima the lowest number comes first, and of equal scores the first candidate wins.
    Parameters are those of `specialist_scores`, and how many candidates are scored.
    """
    require_both(inside, outside)
    largest = values[inside].max(0)
    listed = np.argsort(-largest.astype(np.float64), kind="stable")[:candidates]
    within = (values[np.ix_(inside, listed)] > threshold).sum(0)
    without = (values[np.ix_(outside, listed)] > threshold).sum(0)
    score, place = -1, -1
    for number, each in enumerate(within - without):
        if each > score:
            score, place = int(each), number
    if place < 0:
        return Specialist(-1, -1, 0, 0, False, listed)
    counts = int(within[place]), int(without[place])
    return Specialist(int(listed[place]), score, *counts, score > 0, listed)


def doubled_ranks(
    values: Num[np.ndarray, "texts features"],
) -> Iterator[tuple[slice, Float[np.ndarray, "features texts"]]]:
    """Twice the mid-ranks of texts by each feature, a chunk of features at a time.

    They are whole numbers, so that sums of them are exact in float32 for up to 4,095 texts, and the
    same for any number of threads; float64 beyond that.
    """
    dtype = rank_dtype(len(values))
    for start in range(0, values.shape[1], CHUNK):
        chosen = slice(start, min(start + CHUNK, values.shape[1]))
        ranks = rankdata(np.ascontiguousarray(values[:, chosen].T), axis=1)
        yield chosen, (2 * ranks).astype(dtype)


def rank_dtype(n_texts: int) -> type[np.float32] | type[np.float64]:
    """Smallest type of floats in which sums of doubled ranks of so many texts are exact."""
    return np.float32 if n_texts * (n_texts + 1) < 2**24 else np.float64


def class_aurocs(
    values: Num[np.ndarray, "texts features"],
    classes: Int[np.ndarray, " texts"],
    groups: Int[np.ndarray, " texts"] | None = None,
) -> Float[np.ndarray, "features classes"]:
    """Area of every feature for every class, each against the texts of other groups.

    Ranked among all texts a text beats those of its own group as well; its rank within the group says
    how many, so two rankings serve all classes. 700 texts of 25,000 features in 20 classes take about
    4 s, and 50 MB beyond the input and the result.

    Parameters
    ----------
    values : numpy.ndarray, shape (texts, features)
        Finite.
    classes : numpy.ndarray of int, shape (texts,)
        Number of each text's class, such as topic and form; all from 0 to the largest.
    groups : numpy.ndarray of int, shape (texts,), or None
        Such as topics, of which a class is a part: the study leaves other forms of the same topic out
        of the contrast (methods/3, section 4.5 A). None to contrast with all other classes.

    Returns
    -------
    numpy.ndarray of float64, shape (features, classes)

    Raises
    ------
    SaeflowError
        If a class has no texts or is of two groups, all texts are of one group, or a value is not
        finite.
    """
    group_of = groups_of_classes(classes, groups)
    texts_of = classes[:, None] == np.arange(len(group_of))
    own = group_of[classes]
    members = [np.flatnonzero(own == group) for group in np.unique(own)]
    n_inside = texts_of.sum(0).astype(np.float64)
    n_outside = np.array([(own != group).sum() for group in group_of], np.float64)
    require_finite(values)
    found = np.empty((values.shape[1], len(group_of)))
    indicators = texts_of.astype(rank_dtype(len(values)))
    for chosen, ranks in doubled_ranks(values):
        beaten = (ranks @ indicators).astype(np.float64)
        for texts in members:
            within = 2 * rankdata(ranks[:, texts], axis=1)
            beaten -= within @ texts_of[texts].astype(np.float64)
        found[chosen] = beaten / (2 * n_inside * n_outside)
    return found


def d_prime(
    values: Num[np.ndarray, "texts features"],
    inside: Bool[np.ndarray, " texts"],
    outside: Bool[np.ndarray, " texts"],
) -> Float[np.ndarray, " features"]:
    """Difference of means over the root of the mean of both variances (n - 1), for every feature.

    NaN where neither side varies, or either has one text only. Parameters are as of `specialist_scores`.
    """
    require_both(inside, outside)
    found = np.full(values.shape[1], np.nan)
    if min(inside.sum(), outside.sum()) < 2:
        return found
    for start in range(0, len(found), CHUNK):
        part = values[:, start : start + CHUNK].astype(np.float64)
        one, two = part[inside], part[outside]
        # The variance of equal values may differ from 0 in its last bits.
        varies = (np.ptp(one, axis=0) > 0) | (np.ptp(two, axis=0) > 0)
        spread = np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / 2)
        difference = one.mean(0) - two.mean(0)
        np.divide(difference, spread, out=found[start : start + CHUNK], where=varies)
    return found


def nested_scores(
    values: Num[np.ndarray, "texts features"],
    classes: Int[np.ndarray, " texts"],
    splits: Bool[np.ndarray, "splits texts"],
    groups: Int[np.ndarray, " texts"] | None = None,
) -> NestedScores:
    """Choose the best feature of every class on half A and score it on half B, split by split.

    Five splits of 700 texts of 25,000 features in 20 classes take about 3 s and 100 MB.

    Parameters
    ----------
    values, classes, groups : numpy.ndarray
        As of `class_aurocs`.
    splits : numpy.ndarray of bool, shape (splits, texts)
        Texts of half A, such as `saeflow.stats.text_clusters.TextClusters.half` draws them.

    Raises
    ------
    SaeflowError
        If half A or B of a split has no text of some class, or a value is not finite.
    """
    require_finite(values)
    group_of = groups_of_classes(classes, groups)
    own = group_of[classes]
    n_classes = len(group_of)
    feature = np.zeros((len(splits), n_classes), np.int64)
    chosen_auroc, auroc, spread = np.full((3, len(splits), n_classes), np.nan)
    for row, half in enumerate(splits):
        for part, name in ((half, "A"), (~half, "B")):
            absent = np.setdiff1d(np.arange(n_classes), classes[part])
            if len(absent):
                raise SaeflowError(
                    f"Half {name} of split {row} has no text of class {absent[0]}; "
                    "expected texts of every class in both halves."
                )
        areas = class_aurocs(values[half], classes[half], own[half])
        for each in range(n_classes):
            inside, outside = classes == each, own != group_of[each]
            best = best_feature(values, areas[:, each], inside & half, outside & half)
            feature[row, each], chosen_auroc[row, each] = best, areas[best, each]
            one = values[:, best]
            auroc[row, each] = _area(one[inside & ~half], one[outside & ~half])
            spread[row, each] = d_prime(one[:, None], inside & ~half, outside & ~half)[0]
    return NestedScores(feature, chosen_auroc, auroc, spread)


def _area(one: Num[np.ndarray, " inside"], two: Num[np.ndarray, " outside"]) -> float:
    """`class_aurocs` of one feature and class, without ranks."""
    two = np.sort(two)
    beaten = np.searchsorted(two, one, "left").sum() + np.searchsorted(two, one, "right").sum()
    return float(beaten / (2 * len(one) * len(two)))


def best_feature(
    values: Num[np.ndarray, "texts features"],
    areas: Float[np.ndarray, " features"],
    inside: Bool[np.ndarray, " texts"],
    outside: Bool[np.ndarray, " texts"],
) -> int:
    """Feature with the largest area; many separate a small class wholly, so then d' decides."""
    tied = np.flatnonzero(areas >= areas.max() - 1e-12)
    if len(tied) == 1:
        return int(tied[0])
    spread = d_prime(values[:, tied], inside, outside)
    return int(tied[np.where(np.isnan(spread), -np.inf, spread).argmax()])


def groups_of_classes(
    classes: Int[np.ndarray, " texts"], groups: Int[np.ndarray, " texts"] | None
) -> Int[np.ndarray, " classes"]:
    """Group of each class, after checking that there is something to contrast."""
    found, first = np.unique(classes, return_index=True)
    if not np.array_equal(found, np.arange(len(found))) or not len(found):
        raise SaeflowError(
            f"Classes of texts are numbered {found.tolist()}; expected all numbers from 0."
        )
    groups = classes if groups is None else groups
    group_of: Int[np.ndarray, " classes"] = groups[first]
    mixed = np.flatnonzero(group_of[classes] != groups)
    if len(mixed):
        raise SaeflowError(
            f"Class {classes[mixed[0]]} has texts of two groups; expected each class in one."
        )
    if len(np.unique(group_of)) < 2:
        raise SaeflowError("All texts are of one group; expected two or more to contrast.")
    return group_of


def require_both(inside: Bool[np.ndarray, " texts"], outside: Bool[np.ndarray, " texts"]) -> None:
    """Raise SaeflowError where a class or its contrast has no texts, or one text is of both."""
    if not inside.any() or not outside.any() or (inside & outside).any():
        raise SaeflowError(
            f"{inside.sum()} texts are inside a class, {outside.sum()} outside and "
            f"{(inside & outside).sum()} both; expected some of each and none of both."
        )


def require_finite(values: Num[np.ndarray, "texts features"]) -> None:
    """Raise SaeflowError where a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise SaeflowError("Some values of features are not finite; expected finite numbers.")
