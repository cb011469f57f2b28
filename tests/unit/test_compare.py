"""The comparison of the GSM8K study, against plain pandas and numbers worked out by hand."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from saeflow.artifacts.catalog import COMPARISON, PERMUTATIONS, SUMMARY
from saeflow.artifacts.provenance import Provenance, combine
from saeflow.artifacts.tables import gather_tables, metadata_of, read_table, write_table
from saeflow.studies.compare.gsm8k import QUESTIONS, comparison_table
from saeflow.studies.compare.published import PUBLISHED
from tests.conftest import ROOT

RUN = ["dataset", "dictionary", "mode"]
KEYS = list(COMPARISON.keys)
NUMBERS = ["value", "ci_low", "ci_high", "interval", "n"]
RATES = sorted({*QUESTIONS.values()})
N_PERMUTATIONS = 7
MODELS: dict[str, tuple[list[tuple[str, str, str]], list[int]]] = {
    "zeta": ([("d", "k8", "published"), ("d", "k8", "calibrated")], [0, 1, 2]),
    "alpha": ([("d", "k8", "published"), ("e", "k9", "published")], [0, 1, 2]),
    "mid": ([("e", "k8", "published")], [3, 5, 9]),
}
"""Runs and seeds by model, in an order that is not the alphabet's."""


def summary_row(run: Any, seed: int, metric: str, value: float | None, **other: Any) -> dict:
    own = {
        "target": "token",
        "control": "none",
        "layer": None,
        "step": None,
        "interval": "none",
        "n": 10,
    }
    own |= {"ci_low": None, "ci_high": None}
    return {**dict(zip(RUN, run, strict=True)), "seed": seed, "metric": metric, "value": value} | (
        own | other
    )


def permuted_row(
    run: Any, seed: int, number: int, metric: str, value: float | None, **other: Any
) -> dict:
    own = {"target": "token", "layer": None, "step": None, "permutation": number, "n": 10}
    return {**dict(zip(RUN, run, strict=True)), "seed": seed, "metric": metric, "value": value} | (
        own | other
    )


Inputs = tuple[dict[str, pa.Table], list[tuple[str, pa.Table]]]


def tables_of(summaries: dict[str, list[dict]], permuted: list[tuple[str, list[dict]]]) -> Inputs:
    return (
        {model: pa.Table.from_pylist(rows, SUMMARY.schema()) for model, rows in summaries.items()},
        [(model, pa.Table.from_pylist(rows, PERMUTATIONS.schema())) for model, rows in permuted],
    )


def random_inputs(missing: float, seed: int = 0) -> Inputs:
    """Tables of `MODELS` with rows that the comparison must not read; a share has no value."""
    rng = np.random.default_rng(seed)

    def draw() -> float | None:
        return None if rng.random() < missing else float(rng.random())

    summaries: dict[str, list[dict]] = {}
    permuted: list[tuple[str, list[dict]]] = []
    for model, (runs, seeds) in MODELS.items():
        rows: list[dict] = []
        for run, sae, metric in itertools.product(runs, seeds, RATES):
            rows.append(summary_row(run, sae, metric, draw()))
            rows.append(summary_row(run, sae, metric, 9.0, control="permuted"))
            rows.append(summary_row(run, sae, metric, 9.0, layer=0))
            rows.append(summary_row(run, sae, metric, 9.0, step=0))
            rows.append(summary_row(run, sae, "n_tested", 9.0))
        summaries[model] = rows
        for run, sae in itertools.product(runs, seeds):
            part = [
                row
                for number, metric in itertools.product(range(N_PERMUTATIONS), RATES)
                for row in (
                    permuted_row(run, sae, number, metric, draw()),
                    permuted_row(run, sae, number, metric, 9.0, layer=1, step=2),
                    permuted_row(run, sae, number, "max_enrichment", 9.0),
                )
            ]
            permuted.append((model, part))
    return tables_of(summaries, permuted)


def frames(inputs: Inputs) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All rows over everything, values only, one frame for each kind of table."""
    summaries, permuted = inputs
    own = pd.concat([t.to_pandas().assign(model=m) for m, t in summaries.items()])
    null = pd.concat([t.to_pandas().assign(model=m) for m, t in permuted])
    own = own[own.control == "none"]
    both = [f[f.layer.isna() & f.step.isna()].dropna(subset=["value"]) for f in (own, null)]
    return both[0], both[1]


def reference(inputs: Inputs) -> pd.DataFrame:
    """The same table from groups of a data frame, one question and place at a time."""
    place = ["metric", "model", *RUN]
    own, null = (dict(list(frame.groupby(place))) for frame in frames(inputs))
    places = [(m, *run) for m, (runs, _) in MODELS.items() for run in runs]
    empty = pd.DataFrame({"seed": [], "permutation": [], "value": []}, dtype=float)
    rows = []

    def at(groups: dict[Any, pd.DataFrame], place: Any, metric: str) -> pd.DataFrame:
        return groups.get((metric, *place), empty)

    def add(question: str, place: Any, other: Any, metric: str, control: str, value: Any,
            spread: Any, interval: str) -> None:  # fmt: skip
        ranged = len(spread) > 0 and not pd.isna(value)
        key = dict(zip(["model", *RUN], place, strict=True))
        key |= {"other": "", "other_dataset": "", "other_dictionary": ""}
        if other:
            key |= {"other": other[0], "other_dataset": other[1], "other_dictionary": other[2]}
        interval = interval if ranged else "none"
        rows.append({"question": question, **key, "metric": metric, "control": control,
                     "value": value, "interval": interval, "n": len(spread),
                     "ci_low": min(spread) if interval != "none" else np.nan,
                     "ci_high": max(spread) if interval != "none" else np.nan})  # fmt: skip

    for question, metric in QUESTIONS.items():
        for place in places if question != "capacity" else []:
            seen, chance = at(own, place, metric), at(null, place, metric)
            by_number = chance.groupby("permutation").value.mean()
            by_seed = seen.set_index("seed").value - chance.groupby("seed").value.mean()
            add(question, place, None, metric, "none", seen.value.mean(), seen.value, "seed_range")
            add(question, place, None, metric, "permuted", by_number.mean(), by_number,
                "permutation_range")  # fmt: skip
            add(question, place, None, "excess", "none", seen.value.mean() - by_number.mean(),
                by_seed.dropna(), "seed_range")  # fmt: skip
        for place, other in itertools.combinations(places, 2):
            if place[3] != other[3]:
                continue
            alike = {p[1:] for p in places if p[0] == place[0]} & {
                p[1:] for p in places if p[0] == other[0]
            }
            if place[0] != other[0] and alike and place[1:] != other[1:]:
                continue
            one, two = at(own, place, metric).value, at(own, other, metric).value
            value = one.mean() - two.mean()
            pairs = [a - b for a in one for b in two]
            means = [
                at(null, p, metric).groupby("permutation").value.mean() for p in (place, other)
            ]
            moved = (means[0] - means[1]).dropna()
            add(question, place, other, "difference", "none", value, pairs, "seed_range")
            add(question, place, other, "difference", "permuted", moved.mean(), moved,
                "permutation_range")  # fmt: skip
            excess = value - moved.mean()
            gaps = [
                (at(own, p, metric).set_index("seed").value
                 - at(null, p, metric).groupby("seed").value.mean()).dropna()
                for p in (place, other)
            ]  # fmt: skip
            add(question, place, other, "excess_difference", "none", excess,
                [a - b for a in gaps[0] for b in gaps[1]], "seed_range")  # fmt: skip
    return pd.DataFrame(rows).sort_values(KEYS).reset_index(drop=True)


@pytest.mark.parametrize(
    ("missing", "seed"), [(0.0, 0), (0.15, 1), (0.15, 2), (0.7, 3), (0.7, 4), (1.0, 5)]
)
def test_table_equals_plain_pandas(missing: float, seed: int) -> None:
    inputs = random_inputs(missing, seed)
    found = comparison_table(*inputs).to_pandas().sort_values(KEYS).reset_index(drop=True)
    expected = reference(inputs)[found.columns]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-12)
    if missing == 1.0:
        assert found.value.isna().all()
        assert set(found.interval) == {"none"}
        assert set(found.n) == {0}
    # Zeta and alpha share one run, zeta and mid none, alpha and mid none; alpha has two runs of a mode.
    assert len(found) == 3 * 3 * 5 + 4 * 3 * (1 + 1 + 2 + 1)


def test_rows_worked_out_by_hand() -> None:
    one, two = ("d", "k", "published"), ("d", "q", "published")
    summaries = {
        "one": [summary_row(one, s, m, v) for m in RATES for s, v in ((0, 0.75), (1, 0.5))],
        "two": [summary_row(two, s, m, v) for m in RATES for s, v in ((0, 0.25), (1, None))],
    }
    chance = {"one": {0: (0.5, 0.25, 1.0), 1: (0.25, 0.25, None)}, "two": {0: (0.125, 0.5, None)}}
    permuted = [
        (model, [permuted_row(run, seed, number, metric, value)
                 for metric in RATES for number, value in enumerate(values)])
        for model, run in (("one", one), ("two", two))
        for seed, values in chance[model].items()
    ]  # fmt: skip
    table = comparison_table(*tables_of(summaries, permuted)).to_pandas()
    found = {
        (row.model, row.other, row.metric, row.control): tuple(row[NUMBERS])
        for _, row in table[table.question.isin(["monosemantic", "capacity"])].iterrows()
    }
    rate = "monosemantic_rate"
    gaps = (0.75 - 1.75 / 3 + 0.0625, 0.25 + 0.0625)
    # Permutations of one, over its seeds: 0.375, 0.25 and 1; of two: 0.125 and 0.5.
    expected = {
        ("one", "", rate, "none"): (0.625, 0.5, 0.75, "seed_range", 2),
        ("one", "", rate, "permuted"): (1.625 / 3, 0.25, 1.0, "permutation_range", 3),
        ("one", "", "excess", "none"): (0.625 - 1.625 / 3, 0.75 - 1.75 / 3, 0.25, "seed_range", 2),
        ("two", "", rate, "none"): (0.25, 0.25, 0.25, "seed_range", 1),
        ("two", "", rate, "permuted"): (0.3125, 0.125, 0.5, "permutation_range", 2),
        ("two", "", "excess", "none"): (-0.0625, -0.0625, -0.0625, "seed_range", 1),
        ("one", "two", "difference", "none"): (0.375, 0.25, 0.5, "seed_range", 2),
        ("one", "two", "difference", "permuted"): (0.0, -0.25, 0.25, "permutation_range", 2),
        ("one", "two", "excess_difference", "none"): (0.375, *gaps, "seed_range", 2),
    }
    assert found.keys() == expected.keys()
    for key, numbers in expected.items():
        assert [None if pd.isna(x) else x for x in found[key]] == [
            x if x is None or isinstance(x, str) else pytest.approx(x, abs=1e-15) for x in numbers
        ], key


def test_capacity_is_the_difference_of_monosemantic_rates() -> None:
    table = comparison_table(*random_inputs(0.15)).to_pandas()
    capacity = table[table.question == "capacity"].drop(columns="question")
    mono = table[(table.question == "monosemantic") & (table.other != "")].drop(columns="question")
    assert len(capacity)
    pd.testing.assert_frame_equal(capacity.reset_index(drop=True), mono.reset_index(drop=True))


def test_keys_name_a_row_and_survive_the_file(tmp_path: Path) -> None:
    table = comparison_table(*random_inputs(0.15))
    assert not table.to_pandas().duplicated(KEYS).any()
    assert set(KEYS) == set(COMPARISON.column_names()) - set(NUMBERS)
    write_table(table, tmp_path / "a.parquet", COMPARISON, Provenance("c"))
    found = read_table(tmp_path / "a.parquet", COMPARISON)
    assert found.to_pylist() == table.sort_by([(key, "ascending") for key in KEYS]).to_pylist()


def test_order_of_rows_and_tables_changes_no_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    summaries, permuted = random_inputs(0.15)

    def shuffled(table: pa.Table) -> pa.Table:
        return table.take(rng.permutation(len(table)))

    mixed = [(model, shuffled(table)) for model, table in permuted]
    mixed = [mixed[index] for index in rng.permutation(len(mixed))]
    other = {model: shuffled(table) for model, table in summaries.items()}
    for name, inputs in (("a", (summaries, permuted)), ("b", (other, mixed))):
        table = comparison_table(*inputs)
        write_table(table, tmp_path / name, COMPARISON, Provenance("c"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_order_of_models_turns_differences_around() -> None:
    summaries, permuted = random_inputs(0.0)
    turned = dict(reversed(summaries.items()))
    found = comparison_table(summaries, permuted).to_pandas()
    back = comparison_table(turned, permuted).to_pandas()
    names = {"model": "other", "dataset": "other_dataset", "dictionary": "other_dictionary"}
    swap = names | {value: key for key, value in names.items()}
    difference = found[(found.other != "") & (found.other != found.model)]
    opposite = back[(back.other != "") & (back.other != back.model)].rename(columns=swap)[
        found.columns
    ]
    ends = opposite[["ci_high", "ci_low"]].to_numpy()
    opposite = opposite.assign(value=-opposite.value, ci_low=-ends[:, 0], ci_high=-ends[:, 1])
    pd.testing.assert_frame_equal(
        difference.sort_values(KEYS).reset_index(drop=True),
        opposite.sort_values(KEYS).reset_index(drop=True),
    )
    assert set(zip(difference.model, difference.other, strict=True)) == {
        ("zeta", "alpha"), ("zeta", "mid"), ("alpha", "mid")
    }  # fmt: skip


def test_a_model_with_another_data_set_is_compared_all_the_same() -> None:
    table = comparison_table(*random_inputs(0.0)).to_pandas()
    pair = table[(table.model == "zeta") & (table.other == "mid") & (table.question == "capacity")]
    assert set(pair.metric) == {"difference", "excess_difference"}
    assert set(pair["mode"]) == {"published"}
    runs = pair[["dataset", "dictionary", "other_dataset", "other_dictionary"]].drop_duplicates()
    assert runs.to_numpy().tolist() == [["d", "k8", "e", "k8"]]
    alone = table[table.other == ""]
    assert set(alone.other_dataset) == set(alone.other_dictionary) == {""}
    assert "capacity" not in set(alone.question)


def test_one_model_has_no_differences() -> None:
    summaries, permuted = random_inputs(0.0)
    only = [(model, table) for model, table in permuted if model == "mid"]
    table = comparison_table({"mid": summaries["mid"]}, only)
    assert set(table["question"].to_pylist()) == {"interpretable", "monosemantic", "number"}
    assert set(table["other"].to_pylist()) == {""}


def test_study_reads_tables_and_no_other_study() -> None:
    for path in (ROOT / "src/saeflow/studies/compare").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                own = str(node.module).startswith("saeflow.studies.compare.")
                assert own or not str(node.module).startswith("saeflow.studies"), path


def test_combined_provenance_claims_no_single_model(tmp_path: Path) -> None:
    def table(provenance: Provenance) -> pa.Table:
        return pa.table({"a": [1]}).replace_schema_metadata(provenance.metadata())

    one = table(
        Provenance("c1", seed=1, dataset_revision="d", model_revision="m2", packages=("x",))
    )
    two = table(
        Provenance("c2", seed=2, dataset_revision="d", model_revision="m1", packages=("y",))
    )
    both = combine(one, two.schema)
    assert both == combine(two, one)
    assert (both.config, both.seed, both.packages) == ("c1+c2", None, ("x", "y"))
    assert (both.dataset_revision, both.model_revision) == ("d", "m1+m2")
    assert combine(table(both), one, config="own").model_revision == "m1+m2"
    assert combine(table(both), one, config="own").config == "own"
    assert combine(one, one) == Provenance("c1", 1, "d", "m2", ("x",))
    assert combine(pa.table({"a": [1]})) == Provenance("")

    parts = []
    for seed in (0, 1):
        part = pa.Table.from_pylist(
            [summary_row(("d", "k", "published"), seed, "number_rate", 1.0)], SUMMARY.schema()
        )
        parts.append(tmp_path / f"{seed}.parquet")
        write_table(part, parts[-1], SUMMARY, Provenance("c", seed=seed, model_revision="m"))
    gather_tables(parts, tmp_path / "all.parquet", SUMMARY)
    said = metadata_of(read_table(tmp_path / "all.parquet", SUMMARY).schema)
    assert "seed" not in said
    assert (said["config"], said["model_revision"]) == ("c", "m")


def test_published_counts_give_the_published_rates() -> None:
    llama, gpt2 = PUBLISHED
    assert (llama.features, gpt2.features) == (49_152, 36_864)
    said = [[round(100 * getattr(model, rate), 1) for rate in
             ("interpretable_rate", "monosemantic_rate", "number_rate")]
            for model in PUBLISHED]  # fmt: skip
    assert said == [[37.7, 74.9, 98.9], [41.8, 72.6, 98.5]]
    for model in PUBLISHED:
        assert all(0 < getattr(model, metric) < 1 for metric in QUESTIONS.values())
        assert model.features > model.interpretable > model.number > model.monosemantic
