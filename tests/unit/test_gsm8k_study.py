"""The GSM8K study: tokens, features, pairs, permutations and summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.catalog import ASSOCIATION, FEATURES, LABELS, PERMUTATIONS, SUMMARY, TESTED
from saeflow.artifacts.features import LayerTable
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import PathDataset, SubsetSettings
from saeflow.config.studies import AssociationSettings, Gsm8kCriteria, LabelSettings
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.stats.contingency import published_pairs
from saeflow.studies.gsm8k.association import (
    LayerFeatures,
    TokenMatrix,
    associate,
    association_inputs,
    layer_features,
    rank_within,
    token_matrix,
)
from saeflow.studies.gsm8k.labels import Label, label_feature, label_table
from saeflow.studies.gsm8k.permutations import (
    outcome_of_layers,
    permutation_table,
    permuted_rows,
    published_tests,
)
from saeflow.studies.gsm8k.summary import (
    ENRICHMENT_EDGES,
    RATES,
    Measured,
    Outcome,
    measure,
    outcome_from_tables,
    summary_table,
)

CPU = torch.device("cpu")
RUN = {"dataset": "d", "dictionary": "k", "seed": 0, "mode": "published"}
LOOSE = Gsm8kCriteria(
    association=AssociationSettings(min_active=4, p_value=0.5, min_enrichment=1.02, keep=3),
    labels=LabelSettings(high_enrichment=1.2),
)
NAMES = ["12", "+", "7", "*", "250", "(", "3.5", "/"]


def token_table(rows: list[tuple[int, str]]) -> pa.Table:
    problems, tokens = zip(*rows, strict=True)
    return pa.table({"problem": pa.array(problems, pa.int32()), "token": list(tokens)})


def test_tokens_are_in_first_seen_order_and_every_problem_has_a_row() -> None:
    table = token_table([(3, "9"), (3, "+"), (3, "9"), (8, "1"), (8, "+")])
    found = token_matrix(table, np.array([3, 5, 8]))
    assert found.tokens == ["9", "+", "1"]
    assert found.present.tolist() == [[True, True, False], [False] * 3, [False, True, True]]


def test_tokens_of_other_problems_do_not_count() -> None:
    rows = [(1, "+"), (1, "5"), (3, "9"), (3, "+"), (4, "7"), (8, "1"), (9, "9")]
    found = token_matrix(token_table(rows), np.array([3, 5, 8]))
    assert found.tokens == ["9", "+", "1"]
    assert found.present.tolist() == [[True, True, False], [False] * 3, [False, False, True]]
    assert token_matrix(token_table(rows), np.array([5])).present.shape == (1, 0)


def test_token_table_in_chunks_is_the_same() -> None:
    rows = [(3, "9"), (3, "+"), (8, "1"), (8, "9")]
    whole = token_matrix(token_table(rows), np.array([3, 8]))
    parts = pa.concat_tables([token_table(rows[:1]), token_table(rows[1:])])
    chunked = token_matrix(parts, np.array([3, 8]))
    assert chunked.tokens == whole.tokens
    np.testing.assert_array_equal(chunked.present, whole.present)


def long_table(rows: list[tuple[int, int, int, float]], layer: int = 2) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    names = ("problem", "step", "feature", "value")
    values = dict(zip(names, columns, strict=True)) | {"layer": [layer] * len(rows)}
    return pa.table([pa.array(values[c.name], c.type) for c in FEATURES.columns],
                    schema=FEATURES.schema())  # fmt: skip


@pytest.mark.parametrize("steps", [(1, 4), (4, 1)])
def test_stored_values_of_either_sign_are_activity(steps: tuple[int, ...]) -> None:
    table = long_table([(3, 1, 0, 0.5), (3, 4, 2, -0.1), (9, 1, 1, 2.0)])
    found = layer_features(LayerTable(2, steps, 3, table), np.array([3, 5, 9]))
    expected = np.zeros((3, 6), bool)
    place = {step: index * 3 for index, step in enumerate(steps)}
    expected[0, place[1] + 0] = expected[0, place[4] + 2] = expected[2, place[1] + 1] = True
    np.testing.assert_array_equal(found.active, expected)


def test_inputs_hold_the_analysed_problems_only() -> None:
    problems = pa.table({"problem": [0, 1, 2], "analysed": [True, False, True]})
    features = [LayerTable(2, (1,), 2, long_table([(2, 1, 1, 1.0)]))]
    layers, tokens = association_inputs(problems, token_table([(2, "7")]), features)
    assert layers[0].active.tolist() == [[False, False], [False, True]]
    assert tokens.present.tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("features", "ranks"), [([], []), ([4], [0]), ([0, 0, 2, 5, 5, 5], [0, 1, 0, 0, 1, 2])]
)
def test_rank_within(features: list[int], ranks: list[int]) -> None:
    assert rank_within(np.array(features, int)).tolist() == ranks


@pytest.fixture(scope="module")
def planted() -> tuple[list[LayerFeatures], TokenMatrix]:
    """Two layers of features; some follow tokens, most are noise, one never fires."""
    rng = np.random.default_rng(5)
    present = rng.random((120, len(NAMES))) < rng.uniform(0.1, 0.6, len(NAMES))
    layers = []
    for layer in (1, 3):
        active = rng.random((120, 24)) < rng.uniform(0.02, 0.6, 24)
        for column in range(0, 24, 3):
            copied = present[:, rng.integers(len(NAMES))]
            active[:, column] = copied ^ (rng.random(120) < 0.15)
        active[:, 7] = False
        layers.append(LayerFeatures(layer, (0, 2), 12, active))
    return layers, TokenMatrix(list(NAMES), present)


def written(table: pa.Table, artifact: Any, folder: Path) -> pa.Table:
    path = folder / f"{artifact.name}.parquet"
    write_table(table, path, artifact, Provenance(config="c"))
    return read_table(path, artifact)


def test_pairs_are_cut_but_counted(planted: Any, tmp_path: Path) -> None:
    layers, tokens = planted
    tables = associate(layers, tokens, LOOSE.association, RUN, CPU)
    tested = written(tables[0], TESTED, tmp_path).to_pandas()
    kept = written(tables[1], ASSOCIATION, tmp_path).to_pandas()
    assert len(tested) == 48
    assert tested["n_kept"].max() > 3
    site = ["layer", "step", "feature"]
    stored = kept.groupby(site).size()
    counted = tested.set_index(site)["n_kept"]
    assert (stored == counted[counted > 0].clip(upper=3)).all()
    assert (kept.groupby(site)["rank"].apply(list).map(lambda r: r == list(range(len(r))))).all()
    assert (kept.groupby(site)["enrichment"].diff().dropna() <= 0).all()
    for features in layers:
        for column in range(24):
            row = tested[(tested.layer == features.layer) & (tested.step == (0, 2)[column // 12])
                         & (tested.feature == column % 12)].iloc[0]  # fmt: skip
            assert row.n_active == features.active[:, column].sum()
            assert row.tested == (row.n_active >= 4)
            assert row.n_problems == 120
    cells = kept[["a", "b", "c", "d"]]
    assert (cells.sum(axis=1) == 120).all()
    first = kept.iloc[0]
    active = next(f for f in layers if f.layer == first.layer).active
    fires = active[:, (0, 2).index(first.step) * 12 + first.feature]
    assert first.a == (fires & tokens.present[:, NAMES.index(first.token)]).sum()


def test_nothing_kept_gives_empty_tables(planted: Any, tmp_path: Path) -> None:
    layers, tokens = planted
    strict = AssociationSettings(min_active=121)
    tested, kept = associate(layers, tokens, strict, RUN, CPU)
    kept = written(kept, ASSOCIATION, tmp_path)
    tested = written(tested, TESTED, tmp_path)
    labels = written(label_table(kept, tested, LOOSE.labels), LABELS, tmp_path)
    assert (len(kept), len(labels), len(tested)) == (0, 0, 48)
    measured = measure(outcome_from_tables(tested, labels), LOOSE.labels)
    values = {row.metric: row.value for row in measured if row.layer is None and row.step is None}
    assert values["n_features"] == 48
    assert values["n_interpretable"] == 0
    assert values["interpretable_rate"] == 0
    assert values["monosemantic_rate"] is None
    assert values["max_enrichment"] is None
    assert {values[f"n_enrichment.{edge}"] for edge in ENRICHMENT_EDGES} == {0}


@pytest.fixture(scope="module")
def tables(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, ...]:
    folder = tmp_path_factory.mktemp("study")
    layers, tokens = planted
    tested, kept = associate(layers, tokens, LOOSE.association, RUN, CPU)
    tested, kept = written(tested, TESTED, folder), written(kept, ASSOCIATION, folder)
    labels = written(label_table(kept, tested, LOOSE.labels), LABELS, folder)
    return tested, kept, labels


def test_labels_follow_the_rule_row_by_row(tables: tuple[pa.Table, ...]) -> None:
    tested, kept, labels = (table.to_pandas() for table in tables)
    assert len(labels) == (tested["n_kept"] > 0).sum()
    for row in labels.itertuples():
        own = kept[
            (kept.layer == row.layer) & (kept.step == row.step) & (kept.feature == row.feature)
        ]
        expected = label_feature(own.token.tolist(), own.enrichment.iloc[0], LOOSE.labels)
        assert (row.label, row.monosemantic, row.explanation) == expected
        assert row.label_type == row.label.split("_")[0]
        assert row.feature_id == f"L{row.layer}_P{row.step}_F{row.feature}"
        assert list(row.top_tokens) == own.token.tolist()[:5]
        assert row.max_enrichment == own.enrichment.max()
        assert row.min_p_value == own.p_value.min()
        assert row.activation_rate == row.n_active / 120


def test_outcome_is_the_same_from_tables_and_in_one_go(
    planted: Any, tables: tuple[pa.Table, ...]
) -> None:
    layers, tokens = planted
    stored = outcome_from_tables(tables[0], tables[2])
    direct = outcome_of_layers(layers, published_tests(layers, tokens, LOOSE, CPU), tokens, LOOSE)
    for name in ("layer", "step", "tested", "n_kept", "enrichment"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(direct, name), err_msg=name)
    assert stored.labels == direct.labels
    assert measure(stored, LOOSE.labels) == measure(direct, LOOSE.labels)


def test_summary_equals_plain_pandas(tables: tuple[pa.Table, ...]) -> None:
    tested, _, labels = (table.to_pandas() for table in tables)
    found = {
        (row.layer, row.step, row.metric): (row.value, row.n)
        for row in measure(outcome_from_tables(tables[0], tables[2]), LOOSE.labels)
    }
    places: list[tuple[int | None, int | None]] = [(None, None), (1, None), (None, 2), (3, 0)]
    for layer, step in places:
        chosen, own = tested, labels
        if layer is not None:
            chosen, own = chosen[chosen.layer == layer], own[own.layer == layer]
        if step is not None:
            chosen, own = chosen[chosen.step == step], own[own.step == step]
        mono = own[own.monosemantic]
        numbers, high = own.label.str.contains("number").sum(), (mono.max_enrichment >= 1.2).sum()
        expected = {
            "n_features": (len(chosen), len(chosen)),
            "n_tested": (chosen.tested.sum(), len(chosen)),
            "n_interpretable": (len(own), len(chosen)),
            "n_monosemantic": (len(mono), len(chosen)),
            "n_number": (numbers, len(chosen)),
            "n_high_enrichment": (high, len(chosen)),
            "n_correlations": (chosen.n_kept.sum(), len(chosen)),
            "interpretable_rate": (len(own) / len(chosen), len(chosen)),
            "monosemantic_rate": (len(mono) / len(own), len(own)),
            "number_rate": (numbers / len(own), len(own)),
            "high_enrichment_rate": (high / len(mono), len(mono)),
            "max_enrichment": (mono.max_enrichment.max(), len(mono)),
        }
        for metric, (value, n) in expected.items():
            assert found[layer, step, metric] == pytest.approx((value, n), rel=1e-12), metric
    types = labels.label_type.value_counts()
    for name, count in types.items():
        assert found[None, None, f"n_type.{name}"] == (count, len(labels))
        assert found[None, None, f"share_type.{name}"] == (count / len(labels), len(labels))
    assert {key[2] for key in found if key[2].startswith("n_type.")} == {
        f"n_type.{n}" for n in types.index
    }


BINS = [f"n_enrichment.{edge}" for edge in ENRICHMENT_EDGES]


def enrichment_bins(measured: list[Measured]) -> dict[str, tuple[float | None, int]]:
    rows = [row for row in measured if row.metric.startswith("n_enrichment.")]
    assert all(row.layer is None and row.step is None for row in rows)
    assert [row.metric for row in rows] == BINS
    return {row.metric.removeprefix("n_enrichment."): (row.value, row.n) for row in rows}


def test_bins_of_enrichment_by_hand() -> None:
    names = ("0", "2", "3", "5", "7", "10", "15", "20", "30", "50", "70", "100", "150", "200")
    assert tuple(map(str, ENRICHMENT_EDGES)) == (*names, "300", "500")
    below = np.nextafter(5.0, 0.0)
    top = [1.9, 2.0, 2.99, 3.0, 5.0, below, 10.0, 499.9, 500.0, 1e6, 40.0, 0.0]
    named = [Label("number_5", value >= 5, "") for value in top[:-2]]
    zeros = np.zeros(len(top), int)
    # Polysemantic features are counted, unlabelled ones are not, whatever their enrichment.
    outcome = Outcome(zeros, zeros, zeros == 0, zeros, np.array(top), [*named, None, None])
    bins = enrichment_bins(measure(outcome, LabelSettings()))
    expected = {"0": 1, "2": 2, "3": 2, "5": 1, "10": 1, "300": 1, "500": 2}
    assert {name: value for name, (value, _) in bins.items() if value} == expected
    assert {n for _, n in bins.values()} == {10}


@pytest.mark.parametrize("edge", ENRICHMENT_EDGES)
def test_lower_edge_belongs_to_its_bin(edge: int) -> None:
    zero = np.zeros(1, int)
    label = Label("number_5", True, "")
    outcome = Outcome(zero, zero, zero == 0, zero, np.array([float(edge)]), [label])
    bins = enrichment_bins(measure(outcome, LabelSettings()))
    assert [name for name, (value, _) in bins.items() if value] == [str(edge)]


def test_bins_of_enrichment_hold_every_labelled_feature(tables: tuple[pa.Table, ...]) -> None:
    measured = measure(outcome_from_tables(tables[0], tables[2]), LOOSE.labels)
    bins = enrichment_bins(measured)
    top = tables[2]["max_enrichment"].to_numpy()
    assert sum(value for value, _ in bins.values() if value) == len(top) > 0
    assert {n for _, n in bins.values()} == {len(top)}
    assert bins["0"][0] == (top < 2).sum() > 0  # LOOSE keeps pairs below 2
    assert bins["2"][0] == ((top >= 2) & (top < 3)).sum() > 0


def test_every_bin_of_enrichment_has_its_band(
    planted: Any, tables: tuple[pa.Table, ...], tmp_path: Path
) -> None:
    measured = measure(outcome_from_tables(tables[0], tables[2]), LOOSE.labels)
    band = permuted(planted, 4)
    summary = written(summary_table(measured, band, RUN, 4), SUMMARY, tmp_path).to_pandas()
    null = summary[(summary.control == "permuted") & summary.metric.isin(BINS)]
    assert sorted(null.metric) == sorted(BINS)
    assert set(null.n) == {4}
    assert (null.ci_low <= null.value).all()
    assert (null.value <= null.ci_high).all()
    frame = band.to_pandas()
    named = frame[frame.layer.isna() & frame.step.isna() & (frame.metric == "n_interpretable")]
    assert null.value.sum() == pytest.approx(named.value.mean())
    empty = null[null.metric == "n_enrichment.500"]
    assert empty[["value", "ci_low", "ci_high"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]


def test_permutation_moves_whole_rows() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((50, 9)) < 0.3
    order = permuted_rows(50, 0, 0)
    assert sorted(order) == list(range(50))
    assert not np.array_equal(order, np.arange(50))
    moved = present[order]
    np.testing.assert_array_equal(moved.sum(0), present.sum(0))
    np.testing.assert_array_equal(moved.T.astype(int) @ moved, present.T.astype(int) @ present)


def test_permutations_are_seeded_and_stable_under_more_of_them() -> None:
    first = [permuted_rows(50, 0, index).tolist() for index in range(3)]
    assert first == [permuted_rows(50, 0, index).tolist() for index in range(5)][:3]
    assert len({tuple(order) for order in first}) == 3
    assert permuted_rows(50, 1, 0).tolist() != first[0]


def permuted(planted: Any, count: int) -> pa.Table:
    layers, tokens = planted
    update = {"permutations": LOOSE.permutations.model_copy(update={"count": count})}
    return permutation_table(layers, tokens, LOOSE.model_copy(update=update), RUN, CPU)


def test_each_permutation_measures_the_moved_rows(planted: Any) -> None:
    layers, tokens = planted
    table = permuted(planted, 2).to_pylist()
    for index in (0, 1):
        moved = TokenMatrix(tokens.tokens, tokens.present[permuted_rows(120, 0, index)])
        tests = published_tests(layers, moved, LOOSE, CPU)
        expected = measure(outcome_of_layers(layers, tests, moved, LOOSE), LOOSE.labels)
        names = ("layer", "step", "metric", "value", "n")
        found = [tuple(row[name] for name in names) for row in table if row["permutation"] == index]
        assert found == [tuple(row) for row in expected]


def test_permutation_table_grows_without_changing(planted: Any, tmp_path: Path) -> None:
    two = written(permuted(planted, 2), PERMUTATIONS, tmp_path).to_pandas()
    three = written(permuted(planted, 3), PERMUTATIONS, tmp_path).to_pandas()
    shared = three[three.permutation < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(shared, two)
    counts = three[three.metric == "n_tested"].groupby(["layer", "step"], dropna=False)["value"]
    assert (counts.nunique() == 1).all()  # tokens move, features do not
    assert three[three.metric == "n_interpretable"]["value"].nunique() > 1


def test_summary_puts_each_number_beside_its_band(
    planted: Any, tables: tuple[pa.Table, ...], tmp_path: Path
) -> None:
    band = permuted(planted, 4)
    measured = measure(outcome_from_tables(tables[0], tables[2]), LOOSE.labels)
    summary = written(summary_table(measured, band, RUN, 4), SUMMARY, tmp_path).to_pandas()
    excess = summary[summary.metric.str.endswith("_excess")]
    own = summary[(summary.control == "none") & ~summary.metric.isin(excess.metric)]
    null = summary[summary.control == "permuted"]
    assert set(excess.metric) == {rate.replace("_rate", "_excess") for rate in RATES}
    assert len(own) + len(null) + len(excess) == len(summary)
    frame = band.to_pandas()
    for row in null[null.layer.isna() & null.step.isna()].itertuples():
        values = frame[frame.layer.isna() & frame.step.isna() & (frame.metric == row.metric)].value
        if row.metric.startswith(("n_type.", "share_type.")):
            values = [*values, *[0.0] * (4 - len(values))]
        assert (row.value, row.ci_low, row.ci_high) == pytest.approx(
            (np.mean(values), min(values), max(values))
        )
        assert (row.interval, row.n) == ("permutation_range", 4)
    # A type that only a permutation shows is a zero of the measurement.
    extra = set(null.metric) - {row.metric for row in measured}
    assert (own[own.metric.isin(extra)].value == 0).all()
    assert set(own.metric) >= set(null.metric)
    assert not summary.duplicated(["layer", "step", "metric", "control"]).any()


@pytest.mark.data
@pytest.mark.parametrize(("n_active", "rate"), [(20, 0.645), (100, 0.575), (300, 0.25)])
def test_random_features_are_interpretable_as_often_as_measured(
    gsm8k_data: Path, n_active: int, rate: float
) -> None:
    path = str(gsm8k_data / "train.jsonl")
    subset = SubsetSettings(kind="published", n=1000)
    table = load_problems(
        PathDataset(source="path", path=path, id_prefix="train_", subset=subset)
    ).table
    numbers = table["problem"].to_numpy()[table["analysed"].to_numpy()]
    whole = cot_token_table(table)
    tokens = token_matrix(whole, numbers)
    alone = whole.filter(np.isin(whole["problem"].to_numpy(), numbers))
    assert tokens.tokens == list(dict.fromkeys(alone["token"].to_pylist()))
    assert tokens.present.shape == (1000, 628)
    rng = np.random.default_rng(n_active)
    active = np.zeros((1000, 400), bool)
    for column in range(400):
        active[rng.choice(1000, n_active, replace=False), column] = True
    pairs = published_pairs(active, tokens.present, AssociationSettings(), CPU)
    assert len(np.unique(pairs.feature)) / 400 == pytest.approx(rate, abs=0.08)
