"""Tables of a wide SAE whose key columns are the same in many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from saeflow.artifacts.schema import Artifact
from saeflow.saes.wide.reading import FeatureSums
from saeflow.studies.scaling.reading import WideRun


def rows_table(artifact: Artifact, rows: list[dict[str, Any]]) -> pa.Table:
    """Table of rows, which may have more than its columns."""
    return pa.Table.from_pylist(rows, schema=artifact.schema())


def key_of(run: WideRun, **more: Any) -> dict[str, Any]:
    """Values of the key columns of a run, and more of them."""
    layer = run.bank.sites[0].layer
    key = {"dictionary": run.dictionary, "seed": run.seed, "layer": layer}
    return {**key, "control": run.control, **more}


def columns_table(
    artifact: Artifact, key: Mapping[str, Any], columns: Mapping[str, Any]
) -> pa.Table:
    """Table of columns, those of the key repeated.

    Parameters
    ----------
    artifact : Artifact
        What the table is.
    key : mapping
        Values of the columns that are the same in all rows.
    columns : mapping of str to numpy.ndarray or pyarrow.Array
        All others, of one length.
    """
    schema = artifact.schema()
    count = len(next(iter(columns.values())))
    made = []
    for field in schema:
        if field.name in columns:
            values = columns[field.name]
            array = values if isinstance(values, pa.Array) else pa.array(values)
            made.append(array.cast(field.type))
        else:
            made.append(pa.repeat(pa.scalar(key[field.name], field.type), count))
    return pa.Table.from_arrays(made, schema=schema)


def feature_columns(sums: FeatureSums) -> dict[str, np.ndarray]:
    """Columns of `SCALING_FEATURES` that follow from sums over a corpus, a row per latent."""
    tokens = max(1, sums.tokens)
    columns = {
        "n_active": sums.active,
        "n_documents": sums.in_documents,
        "density": sums.active.double() / tokens,
        "mean": sums.total / tokens,
        "second_moment": sums.squares / tokens,
        "largest": sums.largest.double(),
    }
    return {name: values.cpu().numpy() for name, values in columns.items()}
