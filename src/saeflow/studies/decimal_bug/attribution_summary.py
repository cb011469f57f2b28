"""What attribution says of even and odd units."""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import pyarrow as pa


class Mixed(NamedTuple):
    """Features of a block that units of both parities change, by kind of its own units.

    Attributes
    ----------
    layer : int
        Block of the units and of the features.
    kind : str
        Kind of the units.
    n_features : int
        Features tested.
    n_affected : int
        Features that some unit changes more than others do.
    n_mixed : int
        Features that both an even unit and an odd one change.
    expected : float
        How many would be mixed if the units that change a feature were drawn at random, as many as
        are found. Two of eight heads already differ in parity in 4 of 7 draws.
    """

    layer: int
    kind: str
    n_features: int
    n_affected: int
    n_mixed: int
    expected: float


def mixed_features(table: pa.Table, q_value: float) -> list[Mixed]:
    """Count features that even and odd units of their own block change (methods/4, section 5.4).

    A follow-up found all of 100 features mixed and took it to show that heads do not specialize by
    parity; where many units change a feature, it cannot be otherwise.

    Parameters
    ----------
    table : pyarrow.Table
        As `attribute` gives it.
    q_value : float
        Largest q-value of a unit that changes a feature.

    Returns
    -------
    list of Mixed
        By block and kind.
    """
    tested: dict[tuple[int, str], dict[int, dict[int, bool]]] = {}
    for row in table.to_pylist():
        if row["layer"] == row["feature_layer"]:
            features = tested.setdefault((row["layer"], row["kind"]), {})
            units = features.setdefault(row["feature"], {})
            units[int(row["units"])] = row["q_value"] <= q_value
    counts = []
    for (layer, kind), features in tested.items():
        changing = [[u for u, found in each.items() if found] for each in features.values()]
        n_units = len(next(iter(features.values())))
        counts.append(
            Mixed(
                layer=layer,
                kind=kind,
                n_features=len(features),
                n_affected=sum(map(bool, changing)),
                n_mixed=sum(len({u % 2 for u in each}) == 2 for each in changing),
                expected=sum(_mixed_by_chance(n_units, len(each)) for each in changing),
            )
        )
    return counts


def _mixed_by_chance(n_units: int, drawn: int) -> float:
    """Chance that some of the units 0, 1, 2 … are neither all even nor all odd."""
    odd = n_units // 2
    if not drawn:
        return 0.0
    return 1 - (comb(odd, drawn) + comb(n_units - odd, drawn)) / comb(n_units, drawn)
