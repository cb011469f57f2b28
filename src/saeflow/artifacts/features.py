"""A folder of feature activations: one long table per layer, with the bank's shape in its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int

from saeflow.artifacts.catalog import FEATURES
from saeflow.artifacts.damage import damaged
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

    def cells(
        self, problems: Int[np.ndarray, " problems"]
    ) -> tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"], Float32[np.ndarray, " cells"]]:
        """Where the activations on chosen problems belong in a dense matrix.

        Parameters
        ----------
        problems : numpy.ndarray of int, shape (problems,)
            Running numbers, ascending; the table may hold others, too.

        Returns
        -------
        row, column : numpy.ndarray of int, shape (cells,)
            Place in `problems`; column ``i * d_sae + f`` is feature f of the i-th step.
        value : numpy.ndarray of float32, shape (cells,)
            The activation, never 0.
        """
        number, step, feature, value = (
            self.table[name].to_numpy() for name in ("problem", "step", "feature", "value")
        )
        row = np.searchsorted(problems, number)
        chosen = problems[np.minimum(row, len(problems) - 1)] == number
        if not chosen.all():
            row, step, feature, value = (each[chosen] for each in (row, step, feature, value))
        place = np.full(max(self.steps) + 1, -1)
        place[list(self.steps)] = np.arange(len(self.steps))
        return row, place[step] * self.d_sae + feature, value


def shape_metadata(steps: Sequence[int], d_sae: int, layers: Sequence[int]) -> dict[str, str]:
    """Shape of a bank, as `read_features` expects it in a table's provenance."""
    return {
        "steps": ",".join(map(str, steps)),
        "d_sae": str(d_sae),
        "layers": ",".join(map(str, layers)),
    }


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
        _check_place(found[layer], table, layer)
        try:
            steps, d_sae = tuple(map(int, shape["steps"].split(","))), int(shape["d_sae"])
            expected = sorted(map(int, shape["layers"].split(",")))
        except (KeyError, ValueError):
            raise damaged(
                found[layer], "does not say the steps, d_sae and layers of its bank"
            ) from None
        if expected != sorted(found):
            raise damaged(folder, f"has the layers {sorted(found)}; expected {expected}")
        yield LayerTable(layer, steps, d_sae, table)


def _check_place(path: Path, table: pa.Table, layer: int) -> None:
    """Refuse the table of another layer."""
    others = set(pc.unique(table["layer"]).to_pylist()) - {layer}
    if others:
        raise damaged(path, f"holds the layers {sorted(others)}; expected layer {layer}")
