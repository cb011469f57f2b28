"""The level of the search that is told, and whose features are steered along: half A alone chooses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saeflow.config.scaling_search import LEVELS
from saeflow.studies.rows import CALIBRATED, NONE


def chosen_level(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Level at which the best features have the largest mean area on the half that chose them.

    Half B, on which areas are reported, has no part in it.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of `saeflow.artifacts.scaling_search.SEARCH`; rows of one SAE. Of sets of prompts those
        that are groups, such as topics, are read; all where none is.

    Returns
    -------
    str or None
        One of `LEVELS`, of equal ones the first; None where nothing was searched.
    """
    best = [
        each
        for each in rows
        if (each["mode"], each["control"], each["place"]) == (CALIBRATED, NONE, 1)
    ]
    areas: dict[str, list[float]] = {}
    for each in [each for each in best if "/" in each["prompts"]] or best:
        areas.setdefault(each["level"], []).append(each["value_chosen"])
    means = {level: sum(areas[level]) / len(areas[level]) for level in LEVELS if level in areas}
    return max(means, key=lambda level: means[level], default=None)
