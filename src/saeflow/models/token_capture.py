"""Tokens of many texts, ready to be written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

from saeflow.artifacts.token_captures import TokenCapture
from saeflow.config.models import RunnableModel
from saeflow.errors import SaeflowError
from saeflow.models.capture import storage_form, token_texts
from saeflow.models.language_model import LanguageModel
from saeflow.models.tokens import begin_ids, read_tokens


def begin_tokens(model: LanguageModel, *, prepend_bos: bool = False) -> int:
    """How many tokens stand before every text: 1 for Llama, 0 for GPT-2, 1 if `prepend_bos`."""
    return len(begin_ids(model, prepend_bos=prepend_bos))


def capture_tokens(
    model: LanguageModel, texts: pa.Table, settings: RunnableModel, hooks: Sequence[str]
) -> TokenCapture:
    """Read a chunk of texts: every layer of some hooks in one pass.

    Parameters
    ----------
    model : LanguageModel
        The model.
    texts : pyarrow.Table
        Some rows of `saeflow.artifacts.catalog.TEXTS`.
    settings : FreshModel, PathModel or HubModel
        Batch size and precision to keep.
    hooks : sequence of str
        Some of `saeflow.models.hooks.HOOKS`.

    Returns
    -------
    TokenCapture
        Text by text, in the order of `texts`.

    Raises
    ------
    SaeflowError
        If a hook does not exist, or a text does not fit the model's positions.
    """
    numbers, contents = texts["text"].to_numpy(), texts["content"].to_pylist()
    _check_lengths(model, numbers.tolist(), contents)
    batches = list(read_tokens(model, contents, hooks=hooks, batch_size=settings.batch_size))
    index, position, token_id = (
        torch.cat([getattr(batch, name) for batch in batches]).cpu().numpy()
        for name in ("text", "position", "token")
    )
    # Batches hold texts of similar length; on disk they come in the order of the data set.
    order = np.lexsort((position, index))
    dtype = settings.capture_dtype
    activations = {
        hook: np.concatenate(
            [storage_form(batch.activations[hook], dtype) for batch in batches], axis=1
        )[:, order]
        for hook in hooks
    }
    return TokenCapture(
        text=numbers[index[order]].astype(np.int32),
        position=position[order].astype(np.int16),
        token_id=token_id[order].astype(np.int32),
        token=token_texts(model, token_id[order]),
        begin=position[order] < begin_tokens(model),
        activations=activations,
        dtype=dtype,
    )


def _check_lengths(model: LanguageModel, numbers: Sequence[int], contents: Sequence[str]) -> None:
    limit = int(model.language_model.config.max_position_embeddings)
    for number, content in zip(numbers, contents, strict=True):
        length = len(model.tokenizer(content)["input_ids"])
        if length > limit:
            raise SaeflowError(
                f"text {number} of the data set takes {length} positions; the model has {limit}. "
                "Cut it or leave it out."
            )
