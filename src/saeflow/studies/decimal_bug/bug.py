"""Whether a model has the bug at all: wrong in the Q/A formats and right in the plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from saeflow.datasets.comparisons.formats import FAMILIES
from saeflow.datasets.comparisons.pairs import PUBLISHED_ITEM
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.datasets.texts.decimals import PRONE
from saeflow.datasets.texts.judge import RIGHT
from saeflow.errors import SaeflowError
from saeflow.stats.resampling import wilson_of_shares
from saeflow.studies.decimal_bug.records import greedy


class Rightness(NamedTuple):
    """How often pairs are answered rightly in some formats.

    Attributes
    ----------
    share : float
        Mean over pairs of the share of their prompts that are answered rightly.
    low, high : float
        Wilson's 95 % interval over pairs.
    """

    share: float
    low: float
    high: float


class Bug(NamedTuple):
    """What decides whether a model has the bug.

    Attributes
    ----------
    half : str
        ``choose`` or ``report``: the pairs that it was looked for in.
    buggy, plain : Rightness
        In the Q/A formats and in the plain ones, both orders of the numbers.
    n : int
        Pairs.
    """

    half: str
    buggy: Rightness
    plain: Rightness
    n: int

    @property
    def found(self) -> bool:
        """Whether the intervals are disjoint, that of the Q/A formats being the lower one."""
        return self.buggy.high < self.plain.low

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        said = (
            "has the bug"
            if self.found
            else "shows no bug that depends on the format, so there is nothing to patch"
        )
        shares = " and ".join(
            f"{each.share:.0%} ({each.low:.0%} to {each.high:.0%}) {where}"
            for each, where in (
                (self.buggy, "in the Q/A formats"),
                (self.plain, "in the plain ones"),
            )
        )
        return f"The model {said}: of {self.n} prone pairs it answers {shares} rightly."


def is_prone(prompt: Prompt) -> bool:
    """Whether a drawn pair is one of which a comparison as versions gives the other answer."""
    return prompt.item != PUBLISHED_ITEM and prompt.stratum.startswith(PRONE)


def find_bug(prompts: Sequence[Prompt], answers: pa.Table, half: str) -> Bug:
    """Compare greedy answers between formats on the prone pairs of one half.

    Parameters
    ----------
    prompts : sequence of Prompt
        What was asked. The study's own pair takes no part.
    answers : pyarrow.Table
        Columns of `saeflow.artifacts.decimal_bug.DECIMAL_ANSWERS`.
    half : str
        ``choose`` or ``report``.

    Raises
    ------
    SaeflowError
        If no prone pair of the half is answered in one of both families of formats.
    """
    asked = {
        (each.form, each.order, each.item)
        for each in prompts
        if each.half == half and is_prone(each)
    }
    hits: dict[str, dict[int, list[bool]]] = {"qa": {}, "plain": {}}
    for row in greedy(answers):
        if (row["form"], row["order"], row["item"]) in asked:
            for family, items in hits.items():
                if row["form"] in FAMILIES[family]:
                    items.setdefault(row["item"], []).append(row["verdict"] == RIGHT)
    for family, items in hits.items():
        if not items:
            raise SaeflowError(
                f"no prone pair of the half {half} is answered in the formats "
                f"{', '.join(FAMILIES[family])}; expected greedy answers to some."
            )
    qa, plain = (_rightness(items) for items in hits.values())
    return Bug(half, qa, plain, min(map(len, hits.values())))


def _rightness(items: dict[int, list[bool]]) -> Rightness:
    shares = np.array([np.mean(each) for each in items.values()])
    return Rightness(float(shares.mean()), *wilson_of_shares(shares))
