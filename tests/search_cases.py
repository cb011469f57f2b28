"""Readings of prompts whose features are known, for tests of the search."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array

from saeflow.datasets.prompt_sets import PromptSides
from saeflow.studies.scaling.prompt_reading import PromptReading

PLANTED = 7
D_SAE = 60


def sides_of(n_positive: int, n_negative: int) -> PromptSides:
    """Prompts with words of their own, and one word in all of each side in some."""
    positive = tuple(f"fever number{place}" for place in range(n_positive))
    negative = tuple(f"guitar number{place + n_positive}" for place in range(n_negative))
    return PromptSides(positive, negative)


def reading_of(
    sides: PromptSides, seed: int = 0, *, planted: float = 0.0, tokens: tuple[int, int] = (3, 12)
) -> PromptReading:
    """Sparse noise, and a feature that fires on some tokens of every positive prompt."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(*tokens, len(sides.prompts))
    prompt = np.repeat(np.arange(len(sizes)), sizes)
    starts = np.cumsum(sizes) - sizes
    # What tokens of a prompt have in common makes them no independent examples.
    values = rng.exponential(size=(len(sizes), D_SAE))[prompt]
    values = values * (rng.random((len(prompt), D_SAE)) < 0.3)
    values[:, 0] = 0
    values[:, 1] = 1.5
    if planted:
        values[:, PLANTED] = 0.1 * (rng.random(len(prompt)) < 0.1)
        often = (prompt < len(sides.positive)) & (rng.random(len(prompt)) < 0.6)
        often[starts[: len(sides.positive)]] = True
        values[often, PLANTED] = planted
    positions = 1 + np.arange(len(prompt)) - starts[prompt]
    activations = rng.normal(size=(len(prompt), 5)).astype(np.float32)
    activations[prompt < len(sides.positive), 2] += planted
    shown = [f" t{number % 4}" for number in range(len(prompt))]
    return PromptReading(
        csc_array(values.astype(np.float32)), prompt, positions, shown, activations
    )
