"""The best few candidates of many cells at once, whatever the order in which they come."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from saeflow.seeds import derive_seed

_WORST = torch.iinfo(torch.long).max


class Places(NamedTuple):
    """Where candidates are.

    Attributes
    ----------
    document, position : Tensor of int64
        Of one shape.
    """

    document: Int[Tensor, "*some"]
    position: Int[Tensor, "*some"]


class Moves(NamedTuple):
    """What came into which slot, so that what belongs to it can follow.

    Attributes
    ----------
    to, of : Tensor of int64, shape (moved,)
        Slots that hold what other slots held before.
    new, candidate : Tensor of int64, shape (admitted,)
        Slots that hold a candidate, and its place among those offered.
    """

    to: Int[Tensor, " moved"]
    of: Int[Tensor, " moved"]
    new: Int[Tensor, " admitted"]
    candidate: Int[Tensor, " admitted"]


class Slots:
    """Keeps, of all that is offered to a cell, what has the smallest keys.

    Of equal keys the smaller document comes first, then the smaller position. There is no loop over
    cells.

    Parameters
    ----------
    n_cells, keep : int
        Cells, and slots of each. Slots are numbered cell by cell.
    per_document : bool
        Whether a cell keeps but one candidate of a document, the first in that order.
    device : torch.device or str
        Where candidates are.

    Attributes
    ----------
    key : Tensor of int64, shape (cells, keep)
        Ascending; those of empty slots are the largest there is.
    places : Places
        Of the same shape; documents of empty slots are -1.
    """

    def __init__(
        self, n_cells: int, keep: int, *, per_document: bool, device: torch.device | str = "cpu"
    ) -> None:
        shape = n_cells, keep
        self.key = torch.full(shape, _WORST, device=device)
        empty = torch.full(shape, -1, device=device)
        self.places = Places(empty, empty.clone())
        self._per_document = per_document

    def add(
        self,
        cell: Int[Tensor, " candidates"],
        key: Int[Tensor, " candidates"],
        places: Places,
    ) -> Moves:
        """Offer candidates.

        Parameters
        ----------
        cell, key : Tensor of int64, shape (candidates,)
            Which cell, and what it is ordered by; below the largest number there is.
        places : Places
            Documents from 0. No place is offered to a cell twice.
        """
        keep = self.key.shape[1]
        nothing = cell[:0]
        if not keep:
            return Moves(nothing, nothing, nothing, nothing)
        # Most cannot come in: what is worse than the last slot of its cell need not be sorted.
        candidate = (key <= self.key[cell, -1]).nonzero()[:, 0]
        touched = torch.unique(cell[candidate])
        slot = (touched[:, None] * keep + torch.arange(keep, device=cell.device)).flatten()
        slot = slot[self.places.document.flatten()[slot] >= 0]
        stored = [each.flatten()[slot] for each in (self.key, *self.places)]
        offered = [each[candidate] for each in (key, *places)]
        columns = [torch.cat(pair) for pair in zip(stored, offered, strict=True)]
        of_cell = torch.cat([slot // keep, cell[candidate]])
        order = self._order(of_cell, *columns)
        of_cell = of_cell[order]
        rank = torch.arange(len(order), device=cell.device)
        rank -= torch.searchsorted(of_cell, of_cell)
        kept = rank < keep
        order, target = order[kept], (of_cell * keep + rank)[kept]
        for table, values, empty in zip(
            (self.key, *self.places), columns, (_WORST, -1, -1), strict=True
        ):
            table[touched] = empty
            table.view(-1)[target] = values[order]
        old = order < len(slot)
        return Moves(
            target[old], slot[order[old]], target[~old], candidate[order[~old] - len(slot)]
        )

    def _order(self, cell: Tensor, key: Tensor, document: Tensor, position: Tensor) -> Tensor:
        """Order by cell, key, document and position, second ones of a document left out if asked."""
        if self._per_document:
            order = _sorted_by(position, key, document, cell)
            pairs = torch.stack([cell[order], document[order]])
            first = torch.ones(len(order), dtype=torch.bool, device=cell.device)
            first[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(0)
            kept = order[first].sort().values
        else:
            kept = torch.arange(len(cell), device=cell.device)
        return kept[_sorted_by(position[kept], document[kept], key[kept], cell[kept])]

    def filled(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Slots that are not empty, their cells and ranks, cell by cell."""
        slot = (self.places.document.flatten() >= 0).nonzero()[:, 0]
        keep = max(1, self.key.shape[1])
        return slot, slot // keep, slot % keep


def _sorted_by(*keys: Tensor) -> Tensor:
    """Indices that sort by the last key, of equal ones by the one before, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in keys:
        order = order[key[order].argsort(stable=True)]
    return order


def draw_numbers(seed: int, *parts: Int[Tensor, "*some"]) -> Int[Tensor, "*some"]:
    """Pseudo-random numbers that follow from whole numbers alone, the same on every device.

    The least of them among any set of places is a uniform random choice, and the least k are a sample
    without replacement, whatever the order in which the places are seen.

    Parameters
    ----------
    seed : int
        Of the drawing.
    *parts : Tensor of int64
        Such as document, position and feature; of one shape.

    Returns
    -------
    Tensor of int64
        From 0 to 2**63 - 2 (splitmix64, part after part).
    """
    state = torch.full_like(parts[0], derive_seed(seed, "places"))
    for part in parts:
        state = _mixed(state + part * -7046029254386353131)
    return (state & _WORST).clamp(max=_WORST - 1)


def _mixed(x: Tensor) -> Tensor:
    """Finish of splitmix64 (Steele et al., 2014), on signed numbers that wrap around."""
    x = (x ^ _shifted(x, 30)) * -4658895280553007687
    x = (x ^ _shifted(x, 27)) * -7723592293110705685
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right without the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
