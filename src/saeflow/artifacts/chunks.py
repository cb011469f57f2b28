"""How examples are cut into the chunks of a capture; standard library only, for the Snakefile asks."""

from __future__ import annotations

PROBLEMS, TEXTS = 256, 128
"""Per chunk."""


def count_chunks(n_examples: int, size: int) -> int:
    """Chunks of so many examples, the last of which may be smaller."""
    return -(-n_examples // size)
