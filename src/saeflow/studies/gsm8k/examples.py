"""The problems on which a labelled feature fires hardest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int, Integer

from saeflow.artifacts.catalog import EXAMPLES
from saeflow.artifacts.columns import FEATURE_KEYS, RUN_KEYS
from saeflow.artifacts.features import LayerTable

KEYS = [column.name for column in (*RUN_KEYS, *FEATURE_KEYS)]


def example_table(
    features: Iterable[LayerTable],
    labels: pa.Table,
    count: int,
    problems: Int[np.ndarray, " problems"],
) -> pa.Table:
    """Problems on which the labelled features of one bank fire hardest.

    The study shows tokens only, which say nothing of how hard a feature fires (methods/1, 2.9).

    Parameters
    ----------
    features : iterable of LayerTable
        Activations, layer by layer; none is kept.
    labels : pyarrow.Table
        Columns of `saeflow.artifacts.catalog.LABELS`, of the same bank.
    count : int
        Problems per feature; fewer where it fires on fewer.
    problems : numpy.ndarray of int, shape (problems,)
        Running numbers of the analysed problems; what others are encoded does not count.

    Returns
    -------
    pyarrow.Table
        Columns of `saeflow.artifacts.catalog.EXAMPLES`, hardest first.
    """
    keys = labels.select(KEYS).replace_schema_metadata(None)
    parts = [
        _layer_table(source, keys.filter(pc.equal(keys["layer"], source.layer)), count, problems)
        for source in features
    ]
    return pa.concat_tables([EXAMPLES.schema().empty_table(), *parts])


def strongest(
    owner: Integer[np.ndarray, " rows"],
    value: Float[np.ndarray, " rows"],
    problem: Int[np.ndarray, " rows"],
    count: int,
) -> tuple[Int[np.ndarray, " chosen"], Int[np.ndarray, " chosen"]]:
    """Rows of largest absolute value of each owner; a tie goes to the smaller problem number.

    Parameters
    ----------
    owner : numpy.ndarray of shape (rows,)
        Whose row it is.
    value : numpy.ndarray of shape (rows,)
        Signed activation.
    problem : numpy.ndarray of shape (rows,)
        Running number of the problem.
    count : int
        Rows per owner, at most.

    Returns
    -------
    chosen : numpy.ndarray of shape (chosen,)
        Indices of rows, by owner and hardest first.
    rank : numpy.ndarray of shape (chosen,)
        Place among the owner's rows, from 0.
    """
    order = np.lexsort((problem, -np.abs(value), owner))
    ordered = owner[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    kept = rank < count
    return order[kept], rank[kept]


def _layer_table(
    source: LayerTable, keys: pa.Table, count: int, problems: Int[np.ndarray, " problems"]
) -> pa.Table:
    key_row = np.full((max(source.steps) + 1, source.d_sae), -1)
    key_row[keys["step"].to_numpy(), keys["feature"].to_numpy()] = np.arange(len(keys))
    owner = key_row[source.table["step"].to_numpy(), source.table["feature"].to_numpy()]
    analysed = np.isin(source.table["problem"].to_numpy(), problems)
    labelled = np.flatnonzero((owner >= 0) & analysed)
    # numpy sorts integers of 16 bits, wide enough for most layers, by their digits: twice as fast.
    owner = owner[labelled].astype(np.min_scalar_type(len(keys)))
    value = source.table["value"].to_numpy()[labelled]
    problem = source.table["problem"].to_numpy()[labelled]
    chosen, rank = strongest(owner, value, problem, count)
    found = {"rank": rank, "problem": problem[chosen], "value": value[chosen]}
    table = keys.take(owner[chosen])
    for name, values in found.items():
        table = table.append_column(name, pa.array(values))
    return table.cast(EXAMPLES.schema())
