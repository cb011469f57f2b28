"""Activations in memory as a stream, and plants whose features are known."""

from __future__ import annotations

import torch
from torch import Tensor


class MemoryStream:
    """Rows in shuffled epochs; a state is the epoch and the place in it."""

    def __init__(self, x: Tensor, *, fails_at: int | None = None) -> None:
        self.x, self.fails_at = x, fails_at
        self.epoch = self.place = self.given = 0

    @property
    def d_in(self) -> int:
        return self.x.shape[1]

    def next_batch(self, rows: int) -> Tensor:
        if self.given == self.fails_at:
            raise KeyboardInterrupt
        self.given += 1
        parts: list[Tensor] = []
        while rows:
            generator = torch.Generator().manual_seed(self.epoch)
            order = torch.randperm(len(self.x), generator=generator)
            part = order[self.place : self.place + rows]
            parts.append(self.x[part])
            self.place += len(part)
            rows -= len(part)
            if self.place == len(self.x):
                self.epoch, self.place = self.epoch + 1, 0
        return torch.cat(parts)

    def state(self) -> dict[str, Tensor | int]:
        return {"epoch": torch.tensor(self.epoch), "place": self.place}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        self.epoch, self.place = int(state["epoch"]), int(state["place"])


def planted(
    rows: int, d_in: int, features: int, active: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Sums of a few directions of length 1 each, with an offset; rows and directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(
        torch.randn(features, d_in, generator=generator), dim=1
    )
    chosen = torch.rand(rows, features, generator=generator).argsort(1)[:, :active]
    size = 1 + torch.rand(rows, active, generator=generator)
    x = (size.unsqueeze(2) * directions[chosen]).sum(1)
    return x + torch.randn(d_in, generator=generator), directions
