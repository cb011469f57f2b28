"""Windows of token ids as lists of what a reader sees, with activations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from saeflow.models.capture import token_texts
from saeflow.models.language_model import LanguageModel

PART = "�"
"""What a part of a character decodes to."""


class Shown(NamedTuple):
    """Columns of a table of examples.

    Attributes
    ----------
    tokens, activations : pyarrow.Array
        Lists, one per example; activations are null on what the tokenizer puts before a text.
    centre : numpy.ndarray of int64, shape (examples,)
        Place of each example's own token in its list.
    """

    tokens: pa.Array
    activations: pa.Array
    centre: Int[np.ndarray, " examples"]


def shown_windows(
    model: LanguageModel,
    ids: Int[np.ndarray, "examples window"],
    activations: Float[np.ndarray, "examples window"],
) -> Shown:
    """Write out the tokens of windows, those that share a character as one.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer decodes.
    ids : numpy.ndarray of int, shape (examples, window)
        Token ids, the example's own in the middle; -1 outside its document.
    activations : numpy.ndarray of float32, shape (examples, window)
        NaN on what the tokenizer puts before a text.
    """
    inside = ids >= 0
    texts = np.full(ids.shape, "", dtype=object)
    if inside.any():
        texts[inside] = token_texts(model, ids[inside])
    values, begins = activations.copy(), inside.copy()
    parts = np.zeros(ids.shape, bool)
    parts[inside] = [PART in text for text in texts[inside]]
    # Few windows hold a part of a character, and only those are gone through token by token.
    for row in np.flatnonzero(parts.any(1)):
        _join(model, ids[row], parts[row], texts[row], values[row], begins[row])
    offsets = np.concatenate([[0], begins.sum(1).cumsum()]).astype(np.int32)
    flat = values[begins].astype(np.float32)
    return Shown(
        pa.ListArray.from_arrays(offsets, pa.array(texts[begins], pa.string())),
        pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float32(), mask=np.isnan(flat))),
        begins[:, : ids.shape[1] // 2 + 1].sum(1) - 1,
    )


def _join(
    model: LanguageModel,
    ids: Int[np.ndarray, " window"],
    parts: Bool[np.ndarray, " window"],
    texts: np.ndarray,
    values: Float[np.ndarray, " window"],
    begins: Bool[np.ndarray, " window"],
) -> None:
    """Make whole characters of a window's parts, in place; the first token of each shows it.

    What the window's edge has cut off stays as it is.
    """
    place = 0
    while place < len(ids):
        end, text = place + 1, texts[place]
        while PART in text and end < len(ids) and parts[end]:
            end += 1
            text = model.tokenizer.decode(ids[place:end].tolist())
        if PART in text:
            end = place + 1
        elif end > place + 1:
            own = values[place:end]
            texts[place], values[place] = text, own[np.abs(own).argmax()]
            begins[place + 1 : end] = False
        place = end
