"""Features chosen on one half of the prompts and reported on the other, beside chance and baselines.

The study shows the features that its prompts chose by what they give on the same prompts
(methods/5, 6.8). Here prompts are split in two. Features are chosen on half A by the area under the
curve, and the best of them is held against the best that permuted labels give among as many features.
What is said of a chosen feature is said on half B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from saeflow.config.scaling_search import Level, SearchSettings
from saeflow.datasets.prompt_sets import PromptSides, prompt_key
from saeflow.errors import SaeflowError
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.text_clusters import TextClusters
from saeflow.stats.unit_areas import (
    AreaTests,
    area_tests,
    best_features,
    rank_sums,
    stability,
    unit_areas,
)
from saeflow.studies.rows import NONE
from saeflow.studies.scaling.prompt_reading import Observations, PromptReading, observations
from saeflow.studies.scaling.search_baselines import baseline_observations

MINIMUM = 4
"""Prompts that each side needs, so that both halves have two of each."""
AREA = "auroc"
QUANTILE = 0.95
"""Of the best area by chance, which is the threshold."""


@dataclass(frozen=True)
class Halves:
    """Sides and halves of prompts.

    Attributes
    ----------
    positive, half_a : numpy.ndarray of bool, shape (prompts,)
        Positive prompts, and those that features are chosen on.
    """

    positive: Bool[np.ndarray, " prompts"]
    half_a: Bool[np.ndarray, " prompts"]


@dataclass(frozen=True)
class Chances:
    """Who draws labels and resamples: the same draws for a feature and its controls.

    Attributes
    ----------
    settings : SearchSettings
        Permutations, draws and seed.
    name : str
        Name of the set of prompts.
    """

    settings: SearchSettings
    name: str

    def generator(self, *parts: int | str) -> np.random.Generator:
        """Generator of one part."""
        return numpy_generator(self.settings.seed, "scaling", "search", self.name, *parts)

    def test(
        self, found: Observations, positive: Bool[np.ndarray, " prompts"], half: str
    ) -> AreaTests:
        """Compare areas with those of labels that are permuted among the prompts of a half."""
        return area_tests(
            rank_sums(found.values, found.prompt),
            positive,
            labelings=self.settings.permutations,
            generator=self.generator("labels", half),
        )


def too_few(sides: PromptSides) -> str | None:
    """Why nothing can be held out, in a sentence; None where something can."""
    counts = len(sides.positive), len(sides.negative)
    if min(counts) >= MINIMUM:
        return None
    return (
        f"{counts[0]} positive and {counts[1]} negative prompts are too few to hold any out: each side "
        f"needs {MINIMUM}, all different, so nothing can be said of other prompts."
    )


def split_halves(sides: PromptSides, generator: np.random.Generator) -> Halves:
    """Draw half of the prompts of each side; an odd one falls on either half.

    Equal prompts, which `saeflow.datasets.prompt_sets.prompt_sides` leaves out, would be on one half.

    Parameters
    ----------
    sides : PromptSides
        The prompts.
    generator : numpy.random.Generator
        Draws them.

    Raises
    ------
    SaeflowError
        If a side has fewer than `MINIMUM` prompts.
    """
    reason = too_few(sides)
    if reason is not None:
        raise SaeflowError(reason)
    positive = np.arange(len(sides.prompts)) < len(sides.positive)
    keys = [prompt_key(prompt) for prompt in sides.prompts]
    return Halves(positive, TextClusters(keys, positive.tolist()).half(generator))


def calibrated_rows(
    reading: PromptReading,
    sides: PromptSides,
    halves: Halves,
    settings: SearchSettings,
    key: Mapping[str, Any],
    controls: Mapping[str, PromptReading],
) -> Iterator[dict[str, Any]]:
    """Features of every level, then what tells the prompts apart without them.

    Parameters
    ----------
    reading : PromptReading
        Of the prompts, positive ones first.
    sides, halves
        The prompts and their halves.
    settings : SearchSettings
        Levels, numbers and seed.
    key : mapping
        Values of the columns dictionary, seed and prompts.
    controls : mapping of str to PromptReading
        The same prompts read with other SAEs, such as those of an untrained model.

    Yields
    ------
    dict
        Columns of `saeflow.artifacts.scaling_search.SEARCH` but for tokens and activations.
    """
    chances = Chances(settings, str(key["prompts"]))
    for level in settings.levels:
        shared = {**key, **score_key(level)}
        found = observations(reading.values, reading.prompt, level)
        yield from _feature_rows(found, halves, level, chances, shared)
        baselines = baseline_observations(
            reading, sides.prompts, halves.positive, halves.half_a, level
        )
        for name, column in baselines:
            yield _control_row(name, column, halves, chances, shared)
        for name, other in controls.items():
            other_found = observations(other.values, other.prompt, level)
            row = next(_feature_rows(other_found, halves, level, chances, shared, name))
            yield {**row, "stability": None, "p_holm": None}


def score_key(level: str) -> dict[str, str]:
    """Key columns of calibrated rows."""
    return {"mode": "calibrated", "inputs": "scaled", "level": level, "score": AREA}


def _feature_rows(
    found: Observations,
    halves: Halves,
    level: Level,
    chances: Chances,
    shared: Mapping[str, Any],
    control: str = NONE,
) -> Iterator[dict[str, Any]]:
    settings = chances.settings
    # Of a control the best feature alone is reported, and nothing of how stable it is.
    top, draws = (settings.top, settings.bootstrap) if control == NONE else (1, 0)
    part_a, part_b = found.of(halves.half_a), found.of(~halves.half_a)
    side_a, side_b = halves.positive[halves.half_a], halves.positive[~halves.half_a]
    on_a = chances.test(part_a, side_a, "A")
    best = best_features(part_a.values, on_a.area, side_a[part_a.prompt], top)
    again = stability(
        part_a.values,
        part_a.prompt,
        side_a,
        on_a.area,
        top=len(best),
        resamples=draws,
        generator=chances.generator("draws", level),
    )
    on_b = chances.test(part_b.by(best), side_b, "B")
    adjusted = holm(on_b.p_value)
    for place, feature in enumerate(best.tolist()):
        yield {
            **shared,
            "control": control,
            "place": place + 1,
            "feature": feature,
            "value_chosen": float(on_a.area[feature]),
            "value": float(on_b.area[place]),
            "p_value": float(on_b.p_value[place]),
            "p_holm": float(adjusted[place]),
            "best_p_value": float(on_a.best_p_value[feature]),
            "threshold": threshold(on_a.maxima),
            "stability": float(again[feature]) if draws else None,
            **_counts(side_b),
        }


def threshold(maxima: Float[np.ndarray, " labelings"]) -> float:
    """Area that the best of all features exceeds by chance in one labeling of twenty at most."""
    return float(np.quantile(maxima, QUANTILE, method="higher"))


def _control_row(
    name: str,
    column: Observations,
    halves: Halves,
    chances: Chances,
    shared: Mapping[str, Any],
) -> dict[str, Any]:
    side_a, side_b = halves.positive[halves.half_a], halves.positive[~halves.half_a]
    on_a = chances.test(column.of(halves.half_a), side_a, "A")
    on_b = chances.test(column.of(~halves.half_a), side_b, "B")
    return {
        **shared,
        "control": name,
        "place": 1,
        "feature": -1,
        "value_chosen": float(on_a.area[0]),
        "value": float(on_b.area[0]),
        "p_value": float(on_b.p_value[0]),
        "p_holm": None,
        # Fitted on half A, so that no test can be made there.
        "best_p_value": None,
        "threshold": None,
        "stability": None,
        **_counts(side_b),
    }


def _counts(side: Bool[np.ndarray, " prompts"]) -> dict[str, int]:
    return {"n_positive": int(side.sum()), "n_negative": int((~side).sum())}


def target_areas(
    reading: PromptReading,
    positive: Bool[np.ndarray, " prompts"],
    levels: Sequence[Level],
) -> Iterator[tuple[Level, Float[np.ndarray, " features"]]]:
    """Areas of all features on all prompts, by level: right for features named before the search."""
    for level in levels:
        found = observations(reading.values, reading.prompt, level)
        ranked = rank_sums(found.values, found.prompt)
        yield level, unit_areas(ranked, positive[:, None])[:, 0]
