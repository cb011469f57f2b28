"""What a stream of activations will take, before it starts: tokens, disk, arithmetic and time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from saeflow.artifacts.vectors import STORAGE
from saeflow.models.activation_stream import StreamDtype, compute_block, width_at
from saeflow.models.contexts import Contexts
from saeflow.models.hooks import transformer_blocks
from saeflow.models.language_model import LanguageModel

ROW_BYTES = 6
"""Bytes that a cached activation takes beside its vector: its document and position."""


@dataclass(frozen=True)
class StreamCost:
    """Tokens, bytes, arithmetic and seconds of a stream.

    Attributes
    ----------
    documents : int
        Documents of the corpus that are read.
    tokens_per_epoch : int
        Tokens of them that reach an SAE; estimated unless `counted`.
    counted : bool
        Whether every row group was read to say so.
    tokens : int
        Tokens that shall be streamed.
    positions : int
        Positions that the model reads for them: padding, begin tokens and separators, too; of one
        epoch at most where there is a cache.
    cache_bytes : int
        Bytes of the cache before compression; 0 without one.
    flops : float
        Floating-point operations of the model, two per multiplication and addition.
    seconds : float
        Of tokenizing and the model on this machine, from a trial; what trains on it not included.
    """

    documents: int
    tokens_per_epoch: int
    counted: bool
    tokens: int
    positions: int
    cache_bytes: int
    flops: float
    seconds: float

    def sentence(self) -> str:
        """Say it in one line of a log."""
        about = "" if self.counted else "about "
        cache = f", {self.cache_bytes / 1e9:.3g} GB of cache" if self.cache_bytes else ""
        return (
            f"stream: {self.documents:,} documents with {about}{self.tokens_per_epoch:,} tokens; "
            f"{self.tokens:,} tokens wanted ({self.tokens / max(1, self.tokens_per_epoch):.2f} epochs), "
            f"{self.flops:.3g} FLOP of the model, about {self.seconds:.0f} s{cache}."
        )


def estimate(
    model: LanguageModel,
    contexts: Contexts,
    *,
    hook: str,
    layer: int,
    tokens: int | None = None,
    dtype: StreamDtype = "float32",
    cache: bool = False,
    groups: int = 4,
    trial: int = 3,
) -> StreamCost:
    """Say what a stream will take; the contexts stay where they are.

    Parameters
    ----------
    model : LanguageModel
        The model, on the device that shall compute.
    contexts : Contexts
        What it shall read.
    hook : str
        One of `saeflow.models.hooks.TOKEN_HOOKS`.
    layer : int
        Block index; 0 for ``embed`` and ``final_norm``.
    tokens : int, optional
        Activations wanted in all; one epoch by default.
    dtype : {"float32", "bfloat16"}
        Precision of the cache.
    cache : bool
        Whether activations are kept, so that each goes through the model once.
    groups : int
        Most row groups that are read to count tokens.
    trial : int
        Blocks whose time is taken.

    Returns
    -------
    StreamCost
        What it will take.

    Raises
    ------
    SaeflowError
        If the model has no such hook or layer.
    """
    documents = contexts.count_documents()
    some = np.flatnonzero(documents)
    chosen = some[_spread(len(some), groups)]
    sample = _read(contexts, chosen.tolist())
    per_epoch = round(sample.tokens * documents.sum() / max(1, documents[chosen].sum()))
    wanted = per_epoch if tokens is None else tokens
    passed = min(wanted, per_epoch) if cache else wanted
    share = passed / max(1, sample.tokens)
    cell = width_at(model, hook, layer) * STORAGE[dtype].itemsize + ROW_BYTES
    places = [sample.places[place] for place in _spread(len(sample.places), trial)]
    forward = _seconds_per_position(model, contexts, places, hook, layer)
    length = sample.positions / max(1, sample.contexts)
    return StreamCost(
        documents=int(documents.sum()),
        tokens_per_epoch=per_epoch,
        counted=len(chosen) == len(some),
        tokens=wanted,
        positions=round(sample.positions * share),
        cache_bytes=per_epoch * cell if cache else 0,
        flops=sample.positions * share * flops_per_position(model, hook, layer, length),
        seconds=(sample.seconds + sample.positions * forward) * share,
    )


def flops_per_position(model: LanguageModel, hook: str, layer: int, length: float) -> float:
    """Floating-point operations of the blocks that are run, per position of a context.

    Parameters
    ----------
    model : LanguageModel
        The model.
    hook, layer
        Where the pass ends.
    length : float
        Positions of a context; attention is counted without the half that a causal mask spares.
    """
    ends = {"embed": 0, "resid_pre": layer, "final_norm": model.n_layers}
    last = ends.get(hook, layer + 1)
    blocks = list(transformer_blocks(model.language_model))[:last]
    config = model.language_model.config
    heads = int(config.num_attention_heads)
    width = heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    weights = sum(each.numel() for block in blocks for each in block.parameters())
    return 2.0 * weights + 4.0 * length * width * len(blocks)


@dataclass
class _Sample:
    """What some row groups hold, and how long it took to cut them."""

    tokens: int = 0
    positions: int = 0
    contexts: int = 0
    seconds: float = 0.0
    places: list[tuple[int, int]] = field(default_factory=list)


def _read(contexts: Contexts, groups: list[int]) -> _Sample:
    sample = _Sample()
    start = time.perf_counter()
    for group in groups:
        for number, block in enumerate(contexts.blocks(group)):
            sample.tokens += int(block.counts.sum())
            sample.positions += block.ids.size
            sample.contexts += len(block.ids)
            sample.places.append((group, number))
    sample.seconds = time.perf_counter() - start
    return sample


def _spread(n: int, wanted: int) -> list[int]:
    """At most so many of n places, from the first to the last."""
    spread: list[int] = np.unique(
        np.linspace(0, n - 1, min(n, wanted)).round().astype(int)
    ).tolist()
    return spread


def _seconds_per_position(
    model: LanguageModel, contexts: Contexts, places: list[tuple[int, int]], hook: str, layer: int
) -> float:
    blocks = [contexts.block(*place) for place in places]
    for block in blocks[:1]:
        compute_block(model, block, hook, layer)  # warms up
    start = time.perf_counter()
    for block in blocks:
        compute_block(model, block, hook, layer)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return (time.perf_counter() - start) / max(1, sum(block.ids.size for block in blocks))
