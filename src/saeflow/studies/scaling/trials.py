"""What a scorer is asked: whether a feature fires in a context, or on the tokens marked there.

Detection and fuzzing are Delphi's (Paulo et al. 2024, arXiv 2410.13928), derived anew. Beside random contexts
stand near misses, which share a word or a neighbour with the feature: an explanation that names only the
topic passes the first and fails the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from saeflow.seeds import numpy_generator
from saeflow.studies.scaling.contexts import ACTIVATING, NEGATIVES, Context, FeatureContexts
from saeflow.studies.scaling.explaining import across_quantiles

Method = Literal["detection", "fuzzing"]
METHODS: tuple[Method, ...] = ("detection", "fuzzing")
MOVED = "moved"
"""Negatives of fuzzing: an activating context with other tokens marked than those it fires on."""


@dataclass(frozen=True)
class Trial:
    """One question about one feature.

    Attributes
    ----------
    kind : str
        activating, where yes is right; else the kind of negative: random, near_miss or moved.
    context : Context
        What is shown; its activations are not.
    marked : numpy.ndarray of bool, shape (tokens,), or None
        Tokens that are marked; None in detection.
    """

    kind: str
    context: Context
    marked: Bool[np.ndarray, " tokens"] | None = None

    @property
    def positive(self) -> bool:
        """Return whether yes is right."""
        return self.kind == ACTIVATING


def make_trials(
    contexts: FeatureContexts, part: str, method: Method, *, count: int | None, seed: int
) -> list[Trial]:
    """Draw the questions of one feature: as many negatives of each kind as activating contexts.

    Parameters
    ----------
    contexts : FeatureContexts
        Of the feature.
    part : str
        train, to choose a threshold, or test, to score.
    method : str
        detection or fuzzing.
    count : int or None
        Of each kind, at most; None: all there are.
    seed : int
        Seed of the draws.

    Returns
    -------
    list of Trial
        In random order, so that their place tells nothing. Kinds without a context are missing; so are
        moved marks where a feature fires on every token of its contexts.
    """
    stage = (part, method, contexts.feature)

    def drawn(kind: str, at_most: int) -> list[Context]:
        # Both methods ask about the same contexts, so that their scores can be compared.
        return across_quantiles(
            contexts.of_kind(part, kind), at_most, seed, part, contexts.feature, kind
        )

    positive = contexts.of_kind(part, ACTIVATING)
    chosen = drawn(ACTIVATING, len(positive) if count is None else count)
    silent = {
        kind: drawn(kind, len(contexts.of_kind(part, kind)) if count is None else len(chosen))
        for kind in NEGATIVES
    }
    generator = numpy_generator(seed, "scaling", "explanations", "trials", *stage)
    trials = [Trial(ACTIVATING, each) for each in chosen]
    trials += [Trial(kind, each) for kind in NEGATIVES for each in silent[kind]]
    if method == "fuzzing":
        trials = _with_marks(trials, chosen, generator)
    return [trials[place] for place in generator.permutation(len(trials)).tolist()]


def _with_marks(
    trials: Sequence[Trial], chosen: Sequence[Context], generator: np.random.Generator
) -> list[Trial]:
    """Mark what fires, and as many tokens elsewhere."""
    counts = [int(each.fires.sum()) for each in chosen] or [1]
    found = list[Trial]()
    for number, trial in enumerate(trials):
        context = trial.context
        marks = context.fires
        if not trial.positive:
            anywhere = np.ones(len(context.tokens), bool)
            tempting = context.tempting
            marks = (
                tempting
                if tempting is not None and tempting.any()
                else _some(anywhere, counts[number % len(counts)], generator)
            )
        # A context without a token has nothing to mark.
        if marks.any():
            found.append(Trial(trial.kind, context, marks))
    for context in chosen:
        moved = _some(~context.fires, int(context.fires.sum()), generator)
        if moved.any():
            found.append(Trial(MOVED, context, moved))
    return found


def _some(
    allowed: Bool[np.ndarray, " tokens"], count: int, generator: np.random.Generator
) -> Bool[np.ndarray, " tokens"]:
    """Choose some of the allowed tokens at random, or all where there are no more."""
    found = np.zeros(len(allowed), bool)
    places = generator.permutation(np.flatnonzero(allowed))
    found[places[:count]] = True
    return found
