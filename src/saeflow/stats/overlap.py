"""How much of what two prompts activate is the same: as the study counted it, and calibrated.

The study took the 20 features with the largest values of each prompt (methods/4, section 5.2). Where
fewer are active the lists are filled up with features that are zero, the same ones in both (section
5.6.5); so overlap grew with the number of features that are *not* active.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LOW, MEDIUM, HIGH = "low", "medium", "high"


class PublishedOverlap(NamedTuple):
    """What the study reports of one layer, and how many of its features only fill the lists.

    Attributes
    ----------
    shared, wrong_only, correct_only : numpy.ndarray of int64
        Features of both lists, and of only one, ascending.
    percent : float
        Shared ones in percent of the shorter list.
    amplification : float
        Mean over shared features with a positive value in the correct prompt of the value in the wrong
        one over it; 1 where there is none.
    wrong_fillers, correct_fillers : int
        Features with value 0 in each list.
    shared_fillers : int
        Shared features with value 0 in one of the prompts, at least.
    """

    shared: Int[np.ndarray, " shared"]
    wrong_only: Int[np.ndarray, " wrong"]
    correct_only: Int[np.ndarray, " correct"]
    percent: float
    amplification: float
    wrong_fillers: int
    correct_fillers: int
    shared_fillers: int


class OverlapSummary(NamedTuple):
    """Overlap of all layers, in percent, and how many are of each class."""

    mean: float
    sd: float
    low: int
    medium: int
    high: int


class Similarity(NamedTuple):
    """How alike the features of two prompts are, pair by pair of prompts.

    Attributes
    ----------
    jaccard, weighted_jaccard, cosine : numpy.ndarray of float64, shape (pairs,)
        See `similarity`.
    n_active, other_n_active : numpy.ndarray of int64, shape (pairs,)
        Features that are not 0 in each prompt.
    """

    jaccard: Float[np.ndarray, " pairs"]
    weighted_jaccard: Float[np.ndarray, " pairs"]
    cosine: Float[np.ndarray, " pairs"]
    n_active: Int[np.ndarray, " pairs"]
    other_n_active: Int[np.ndarray, " pairs"]


def top_features(values: Float[np.ndarray, " features"], top: int) -> Int[np.ndarray, " listed"]:
    """Features with the largest values, largest first; of equal ones the lowest numbers.

    Zeros are listed where fewer than `top` are positive, as in the study. Its own tool promises no
    order among equal values; its lists show the lowest numbers.
    """
    return np.argsort(-values.astype(np.float64), kind="stable")[:top]


def published_overlap(
    wrong: Float[np.ndarray, " features"], correct: Float[np.ndarray, " features"], top: int = 20
) -> PublishedOverlap:
    """Overlap of the features of two prompts as the study counts it (methods/4, section 5.2).

    Parameters
    ----------
    wrong, correct : numpy.ndarray of float, shape (features,)
        Values at the last token of the prompt that is answered wrongly (Q&A), and of the other one
        (Simple).
    top : int
        Features per list.
    """
    first, second = top_features(wrong, top), top_features(correct, top)
    shared = np.intersect1d(first, second)
    positive = shared[correct[shared] > 0]
    ratios = wrong[positive].astype(np.float64) / correct[positive].astype(np.float64)
    return PublishedOverlap(
        shared=shared,
        wrong_only=np.setdiff1d(first, second),
        correct_only=np.setdiff1d(second, first),
        percent=100 * len(shared) / max(min(len(first), len(second)), 1),
        amplification=float(ratios.mean()) if len(positive) else 1.0,
        wrong_fillers=int((wrong[first] == 0).sum()),
        correct_fillers=int((correct[second] == 0).sum()),
        shared_fillers=int(((wrong[shared] == 0) | (correct[shared] == 0)).sum()),
    )


def overlap_class(percent: float, low: float = 40.0, high: float = 60.0) -> str:
    """Class of a layer: low below `low` percent, high above `high`, else medium.

    The published counts of classes follow from 40 and 60.
    """
    if percent < low:
        return LOW
    return HIGH if percent > high else MEDIUM


def overlap_summary(
    percents: Float[np.ndarray, " layers"], low: float = 40.0, high: float = 60.0
) -> OverlapSummary:
    """Mean, population standard deviation and number of layers of each class, as published."""
    classes = [overlap_class(float(each), low, high) for each in percents]
    counts = (classes.count(each) for each in (LOW, MEDIUM, HIGH))
    return OverlapSummary(float(percents.mean()), float(percents.std()), *counts)


def similarity(
    first: Float[np.ndarray, "pairs features"], second: Float[np.ndarray, "pairs features"]
) -> Similarity:
    """Compare what is active in two prompts, without a number of features set beforehand.

    A signed feature counts as two, its positive and its negative part, so one that is active in both
    prompts with opposite signs is not shared. Jaccard is the number of shared parts over that of all
    active ones; weighted, the sum over parts of the smaller value over that of the larger; cosine is of
    the signed values. Where one prompt activates nothing all three are 0, and where none of both does
    there is nothing to compare: NaN, which `cluster_means` leaves out and counts.

    Parameters
    ----------
    first, second : numpy.ndarray of float, shape (pairs, features)
        Values at corresponding tokens of both prompts.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    sizes, other_sizes = np.abs(first), np.abs(second)
    active, other_active = sizes > 0, other_sizes > 0
    same = active & other_active & (np.signbit(first) == np.signbit(second))
    shared, n, other_n = same.sum(1), active.sum(1), other_active.sum(1)
    overlap = np.where(same, np.minimum(sizes, other_sizes), 0.0).sum(1)
    total = sizes.sum(1) + other_sizes.sum(1)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    nothing = (n == 0) & (other_n == 0)
    return Similarity(
        _ratio(shared.astype(np.float64), n + other_n - shared, nothing),
        _ratio(overlap, total - overlap, nothing),
        _ratio((first * second).sum(1), lengths, nothing),
        n,
        other_n,
    )


def _ratio(
    part: Float[np.ndarray, " pairs"],
    whole: Float[np.ndarray, " pairs"] | Int[np.ndarray, " pairs"],
    nothing: Bool[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    return np.where(nothing, np.nan, part / np.where(whole > 0, whole, 1))
