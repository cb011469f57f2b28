"""Types of the most frequent features by the published rule (methods/2, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from saeflow.config.hierarchy import TaxonomySettings
from saeflow.studies.hierarchy.patterns import OPERATIONS, VALUES

TYPES = ("operation-level", "value-level", "mixed", "unknown")
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
    n_operations = len(OPERATIONS)
    least = [settings.min_operation_hits] * (n_operations + 1)
    least += [settings.min_number_hits] * len(VALUES)
    found = []
    for row in counts >= np.array(least):
        tags = [tag for tag, shown in zip(TAGS, row.tolist(), strict=True) if shown]
        operations = int(np.count_nonzero(row[:n_operations]))
        found.append(FeatureType(*_type(operations, len(tags) - operations), tags))
    return found


def _type(operations: int, values: int) -> tuple[str, str]:
    if operations and values:
        return "mixed", "medium"
    if operations or values:
        name = "operation-level" if operations else "value-level"
        return name, "high" if operations + values >= 2 else "medium"
    return "unknown", "low"
