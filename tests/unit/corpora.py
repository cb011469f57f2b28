"""Small corpora on disk, for tests of contexts and streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.batches import write_batches
from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.seeds import derive_seed


def write_corpus(
    path: Path, train: Sequence[str], held_out: Sequence[str] = (), *, row_group: int = 4
) -> Path:
    """A file of texts whose row groups hold a few documents."""
    contents = [*train, *held_out]
    table = pa.table(
        {
            "text": pa.array(range(len(contents)), pa.int32()),
            "content": pa.array(contents, pa.string()),
            "split": pa.array(["train"] * len(train) + ["validation"] * len(held_out), pa.string()),
            **{
                name: pa.array([""] * len(contents), pa.string())
                for name in ("part", "group", "form")
            },
            "item": pa.array(range(len(contents)), pa.int32()),
        }
    )
    provenance = Provenance("c", dataset_revision=str(derive_seed(*contents)))
    write_batches([table], path, TEXTS, lambda: provenance, row_group=row_group)
    return path
