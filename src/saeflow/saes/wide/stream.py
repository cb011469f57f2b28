"""What training asks of a stream of activations."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Stream(Protocol):
    """Activations in an order that can be taken up again."""

    @property
    def d_in(self) -> int:
        """Dimensions of an activation."""
        ...

    def next_batch(self, rows: int) -> Float[Tensor, "rows d_in"]:
        """The next activations, exactly as many as asked for, on any device."""
        ...

    def state(self) -> dict[str, Tensor | int]:
        """Where the stream stands; later batches do not change what was returned."""
        ...

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Go on from a state, with batches identical to those that followed it."""
        ...
