"""Thoughts of many problems, in batches of similar length, ready to be written."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from saeflow.artifacts.captures import ChunkCapture
from saeflow.artifacts.vectors import STORAGE, VectorDtype
from saeflow.config.models import RunnableModel
from saeflow.models.codi import CodiModel, answer_number


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
    lengths = [len(model.question_ids(question)) for question in questions]
    order = np.argsort(lengths, kind="stable")
    texts = [""] * len(questions)
    dtype = settings.capture_dtype
    activations: dict[str, np.ndarray] = {}
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        thoughts = model.think(
            [questions[row] for row in rows],
            latents=settings.thoughts.latents,
            max_new_tokens=settings.thoughts.max_new_tokens,
        )
        for row, text in zip(rows, thoughts.answers, strict=True):
            texts[row] = text
        for hook, values in thoughts.activations.items():
            stored = _storage_form(values, dtype)
            if hook not in activations:
                activations[hook] = np.empty((len(questions), *stored.shape[1:]), STORAGE[dtype])
            activations[hook][rows] = stored
    return ChunkCapture(activations, dtype, texts, [answer_number(text) for text in texts])


def _storage_form(values: Tensor, dtype: VectorDtype) -> np.ndarray:
    values = values.to(getattr(torch, dtype)).cpu().contiguous()
    if dtype == "bfloat16":
        return values.view(torch.uint16).numpy()
    return values.numpy()
