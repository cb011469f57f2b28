"""Activations of a stream on disk, so that later epochs, seeds and widths need no model.

A file per row group of the corpus, in the form of `saeflow.artifacts.vectors`, with a part per block
of contexts. Whatever decides the activations is in each file's provenance; a file of other activations
is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.vectors import VectorDtype, Vectors, VectorsFile, vectors_writer
from saeflow.errors import SaeflowError
from saeflow.models.capture import storage_form
from saeflow.models.contexts import ContextBlock


class ActivationCache:
    """Shards of activations in a folder.

    Parameters
    ----------
    folder : Path
        Where they are; made when the first is written.
    width : int
        Dimensions of an activation.
    dtype : {"float32", "bfloat16"}
        Precision to keep.
    provenance : Provenance
        Where they come from; its digest of the configuration names everything that decides them.
    """

    def __init__(
        self, folder: Path, width: int, dtype: VectorDtype, provenance: Provenance
    ) -> None:
        self._folder, self._width, self._dtype = folder, width, dtype
        self._provenance = provenance
        self._open: tuple[int, VectorsFile] | None = None

    def path(self, group: int) -> Path:
        """Where the shard of a row group is."""
        return self._folder / f"group{group}.parquet"

    def parts(self, group: int) -> int | None:
        """How many blocks a row group's shard holds; None if there is no shard that fits."""
        if self._open is not None and self._open[0] == group:
            return self._open[1].parts
        if not self.path(group).is_file():
            return None
        try:
            found = VectorsFile(self.path(group))
        except SaeflowError:
            return None  # damaged: made anew
        if found.metadata.get("config") != self._provenance.config:
            return None
        self._open = group, found
        return found.parts

    def write(
        self, group: int, blocks: Iterable[tuple[ContextBlock, Float[Tensor, "tokens d_in"]]]
    ) -> None:
        """Write the shard of a row group, block by block, atomically.

        Parameters
        ----------
        group : int
            Number of the row group.
        blocks : iterable of (ContextBlock, Tensor of shape (tokens, d_in))
            Its blocks in order, each with the activations of the tokens that count.
        """
        self._open = None
        with vectors_writer(
            self.path(group), self._width, self._dtype, "tokens", self._provenance
        ) as write:
            for block, rows in blocks:
                write(
                    Vectors(
                        example=block.text[block.counts],
                        place=block.counts.nonzero()[1].astype(np.int16),
                        values=storage_form(rows, self._dtype),
                        dtype=self._dtype,
                        of="tokens",
                    )
                )

    def read(self, group: int, block: int) -> Float[Tensor, "tokens d_in"]:
        """Activations of one block, in the cache's precision, on the CPU.

        Raises
        ------
        SaeflowError
            If there is no shard, or it is damaged.
        """
        if self.parts(group) is None or self._open is None:
            raise SaeflowError(f"{self.path(group)} holds no activations of this stream.")
        values = torch.from_numpy(self._open[1].read(block).values.copy())
        return values.view(torch.bfloat16) if self._dtype == "bfloat16" else values
