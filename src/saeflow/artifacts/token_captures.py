"""A capture of the tokens of texts: the layout and care of `saeflow.artifacts.captures`.

Its records say which tokens there are, and which of them a tokenizer put before a text: such a
begin-of-text token is kept, but its activation, the same in every text and several times as large as
any other, is for no statistic and for no SAE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

from saeflow.artifacts.captures import ChunkWriter, Shard, read_chunks, records_path
from saeflow.artifacts.catalog import TEXT_TOKENS
from saeflow.artifacts.chunks import TEXTS, count_chunks
from saeflow.artifacts.damage import damaged
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table
from saeflow.artifacts.vectors import VectorDtype, Vectors
from saeflow.errors import SaeflowError

CHUNK = TEXTS


@dataclass(frozen=True)
class TokenCapture:
    """What the texts of one chunk gave, a row per token: text by text, in order of position.

    Attributes
    ----------
    text : numpy.ndarray of shape (tokens,), int32
        Running number of the text in its data set.
    position : numpy.ndarray of shape (tokens,), int16
        Place of the token in its text, from 0.
    token_id : numpy.ndarray of shape (tokens,), int32
        Its id.
    token : list of str
        It decoded by itself.
    begin : numpy.ndarray of shape (tokens,), bool
        Whether the tokenizer put it before the text.
    activations : dict of str to numpy.ndarray of shape (layers, tokens, d_in)
        By hook, in storage form (see `saeflow.artifacts.vectors.Vectors`).
    dtype : {"float32", "bfloat16", "float16"}
        What the values are.
    """

    text: Int[np.ndarray, " tokens"]
    position: Int[np.ndarray, " tokens"]
    token_id: Int[np.ndarray, " tokens"]
    token: list[str]
    begin: Bool[np.ndarray, " tokens"]
    activations: dict[str, Shaped[np.ndarray, "layers tokens d_in"]]
    dtype: VectorDtype


def capture_texts(
    texts: pa.Table,
    target: Path,
    read: Callable[[pa.Table], TokenCapture],
    *,
    fingerprint: str,
    provenance: Provenance,
    shard: Shard | None = None,
) -> None:
    """Capture texts, chunk by chunk; memory does not grow with their number.

    Parameters
    ----------
    texts : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.TEXTS`.
    target : Path
        Where the capture shall be.
    read : callable
        Gives the capture of some rows of `texts`.
    fingerprint : str
        Digest of everything that decides the content, for resuming.
    provenance : Provenance
        Where it comes from.
    shard : Shard, optional
        Which of them only; see `saeflow.artifacts.capture_shards`.
    """
    writer = ChunkWriter(target, fingerprint, TEXT_TOKENS)

    def write(chunk: int) -> None:
        _write(writer, chunk, read(texts.slice(chunk * CHUNK, CHUNK)), provenance)

    writer.write_all(write, count_chunks(len(texts), CHUNK), shard, provenance)


def _write(writer: ChunkWriter, chunk: int, captured: TokenCapture, provenance: Provenance) -> None:
    for hook, values in captured.activations.items():
        for layer, rows in enumerate(values):
            vectors = Vectors(captured.text, captured.position, rows, captured.dtype, "tokens")
            writer.write_vectors(chunk, hook, layer, vectors, provenance)
    records = {column.name: getattr(captured, column.name) for column in TEXT_TOKENS.columns}
    writer.write_records(chunk, records, provenance)


def read_text_tokens(capture: Path) -> pa.Table:
    """Read which tokens a capture holds: columns of `saeflow.artifacts.catalog.TEXT_TOKENS`."""
    return read_table(records_path(capture, TEXT_TOKENS), TEXT_TOKENS)


def read_token_layer(
    capture: Path, hook: str, layer: int, tokens: pa.Table, wanted: Bool[np.ndarray, " tokens"]
) -> Float[np.ndarray, "wanted d_in"]:
    """Activations of one hook and layer for chosen tokens.

    Parameters
    ----------
    capture : Path
        Folder of the capture.
    hook : str
        One of those that were captured.
    layer : int
        Block index.
    tokens : pyarrow.Table
        What `read_text_tokens` gives.
    wanted : numpy.ndarray of shape (tokens,), bool
        Which of its rows.

    Returns
    -------
    numpy.ndarray of shape (wanted, d_in), float32
        In the order of `tokens`.

    Raises
    ------
    SaeflowError
        If files are missing or hold other tokens.
    """
    folder = capture / hook / f"layer{layer}"
    keys = [tokens[name].to_numpy() for name in ("text", "position")]
    parts = []
    start = 0
    for path, vectors in read_chunks(capture, hook, layer, TEXT_TOKENS):
        rows = slice(start, start + len(vectors.values))
        start = rows.stop
        found = zip(keys, (vectors.example, vectors.place), strict=True)
        if vectors.of != "tokens" or not all(np.array_equal(a[rows], b) for a, b in found):
            raise _other_tokens(path, capture)
        parts.append(vectors.rows(wanted[rows]).float32())
    if start != len(tokens):
        raise _other_tokens(folder, capture)
    return np.concatenate(parts)


def _other_tokens(path: Path, capture: Path) -> SaeflowError:
    return damaged(
        path, f"holds other tokens than {records_path(capture, TEXT_TOKENS).name} beside it says"
    )
