"""Where in a corpus features fire most, where they fire so much, and where they do not.

All three keep the best few of what comes by, in an order that does not depend on when it comes: the
largest values, or the smallest of pseudo-random numbers that follow from the place alone. What is kept
is the same whatever the blocks are, and its memory does not grow with the documents.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saeflow.errors import SaeflowError
from saeflow.saes.wide.reading import TokenBlock
from saeflow.saes.wide.slots import Places, Slots, draw_numbers
from saeflow.saes.wide.windows import NO_TOKEN, Around, Windows


class Examples(NamedTuple):
    """Kept examples, by cell (such as a feature) and rank.

    Attributes
    ----------
    cell, rank : Tensor of int64, shape (examples,)
        Ranks start from 0.
    document, position : Tensor of int64, shape (examples,)
        Where.
    value : Tensor of float32, shape (examples,)
        Activation, signed.
    windows : Windows
        Tokens around.
    """

    cell: Int[Tensor, " examples"]
    rank: Int[Tensor, " examples"]
    document: Int[Tensor, " examples"]
    position: Int[Tensor, " examples"]
    value: Float[Tensor, " examples"]
    windows: Windows


class _Kept:
    """Slots of examples with their values and windows.

    Windows reach over the edges of a document's blocks nowhere: with a context, a block must hold whole
    documents.
    """

    def __init__(
        self,
        n_cells: int,
        keep: int,
        context: int,
        *,
        per_document: bool,
        device: torch.device | str,
    ) -> None:
        if keep < 0 or context < 0:
            raise SaeflowError(
                f"{keep} examples with {context} tokens on either side are to be kept; expected 0 or "
                "more of both."
            )
        self.slots = Slots(n_cells, keep, per_document=per_document, device=device)
        self.context = context
        self.value = torch.zeros(n_cells * keep, device=device)
        shape = n_cells * keep, 2 * context + 1
        self.token = torch.full(shape, NO_TOKEN, dtype=torch.int32, device=device)
        self.activation = torch.full(shape, float("nan"), device=device)
        self._last = -1

    def offer(
        self,
        block: TokenBlock,
        entry: Int[Tensor, " candidates"],
        cell: Int[Tensor, " candidates"],
        key: Int[Tensor, " candidates"],
    ) -> None:
        """Offer some of a block's values, by their place in it, to cells; smallest keys are kept."""
        self._check_whole(block)
        rows = block.rows[entry]
        moves = self.slots.add(cell, key, Places(block.document[rows], block.position[rows]))
        for name in ("value", "token", "activation"):
            stored = getattr(self, name)
            stored[moves.to] = stored[moves.of]
        chosen = entry[moves.candidate]
        self.value[moves.new] = block.values[chosen]
        around = Around(block, block.rows[chosen], self.context)
        self.token[moves.new] = around.tokens(block)
        self.activation[moves.new] = around.activations(block, block.latents[chosen])

    def _check_whole(self, block: TokenBlock) -> None:
        if self.context and len(block.document):
            numbers = block.documents[0]
            if bool((numbers == self._last).any()):
                raise SaeflowError(
                    f"document {self._last} comes in two blocks, so the tokens around its examples "
                    "cannot be kept; expected blocks of whole documents, or a context of 0 tokens."
                )
            self._last = int(block.document[-1])

    def examples(self) -> Examples:
        """What is kept so far, but for empty slots."""
        slot, cell, rank = self.slots.filled()
        places = self.slots.places
        return Examples(
            cell,
            rank,
            places.document.flatten()[slot],
            places.position.flatten()[slot],
            self.value[slot],
            Windows(self.token[slot], self.activation[slot]),
        )


class TopExamples:
    """The k tokens on which each feature is largest in size, exactly.

    Of equal values the earlier document comes first, then the earlier position.

    Parameters
    ----------
    features : Tensor of int64, shape (features,)
        Different latents; a cell is a place among them.
    d_sae : int
        Latents.
    keep : int
        Tokens per feature.
    context : int
        Tokens kept on either side; if any, blocks must hold whole documents.
    per_document : bool
        Whether to keep but one token of a document per feature, its largest.
    """

    def __init__(
        self,
        features: Int[Tensor, " features"],
        d_sae: int,
        *,
        keep: int,
        context: int = 0,
        per_document: bool = True,
    ) -> None:
        self._place = places_of(features, d_sae)
        self._kept = _Kept(
            len(features), keep, context, per_document=per_document, device=features.device
        )

    def add(self, block: TokenBlock) -> None:
        """Look through one block.

        Raises
        ------
        SaeflowError
            If windows are kept and a document comes in two blocks.
        """
        cell = self._place[block.latents]
        entry = (cell >= 0).nonzero()[:, 0]
        self._kept.offer(block, entry, cell[entry], size_keys(block.values[entry]))

    def examples(self) -> Examples:
        """Examples so far; a feature that fires on fewer tokens has fewer."""
        return self._kept.examples()


class BinSamples:
    """Random tokens of each feature, from bins of its activation.

    Bins are of equal width between 0 and the feature's largest value in size, the upper end included:
    with 4 bins the last holds what is above 3/4 of it. The largest value must be known, so this is a
    second pass; bins by rank would need every value of a feature at once.

    Parameters
    ----------
    features, d_sae, context, per_document
        As of `TopExamples`; a cell is a feature's place times `bins`, plus the bin.
    largest : Tensor of float32, shape (features,)
        Of each feature, from a first pass (`FeatureSums.largest`).
    bins : int
        Per feature.
    keep : int
        Tokens per bin.
    seed : int
        Of the drawing.

    Attributes
    ----------
    counts : Tensor of int64, shape (features, bins)
        Tokens in each bin, of which the kept ones are a sample.
    """

    def __init__(
        self,
        features: Int[Tensor, " features"],
        d_sae: int,
        largest: Float[Tensor, " features"],
        *,
        bins: int,
        keep: int,
        seed: int,
        context: int = 0,
        per_document: bool = True,
    ) -> None:
        self._features, self._largest = features, largest.double()
        self._place = places_of(features, d_sae)
        self._seed = seed
        self.counts = torch.zeros((len(features), bins), dtype=torch.long, device=features.device)
        self._kept = _Kept(
            self.counts.numel(), keep, context, per_document=per_document, device=features.device
        )

    def add(self, block: TokenBlock) -> None:
        """Look through one block; see `TopExamples.add`."""
        place = self._place[block.latents]
        entry = (place >= 0).nonzero()[:, 0]
        place, bins = place[entry], self.counts.shape[1]
        share = (block.values[entry].abs().double() / self._largest[place]).clamp(max=1)
        cell = place * bins + ((share * bins).ceil().long() - 1).clamp(0, bins - 1)
        self.counts += torch.bincount(cell, minlength=self.counts.numel()).view_as(self.counts)
        rows = block.rows[entry]
        key = draw_numbers(
            self._seed, block.document[rows], block.position[rows], self._features[place]
        )
        self._kept.offer(block, entry, cell, key)

    def examples(self) -> Examples:
        """Samples so far."""
        return self._kept.examples()


class SilentPool:
    """Random tokens of the corpus, for each feature those on which it is silent.

    One pool serves all features: a sample of their own would have to be drawn from nearly all tokens. A
    feature is silent at a place of the pool if it is 0 on all tokens of its window.

    Parameters
    ----------
    features, d_sae, context, per_document
        As of `TopExamples`.
    size : int
        Places in the pool.
    seed : int
        Of the drawing.
    """

    def __init__(
        self,
        features: Int[Tensor, " features"],
        d_sae: int,
        *,
        size: int,
        seed: int,
        context: int = 0,
        per_document: bool = True,
    ) -> None:
        self._features, self._seed = features, seed
        self._place = places_of(features, d_sae)
        device = features.device
        self._kept = _Kept(1, size, context, per_document=per_document, device=device)
        self.fires = torch.zeros((size, len(features)), dtype=torch.bool, device=device)

    def add(self, block: TokenBlock) -> None:
        """Look through one block; see `TopExamples.add`."""
        kept = self._kept
        kept._check_whole(block)
        rows = (~block.begin).nonzero()[:, 0]
        places = Places(block.document[rows], block.position[rows])
        key = draw_numbers(self._seed, places.document, places.position)
        moves = kept.slots.add(torch.zeros_like(rows), key, places)
        for stored in (kept.token, self.fires):
            stored[moves.to] = stored[moves.of]
        around = Around(block, rows[moves.candidate], kept.context)
        kept.token[moves.new] = around.tokens(block)
        self.fires[moves.new] = around.fires(block, self._place, len(self._features))
        # Which of them the tokenizer put before a document is told by NaN, as of other examples.
        kept.activation[moves.to] = kept.activation[moves.of]
        kept.activation[moves.new] = around.silent(block)

    def pool(self) -> tuple[Examples, Bool[Tensor, "examples features"]]:
        """All places of the pool, of one cell, and which features fire somewhere in their windows."""
        slot, _, _ = self._kept.slots.filled()
        return self._kept.examples(), self.fires[slot]

    def examples(self, keep: int) -> Examples:
        """Places of the pool on which features are silent, a random order of its own for each.

        Parameters
        ----------
        keep : int
            Places per feature; fewer where it fires on too many.
        """
        pool = self._kept.examples()
        slot, _, _ = self._kept.slots.filled()
        n, keep = len(self._features), min(keep, len(slot))
        if not keep or not n:
            none = slot[:0]
            around = Windows(*(each[:0] for each in pool.windows))
            return Examples(none, none, none, none, pool.value[:0], around)
        found = [
            self._silent(part, pool, slot, keep)
            for part in torch.split(torch.arange(n, device=slot.device), max(1, 2**22 // len(slot)))
        ]
        cell, rank, place = (torch.cat(each) for each in zip(*found, strict=True))
        windows = Windows(pool.windows.token[place], pool.windows.activation[place])
        return Examples(
            cell, rank, pool.document[place], pool.position[place], pool.value[place], windows
        )

    def _silent(
        self, part: Tensor, pool: Examples, slot: Tensor, keep: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of some features: their places among all, ranks, and places among the pool's examples."""
        key = draw_numbers(
            self._seed,
            pool.document[None].expand(len(part), -1),
            pool.position[None].expand(len(part), -1),
            self._features[part][:, None].expand(-1, len(slot)),
        )
        fires = self.fires[slot][:, part].T
        order = key.masked_fill(fires, torch.iinfo(torch.long).max).argsort(dim=1, stable=True)
        order = order[:, :keep]
        row, rank = (~fires.gather(1, order)).nonzero(as_tuple=True)
        return part[row], rank, order[row, rank]


def places_of(features: Int[Tensor, " features"], d_sae: int) -> Int[Tensor, " d_sae"]:
    """Place of every latent among some features; -1 where it is none of them.

    Raises
    ------
    SaeflowError
        If a feature is no latent or comes twice.
    """
    if len(features) and not 0 <= int(features.min()) <= int(features.max()) < d_sae:
        raise SaeflowError(
            f"the features reach from {int(features.min())} to {int(features.max())}; expected "
            f"latents of 0 to {d_sae - 1}."
        )
    if len(torch.unique(features)) < len(features):
        raise SaeflowError("a feature is named twice; expected different ones.")
    place = torch.full((d_sae,), -1, dtype=torch.long, device=features.device)
    place[features] = torch.arange(len(features), device=features.device)
    return place


def size_keys(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Whole numbers that order float32 values by size, the largest first, as they are compared."""
    keys: Tensor = -values.abs().view(torch.int32).long()
    return keys
