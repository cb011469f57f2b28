"""Activations of a corpus as shuffled batches, on which SAEs are trained while the model runs.

Contexts go through the model as far as the hook, and what their tokens carry there goes into a
buffer. Whenever it is half empty it is filled up and permuted, as in SAELens and in Bricken et al.
2023 (Towards monosemanticity), so that a batch holds tokens of many documents. Memory holds the
buffer, a block of contexts and the tokens of one row group, however large the corpus is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.artifacts.provenance import Provenance, config_digest
from saeflow.errors import SaeflowError
from saeflow.models.activation_cache import ActivationCache
from saeflow.models.contexts import ContextBlock, Contexts
from saeflow.models.language_model import LanguageModel
from saeflow.models.tokens import read_contexts
from saeflow.seeds import derive_seed, torch_generator

StreamDtype = Literal["float32", "bfloat16"]
"""Precision in which a stream keeps activations."""


class ActivationStream:
    """Shuffled batches of what tokens carry at one hook and layer, without end.

    What the batches are depends on the contexts, their seed and `buffer_tokens` alone, not on how
    often the stream was saved and restored nor on the cache: bit for bit on the CPU, and on CUDA as
    far as its kernels repeat themselves.

    Parameters
    ----------
    model : LanguageModel
        The model, on the device that shall compute.
    contexts : Contexts
        What it reads; the stream moves them on.
    hook : str
        One of `saeflow.models.hooks.TOKEN_HOOKS`.
    layer : int
        Block index; 0 for ``embed`` and ``final_norm``.
    buffer_tokens : int
        Activations that are shuffled together.
    dtype : {"float32", "bfloat16"}
        Precision of buffer and batches.
    cache : Path, optional
        Folder in which activations are kept, so that each row group goes through the model once.

    Attributes
    ----------
    d_in : int
        Dimensions of an activation.
    tokens_per_epoch : int or None
        Tokens of the corpus that reach an SAE; known behind the first epoch.
    refills : int
        How often the buffer has been filled up.

    Raises
    ------
    SaeflowError
        If the model has no such hook or layer.
    """

    def __init__(
        self,
        model: LanguageModel,
        contexts: Contexts,
        *,
        hook: str,
        layer: int,
        buffer_tokens: int,
        dtype: StreamDtype = "float32",
        cache: Path | None = None,
    ) -> None:
        self._model, self._contexts = model, contexts
        self._hook, self._layer = hook, layer
        self._buffer_tokens = buffer_tokens
        self._dtype: torch.dtype = getattr(torch, dtype)
        self.d_in = width_at(model, hook, layer)
        self.tokens_per_epoch: int | None = None
        self.refills = 0
        self._epoch_tokens = 0
        # The last block may carry the buffer over its brim.
        capacity = buffer_tokens + contexts.batch_size * contexts.settings.length
        self._buffer = torch.empty((capacity, self.d_in), dtype=self._dtype, device=model.device)
        self._slots = torch.empty(0, dtype=torch.int64)
        self._activations = {
            "contexts": contexts.identity,
            "model": model.revision,
            "precision": [str(model.language_model.dtype), dtype],
            "place": [hook, layer],
            "d_in": self.d_in,
        }
        self._cache = None if cache is None else self._opened(cache, dtype)

    def next_batch(self, rows: int) -> Float[Tensor, "rows d_in"]:
        """Give the next activations, on the model's device, in the stream's precision.

        Parameters
        ----------
        rows : int
            How many; no more than the buffer holds.

        Raises
        ------
        SaeflowError
            If the buffer cannot give so many, or the corpus holds no token.
        """
        if not 1 <= rows <= self._buffer_tokens:
            raise SaeflowError(
                f"a batch of {rows} activations was asked for; buffer_tokens allows 1 to "
                f"{self._buffer_tokens}."
            )
        if len(self._slots) < max(rows, self._buffer_tokens // 2):
            self._refill()
        given, self._slots = self._slots[:rows], self._slots[rows:]
        return self._buffer[given.to(self._buffer.device)]

    def state(self) -> dict[str, Tensor | int]:
        """Everything that decides what comes next.

        Returns
        -------
        dict of str to Tensor or int
            ``rows`` is a tensor of shape (unread activations, d_in) on the CPU, in the order in which
            they come; the rest are numbers.
        """
        return {
            **self._contexts.state(),
            "rows": self._buffer[self._slots.to(self._buffer.device)].cpu(),
            "refills": self.refills,
            "epoch_tokens": self._epoch_tokens,
            "tokens_per_epoch": -1 if self.tokens_per_epoch is None else self.tokens_per_epoch,
            "stream": self._number(),
        }

    def restore(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on where the state was taken.

        Parameters
        ----------
        state : mapping of str to Tensor or int
            What `state` gave, of a stream made in the same way.

        Raises
        ------
        SaeflowError
            If it is the state of another stream.
        """
        rows = state["rows"]
        assert isinstance(rows, Tensor), "see state"
        numbers = {name: int(value) for name, value in state.items() if name != "rows"}
        if numbers["stream"] != self._number():
            raise SaeflowError(
                "the saved state belongs to another stream: model, hook, layer, corpus, contexts, "
                "seed, precision or buffer_tokens differ. Delete it to begin anew."
            )
        self._contexts.restore(numbers)
        self._slots = torch.arange(len(rows))
        self._buffer[: len(rows)] = rows.to(self._buffer.device)
        self.refills = numbers["refills"]
        self._epoch_tokens = numbers["epoch_tokens"]
        known = numbers["tokens_per_epoch"]
        self.tokens_per_epoch = None if known < 0 else known

    def _refill(self) -> None:
        free = torch.ones(len(self._buffer), dtype=torch.bool)
        free[self._slots] = False
        empty = free.nonzero()[:, 0]
        filled = 0
        while len(self._slots) + filled < self._buffer_tokens:
            rows = self._next_rows()
            new = empty[filled : filled + len(rows)]
            self._buffer[new.to(self._buffer.device)] = rows
            filled += len(rows)
        slots = torch.cat([self._slots, empty[:filled]])
        generator = torch_generator(self._contexts.seed, "stream", "refill", self.refills)
        self._slots = slots[torch.randperm(len(slots), generator=generator)]
        self.refills += 1

    def _next_rows(self) -> Float[Tensor, "tokens d_in"]:
        before = self._contexts.state()["epoch"]
        epoch, group, block = self._contexts.advance()
        if epoch > before:
            if not self._epoch_tokens:
                raise SaeflowError(
                    "the corpus holds begin tokens alone; expected documents with other tokens."
                )
            self.tokens_per_epoch, self._epoch_tokens = self._epoch_tokens, 0
        if self._cache is None:
            rows = self._computed(self._contexts.block(group, block))
        else:
            if self._cache.parts(group) is None:
                blocks = self._contexts.blocks(group)
                self._cache.write(group, ((each, self._computed(each)) for each in blocks))
            rows = self._cache.read(group, block).to(self._buffer.device)
        self._epoch_tokens += len(rows)
        return rows

    def _computed(self, block: ContextBlock) -> Float[Tensor, "tokens d_in"]:
        return compute_block(self._model, block, self._hook, self._layer).to(self._dtype)

    def _opened(self, folder: Path, dtype: StreamDtype) -> ActivationCache:
        provenance = Provenance(
            config_digest(self._activations),
            seed=self._contexts.seed,
            dataset_revision=self._contexts.identity["texts"],
            model_revision=self._model.revision,
            packages=("torch", "transformers"),
        )
        cache = ActivationCache(folder, self.d_in, dtype, provenance)
        groups = range(self._contexts.n_groups)
        found: Iterator[tuple[int, int | None]] = ((each, cache.parts(each)) for each in groups)
        self._contexts.expect_blocks({group: n for group, n in found if n is not None})
        return cache

    def _number(self) -> int:
        return derive_seed(config_digest(self._activations), self._buffer_tokens)


def compute_block(
    model: LanguageModel, block: ContextBlock, hook: str, layer: int
) -> Float[Tensor, "tokens d_in"]:
    """Activations of the tokens of a block that count, context by context; float32."""
    ids, counts = torch.from_numpy(block.ids), torch.from_numpy(block.counts)
    return read_contexts(model, ids, counts, hook=hook, layer=layer)


def width_at(model: LanguageModel, hook: str, layer: int) -> int:
    """Dimensions of what a token carries at a hook, found by reading one.

    Raises
    ------
    SaeflowError
        If the model has no such hook or layer.
    """
    one = np.zeros((1, 1), np.int64)
    block = ContextBlock(one, one == 0, one.astype(np.int32))
    return compute_block(model, block, hook, layer).shape[1]
