"""Pooled features as a table of what is not 0, and back as matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int

from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.specialists import POOLED, TEXT_LENGTHS
from saeflow.artifacts.tables import read_table
from saeflow.errors import SaeflowError


@dataclass(frozen=True)
class PooledShape:
    """What a table without zeros does not tell.

    Attributes
    ----------
    n_texts, d_sae : int
        Rows and columns of every matrix.
    layers : tuple of int
        Blocks, ascending.
    poolings : dict of str to tuple of str
        By mode, as configured.
    """

    n_texts: int
    d_sae: int
    layers: tuple[int, ...]
    poolings: Mapping[str, tuple[str, ...]]

    def metadata(self) -> dict[str, str]:
        """Return the shape for a table's provenance."""
        return {
            "n_texts": str(self.n_texts),
            "d_sae": str(self.d_sae),
            "layers": ",".join(map(str, self.layers)),
            **{f"poolings.{mode}": ",".join(names) for mode, names in self.poolings.items()},
        }

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> PooledShape:
        """Shape from a table's provenance.

        Raises
        ------
        SaeflowError
            If it does not tell.
        """
        start = "poolings."
        try:
            return cls(
                int(metadata["n_texts"]),
                int(metadata["d_sae"]),
                tuple(int(layer) for layer in metadata["layers"].split(",")),
                {
                    name.removeprefix(start): tuple(value.split(","))
                    for name, value in metadata.items()
                    if name.startswith(start)
                },
            )
        except (KeyError, ValueError):
            raise SaeflowError(
                "A table of pooled features does not say its texts, layers and poolings. Delete it and "
                "run the workflow again."
            ) from None


@dataclass(frozen=True)
class PooledFeatures:
    """Features of all texts at every block, by mode and pooling.

    Attributes
    ----------
    table : pyarrow.Table
        Columns of `saeflow.artifacts.specialists.POOLED`.
    lengths : pyarrow.Table
        Columns of `saeflow.artifacts.specialists.TEXT_LENGTHS`.
    shape : PooledShape
        What they do not tell.
    """

    table: pa.Table
    lengths: pa.Table
    shape: PooledShape

    @property
    def signed(self) -> bool:
        """Whether features may be negative, as those of an ``abstopk`` dictionary are."""
        return bool(pc.any(pc.less(self.table["value"], 0.0)).as_py())

    def matrix(self, mode: str, layer: int, pooling: str) -> Float32[np.ndarray, "texts features"]:
        """Features of one block, pooled in one way; a row of zeros for a text that has none.

        Raises
        ------
        SaeflowError
            If they were not pooled, or the table holds a text or feature beyond the shape.
        """
        if layer not in self.shape.layers or pooling not in self.shape.poolings.get(mode, ()):
            raise SaeflowError(
                f"No {mode} features of layer {layer} by {pooling} were pooled; expected layers "
                f"{list(self.shape.layers)} and "
                f"{', '.join(self.shape.poolings.get(mode, ())) or 'no pooling'}."
            )
        wanted = pc.and_(
            pc.and_(pc.equal(self.table["mode"], mode), pc.equal(self.table["pooling"], pooling)),
            pc.equal(self.table["layer"], layer),
        )
        part = self.table.filter(wanted)
        text, feature, value = (part[name].to_numpy() for name in ("text", "feature", "value"))
        found = np.zeros((self.shape.n_texts, self.shape.d_sae), np.float32)
        if len(text) and (text.max() >= len(found) or feature.max() >= found.shape[1]):
            raise SaeflowError(
                f"Pooled features hold text {text.max()} and feature {feature.max()}; expected fewer "
                f"than {len(found)} texts and {found.shape[1]} features."
            )
        found[text, feature] = value
        return found

    def matrices(self, mode: str) -> Iterator[tuple[int, str, Float32[np.ndarray, "_ _"]]]:
        """Every block and pooling of a mode, one matrix at a time."""
        for layer in self.shape.layers:
            for pooling in self.shape.poolings.get(mode, ()):
                yield layer, pooling, self.matrix(mode, layer, pooling)

    def n_tokens(self, mode: str) -> Int[np.ndarray, " texts"]:
        """How many tokens of each text count."""
        part = self.lengths.filter(pc.equal(self.lengths["mode"], mode))
        order = np.argsort(part["text"].to_numpy(), kind="stable")
        counts: Int[np.ndarray, " texts"] = part["n_tokens"].to_numpy()[order].astype(np.int64)
        return counts


def open_pooled(features: Path, lengths: Path) -> PooledFeatures:
    """Open the features that the workflow pooled.

    Parameters
    ----------
    features, lengths : Path
        Files with the columns of `POOLED` and `TEXT_LENGTHS`.

    Raises
    ------
    SaeflowError
        If a file does not fit, or does not tell what it holds.
    """
    table = read_table(features, POOLED)
    shape = PooledShape.of(metadata_of(table.schema))
    return PooledFeatures(table, read_table(lengths, TEXT_LENGTHS), shape)


def lengths_table(lengths: Mapping[str, Int[np.ndarray, " texts"]]) -> pa.Table:
    """Return tokens of every text, by mode, with the columns of `TEXT_LENGTHS`."""
    rows = [
        {"mode": mode, "text": text, "n_tokens": count}
        for mode, counts in lengths.items()
        for text, count in enumerate(counts.tolist())
    ]
    return pa.Table.from_pylist(rows, TEXT_LENGTHS.schema())
