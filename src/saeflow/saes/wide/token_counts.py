"""On which tokens each feature fires, counted exactly."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.saes.wide.reading import TokenBlock

By = Literal["count", "total"]


class TopTokens(NamedTuple):
    """Rows of a table, by feature and rank.

    Attributes
    ----------
    feature, rank, token : numpy.ndarray of int64, shape (rows,)
        Ranks start from 0.
    fires : numpy.ndarray of int64, shape (rows,)
        Occurrences of the token on which the feature fires.
    total : numpy.ndarray of float64, shape (rows,)
        Sum of its activations' sizes there.
    """

    feature: Int[np.ndarray, " rows"]
    rank: Int[np.ndarray, " rows"]
    token: Int[np.ndarray, " rows"]
    fires: Int[np.ndarray, " rows"]
    total: Float[np.ndarray, " rows"]


class TokenCounts:
    """Counts and summed activations of every pair of feature and token that occurs.

    Memory grows with the pairs that occur, of which there are at most as many as features times the
    vocabulary, and not with the documents.

    Parameters
    ----------
    features : Tensor of int64, shape (features,)
        Latents that are counted.
    d_sae, vocabulary : int
        Latents of the SAE, and token ids.
    device : torch.device or str
        Where blocks are.

    Attributes
    ----------
    occurrences : Tensor of int64, shape (vocabulary,)
        How often each token was read.
    """

    def __init__(
        self,
        features: Int[Tensor, " features"],
        d_sae: int,
        vocabulary: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._counted = torch.zeros(d_sae, dtype=torch.bool, device=device)
        self._counted[features.to(device)] = True
        self.occurrences = torch.zeros(vocabulary, dtype=torch.long, device=device)
        self._key, self._count = torch.zeros((2, 0), dtype=torch.long, device=device)
        self._total = torch.zeros(0, dtype=torch.float64, device=device)
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, block: TokenBlock) -> None:
        """Count one block."""
        vocabulary = len(self.occurrences)
        self.occurrences += torch.bincount(block.token[~block.begin], minlength=vocabulary)
        kept = self._counted[block.latents]
        key = block.latents[kept] * vocabulary + block.token[block.rows[kept]]
        self._waiting.append(_summed(key, torch.ones_like(key), block.values[kept].abs().double()))
        # Merging when as many wait as there are keeps the work per pair constant.
        if sum(len(key) for key, _, _ in self._waiting) > len(self._key):
            self._merge()

    def _merge(self) -> None:
        parts = [(self._key, self._count, self._total), *self._waiting]
        columns = (torch.cat(each) for each in zip(*parts, strict=True))
        self._key, self._count, self._total = _summed(*columns)
        self._waiting = []

    def top(self, n: int, by: By) -> TopTokens:
        """Tokens on which each feature fires most.

        Parameters
        ----------
        n : int
            Tokens per feature, fewer where it fires on fewer.
        by : {"count", "total"}
            How often, or with how much activation in all; of equal ones the smaller id comes first.
        """
        self._merge()
        feature, token = (
            each.cpu().numpy() for each in (self._key // len(self.occurrences), self._tokens())
        )
        count, total = self._count.cpu().numpy(), self._total.cpu().numpy()
        order = np.lexsort((token, -(count if by == "count" else total), feature))
        feature = feature[order]
        rank = np.arange(len(feature)) - np.searchsorted(feature, feature)
        kept = rank < n
        order = order[kept]
        return TopTokens(feature[kept], rank[kept], token[order], count[order], total[order])

    def _tokens(self) -> Int[Tensor, " pairs"]:
        tokens: Tensor = self._key % len(self.occurrences)
        return tokens


def _summed(key: Tensor, count: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add up what has the same key; keys ascend."""
    different, place = torch.unique(key, return_inverse=True)
    counts = torch.zeros_like(different).index_add_(0, place, count)
    totals = total.new_zeros(len(different)).index_add_(0, place, total)
    return different, counts, totals
