"""What a wide SAE does over a corpus, summed block of tokens by block of tokens.

Nothing here grows with the number of documents. Blocks may be of any size; what is counted or compared
comes out the same whatever they are, sums of real numbers up to the rounding of float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.models.token_capture import begin_tokens
from saeflow.models.tokens import TokenActivations, read_tokens
from saeflow.saes.bank import EVERY_TOKEN, Bank
from saeflow.saes.quality import SMALLEST_NORM, QualitySums, quality_of_sums
from saeflow.saes.wide.encoding import encode_tokens
from saeflow.stats.streaming import ResampledSums, drawn_ends

_COUNTS = ("documents", "rows", "active", "active_squares", "error", "error_squares", "cosine")


@dataclass(frozen=True)
class TokenBlock:
    """Tokens of some documents and the latents that are not 0 on them.

    The tokens of one document follow one another, within a block and from block to block.

    Attributes
    ----------
    document : Tensor of int64, shape (tokens,)
        Running number of the document that a token is of.
    position : Tensor of int64, shape (tokens,)
        Place of the token in its document, from 0.
    token : Tensor of int64, shape (tokens,)
        Its id.
    begin : Tensor of bool, shape (tokens,)
        Whether the tokenizer put it before the document. Such tokens do not count; they have no
        latents.
    rows : Tensor of int64, shape (n,)
        Token that a value is of, by its place in the block; ascending.
    latents : Tensor of int64, shape (n,)
        Latent, ascending within a token.
    values : Tensor of float32, shape (n,)
        Its value, never 0.
    activations : Tensor of shape (tokens, d_in), optional
        What the SAE read.
    """

    document: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    token: Int[Tensor, " tokens"]
    begin: Bool[Tensor, " tokens"]
    rows: Int[Tensor, " n"]
    latents: Int[Tensor, " n"]
    values: Float[Tensor, " n"]
    activations: Float[Tensor, "tokens d_in"] | None = None

    @property
    def n_counted(self) -> int:
        """Tokens that count."""
        return int((~self.begin).sum())

    @cached_property
    def documents(self) -> tuple[Int[Tensor, " documents"], Int[Tensor, " tokens"]]:
        """Numbers of the documents, ascending, and which of them each token is of."""
        numbers, places = torch.unique(self.document, return_inverse=True)
        return numbers, places


def check_wide(sae: Bank) -> str:
    """Hook of a bank of one site whose SAE reads tokens.

    Raises
    ------
    SaeflowError
        If the bank is another one.
    """
    hook = sae.recipe.hook
    if len(sae.sites) != 1 or sae.sites[0].step != EVERY_TOKEN or hook is None:
        raise SaeflowError(
            f"the bank has the sites {', '.join(site.name for site in sae.sites)} and the hook "
            f"{hook}; expected one SAE of tokens. Choose it with select()."
        )
    return hook


def read_corpus(
    model: LanguageModel,
    sae: Bank,
    numbers: Sequence[int],
    contents: Sequence[str],
    *,
    batch_size: int = 32,
) -> Iterator[TokenActivations]:
    """Read some documents at an SAE's hook; `encode_block` gives the latents of what comes.

    Several SAEs of one site share what is read once.

    Parameters
    ----------
    model : LanguageModel
        The model that the SAE was trained on.
    sae : Bank
        Bank of one site.
    numbers : sequence of int
        Running numbers of the documents.
    contents : sequence of str
        Their texts.
    batch_size : int
        Most documents per forward pass; fewer where they are long.

    Yields
    ------
    TokenActivations
        One per batch; ``text`` holds running numbers.

    Raises
    ------
    SaeflowError
        If the bank is not one SAE of tokens, does not fit the model, or a document does not fit the
        model's positions.
    """
    hook, layer = check_wide(sae), sae.sites[0].layer
    known = torch.tensor(list(numbers), dtype=torch.long, device=model.device)
    for batch in read_tokens(model, contents, hooks=(hook,), layers=[layer], batch_size=batch_size):
        width = batch.activations[hook].shape[2]
        if width != sae.d_in:
            raise SaeflowError(
                f"the SAE reads activations of {sae.d_in} dimensions, but the model has {width}; "
                "expected the model that it was trained on."
            )
        yield TokenActivations(known[batch.text], batch.position, batch.token, batch.activations)


def encode_block(model: LanguageModel, sae: Bank, batch: TokenActivations) -> TokenBlock:
    """Latents of a batch of documents.

    Parameters
    ----------
    model : LanguageModel
        The model; its tokenizer tells which tokens it puts before a text.
    sae : Bank
        Bank of one site, on the model's device.
    batch : TokenActivations
        As `read_corpus` gives it.
    """
    x = batch.activations[check_wide(sae)][0]
    begin = batch.position < begin_tokens(model)
    counted = (~begin).nonzero()[:, 0]
    rows, latents, values = encode_tokens(sae, x[counted])
    return TokenBlock(
        batch.text, batch.position, batch.token, begin, counted[rows], latents, values, x
    )


def decode_block(sae: Bank, block: TokenBlock) -> Float[Tensor, "tokens d_in"]:
    """Reconstructions from the latents that are not 0 alone; b_dec where all are."""
    counts = torch.bincount(block.rows, minlength=len(block.token))
    starts = counts.cumsum(0) - counts
    sums: Tensor = embedding_bag(
        block.latents, sae.W_dec[0], starts, mode="sum", per_sample_weights=block.values
    )
    return sums + sae.b_dec[0]


class FeatureSums:
    """How often, on how many documents and how strongly every feature fires.

    Parameters
    ----------
    d_sae : int
        Latents.
    device : torch.device or str
        Where blocks are.

    Attributes
    ----------
    tokens, documents : int
        Counted so far, documents with a token that counts.
    active, in_documents : Tensor of int64, shape (d_sae,)
        Tokens and documents on which each is not 0.
    total, squares : Tensor of float64, shape (d_sae,)
        Sums of its values and of their squares.
    largest : Tensor of float32, shape (d_sae,)
        Its largest value in size; 0 where it never fires.
    """

    def __init__(self, d_sae: int, device: torch.device | str = "cpu") -> None:
        self.tokens = self.documents = 0
        self.active, self.in_documents = torch.zeros((2, d_sae), dtype=torch.long, device=device)
        self.total, self.squares = torch.zeros((2, d_sae), dtype=torch.float64, device=device)
        self.largest = torch.zeros(d_sae, device=device)
        self._open, self._open_counted = -1, False
        self._open_fired = torch.zeros(d_sae, dtype=torch.bool, device=device)

    def add(self, block: TokenBlock) -> None:
        """Count one block."""
        values, latents = block.values.double(), block.latents
        self.tokens += block.n_counted
        self.active += torch.bincount(latents, minlength=len(self.active))
        self.total.index_add_(0, latents, values)
        self.squares.index_add_(0, latents, values.square())
        self.largest.scatter_reduce_(0, latents, block.values.abs(), "amax")
        if len(block.document):
            self._count_documents(block)

    @classmethod
    def merged(cls, parts: Sequence[FeatureSums]) -> FeatureSums:
        """Sums over the blocks of several, of one or more that have no document in common."""
        made = cls(len(parts[0].active), parts[0].active.device)
        for part in parts:
            made.tokens += part.tokens
            made.documents += part.documents
            for name in ("active", "in_documents", "total", "squares"):
                getattr(made, name).add_(getattr(part, name))
            made.largest = torch.maximum(made.largest, part.largest)
        return made

    def _count_documents(self, block: TokenBlock) -> None:
        """A document of which the block before had a part is counted once."""
        d_sae = len(self.active)
        numbers, places = block.documents
        counted = torch.zeros(len(numbers), dtype=torch.bool, device=numbers.device)
        counted[places[~block.begin]] = True
        pairs = torch.unique(places[block.rows] * d_sae + block.latents)
        place, latent = pairs // d_sae, pairs % d_sae
        self.documents += int(counted.sum())
        self.in_documents += torch.bincount(latent, minlength=d_sae)
        last = int(places[-1])
        fired = torch.zeros_like(self._open_fired)
        fired[latent[place == last]] = True
        again = (numbers == self._open).nonzero()[:, 0]
        if len(again):
            self.documents -= int(self._open_counted and bool(counted[again[0]]))
            repeated = torch.zeros_like(fired)
            repeated[latent[place == again[0]]] = True
            self.in_documents -= (repeated & self._open_fired).long()
            if int(again[0]) == last:
                fired |= self._open_fired
                counted[last] |= self._open_counted
        self._open, self._open_fired = int(numbers[last]), fired
        self._open_counted = bool(counted[last])

    @property
    def density(self) -> Float[Tensor, " d_sae"]:
        """Share of tokens on which each feature fires; NaN where there is no token."""
        density: Tensor = self.active.double() / (self.tokens or float("nan"))
        return density

    @property
    def dead_share(self) -> float:
        """Share of features that never fired; it falls as more tokens are read."""
        return float((self.active == 0).double().mean())


def density_counts(
    density: Float[np.ndarray, " d_sae"], *, per_decade: int, decades: int
) -> list[tuple[float, float, int]]:
    """Features in bins of equal width on a logarithmic scale.

    Parameters
    ----------
    density : numpy.ndarray of float64, shape (d_sae,)
        Share of tokens on which each feature fires.
    per_decade : int
        Bins from one power of 10 to the next.
    decades : int
        Powers of 10 below 1; what is rarer still, but not 0, goes into the first bin.

    Returns
    -------
    list of (float, float, int)
        Lower end, excluded, upper end, included, and features between; first those that never fire,
        whose ends are both 0.
    """
    edges = 10.0 ** (np.arange(-decades * per_decade, 1) / per_decade)
    fires = density[density > 0]
    places = np.searchsorted(edges, fires, side="left").clip(1, len(edges) - 1)
    counts = np.bincount(places, minlength=len(edges))[1:]
    lows, highs = edges[:-1].tolist(), edges[1:].tolist()
    return [
        (0.0, 0.0, len(density) - len(fires)),
        *zip(lows, highs, counts.tolist(), strict=True),
    ]


class Metric(NamedTuple):
    """One number, the ends of its interval if it has one, and how many tokens it is taken over."""

    name: str
    value: float
    ends: tuple[float, float] | None
    n: int


class DocumentQuality:
    """How well an SAE reconstructs the tokens of documents, with a bootstrap over documents.

    Parameters
    ----------
    sae : Bank
        Bank of one site, on the blocks' device.
    """

    def __init__(self, sae: Bank) -> None:
        self._sae = sae
        self._first: Tensor | None = None
        self._sums = ResampledSums(len(_COUNTS) + 1 + sae.d_in)

    def add(self, block: TokenBlock, weights: Int[np.ndarray, "documents resamples"]) -> None:
        """Count one block of whole documents.

        Parameters
        ----------
        block : TokenBlock
            With activations.
        weights : numpy.ndarray of int64, shape (documents, resamples)
            `saeflow.stats.streaming.document_weights` of the block's documents, in ascending order.
        """
        assert block.activations is not None
        kept = (~block.begin).nonzero()[:, 0]
        if not len(kept):
            return
        x = block.activations.double()[kept]
        reconstruction = decode_block(self._sae, block).double()[kept]
        if self._first is None:
            # Sums are taken of differences from it, or large fixed dimensions would swamp the rest.
            self._first = x[0].clone()
        l0 = torch.bincount(block.rows, minlength=len(block.token))[kept].double()
        shifted, error = x - self._first, x - reconstruction
        norms = x.norm(dim=1) * reconstruction.norm(dim=1)
        parts = [torch.zeros_like(l0), torch.ones_like(l0), l0, l0.square(), error.sum(1)]
        parts += [error.square().sum(1), (x * reconstruction).sum(1) / norms.clamp(SMALLEST_NORM)]
        table = torch.cat([torch.stack([*parts, shifted.square().sum(1)], 1), shifted], 1)
        numbers, places = block.documents
        sums = table.new_zeros((len(numbers), table.shape[1])).index_add_(0, places[kept], table)
        sums[:, 0] = (sums[:, 1] > 0).double()
        self._sums.add(sums.cpu().numpy(), weights)

    def metrics(self) -> list[Metric]:
        """Metrics of `saeflow.saes.quality.site_quality` but for ``dead_share``.

        Returns
        -------
        list of Metric
            Values are NaN, and there is no interval, where no token was counted.
        """
        values = quality_of_sums(self._unpacked(self._sums.total), self._sae.d_in)
        drawn = quality_of_sums(self._unpacked(self._sums.drawn), self._sae.d_in)
        documents, rows = self._sums.total[:2]
        return [
            Metric(name, float(value), drawn_ends(drawn[name], documents), int(rows))
            for name, value in values.items()
        ]

    def _unpacked(self, sums: Float[np.ndarray, "*some quantities"]) -> QualitySums:
        counts = dict(zip(_COUNTS, np.moveaxis(sums[..., : len(_COUNTS)], -1, 0), strict=True))
        shifted_squares, shifted = sums[..., len(_COUNTS)], sums[..., len(_COUNTS) + 1 :]
        del counts["documents"]
        rows = np.where(counts["rows"] > 0, counts["rows"], np.nan)
        first = np.zeros(self._sae.d_in) if self._first is None else self._first.cpu().numpy()
        within = np.maximum(shifted_squares - np.square(shifted).sum(-1) / rows, 0)
        # From the first entry, so that of equal entries nothing is left.
        means = first - first[0] + shifted / rows[..., None]
        between = np.maximum(np.square(means).mean(-1) - means.mean(-1) ** 2, 0) * self._sae.d_in
        return QualitySums(
            **(counts | {"rows": rows}), within=within, total=within + rows * between
        )

    @property
    def mean(self) -> Float[np.ndarray, " d_in"]:
        """Mean activation of the tokens counted so far."""
        assert self._first is not None
        shifted = self._sums.total[len(_COUNTS) + 1 :] / self._sums.total[1]
        mean: Float[np.ndarray, " d_in"] = self._first.cpu().numpy() + shifted
        return mean
