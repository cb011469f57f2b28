"""Products of which only a few entries are wanted, and the sizes of what is computed at a time.

Sizes depend on the kind of device alone: results do not depend on the number of threads.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag


def rows_at_a_time(device: torch.device) -> int:
    """Tokens that are encoded together: many enough for a full-speed product."""
    return 256 if device.type == "cpu" else 8192


def latents_at_a_time(device: torch.device, d_in: int) -> int:
    """Latents that are updated together: on a CPU as many as fit in its cache."""
    number = (2**21 if device.type == "cpu" else 2**32) // (4 * d_in)
    return max(16, number // 16 * 16)


def gathered_at_a_time(device: torch.device, width: int, d_in: int) -> int:
    """Tokens whose latents' rows are copied together."""
    return max(1, (2**21 if device.type == "cpu" else 2**29) // (4 * width * d_in))


def row_dots(
    matrix: Float[Tensor, "d_sae d_in"],
    latents: Int[Tensor, "rows width"],
    x: Float[Tensor, "rows d_in"],
) -> Float[Tensor, "rows width"]:
    """Products of each row of x with the matrix rows of its latents.

    Multiplying copies of the rows takes 3.4 ms for 256 rows of 32 out of 24,576 x 768, on one thread;
    batched matrix-vector products of the same copies take 10 to 15.

    Parameters
    ----------
    matrix : torch.Tensor of shape (d_sae, d_in), float32
        Row per latent.
    latents : torch.Tensor of shape (rows, width), int64
        Latents of each row.
    x : torch.Tensor of shape (rows, d_in), float32
        Rows.

    Returns
    -------
    torch.Tensor of shape (rows, width), float32
        matrix[latents[i, j]] · x[i].
    """
    rows, width = latents.shape
    found = x.new_empty(rows, width)
    size = gathered_at_a_time(x.device, width, x.shape[1])
    for start in range(0, rows, size):
        part = latents[start : start + size]
        copies = matrix.index_select(0, part.flatten()).view(*part.shape, -1)
        found[start : start + size] = copies.mul_(x[start : start + size].unsqueeze(1)).sum(2)
    return found


def weighted_sums(
    matrix: Float[Tensor, "d_sae d_in"],
    latents: Int[Tensor, "rows width"],
    values: Float[Tensor, "rows width"],
) -> Float[Tensor, "rows d_in"]:
    """Sum of the matrix rows of each row's latents, weighted by their values."""
    return embedding_bag(latents, matrix, mode="sum", per_sample_weights=values)


def product(
    left: Float[Tensor, "n m"], right: Float[Tensor, "m p"], half: bool
) -> Float[Tensor, "n p"]:
    """Matrix product in float32, or of bfloat16 copies where `half`."""
    if half:
        return (left.bfloat16() @ right.bfloat16()).float()
    return left @ right


class Entries:
    """Active latents of a batch, sorted by latent, for sums over the tokens of each latent."""

    def __init__(
        self,
        tables: list[tuple[Tensor, Tensor, Tensor]],
        d_sae: int,
    ) -> None:
        """Take (values, latents, back) of consecutive rows, each of shape (rows, width)."""
        rows, latents, values, back, start = [], [], [], [], 0
        for value, latent, gradient in tables:
            row, place = (value > 0).nonzero(as_tuple=True)
            rows.append(row + start)
            latents.append(latent[row, place])
            values.append(value[row, place])
            back.append(gradient[row, place])
            start += len(value)
        sorted_latents = torch.cat(latents).sort(stable=True)
        self.latents = sorted_latents.values
        self.rows, self.values, self.back = (
            torch.cat(each)[sorted_latents.indices] for each in (rows, values, back)
        )
        self.ends = torch.bincount(self.latents, minlength=d_sae).cumsum(0)

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, start: int, stop: int) -> tuple[slice, Tensor]:
        """Where the entries of latents `start` to `stop` stand, and where each latent's begin there."""
        first = int(self.ends[start - 1]) if start else 0
        begin = self.ends[start:stop].roll(1)
        begin[0] = first
        return slice(first, int(self.ends[stop - 1])), begin - first

    def sums(
        self, weights: Tensor, x: Float[Tensor, "rows d_in"], start: int, stop: int
    ) -> Float[Tensor, "latents d_in"]:
        """Σ weight · x over the tokens of each latent: the rows of a gradient.

        embedding_bag reads the rows of x where they are (65,536 entries of 768 numbers: 6 ms a
        matrix on one thread); index_add over products laid out in memory takes 585.
        """
        place, begin = self.of(start, stop)
        if place.start == place.stop:
            return x.new_zeros(stop - start, x.shape[1])
        return embedding_bag(
            self.rows[place], x, begin, mode="sum", per_sample_weights=weights[place]
        )

    def bias(self, start: int, stop: int) -> Float[Tensor, " latents"]:
        """Σ back over the tokens of each latent."""
        place, _ = self.of(start, stop)
        found = self.back.new_zeros(stop - start)
        return found.index_add_(0, self.latents[place] - start, self.back[place])
