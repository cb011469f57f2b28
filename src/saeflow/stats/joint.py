"""How often features are active and labels present on the same example, for all pairs at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Int

BLOCK = 4096
"""Features per matrix product; bounds memory at BLOCK x labels tables."""
NEVER = 2**30
"""A joint count that is never reached."""


@dataclass(frozen=True, eq=False)
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
        self._plans: dict[Window, _Plan] = {}

    def inside(
        self, present: Bool[np.ndarray, "examples labels"], window: Window
    ) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
        """Pairs whose joint count lies in the window.

        Parameters
        ----------
        present : numpy.ndarray of bool, shape (examples, labels)
            Where labels occur.
        window : Window
            What passes. Asking with the same object again takes less time.

        Returns
        -------
        feature, label, joint : numpy.ndarray of int64, shape (pairs,)
            By feature, then by label.
        """
        if window not in self._plans:
            self._plans[window] = _Plan(window, self._device)
        plan = self._plans[window]
        right = ones_and_zeros(present[:, plan.labels], self._device)
        # To fetch fresh memory for every block would take longer than to fill it.
        room = plan.lowest.new_empty((BLOCK, len(plan.labels)))
        found = [np.zeros((3, 0), np.int64)]
        for start in range(0, len(plan.row), BLOCK):
            row = plan.row[start : start + BLOCK]
            joint = room[: len(row)]
            product(self._active[start : start + BLOCK], right, joint)
            place = _at_least(joint, plan.lowest, row)
            feature, label = np.divmod(place.cpu().numpy(), max(len(plan.labels), 1))
            count = joint.view(-1)[place].to(torch.int64).cpu().numpy()
            found.append(np.stack([start + feature, plan.labels[label], count]))
        feature, label, count = np.concatenate(found, axis=1)
        kept = count < window.below[window.row[feature], label]
        return feature[kept], label[kept], count[kept]


class _Plan:
    """What to look for in one window.

    Attributes
    ----------
    labels : numpy.ndarray of int, shape (kept,)
        Labels that can pass with some feature; most of the study's are too rare.
    row : torch.Tensor of int64, shape (features,)
        Which row of the table belongs to each feature.
    lowest : torch.Tensor of int32 or float32, shape (rows, kept)
        First joint count that passes.
    """

    def __init__(self, window: Window, device: torch.device) -> None:
        possible = window.lowest < window.below
        self.labels = np.flatnonzero(possible.any(0))
        self.row = torch.from_numpy(window.row).to(device)
        lowest = np.where(possible, window.lowest, NEVER)[:, self.labels]
        kind = np.int32 if _multiplies_bytes(device) else np.float32
        self.lowest = torch.from_numpy(lowest.astype(kind)).to(device)


def _at_least(joint: torch.Tensor, lowest: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Places, in the flattened table, where a joint count is reached."""
    if joint.device.type != "cpu":
        return (joint >= lowest[row]).view(-1).nonzero()[:, 0]
    # This is over before threads have found together, above all on a busy machine.
    return torch.from_numpy(np.flatnonzero(joint.numpy() >= lowest.numpy()[row.numpy()]))


def product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    """Multiply what `ones_and_zeros` gives into int32 or float32; exact on either kind."""
    if left.dtype == torch.int8:
        torch._int_mm(left, right, out=out)
    else:
        torch.mm(left, right, out=out)


def ones_and_zeros(values: Bool[np.ndarray, "rows columns"], device: torch.device) -> torch.Tensor:
    """Flags as `product` multiplies them: bytes where the CPU does, float32 elsewhere.

    Sums of up to 2**24 ones are exact in float32; products of bytes add up in 32 bits.
    """
    flags = torch.from_numpy(values).contiguous().to(device)
    return flags.view(torch.int8) if _multiplies_bytes(device) else flags.to(torch.float32)


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
