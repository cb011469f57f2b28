"""Which examples a training step reads: a function of seed and step, so that training can resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from saeflow.seeds import numpy_generator

Example = TypeVar("Example")
WINDOW = 32
"""Steps whose examples are drawn together and cut into batches of similar length."""


class Stream(Generic[Example]):
    """Batches of similar length from weighted groups of examples.

    Parameters
    ----------
    groups : sequence of (float, sequence of examples)
        Weight and examples of each group; empty groups and weights of 0 are left out.
    rows : int
        Examples in a batch.
    length : callable
        Length of an example, for sorting.
    seed : int
        Seed of the draws.
    name : str
        Tells streams of one seed apart.
    """

    def __init__(
        self,
        groups: Sequence[tuple[float, Sequence[Example]]],
        rows: int,
        length: Callable[[Example], int],
        seed: int,
        name: str,
    ) -> None:
        self._groups = [examples for weight, examples in groups if weight and examples]
        weights = np.array([weight for weight, examples in groups if weight and examples])
        self._shares = weights / weights.sum() if len(weights) else weights
        self._rows = rows
        self._length = length
        self._key = (seed, name)
        self._window = -1
        self._batches: list[list[Example]] = []

    def batch(self, step: int) -> list[Example]:
        """Examples of a step, counted from 0; empty where there is nothing to read."""
        if not self._groups or not self._rows:
            return []
        if step // WINDOW != self._window:
            self._window = step // WINDOW
            self._batches = self._draw(self._window)
        return self._batches[step % WINDOW]

    def _draw(self, window: int) -> list[list[Example]]:
        rng = numpy_generator(*self._key, window)
        counts = rng.multinomial(self._rows * WINDOW, self._shares)
        drawn: list[Example] = []
        for examples, count in zip(self._groups, counts, strict=True):
            replace = int(count) > len(examples)
            chosen = rng.choice(len(examples), size=int(count), replace=replace)
            drawn += [examples[index] for index in chosen]
        # The random part of the key keeps examples of one length in no particular order.
        keys = rng.random(len(drawn))
        order = sorted(range(len(drawn)), key=lambda i: (self._length(drawn[i]), keys[i]))
        batches = [
            [drawn[i] for i in order[start : start + self._rows]]
            for start in range(0, len(order), self._rows)
        ]
        return [batches[i] for i in rng.permutation(WINDOW)]
