"""How much a text repeats itself, and how many of its words are on a list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Sequence

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")


def distinct_share(items: Sequence[Hashable], n: int) -> float:
    """Different runs of n neighbouring items over all of them (distinct-n); NaN where there is none."""
    runs = _runs(items, n)
    return len(set(runs)) / len(runs) if runs else float("nan")


def repeated_share(items: Sequence[Hashable], n: int) -> float:
    """Share of runs of n neighbouring items that occur more than once; NaN where there is none.

    Of ``a b a b``, two of three pairs do, though two of three are different.
    """
    counts = Counter(_runs(items, n))
    total = counts.total()
    repeated = sum(count for count in counts.values() if count > 1)
    return repeated / total if total else float("nan")


def listed_share(text: str, listed: Collection[str]) -> float:
    """Share of the words of a text that are on a list of lower-case words; 0 where it has none.

    A word holds letters, digits and underscores; hyphens and apostrophes join its parts.
    """
    found = _WORD.findall(text.lower())
    return sum(word in listed for word in found) / len(found) if found else 0.0


def _runs(items: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    return [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]
