"""How often features are active and labels present on the same example, for all pairs at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Int

BLOCK = 4096
"""Features per matrix product; bounds memory at BLOCK x labels tables."""


@dataclass(frozen=True)
class Window:
    """Joint counts that pass some criteria, which depend on the margins of a pair alone.

    Attributes
    ----------
    row : numpy.ndarray of int, shape (features,)
        Which row of the tables belongs to each feature.
    lowest, below : numpy.ndarray of int, shape (rows, labels)
        First joint count that passes, and first that no longer does.
    """

    row: Int[np.ndarray, " features"]
    lowest: Int[np.ndarray, "rows labels"]
    below: Int[np.ndarray, "rows labels"]


class JointCounts:
    """Joint counts of the same features with labels whose rows may move, as in a permutation.

    Parameters
    ----------
    active : numpy.ndarray of bool, shape (examples, features)
        Where features are active.
    device : torch.device
        Where to multiply.
    """

    def __init__(self, active: Bool[np.ndarray, "examples features"], device: torch.device) -> None:
        self._active, self._device = ones_and_zeros(active.T, device), device

    def inside(
        self, present: Bool[np.ndarray, "examples labels"], window: Window
    ) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
        """Pairs whose joint count lies in the window.

        Parameters
        ----------
        present : numpy.ndarray of bool, shape (examples, labels)
            Where labels occur.
        window : Window
            What passes.

        Returns
        -------
        feature, label, joint : numpy.ndarray of int64, shape (pairs,)
            By feature, then by label.
        """
        right = ones_and_zeros(present, self._device)
        lowest, below = (
            torch.from_numpy(table).to(self._device, torch.int32)
            for table in (window.lowest, window.below)
        )
        found = []
        for start in range(0, max(len(window.row), 1), BLOCK):
            joint = product(self._active[start : start + BLOCK], right)
            rows = torch.from_numpy(window.row[start : start + BLOCK]).to(self._device)
            row, label = ((joint >= lowest[rows]) & (joint < below[rows])).nonzero(as_tuple=True)
            found.append([start + row, label, joint[row, label]])
        feature, label, joint = (torch.cat(column) for column in zip(*found, strict=True))
        counts = joint.to(torch.int64)
        return feature.cpu().numpy(), label.cpu().numpy(), counts.cpu().numpy()


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply ones and zeros as `ones_and_zeros` holds them; exact on either kind."""
    return torch._int_mm(left, right) if left.dtype == torch.int8 else left @ right


def ones_and_zeros(values: Bool[np.ndarray, "rows columns"], device: torch.device) -> torch.Tensor:
    """Flags as `product` multiplies them: bytes where the CPU does, float32 elsewhere.

    Sums of up to 2**24 ones are exact in float32; products of bytes add up in 32 bits.
    """
    flags = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    return flags.to(torch.int8 if _multiplies_bytes(device) else torch.float32)


@cache
def _multiplies_bytes(device: torch.device) -> bool:
    """Whether this build of torch has the product of bytes for the device.

    It is not a public function of torch, so its absence is expected; on CUDA it wants sizes that are
    multiples of eight, and float32 is fast enough there.
    """
    if device.type != "cpu":
        return False
    one = torch.ones((1, 1), dtype=torch.int8)
    try:
        return int(torch._int_mm(one, one)) == 1
    except (AttributeError, RuntimeError):
        return False
