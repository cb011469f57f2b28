"""The problems on which labelled features fire hardest, against an obvious sort."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.catalog import EXAMPLES, FEATURES, LABELS
from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.studies.gsm8k.examples import example_table

RUN = {"dataset": "d", "dictionary": "k", "seed": 3, "mode": "published"}
Row = tuple[int, int, int, int, float]
"""Problem, layer, step, feature, value."""
Site = tuple[int, int, int]


def label_rows(sites: list[Site]) -> pa.Table:
    named = {"label": "number_5", "label_type": "number", "monosemantic": True, "explanation": "x"}
    named |= {"n_active": 20, "activation_rate": 0.5, "n_kept": 1, "top_tokens": ["5"]}
    named |= {"max_enrichment": 6.0, "min_p_value": 0.001}
    rows = [
        {**RUN, "layer": layer, "step": step, "feature": feature, **named}
        | {"feature_id": f"L{layer}_P{step}_F{feature}"}
        for layer, step, feature in sites
    ]
    return pa.Table.from_pylist(rows, LABELS.schema())


def layer_tables(rows: list[Row], layers: tuple[int, ...] = (1, 3)) -> list[LayerTable]:
    names = FEATURES.column_names()
    found = []
    for layer in layers:
        own = [dict(zip(names, row, strict=True)) for row in rows if row[1] == layer]
        table = pa.Table.from_pylist(own, FEATURES.schema())
        found.append(LayerTable(layer, (0, 2), 8, table))
    return found


def plainly(rows: list[Row], sites: list[Site], count: int) -> list[tuple[object, ...]]:
    """The same, slowly: problem by problem through Python's own sort."""
    expected: list[tuple[object, ...]] = []
    for site in sorted(sites):
        own = [(-abs(np.float32(row[4])), row[0], row[4]) for row in rows if row[1:4] == site]
        for rank, (_, problem, value) in enumerate(sorted(own)[:count]):
            expected.append((*site, rank, problem, float(np.float32(value))))
    return expected


def found(rows: list[Row], sites: list[Site], count: int) -> list[tuple[object, ...]]:
    table = example_table(layer_tables(rows), label_rows(sites), count, EVERY)
    assert table.schema.equals(EXAMPLES.schema())
    names = ("layer", "step", "feature", "rank", "problem", "value")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


SITES = st.tuples(st.sampled_from([1, 3]), st.sampled_from([0, 2]), st.integers(0, 7))
EVERY = np.arange(1000)
"""All problems are analysed."""
VALUES = st.sampled_from([-2.0, -1.0, -0.5, 0.1, 0.5, 1.0, 2.0])
ACTIVITY = st.dictionaries(st.tuples(SITES, st.integers(0, 12)), VALUES, max_size=120)


@given(activity=ACTIVITY, sites=st.sets(SITES), count=st.integers(1, 6), chance=st.randoms())
def test_as_an_obvious_sort_gives_them(
    activity: dict[tuple[Site, int], float], sites: set[Site], count: int, chance: random.Random
) -> None:
    rows = [(problem, *site, value) for (site, problem), value in activity.items()]
    chance.shuffle(rows)
    assert found(rows, sorted(sites), count) == plainly(rows, sorted(sites), count)


def test_hardest_first_of_either_sign_and_ties_to_the_smaller_number() -> None:
    rows = [(9, 1, 0, 4, -3.0), (2, 1, 0, 4, 1.0), (5, 1, 0, 4, 3.0), (7, 1, 0, 4, -0.5)]
    expected = [(1, 0, 4, 0, 5, 3.0), (1, 0, 4, 1, 9, -3.0), (1, 0, 4, 2, 2, 1.0)]
    assert found(rows, [(1, 0, 4)], 3) == expected
    assert found(rows[::-1], [(1, 0, 4)], 3) == expected


def test_feature_with_fewer_problems_has_fewer_rows() -> None:
    rows = [(4, 1, 0, 0, 1.0), (1, 1, 0, 0, 2.0), (4, 1, 0, 1, 1.0)]
    assert [row[2:5] for row in found(rows, [(1, 0, 0), (1, 0, 1)], 5)] == [
        (0, 0, 1),
        (0, 1, 4),
        (1, 0, 4),
    ]


def test_feature_without_a_label_is_left_out() -> None:
    # The same index at another step or layer is another feature.
    rows = [(1, layer, step, 5, 1.0) for layer in (1, 3) for step in (0, 2)]
    assert [row[:3] for row in found(rows, [(3, 0, 5)], 5)] == [(3, 0, 5)]


def test_no_labelled_feature_gives_an_empty_table(tmp_path: Path) -> None:
    rows = [(1, 1, 0, 5, 1.0)]
    assert found(rows, [], 5) == []
    nothing = example_table(iter([]), label_rows([]), 5, EVERY)
    write_table(nothing, tmp_path / "e.parquet", EXAMPLES, Provenance("c"))
    assert len(read_table(tmp_path / "e.parquet", EXAMPLES)) == 0


def test_key_columns_are_those_of_the_labels() -> None:
    table = example_table(layer_tables([(1, 1, 0, 5, 1.0)]), label_rows([(1, 0, 5)]), 5, EVERY)
    assert {name: table[name].to_pylist() for name in RUN} == {k: [v] for k, v in RUN.items()}


def test_layers_are_not_collected() -> None:
    alive = 0

    class Counted(LayerTable):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def sources() -> Iterator[LayerTable]:
        nonlocal alive
        rows = [(1, layer, 0, 5, 1.0) for layer in (1, 2, 3, 4)]
        for source in layer_tables(rows, (1, 2, 3, 4)):
            assert alive <= 1
            alive += 1
            yield Counted(source.layer, source.steps, source.d_sae, source.table)

    assert len(example_table(sources(), label_rows([(1, 0, 5), (4, 0, 5)]), 5, EVERY)) == 2


def test_problems_that_are_not_analysed_are_no_examples() -> None:
    rows = [(1, 1, 0, 5, 1.0), (2, 1, 0, 5, 9.0), (3, 1, 0, 5, 2.0)]
    table = example_table(layer_tables(rows), label_rows([(1, 0, 5)]), 5, np.array([1, 3]))
    assert table["problem"].to_pylist() == [3, 1]
