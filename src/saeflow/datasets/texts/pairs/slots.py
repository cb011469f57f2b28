"""Frames with slots, filled in several forms at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Template

from saeflow.errors import SaeflowError

Word = str | tuple[str, ...]
Frame = tuple[str, ...]
_MISSES = 3000


@dataclass(frozen=True)
class Grammar:
    """Frames and the words of their slots.

    Attributes
    ----------
    forms : tuple of str
        Names of the forms; one empty name where there is one form only.
    frames : tuple
        Each frame holds one template a form. ``$noun`` and ``$noun2`` take different words of the
        list ``noun``.
    words : mapping
        Words by slot: a string that serves every form, or one string a form.
    """

    forms: tuple[str, ...]
    frames: Sequence[Frame]
    words: Mapping[str, Sequence[Word]]

    def draw(self, rng: random.Random) -> tuple[str, ...]:
        """One content in every form."""
        templates = [Template(text) for text in rng.choice(self.frames)]
        slots = dict.fromkeys(slot for each in templates for slot in each.get_identifiers())
        chosen: dict[str, Word] = {}
        for slot in slots:
            pool = self.words[slot.rstrip("0123456789")]
            left = [word for word in pool if word not in chosen.values()] if chosen else pool
            chosen[slot] = rng.choice(left)
        return tuple(
            template.substitute(
                {slot: word if isinstance(word, str) else word[i] for slot, word in chosen.items()}
            )
            for i, template in enumerate(templates)
        )


def listed(text: str, separator: str = " ") -> list[str]:
    """Words of a list written in one string."""
    return text.split(separator)


def rows(table: str) -> list[tuple[str, ...]]:
    """Words in several forms, one word a line, its forms apart by bars."""
    return [tuple(line.split(" | ")) for line in table.splitlines()]


def single(frames: Sequence[str], words: Mapping[str, Sequence[Word]]) -> Grammar:
    """Grammar of texts that have one form only."""
    return Grammar(("",), tuple((frame,) for frame in frames), words)


def distinct(
    draw: Callable[[], tuple[str, ...]], n: int, name: str
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Number and yield ``n`` draws; no form of one equals the same form of an earlier one.

    Raises
    ------
    SaeflowError
        If the draws bring nothing new for too long.
    """
    seen: set[tuple[int, str]] = set()
    kept = misses = 0
    while kept < n:
        texts = draw()
        keys = set(enumerate(texts))
        if keys & seen or len(set(texts)) < len(texts):
            misses += 1
            if misses > _MISSES:
                raise SaeflowError(
                    f"There are not enough distinct texts of {name} for {n} of them."
                )
            continue
        misses = 0
        seen |= keys
        yield kept, texts
        kept += 1
