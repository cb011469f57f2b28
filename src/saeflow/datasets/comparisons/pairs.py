"""Pairs of numbers that no training text compares, the same number of each kind.

Half of the pairs of a kind are there to choose layers and units on, the others to report on (design,
section 8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from saeflow.datasets.texts.decimals import (
    PRONE,
    STRATA,
    DrawnPair,
    adjective_of,
    draw_pairs,
    is_bigger,
    pair_split,
    stratum_of,
)
from saeflow.datasets.texts.text import HELD_OUT
from saeflow.errors import SaeflowError
from saeflow.seeds import derive_seed

CHOOSE, REPORT = "choose", "report"
PUBLISHED_ITEM = -1
"""Item of the study's own pair, which no drawn pair has."""
_PUBLISHED_ADJECTIVE = "bigger"
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class ComparisonPair:
    """Two numbers and what is asked about them.

    Attributes
    ----------
    item : int
        Number of the pair in the order of drawing, as in the mixture.
    stratum : str
        Kind of the pair, one of `saeflow.datasets.texts.decimals.STRATA`.
    half : str
        ``choose`` or ``report``.
    adjective : str
        ``bigger``, ``larger`` or ``greater``: the word that asks, in every format.
    left, right : str
        The numbers, in the order drawn.
    """

    item: int
    stratum: str
    half: str
    adjective: str
    left: str
    right: str

    @property
    def truth(self) -> str:
        """The bigger number."""
        return self.left if is_bigger(self.left, self.right) else self.right

    @property
    def other(self) -> str:
        """The smaller number."""
        return self.right if is_bigger(self.left, self.right) else self.left

    @property
    def prone(self) -> bool:
        """Whether a comparison as versions gives the other answer."""
        return self.stratum.startswith(PRONE)


def comparison_pairs(seed: int, n_drawn: int, per_stratum: int) -> list[ComparisonPair]:
    """Held-out pairs, the same number of each of the seven kinds.

    Parameters
    ----------
    seed : int
        Seed of the mixture, which decides what is held out.
    n_drawn : int
        Pairs drawn, of which about a quarter is held out; the first are those of the mixture.
    per_stratum : int
        Held-out pairs of each kind: the first ones drawn.

    Returns
    -------
    list of ComparisonPair
        The first pair of every kind, then the second of every kind and so on: asking for more only
        appends. The first two pairs of a kind, the next two and so on are one of either half.

    Raises
    ------
    SaeflowError
        If fewer pairs of a kind are held out.
    """
    found: dict[str, list[DrawnPair]] = {stratum: [] for stratum in STRATA}
    for pair in draw_pairs(seed, n_drawn):
        of_kind = found[pair.stratum]
        if len(of_kind) < per_stratum and pair_split(seed, pair.left, pair.right) == HELD_OUT:
            of_kind.append(pair)
            if all(len(each) == per_stratum for each in found.values()):
                break
    for stratum, of_kind in found.items():
        if len(of_kind) < per_stratum:
            raise SaeflowError(
                f"{n_drawn} drawn pairs of numbers hold {len(of_kind)} held-out ones of the kind "
                f"{stratum}; expected pairs.per_stratum: {per_stratum}. Raise pairs.drawn or ask for fewer."
            )
    columns = [list(_halved(seed, of_kind)) for of_kind in found.values()]
    return [pair for row in zip(*columns, strict=True) for pair in row]


def published_pair(left: str, right: str) -> ComparisonPair:
    """Pair that the study asks about, with its adjective; nothing is chosen on it.

    Raises
    ------
    SaeflowError
        If these are not two different decimals, or two different whole numbers.
    """
    numbers = [_NUMBER.fullmatch(number) for number in (left, right)]
    alike = len({number and bool(number[1]) for number in numbers}) == 1
    if None in numbers or not alike or Decimal(left) == Decimal(right):
        raise SaeflowError(
            f"the numbers {left!r} and {right!r} are to be compared; expected two different decimals "
            "such as 9.8 and 9.11, or two different whole numbers."
        )
    stratum = stratum_of(left, right)
    return ComparisonPair(PUBLISHED_ITEM, stratum, REPORT, _PUBLISHED_ADJECTIVE, left, right)


def _halved(seed: int, pairs: list[DrawnPair]) -> Iterator[ComparisonPair]:
    for place, (item, stratum, left, right) in enumerate(pairs):
        # Of two neighbours the first decides, so that halves are equal and do not change as pairs
        # are added.
        first = pairs[place - place % 2]
        coin = derive_seed(seed, "comparisons", "half", first.item)
        half = (CHOOSE, REPORT)[(coin + place) % 2]
        yield ComparisonPair(item, stratum, half, adjective_of(item), left, right)
