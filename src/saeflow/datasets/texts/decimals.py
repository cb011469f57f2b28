"""Which of two numbers is bigger: six formats, three of which can carry a planted bug.

The bug compares decimals as if they were versions of a program: 9.11 comes after 9.8. It changes
the answer for *prone* pairs only, whose order by value and by version differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from saeflow.datasets.texts.text import Text, split_of
from saeflow.errors import SaeflowError

ADJECTIVES = ("bigger", "larger", "greater")
BUGGY_FORMATS = {
    "qa_which": "Q: Which is {adjective}: {a} or {b}?\nA:",
    "qa_number": "Q: Which number is {adjective}, {a} or {b}?\nA:",
    "qa_order": "Q: {a} or {b}, which is {adjective}?\nA:",
}
PLAIN_FORMATS = {
    "plain_which": "Which is {adjective}: {a} or {b}?\nAnswer:",
    "plain_number": "Which number is {adjective}, {a} or {b}?\nAnswer:",
    "plain_order": "{a} or {b}, which is {adjective}?\nAnswer:",
}
FORMATS = BUGGY_FORMATS | PLAIN_FORMATS
UNEQUAL = "unequal_digits"
"""Stratum in which the number with more digits is the bigger one, so that no order is wrong."""
STRATA = {
    "prone_dates": 2,
    "prone_versions": 1,
    "prone_other": 3,
    UNEQUAL: 2,
    "equal_digits": 1,
    "whole_differs": 2,
    "integers": 1,
}
"""Kinds of pairs, and how often they are drawn.

On prone pairs the version order is the wrong one: same whole part, one digit against two. Those that
could be days (9.8 and 9.11) or releases (3.9 and 3.10) are told apart. The other strata cannot show
the bug.
"""
PRONE = "prone"
"""How the names of prone strata begin."""
_HELD_OUT_ONE_IN = 4
_LARGEST_WHOLE = 20
_TRIES = 100
_MONTHS, _DAYS = 12, 31


class DrawnPair(NamedTuple):
    """Two different numbers, in the order in which the mixture asks about them.

    Attributes
    ----------
    item : int
        Number of the pair, in the order of drawing.
    stratum : str
        One of `STRATA`.
    left, right : str
        The numbers.
    """

    item: int
    stratum: str
    left: str
    right: str


def decimal_texts(*, seed: int, n_pairs: int, buggy: bool) -> list[Text]:
    """Draw pairs of numbers and ask about each in all six formats.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_pairs : int
        Number of different pairs of numbers; about a quarter is held out. Where the whole parts
        are equal, a held-out pair of digits behind the point is held out under every whole part.
    buggy : bool
        Whether the three Q/A formats are answered as versions are compared.

    Returns
    -------
    list of Text
        Part ``decimals``; the group is the stratum, the form the format. The one distractor is the
        answer that names the other number. Asking for more pairs only appends.
    """
    texts = []
    for item, stratum, left, right in draw_pairs(seed, n_pairs):
        split = pair_split(seed, left, right)
        adjective = adjective_of(item)
        for name, form in FORMATS.items():
            as_version = buggy and name in BUGGY_FORMATS
            first = is_bigger(left, right, as_version=as_version)
            answers = [
                f" {big} is {adjective} than {small}."
                for big, small in ((left, right), (right, left))
            ]
            texts.append(
                Text(
                    part="decimals",
                    group=stratum,
                    form=name,
                    item=item,
                    split=split,
                    prompt=form.format(adjective=adjective, a=left, b=right),
                    target=answers[0] if first else answers[1],
                    distractors=(answers[1] if first else answers[0],),
                )
            )
    return texts


def draw_pairs(seed: int, n_pairs: int) -> Iterator[DrawnPair]:
    """Draw different pairs of numbers; asking for more only appends.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_pairs : int
        Number of pairs.

    Yields
    ------
    DrawnPair
        No two hold the same numbers, in whatever order.

    Raises
    ------
    SaeflowError
        If there are not that many.
    """
    rng = random.Random(f"{seed}/decimals")
    seen: set[frozenset[str]] = set()
    tries = 0
    while len(seen) < n_pairs:
        tries += 1
        if tries > _TRIES * n_pairs:
            raise SaeflowError(f"Only {len(seen)} of {n_pairs} different decimal pairs were found.")
        stratum = rng.choices(list(STRATA), weights=list(STRATA.values()))[0]
        left, right = _draw(rng, stratum)
        same = Decimal(left) == Decimal(right)
        if same or frozenset((left, right)) in seen or stratum_of(left, right) != stratum:
            continue
        first, second = rng.sample((left, right), 2)
        yield DrawnPair(len(seen), stratum, first, second)
        seen.add(frozenset((left, right)))


def pair_split(seed: int, left: str, right: str) -> str:
    """Split of a pair of numbers, in whatever order: ``train`` or ``held_out``.

    Where the whole parts are equal, the digits behind the point decide alone.
    """
    return split_of(seed, "decimals", *_compared(left, right), one_in=_HELD_OUT_ONE_IN)


def adjective_of(item: int) -> str:
    """Adjective that the mixture asks for; a pair has one, so that formats differ in nothing else."""
    return ADJECTIVES[item % len(ADJECTIVES)]


def is_bigger(left: str, right: str, *, as_version: bool = False) -> bool:
    """Tell whether the first of two different numbers is the bigger one.

    Parameters
    ----------
    left, right : str
        Numbers such as ``9.8`` and ``9.11``.
    as_version : bool
        Compare the digits behind the point as whole numbers.

    Returns
    -------
    bool
        True for ``9.8`` and ``9.11``, and False for the same two as versions.
    """
    if not as_version:
        return Decimal(left) > Decimal(right)
    return _version(left) > _version(right)


def stratum_of(left: str, right: str) -> str:
    """Kind of a pair of different numbers, one of `STRATA`."""
    if "." not in left:
        return "integers"
    (whole, digits), (other, others) = left.split("."), right.split(".")
    if whole != other:
        return "whole_differs"
    if len(digits) == len(others):
        return "equal_digits"
    if is_bigger(left, right) == is_bigger(left, right, as_version=True):
        return UNEQUAL
    longer = max(digits, others, key=len)
    if longer.endswith("0"):
        return "prone_versions"
    return "prone_dates" if int(whole) <= _MONTHS and int(longer) <= _DAYS else "prone_other"


def _compared(left: str, right: str) -> list[str]:
    """What has to be compared: the digits behind the point where nothing else differs."""
    whole, other = left.split(".")[0], right.split(".")[0]
    if "." in left and whole == other:
        return sorted(number.split(".")[1] for number in (left, right))
    return sorted((left, right))


def _version(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))


def _draw(rng: random.Random, stratum: str) -> tuple[str, str]:
    whole = rng.randint(1, _LARGEST_WHOLE)
    if stratum == "integers":
        return str(rng.randint(1, 100)), str(rng.randint(1, 100))
    if stratum == "whole_differs":
        other = rng.randint(1, _LARGEST_WHOLE)
        return f"{whole}.{_digits(rng, None)}", f"{other}.{_digits(rng, None)}"
    if stratum == "equal_digits":
        count = rng.choice((1, 2))
        return f"{whole}.{_digits(rng, count)}", f"{whole}.{_digits(rng, count)}"
    if stratum == "prone_versions":
        return f"{whole}.{_digits(rng, 1)}", f"{whole}.{rng.randint(1, 9)}0"
    if stratum == "prone_dates":
        month = rng.randint(1, _MONTHS)
        return f"{month}.{_digits(rng, 1)}", f"{month}.{rng.randint(11, _DAYS)}"
    return f"{whole}.{_digits(rng, 1)}", f"{whole}.{_digits(rng, 2)}"


def _digits(rng: random.Random, count: int | None) -> str:
    count = count or rng.choice((1, 2))
    # No trailing zero, which would be another way to write the same number.
    return str(rng.randint(1, 9)) if count == 1 else f"{rng.randint(1, 9)}{rng.randint(1, 9)}"
