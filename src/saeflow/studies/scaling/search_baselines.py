"""What tells positive from negative prompts without any SAE: a direction, words, and length.

All are fitted on half A and read on half B, as features are chosen on A and read on B.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csc_array

from saeflow.config.scaling_search import Level
from saeflow.stats.effects import log_odds_ratio
from saeflow.stats.lexical import words
from saeflow.studies.scaling.prompt_reading import Observations, PromptReading, observations

DIRECTION, WORDS, LENGTH = "difference_of_means", "words", "length"
BASELINES = (DIRECTION, WORDS, LENGTH)


def baseline_observations(
    reading: PromptReading,
    prompts: Sequence[str],
    positive: Bool[np.ndarray, " prompts"],
    half_a: Bool[np.ndarray, " prompts"],
    level: Level,
) -> Iterator[tuple[str, Observations]]:
    """One number for each prompt, token or word, large where a baseline says that it is positive.

    Parameters
    ----------
    reading : PromptReading
        Of the prompts.
    prompts : sequence of str
        The prompts.
    positive, half_a : numpy.ndarray of bool, shape (prompts,)
        Their sides, and those that the baselines are fitted on.
    level : {"document_max", "document_mean", "token"}
        ``difference_of_means`` is pooled as features are; ``words`` are added up for a prompt, and
        ranked one by one where tokens are; ``length`` has a number for a prompt at all levels.

    Yields
    ------
    name : str
        Of `BASELINES`.
    observations : Observations
        Of all prompts, with a single feature.
    """
    projected = _column(reading.activations @ difference_of_means(reading, positive, half_a))
    yield DIRECTION, observations(projected, reading.prompt, level)
    weights = word_weights(prompts, positive, half_a)
    yield WORDS, _by_words(prompts, weights, level)
    n_tokens = reading.n_tokens.astype(np.float64)
    # The side that is longer on half A may be either.
    longer = np.median(n_tokens[positive & half_a]) >= np.median(n_tokens[~positive & half_a])
    yield LENGTH, _each_prompt(n_tokens if longer else -n_tokens)


def difference_of_means(
    reading: PromptReading,
    positive: Bool[np.ndarray, " prompts"],
    half_a: Bool[np.ndarray, " prompts"],
) -> Float[np.ndarray, " d_in"]:
    """Mean activation of the positive prompts of half A less that of the negative ones.

    Each prompt counts once, whatever its length.
    """
    sizes = reading.n_tokens
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(reading.activations.astype(np.float64), starts)
    means = sums / sizes[:, None]
    found: Float[np.ndarray, " d_in"] = means[positive & half_a].mean(0) - means[
        ~positive & half_a
    ].mean(0)
    return found


def word_weights(
    prompts: Sequence[str],
    positive: Bool[np.ndarray, " prompts"],
    half_a: Bool[np.ndarray, " prompts"],
) -> dict[str, float]:
    """Log odds of every word of half A: how much more often positive prompts hold it."""
    held = [set(words(prompt)) for prompt in prompts]
    known = sorted(set().union(*(held[place] for place in np.flatnonzero(half_a))))
    counts = np.zeros((2, len(known)))
    for side, mask in enumerate((positive & half_a, ~positive & half_a)):
        for place in np.flatnonzero(mask):
            counts[side] += [word in held[place] for word in known]
    totals = (positive & half_a).sum(), (~positive & half_a).sum()
    odds = log_odds_ratio(counts[0], counts[1], totals[0] - counts[0], totals[1] - counts[1])
    return dict(zip(known, odds.value.tolist(), strict=True))


def _by_words(prompts: Sequence[str], weights: dict[str, float], level: Level) -> Observations:
    # Words that half A does not hold say nothing; a prompt without words has one that says nothing.
    listed = [words(prompt) or [""] for prompt in prompts]
    if level == "token":
        numbers = np.repeat(np.arange(len(listed)), [len(each) for each in listed])
        found = [weights.get(word, 0.0) for each in listed for word in each]
        return Observations(_column(np.array(found)), numbers)
    sums = [sum(weights.get(word, 0.0) for word in sorted(set(each))) for each in listed]
    return _each_prompt(np.array(sums))


def _each_prompt(values: Float[np.ndarray, " prompts"]) -> Observations:
    numbers: Int[np.ndarray, " prompts"] = np.arange(len(values))
    return Observations(_column(values), numbers)


def _column(values: Float[np.ndarray, " observations"]) -> csc_array:
    return csc_array(np.asarray(values, np.float32)[:, None])
