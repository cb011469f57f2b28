"""A folder of feature activations: one long table per layer, with the bank's shape in its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from saeflow.artifacts.catalog import FEATURES
from saeflow.artifacts.provenance import metadata_of
from saeflow.artifacts.tables import read_table
from saeflow.errors import SaeflowError


@dataclass(frozen=True)
class LayerTable:
    """Feature activations of one layer.

    Attributes
    ----------
    layer : int
        Layer number.
    steps : tuple of int
        Thought steps of the bank.
    d_sae : int
        Features per step.
    table : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.FEATURES`.
    """

    layer: int
    steps: tuple[int, ...]
    d_sae: int
    table: pa.Table


def shape_metadata(steps: Sequence[int], d_sae: int) -> dict[str, str]:
    """Shape of a bank, as `read_features` expects it in a table's provenance."""
    return {"steps": ",".join(map(str, steps)), "d_sae": str(d_sae)}


def read_features(folder: Path, layers: Sequence[int] | str) -> Iterator[LayerTable]:
    """Feature activations of chosen layers, one after the other.

    Parameters
    ----------
    folder : Path
        As the workflow writes it.
    layers : sequence of int or "all"
        Which layers.

    Yields
    ------
    LayerTable
        In ascending order of layers.

    Raises
    ------
    SaeflowError
        If a layer does not exist or a file is damaged.
    """
    found = {
        int(match[1]): path
        for path in folder.glob("layer*.parquet")
        if (match := re.fullmatch(r"layer(\d+)\.parquet", path.name))
    }
    for layer in sorted(found) if isinstance(layers, str) else sorted(layers):
        if layer not in found:
            raise SaeflowError(
                f"studies.gsm8k.published.layers holds {layer}, but {folder} has the layers "
                f"{sorted(found)}."
            )
        table = read_table(found[layer], FEATURES)
        shape = metadata_of(table.schema)
        try:
            steps, d_sae = tuple(map(int, shape["steps"].split(","))), int(shape["d_sae"])
        except (KeyError, ValueError):
            raise SaeflowError(
                f"{found[layer]} does not say the steps and d_sae of its bank. Delete it and run the "
                "workflow again."
            ) from None
        yield LayerTable(layer, steps, d_sae, table)
