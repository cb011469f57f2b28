"""What decides a sentence of the pages: intervals and tests, never two bare numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saeflow.report.scaling.search import Found
from saeflow.seeds import numpy_generator
from saeflow.stats.exact import holm
from saeflow.stats.resampling import sign_flip_p_value

LEVEL = 0.05
AREA = 0.9
"""Area under the curve from which a topic counts as found."""
FLIPS = 10_000
"""Flips of topics that are drawn at most; up to 13 topics all are tried."""


class Gain(NamedTuple):
    """By how much areas of features exceed those of something else, topic by topic.

    Attributes
    ----------
    value : float
        Mean difference over topics.
    p_value : float
        Two-sided, by sign flips of topics.
    topics : int
        That both have.
    mean : float
        Mean area of what features are held against, over these topics.
    """

    value: float
    p_value: float
    topics: int
    mean: float

    @property
    def more(self) -> bool:
        """Whether features do better, beyond chance."""
        return self.value > 0 and self.p_value <= LEVEL


def gain_over(found: Sequence[Found], control: str) -> Gain | None:
    """Hold the areas of the best features of half A on half B against those of a control.

    Parameters
    ----------
    found : sequence of Found
        Searches of different topics at one level.
    control : str
        What they are held against.

    Returns
    -------
    Gain or None
        None where no topic has both.
    """
    pairs = [
        (best["value"], other["value"])
        for each in found
        if (best := each.best) is not None and (other := each.row(control)) is not None
        if None not in (best["value"], other["value"])
    ]
    if not pairs:
        return None
    areas = np.array(pairs, np.float64)
    differences = areas[:, 0] - areas[:, 1]
    generator = numpy_generator(0, "report", "scaling", control, len(pairs))
    p_value = sign_flip_p_value(differences, None, FLIPS, generator)
    return Gain(float(differences.mean()), p_value, len(pairs), float(areas[:, 1].mean()))


def topics_found(found: Sequence[Found]) -> list[str]:
    """Sets of prompts whose best feature of half A has the wanted area on half B, and passes there.

    One test is made of each set; they are adjusted over sets (Holm).

    Parameters
    ----------
    found : sequence of Found
        Searches of different topics at one level.
    """
    tested = [
        (each.prompts, best)
        for each in found
        if (best := each.best) is not None and best["p_value"] is not None
    ]
    adjusted = holm(np.array([best["p_value"] for _, best in tested], np.float64)).tolist()
    return [
        name
        for (name, best), p_value in zip(tested, adjusted, strict=True)
        if best["value"] >= AREA and p_value <= LEVEL
    ]
