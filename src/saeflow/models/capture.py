"""Thoughts of many problems, in batches of similar length, ready to be written.

The logit lens is here, too: which tokens the output embedding reads from thoughts (methods/0,
section 1.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saeflow.artifacts.captures import ChunkCapture
from saeflow.artifacts.vectors import STORAGE, VectorDtype
from saeflow.config.models import RunnableModel
from saeflow.models.codi import CodiModel, Thoughts, answer_number
from saeflow.models.language_model import LanguageModel

FULL = 256
"""Tokens up to which a batch is as large as it may be; a batch of longer texts is smaller."""


def capture_chunk(model: CodiModel, questions: list[str], settings: RunnableModel) -> ChunkCapture:
    """Think about a chunk of problems: every hook, layer and step in one pass.

    Batches hold questions of similar length, which wastes less on padding.

    Parameters
    ----------
    model : CodiModel
        The model.
    questions : list of str
        Plain questions.
    settings : FreshModel, PathModel or HubModel
        Number of latents, length of answers, batch size and precision to keep.

    Returns
    -------
    ChunkCapture
        In the order of `questions`.
    """
    lengths = np.array([len(model.question_ids(question)) for question in questions])
    texts = [""] * len(questions)
    decoded = np.empty((len(questions), settings.thoughts.latents + 1), np.int64)
    dtype = settings.capture_dtype
    activations: dict[str, np.ndarray] = {}
    for rows in cut_batches(lengths, settings.batch_size):
        thoughts = model.think(
            [questions[row] for row in rows],
            latents=settings.thoughts.latents,
            max_new_tokens=settings.thoughts.max_new_tokens,
        )
        for row, text in zip(rows, thoughts.answers, strict=True):
            texts[row] = text
        decoded[rows] = thought_logits(model, thoughts).max(-1).indices.cpu().numpy()
        for hook, values in thoughts.activations.items():
            stored = storage_form(values, dtype)
            if hook not in activations:
                activations[hook] = np.empty((len(questions), *stored.shape[1:]), STORAGE[dtype])
            activations[hook][rows] = stored
    predicted = [answer_number(text) for text in texts]
    return ChunkCapture(activations, dtype, texts, predicted, token_texts(model, decoded))


@torch.no_grad()
def thought_logits(model: CodiModel, thoughts: Thoughts) -> Float[Tensor, "batch steps tokens"]:
    """What the output embedding reads from the last hidden state of thoughts, before projection.

    Parameters
    ----------
    model : CodiModel
        The model that thought.
    thoughts : Thoughts
        As it gave them, in its own precision.

    Returns
    -------
    torch.Tensor of shape (batch, steps, tokens)
        Logits of the tokenizer's tokens, in the model's precision; its embeddings hold more.
    """
    logits = model.logits(thoughts.activations["final_norm"][:, :, -1])
    return logits[..., : len(model.tokenizer)]


def token_texts(model: LanguageModel, ids: Int[np.ndarray, "*shape"]) -> list[Any]:
    """Decode tokens, each by itself.

    Parameters
    ----------
    model : CodiModel
        Its tokenizer decodes.
    ids : numpy.ndarray of any shape
        Token ids.

    Returns
    -------
    list
        Texts, in lists nested as `ids`. Part of a character gives U+FFFD.
    """
    different, places = np.unique(ids, return_inverse=True)
    # A tokenizer takes longer over a token than numpy over all of them.
    texts = np.array([model.tokenizer.decode([each]) for each in different.tolist()], dtype=object)
    nested: list[Any] = texts[places.reshape(ids.shape)].tolist()
    return nested


def cut_batches(
    lengths: Int[np.ndarray, " texts"], batch_size: int
) -> Iterator[Int[np.ndarray, " batch"]]:
    """Cut texts into batches of similar length whose memory does not follow the longest text.

    Attention masks take rows × longest² cells, so that is what a batch is limited by; the cut
    depends on the lengths alone.

    Parameters
    ----------
    lengths : numpy.ndarray of shape (texts,)
        Tokens of each text.
    batch_size : int
        Most texts of a batch; fewer where they are longer than `FULL` tokens.

    Yields
    ------
    numpy.ndarray of shape (batch,)
        Indices of texts, shorter ones first.
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        following = end - start + 1
        if (
            end == len(order)
            or following > batch_size
            or following * int(lengths[order[end]]) ** 2 > batch_size * FULL**2
        ):
            yield order[start:end]
            start = end


def storage_form(values: Tensor, dtype: VectorDtype) -> np.ndarray:
    """Activations as they are written: of the dtype, bfloat16 by its bits."""
    values = values.to(getattr(torch, dtype)).cpu().contiguous()
    if dtype == "bfloat16":
        return values.view(torch.uint16).numpy()
    return values.numpy()
