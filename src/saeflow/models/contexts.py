"""Documents as token contexts of fixed length, in an order that is drawn anew for every epoch.

The documents of one row group become contexts that stay the same in every epoch: where documents are
packed, a token's activation depends on its neighbours, and a cache could otherwise not hold it.
Contexts are read in blocks of a batch; each epoch permutes the row groups, and the blocks of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from transformers import PreTrainedTokenizerBase

from saeflow.artifacts.batches import TableGroups
from saeflow.artifacts.catalog import TEXTS
from saeflow.config.streams import ContextSettings
from saeflow.errors import SaeflowError
from saeflow.models.language_model import LanguageModel
from saeflow.seeds import numpy_generator

NO_TEXT = -1
"""Document of a token that belongs to none: begin tokens, separators and padding."""
_TOKENIZED = 64
"""Documents that the tokenizer gets at once; it is faster with several."""


@dataclass(frozen=True)
class ContextBlock:
    """Contexts that a model reads in one pass, padded on the right to the longest of them.

    Attributes
    ----------
    ids : numpy.ndarray of shape (contexts, positions), int64
        Token ids.
    counts : numpy.ndarray of shape (contexts, positions), bool
        Which tokens an SAE may see: those of documents that are no begin tokens.
    text : numpy.ndarray of shape (contexts, positions), int32
        Number of the token's document in its data set; `NO_TEXT` where it belongs to none.
    """

    ids: Int[np.ndarray, "contexts positions"]
    counts: Bool[np.ndarray, "contexts positions"]
    text: Int[np.ndarray, "contexts positions"]


class Place(NamedTuple):
    """Which block comes next: its epoch, its row group in the file and its number there."""

    epoch: int
    group: int
    block: int


@dataclass(frozen=True)
class _Group:
    """Tokens of a row group laid out flat, and where contexts begin and end in them."""

    ids: Int[np.ndarray, " tokens"]
    text: Int[np.ndarray, " tokens"]
    pieces: Int[np.ndarray, "contexts 2"]


class Contexts:
    """Contexts of the documents of a file, without end, from any place on.

    Memory holds the tokens of one row group, however many there are.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer cuts documents into tokens.
    texts : Path
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    settings : ContextSettings
        Length, packing, begin tokens and separators.
    batch_size : int
        Contexts of a block.
    seed : int
        Seed of every order.
    split : str
        Which documents are read.

    Raises
    ------
    SaeflowError
        If the file is no table of texts, the tokenizer lacks a token that is asked for, or a context
        does not fit the model's positions.
    """

    def __init__(
        self,
        model: LanguageModel,
        texts: Path,
        settings: ContextSettings,
        *,
        batch_size: int = 32,
        seed: int = 0,
        split: str = "train",
    ) -> None:
        limit = int(model.language_model.config.max_position_embeddings)
        if settings.length > limit:
            raise SaeflowError(
                f"contexts are {settings.length} positions long; the model has {limit}."
            )
        self.settings, self.batch_size, self.seed, self.split = settings, batch_size, seed, split
        self.begin = begin_token(model.tokenizer, settings)
        self.separator = separator_token(model.tokenizer, settings)
        self._tokenizer, self._pad = model.tokenizer, model.pad_id
        self._never = model.tokenizer.bos_token_id
        self._groups = TableGroups(texts, TEXTS)
        self._n_blocks: dict[int, int] = {}
        self._read: tuple[int, _Group] | None = None
        self._order: tuple[int, list[int]] = (-1, [])
        self._epoch = self._group = self._block = 0

    @property
    def n_groups(self) -> int:
        """Row groups of the file."""
        return len(self._groups)

    @property
    def n_documents(self) -> int:
        """Documents of the file, whatever their split."""
        return self._groups.rows

    def count_documents(self) -> Int[np.ndarray, " groups"]:
        """How many documents each row group has to read; none of them is tokenized."""
        counts = [
            self._groups.read(group, ["split"])["split"].to_pylist().count(self.split)
            for group in range(self.n_groups)
        ]
        return np.array(counts, np.int64)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides which contexts there are and in which order they come."""
        return {
            "texts": self._groups.metadata.get("dataset_revision"),
            "documents": self.n_documents,
            "settings": self.settings.model_dump(mode="json"),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "split": self.split,
        }

    def next(self) -> ContextBlock:
        """Give the next block."""
        return self.block(*self.advance()[1:])

    def advance(self) -> Place:
        """Say which block comes next and go on behind it.

        Raises
        ------
        SaeflowError
            If there is no block in the whole file.
        """
        started = self._epoch
        while self._epoch <= started + 1:
            if self._group == self.n_groups:
                self._epoch, self._group, self._block = self._epoch + 1, 0, 0
                continue
            group = self._group_order()[self._group]
            order = numpy_generator(self.seed, "contexts", "blocks", self._epoch, group)
            blocks = order.permutation(self.n_blocks(group))
            if self._block < len(blocks):
                self._block += 1
                return Place(self._epoch, group, int(blocks[self._block - 1]))
            self._group, self._block = self._group + 1, 0
        raise SaeflowError(
            f"{self._groups.path} holds no token of the split {self.split!r}; expected documents "
            "to read."
        )

    def block(self, group: int, block: int) -> ContextBlock:
        """Contexts of one block, the same in every epoch."""
        found = self._tokens(group)
        pieces = found.pieces[block * self.batch_size : (block + 1) * self.batch_size]
        first = 0 if self.begin is None else 1
        shape = len(pieces), first + int((pieces[:, 1] - pieces[:, 0]).max())
        ids = np.full(shape, self._pad, np.int64)
        text = np.full(shape, NO_TEXT, np.int32)
        if self.begin is not None:
            ids[:, 0] = self.begin
        for row, (start, stop) in enumerate(pieces):
            ids[row, first : first + stop - start] = found.ids[start:stop]
            text[row, first : first + stop - start] = found.text[start:stop]
        counts = text != NO_TEXT
        if self._never is not None:
            counts &= ids != self._never
        return ContextBlock(ids, counts, text)

    def blocks(self, group: int) -> Iterator[ContextBlock]:
        """Every block of a row group, in order."""
        for block in range(self.n_blocks(group)):
            yield self.block(group, block)

    def n_blocks(self, group: int) -> int:
        """How many blocks a row group gives."""
        if group not in self._n_blocks:
            self._n_blocks[group] = -(-len(self._tokens(group).pieces) // self.batch_size)
        return self._n_blocks[group]

    def expect_blocks(self, counts: Mapping[int, int]) -> None:
        """Take it from a cache how many blocks row groups give, so that they need not be read."""
        self._n_blocks.update(counts)

    def state(self) -> dict[str, int]:
        """Where the next block is: numbers to save."""
        return {"epoch": self._epoch, "group": self._group, "block": self._block}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where the state was taken."""
        self._epoch, self._group, self._block = (
            int(state[name]) for name in ("epoch", "group", "block")
        )

    def _group_order(self) -> list[int]:
        if self._order[0] != self._epoch:
            order = numpy_generator(self.seed, "contexts", "groups", self._epoch)
            self._order = self._epoch, order.permutation(self.n_groups).tolist()
        return self._order[1]

    def _tokens(self, group: int) -> _Group:
        if self._read is None or self._read[0] != group:
            self._read = None  # before the next one is made: never two of them
            self._read = group, self._cut(group)
        return self._read[1]

    def _cut(self, group: int) -> _Group:
        table = self._groups.read(group, ["text", "content", "split"])
        table = table.filter(np.array(table["split"].to_pylist()) == self.split)
        generator = numpy_generator(self.seed, "contexts", "documents", group)
        table = table.take(generator.permutation(len(table)))
        documents = [
            (number, tokens)
            for start in range(0, len(table), _TOKENIZED)
            for number, tokens in self._tokenized(table.slice(start, _TOKENIZED))
            if len(tokens)
        ]
        return self._pieces(documents)

    def _tokenized(self, table: Any) -> Iterator[tuple[int, Int[np.ndarray, " _"]]]:
        found = self._tokenizer(
            table["content"].to_pylist(),
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        for number, tokens in zip(table["text"].to_pylist(), found, strict=True):
            yield number, np.array(tokens, np.int32)

    def _pieces(self, documents: list[tuple[int, Int[np.ndarray, " _"]]]) -> _Group:
        body = self.settings.length - (self.begin is not None)
        packed = self.settings.packing == "packed"
        between = [self.separator] if packed and self.separator is not None else []
        ids: list[np.ndarray] = [np.empty(0, np.int32)]
        text: list[np.ndarray] = [np.empty(0, np.int32)]
        pieces: list[tuple[int, int]] = []
        start = 0
        for place, (number, tokens) in enumerate(documents):
            before = between if place else []
            ids += [np.array(before, np.int32), tokens]
            text += [
                np.full(len(before), NO_TEXT, np.int32),
                np.full(len(tokens), number, np.int32),
            ]
            if not packed:
                last = start + (len(tokens) if self.settings.pieces == "all" else 1)
                cuts = [
                    (at, min(at + body, start + len(tokens))) for at in range(start, last, body)
                ]
                pieces += cuts
                start += len(tokens)
        flat = np.concatenate(text)
        while packed and start < len(flat):
            # The beginning of a context parts it from what came before.
            start += int(flat[start] == NO_TEXT)
            pieces.append((start, min(start + body, len(flat))))
            start += body
        cut = np.array(pieces, np.int64).reshape(-1, 2)
        # Similar lengths side by side, so that little is padded.
        order = np.argsort(cut[:, 1] - cut[:, 0], kind="stable")
        return _Group(np.concatenate(ids), flat, cut[order])


def begin_token(tokenizer: PreTrainedTokenizerBase, settings: ContextSettings) -> int | None:
    """Token that every context begins with; id 0 is one like any other.

    Returns
    -------
    int or None
        None where contexts begin with none.

    Raises
    ------
    SaeflowError
        If one is asked for and the tokenizer has none, or it puts other tokens before texts.
    """
    if settings.bos is False:
        return None
    begin = tokenizer.bos_token_id
    if settings.bos == "auto":
        own = list(tokenizer("")["input_ids"])
        if own not in ([], [begin]):
            raise SaeflowError(
                f"the tokenizer puts the tokens {own} around every text; expected its begin token "
                "alone, or none. Write bos: true or bos: false."
            )
        return own[0] if own else None
    if begin is None:
        raise SaeflowError("bos is true, but the tokenizer has no begin token; expected one.")
    return int(begin)


def separator_token(tokenizer: PreTrainedTokenizerBase, settings: ContextSettings) -> int | None:
    """Token between packed documents; None where there is none.

    Raises
    ------
    SaeflowError
        If the tokenizer lacks the one that is asked for.
    """
    if settings.separator == "none":
        return None
    token = tokenizer.eos_token_id if settings.separator == "eos" else tokenizer.bos_token_id
    if token is None:
        raise SaeflowError(
            f"separator is {settings.separator!r}, but the tokenizer has no such token; expected one."
        )
    return int(token)
