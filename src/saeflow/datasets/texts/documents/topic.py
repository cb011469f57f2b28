"""What a topic consists of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """Sentences with gaps, and what fills the gaps.

    Attributes
    ----------
    name : str
        Name of the topic, the group of its documents.
    opening : str
        First-person sentence that may come first.
    frames : tuple of str
        Sentences whose gaps name one of the lists.
    lists : dict of str to tuple of str
        Phrases for each gap.
    words : tuple of str
        Words that the sentences of this topic use and those of no other.
    """

    name: str
    opening: str
    frames: tuple[str, ...]
    lists: dict[str, tuple[str, ...]]
    words: tuple[str, ...]


def listed(phrases: str) -> tuple[str, ...]:
    """Phrases that a comma keeps apart."""
    return tuple(phrases.split(", "))
