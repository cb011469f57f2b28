"""Types of the most frequent features by the published rule (methods/2, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from saeflow.config.hierarchy import HierarchyRules, TaxonomySettings
from saeflow.studies.hierarchy.patterns import OPERATIONS, VALUES
from saeflow.studies.hierarchy.random_problems import random_outcomes

TYPES = ("operation-level", "value-level", "mixed", "unknown")
_OPERATION, _VALUE, _MIXED, _UNKNOWN = range(len(TYPES))
TAGS = (*OPERATIONS, "round_numbers", *(f"number_{value}" for value in VALUES))
"""Patterns in the order of `Patterns.taxonomy`."""


class FeatureType(NamedTuple):
    """What the rule calls a feature.

    Attributes
    ----------
    type : str
        One of `TYPES`.
    confidence : str
        high, medium or low.
    patterns : list of str
        Those of `TAGS` that enough samples show.
    """

    type: str
    confidence: str
    patterns: list[str]


def feature_types(
    counts: Int[np.ndarray, "features tags"], settings: TaxonomySettings
) -> list[FeatureType]:
    """Type of each feature.

    Parameters
    ----------
    counts : numpy.ndarray of int, shape (features, 10)
        Samples that show each of `TAGS`.
    settings : TaxonomySettings
        How many are enough.
    """
    shown = _shown(counts, settings)
    found = []
    for row, place in zip(shown, _type_places(shown).tolist(), strict=True):
        tags = [tag for tag, there in zip(TAGS, row.tolist(), strict=True) if there]
        found.append(FeatureType(TYPES[place], _confidence(place, len(tags)), tags))
    return found


def random_types(
    patterns: Bool[np.ndarray, "problems tags"],
    sizes: Int[np.ndarray, " features"],
    settings: HierarchyRules,
) -> Float[np.ndarray, "features types"]:
    """Chance of each type if a feature's samples were as many random problems.

    Parameters
    ----------
    patterns : numpy.ndarray of bool, shape (problems, 10)
        As `Patterns.taxonomy` gives them.
    sizes : numpy.ndarray of int, shape (features,)
        Samples of each feature.
    settings : HierarchyRules
        The rule; sets are drawn as for specialists.

    Returns
    -------
    numpy.ndarray of float64, shape (features, 4)
        In the order of `TYPES`.
    """

    def judge(
        counts: Int[np.ndarray, "sets patterns"], sizes: Int[np.ndarray, " sets"]
    ) -> Bool[np.ndarray, "outcomes sets"]:
        places = _type_places(_shown(counts, settings.taxonomy))
        found: Bool[np.ndarray, "outcomes sets"] = np.arange(len(TYPES))[:, None] == places
        return found

    return random_outcomes(judge, len(TYPES), patterns, sizes, settings.specialists, "types").T


def _shown(
    counts: Int[np.ndarray, "features tags"], settings: TaxonomySettings
) -> Bool[np.ndarray, "features tags"]:
    """Which tags enough samples show."""
    least = [settings.min_operation_hits] * (len(OPERATIONS) + 1)
    least += [settings.min_number_hits] * len(VALUES)
    found: Bool[np.ndarray, "features tags"] = counts >= np.array(least)
    return found


def _type_places(shown: Bool[np.ndarray, "features tags"]) -> Int[np.ndarray, " features"]:
    """Place in `TYPES` of features with these tags."""
    operations = shown[:, : len(OPERATIONS)].any(1)
    values = shown[:, len(OPERATIONS) :].any(1)
    return np.select(
        [operations & values, operations, values], [_MIXED, _OPERATION, _VALUE], _UNKNOWN
    )


def _confidence(place: int, n_tags: int) -> str:
    if place == _UNKNOWN:
        return "low"
    return "high" if place != _MIXED and n_tags >= 2 else "medium"
