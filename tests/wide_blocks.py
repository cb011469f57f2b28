"""Small random corpora with sparse latents, cut into blocks in many ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from saeflow.saes.wide.reading import TokenBlock

VOCABULARY = 7


@dataclass(frozen=True)
class Corpus:
    """Tokens of all documents, one below the other, with dense latents; begin tokens have none."""

    document: np.ndarray
    position: np.ndarray
    token: np.ndarray
    begin: np.ndarray
    latents: np.ndarray
    activations: np.ndarray

    def block(self, rows: slice) -> TokenBlock:
        latents = self.latents[rows]
        row, latent = np.nonzero(latents)
        columns = (self.document, self.position, self.token, self.begin, self.activations)
        document, position, token, begin, x = (torch.from_numpy(each[rows]) for each in columns)
        value = torch.from_numpy(latents[row, latent])
        row, latent = torch.from_numpy(row), torch.from_numpy(latent)
        return TokenBlock(document, position, token, begin, row, latent, value, x)

    def blocks(self, sizes: Sequence[int]) -> Iterator[TokenBlock]:
        """Blocks of these sizes in turn."""
        start, turn = 0, 0
        while start < len(self.document):
            yield self.block(slice(start, start + sizes[turn % len(sizes)]))
            start, turn = start + sizes[turn % len(sizes)], turn + 1

    def documents(self, per_block: int = 1) -> Iterator[TokenBlock]:
        """Blocks of whole documents."""
        starts = np.flatnonzero(np.diff(self.document, prepend=-1))
        ends = [*starts[1:].tolist(), len(self.document)]
        for first in range(0, len(starts), per_block):
            last = min(first + per_block, len(starts)) - 1
            yield self.block(slice(int(starts[first]), ends[last]))


def random_corpus(
    seed: int,
    *,
    documents: int = 9,
    longest: int = 8,
    d_sae: int = 6,
    d_in: int = 3,
    density: float = 0.4,
    levels: int = 4,
    signed: bool = False,
) -> Corpus:
    """Values are few, so that many tie; the last latent never fires, the one before always.

    Documents come in a random order, and some begin with a token that does not count.
    """
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, documents)
    numbers = generator.permutation(3 * documents)[:documents]
    document = np.repeat(numbers, lengths).astype(np.int64)
    position = np.concatenate([np.arange(length) for length in lengths]).astype(np.int64)
    begin = (position == 0) & (document % 2 == 0)
    n = len(document)
    latents = generator.integers(1, levels + 1, (n, d_sae)) / np.float32(levels) * 3
    latents *= generator.random((n, d_sae)) < density
    if signed:
        latents *= generator.choice([-1, 1], (n, d_sae))
    latents[:, -1], latents[:, -2] = 0, 2
    latents[begin] = 0
    return Corpus(
        document,
        position,
        generator.integers(0, VOCABULARY, n).astype(np.int64),
        begin,
        latents.astype(np.float32),
        generator.normal(size=(n, d_in)).astype(np.float32) + np.float32(20),
    )
