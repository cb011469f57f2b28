"""Features searched from prompts as the study does it, and by every score that it tried (methods/5, 6.4).

All of them weigh tokens of the positive prompts against those of the negative ones; where there are no
negative prompts nothing is subtracted. The features that are shown are those that the prompts chose, so
nothing here says whether they fire on other prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csc_array, csr_array

from saeflow.config.scaling_search import Score
from saeflow.errors import SaeflowError
from saeflow.stats.unit_areas import dense_blocks

SCORES: tuple[Score, ...] = get_args(Score)
OF_CORPUS: tuple[Score, ...] = ("global_min_max", "percentile", "z_score")
"""Scores that need what features give on a corpus."""
TOP_SHARE = 0.05
"""Share of a token's features that the rank score counts."""
EPSILON = 1e-8
"""Added to every divisor, so that a constant feature gives 0."""
BINS = 100
"""Of the histograms that percentiles are read from."""


class CorpusStatistics(NamedTuple):
    """What each feature gives on the tokens of a corpus.

    Attributes
    ----------
    minimum, maximum : numpy.ndarray of float64, shape (features,)
        Over all tokens, those on which it is 0 included.
    low, high : numpy.ndarray of float64, shape (features,)
        1st and 99th percentile, from a histogram of `BINS` bins between these.
    mean, deviation : numpy.ndarray of float64, shape (features,)
        Mean and standard deviation (n - 1).
    """

    minimum: Float[np.ndarray, " features"]
    maximum: Float[np.ndarray, " features"]
    low: Float[np.ndarray, " features"]
    high: Float[np.ndarray, " features"]
    mean: Float[np.ndarray, " features"]
    deviation: Float[np.ndarray, " features"]


def published_scores(
    values: csc_array,
    positive: Bool[np.ndarray, " tokens"],
    scores: Sequence[Score] = ("local_min_max", "rank"),
    *,
    corpus: CorpusStatistics | None = None,
    top: int = 0,
) -> dict[Score, Float[np.ndarray, " features"]]:
    """Score every feature by some of the study's scores.

    ``local_min_max``: tokens are scaled by the feature's minimum and maximum over their own side, and
    the means of both sides are subtracted. ``joint_min_max``: by those over both sides.
    ``global_min_max``, ``percentile``, ``z_score``: by the minimum and maximum, the 1st and 99th
    percentile, or the mean and deviation over a corpus. The study clips values to both percentiles but
    goes on with those that are not clipped, so scaled values may be beyond 0 and 1. ``cohens_d``:
    difference of means over the pooled deviation. ``softmax_sum``: softmax over the features of each
    token, summed over tokens. ``rank``: share of tokens of which the feature is among the 5 % largest
    features, 3,276 of 65,536. The study's notes do not tell more of the last three than their names
    (methods/5, 6.4); ``rank`` is read in its source.

    Parameters
    ----------
    values : scipy.sparse.csc_array, shape (tokens, features)
        What the SAE gives on the tokens of all prompts, without those that were put before them.
    positive : numpy.ndarray of bool, shape (tokens,)
        Tokens of positive prompts.
    scores : sequence of str
        Some of `SCORES`.
    corpus : CorpusStatistics, optional
        For `OF_CORPUS`.
    top : int
        How many features are to be listed: the rank score counts as many at least.

    Returns
    -------
    dict of str to numpy.ndarray of float64, shape (features,)
        NaN where a score is not defined, such as ``cohens_d`` without negative tokens. Of features that
        tie at the end of a token's 5 % the study counts any; here those with a lower number come first,
        and a feature that is 0 is never counted.

    Raises
    ------
    SaeflowError
        If there is no positive token, or a score needs a corpus and there is none.
    """
    lacking = [score for score in scores if score in OF_CORPUS] if corpus is None else []
    if lacking:
        raise SaeflowError(
            f"The score {lacking[0]} needs what features give on a corpus; expected one, or a score "
            f"other than {', '.join(OF_CORPUS)}."
        )
    if not positive.any():
        raise SaeflowError("No token is of a positive prompt; expected one at least.")
    found: dict[Score, Float[np.ndarray, " features"]] = {}
    by_feature = [score for score in scores if score not in ("rank", "softmax_sum")]
    for score in by_feature:
        found[score] = np.zeros(values.shape[1])
    # All features, for one that is silent here may have a mean of its own on the corpus.
    every = np.arange(values.shape[1]) if by_feature else np.arange(0)
    for chosen, block in dense_blocks(values, every):
        part = None if corpus is None else CorpusStatistics(*(each[chosen] for each in corpus))
        sides = _Sides(block[positive].astype(np.float64), block[~positive].astype(np.float64))
        for score in by_feature:
            found[score][every[chosen]] = _BY_FEATURE[score](sides, part)
    rows = csr_array(values)
    if "rank" in scores:
        found["rank"] = _difference(_shares_among_top(rows, positive, top))
    if "softmax_sum" in scores:
        found["softmax_sum"] = _difference(_softmax_sums(rows, positive))
    return {score: found[score] for score in scores}


def top_features(scores: Float[np.ndarray, " features"], top: int) -> Int[np.ndarray, " top"]:
    """Features with the largest scores; of equal ones those with a lower number; none that is NaN."""
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    found: Int[np.ndarray, " top"] = order[: min(top, int((~np.isnan(scores)).sum()))]
    return found


def position(scores: Float[np.ndarray, " features"], feature: int) -> int | None:
    """Place of a feature among all, from 1: how many have a larger score, and itself; None if NaN."""
    if np.isnan(scores[feature]):
        return None
    return 1 + int((scores > scores[feature]).sum())


def corpus_statistics(read: Callable[[], Iterable[csc_array]]) -> CorpusStatistics:
    """Gather what features give on a corpus, in two passes; memory does not grow with its length.

    Parameters
    ----------
    read : callable
        Gives batches of tokens by features, the same ones each time it is called. The histograms of
        65,536 features take 52 MB.

    Raises
    ------
    SaeflowError
        If there are fewer than two tokens.
    """
    n_tokens, extremes, moments = 0, np.zeros((2, 0)), np.zeros((2, 0))
    for batch in read():
        ends = np.stack([batch.min(axis=0).toarray(), batch.max(axis=0).toarray()])
        sums = np.stack([batch.sum(axis=0), batch.power(2).sum(axis=0)]).astype(np.float64)
        if not n_tokens:
            extremes, moments = ends, np.zeros_like(sums)
        extremes = np.stack([np.minimum(extremes[0], ends[0]), np.maximum(extremes[1], ends[1])])
        moments += sums
        n_tokens += batch.shape[0]
    if n_tokens < 2:
        raise SaeflowError(f"The corpus has {n_tokens} tokens; expected two at least.")
    minimum, maximum = extremes.astype(np.float64)
    counts = np.zeros((len(minimum), BINS), np.int64)
    for batch in read():
        counts += _binned(batch, minimum, maximum)
    mean = moments[0] / n_tokens
    variance = np.maximum(moments[1] / n_tokens - mean**2, 0) * n_tokens / (n_tokens - 1)
    low, high = (_percentile(counts, share, minimum, maximum) for share in (0.01, 0.99))
    return CorpusStatistics(minimum, maximum, low, high, mean, np.sqrt(variance))


class _Sides(NamedTuple):
    """Tokens of both sides by some features; there may be no negative ones."""

    positive: Float[np.ndarray, "positive features"]
    negative: Float[np.ndarray, "negative features"]

    @property
    def difference(self) -> Float[np.ndarray, " features"]:
        return _difference(
            [each.mean(0) if len(each) else np.zeros(each.shape[1]) for each in self]
        )


_Scored = Float[np.ndarray, " features"]


def _difference(sides: Sequence[Float[np.ndarray, " features"]]) -> _Scored:
    difference: _Scored = sides[0] - sides[1]
    return difference


def _scaled_means(
    sides: _Sides, low: Float[np.ndarray, " features"], high: Float[np.ndarray, " features"]
) -> _Scored:
    return _Sides(*((each - low) / (high - low + EPSILON) for each in sides)).difference


def _local(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    means = []
    for side in sides:
        if not len(side):
            means.append(np.zeros(side.shape[1]))
            continue
        low, high = side.min(0), side.max(0)
        means.append(((side - low) / (high - low + EPSILON)).mean(0))
    return _difference(means)


def _joint(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    both = np.concatenate(sides)
    return _scaled_means(sides, both.min(0), both.max(0))


def _global(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    assert corpus is not None
    return _scaled_means(sides, corpus.minimum, corpus.maximum)


def _percentiles(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    # The study's clipped values are thrown away; so nothing is clipped.
    assert corpus is not None
    return _scaled_means(sides, corpus.low, corpus.high)


def _z_score(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    assert corpus is not None
    return _Sides(
        *((each - corpus.mean) / (corpus.deviation + EPSILON) for each in sides)
    ).difference


def _cohens_d(sides: _Sides, corpus: CorpusStatistics | None) -> _Scored:
    counts = [len(each) for each in sides]
    if min(counts) < 2:
        return np.full(sides.positive.shape[1], np.nan)
    squares = sum(
        each.var(0, ddof=1) * (count - 1) for each, count in zip(sides, counts, strict=True)
    )
    found: _Scored = sides.difference / (np.sqrt(squares / (sum(counts) - 2)) + EPSILON)
    return found


_BY_FEATURE: dict[Score, Callable[[_Sides, CorpusStatistics | None], _Scored]] = {
    "local_min_max": _local,
    "joint_min_max": _joint,
    "global_min_max": _global,
    "percentile": _percentiles,
    "z_score": _z_score,
    "cohens_d": _cohens_d,
}


def _shares_among_top(
    rows: csr_array, positive: Bool[np.ndarray, " tokens"], top: int
) -> list[_Scored]:
    count = max(int(rows.shape[1] * TOP_SHARE), 1, top)
    counted = np.zeros((2, rows.shape[1]))
    for token, side in enumerate((~positive).astype(int)):
        own = slice(rows.indptr[token], rows.indptr[token + 1])
        features, values = rows.indices[own], rows.data[own]
        features, values = features[values > 0], values[values > 0]
        if len(features) > count:
            features = features[np.lexsort((features, -values))[:count]]
        counted[side, features] += 1
    sizes = np.maximum([positive.sum(), (~positive).sum()], 1)
    return list(counted / sizes[:, None])


def _softmax_sums(rows: csr_array, positive: Bool[np.ndarray, " tokens"]) -> list[_Scored]:
    silent, summed = np.zeros(2), np.zeros((2, rows.shape[1]))
    for token, side in enumerate((~positive).astype(int)):
        own = slice(rows.indptr[token], rows.indptr[token + 1])
        values = rows.data[own].astype(np.float64)
        largest = values.max(initial=0.0)
        zero = np.exp(-largest)
        powers = np.exp(values - largest)
        total = powers.sum() + (rows.shape[1] - len(values)) * zero
        silent[side] += zero / total
        summed[side, rows.indices[own]] += (powers - zero) / total
    return list(summed + silent[:, None])


def _binned(
    batch: csc_array,
    minimum: Float[np.ndarray, " features"],
    maximum: Float[np.ndarray, " features"],
) -> Int[np.ndarray, "features bins"]:
    stored = np.diff(batch.indptr)
    feature = np.repeat(np.arange(len(minimum)), stored)
    counts = np.bincount(
        feature * BINS + _bin_of(batch.data, minimum[feature], maximum[feature]),
        minlength=len(minimum) * BINS,
    ).reshape(-1, BINS)
    zero = _bin_of(np.zeros(len(minimum)), minimum, maximum)
    counts[np.arange(len(minimum)), zero] += batch.shape[0] - stored
    return counts


def _bin_of(
    values: Float[np.ndarray, " some"],
    minimum: Float[np.ndarray, " some"],
    maximum: Float[np.ndarray, " some"],
) -> Int[np.ndarray, " some"]:
    width = np.where(maximum > minimum, maximum - minimum, 1.0)
    place = np.floor((values - minimum) / width * BINS)
    found: Int[np.ndarray, " some"] = np.clip(place, 0, BINS - 1).astype(np.int64)
    return found


def _percentile(
    counts: Int[np.ndarray, "features bins"],
    share: float,
    minimum: Float[np.ndarray, " features"],
    maximum: Float[np.ndarray, " features"],
) -> Float[np.ndarray, " features"]:
    """Lower end of the bin in which the share is reached."""
    reached = np.cumsum(counts, axis=1) >= share * counts.sum(1, keepdims=True)
    found: Float[np.ndarray, " features"] = minimum + reached.argmax(1) * (maximum - minimum) / BINS
    return found
