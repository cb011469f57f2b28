"""Half-features that follow operators and values, against SciPy and slow, obvious versions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.stats import binom, false_discovery_control, fisher_exact

from saeflow.artifacts.hierarchy import HIERARCHY, SPECIALISTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import read_table, write_table
from saeflow.config.datasets import GeneratedDataset
from saeflow.config.hierarchy import SpecialistTests
from saeflow.config.runs import ExactSettings
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.studies.gsm8k.bank_test import BankFeatures
from saeflow.studies.gsm8k.targets import Target
from saeflow.studies.hierarchy.bins import ALL, BIN_LABELS, bin_groups, bin_of
from saeflow.studies.hierarchy.specialist_tests import (
    permuted_order,
    specialist_tables,
    specialist_targets,
)

CPU = torch.device("cpu")
RUN = {"dataset": "made", "dictionary": "d", "seed": 3, "mode": "calibrated"}
SETTINGS = SpecialistTests(
    tests=ExactSettings(min_active=8, min_support=6), permutations=19, seed=4
)
PROBLEMS = 120
MADE_UP = [
    "<<12+3-1=14>> <<14*2=28>>",
    "nothing is calculated",
    "<<71+-3=68>> <<(-17)+43=26>> <<5=5>>",
    "<<3-8=-5>> <<-5*2=-10>>",
    "<<(4+5)/2=9/2>> <<28/7>>",
    "<<1+1=2=5-3>> <<.5*12=6.0>>",
]


def tokens_of(answers: list[str]) -> pa.Table:
    problem = np.arange(len(answers), dtype=np.int32)
    columns = {"problem": problem, "question": answers, "answer": answers}
    return cot_token_table(pa.table({**columns, "analysed": [True] * len(answers)}))


def seen(name: str, tokens: pa.Table, numbers: np.ndarray) -> list[set[str]]:
    """Labels of each problem."""
    (target,) = specialist_targets([name], tokens, numbers)  # type: ignore[list-item]
    assert (target.name, target.step) == (name, None)
    assert len(set(target.labels)) == len(target.labels)
    return [{target.labels[place] for place in np.flatnonzero(row)} for row in target.present]


def made_up(name: str) -> list[set[str]]:
    return seen(name, tokens_of(MADE_UP), np.arange(len(MADE_UP)))


def test_operators_and_operands_are_those_of_any_calculation() -> None:
    assert made_up("operators") == [{*"+-*"}, set(), {"+"}, {*"-*"}, {*"+/"}, {*"+*"}]
    assert made_up("operands") == [
        {"12", "3", "1", "14", "2"}, set(), {"71", "3", "17", "43", "5"}, {"3", "8", "5", "2"},
        {"4", "5", "2", "28", "7"}, {"1", "5", "12"},
    ]  # fmt: skip


def test_sequences_run_through_all_calculations() -> None:
    assert made_up("sequence") == [
        {"+ -", "- *", "+ - *"}, set(), {"+ +"}, {"- *"}, {"+ /", "/ /", "+ / /"}, {"+ *"},
    ]  # fmt: skip


def test_values_of_steps_are_operands_and_single_results() -> None:
    assert made_up("step_value") == [
        {"step 1: 12", "step 1: 3", "step 1: 1", "step 1 = 14", "step 2: 14", "step 2: 2", "step 2 = 28"},
        set(),
        {"step 1: 71", "step 1: 3", "step 1 = 68", "step 2: 17", "step 2: 43", "step 2 = 26",
         "step 3: 5", "step 3 = 5"},
        {"step 1: 3", "step 1: 8", "step 1 = 5", "step 2: 5", "step 2: 2", "step 2 = 10"},
        {"step 1: 4", "step 1: 5", "step 1: 2", "step 2: 28", "step 2: 7"},
        {"step 1: 1", "step 2: 5", "step 2: 12", "step 2 = 6.0"},
    ]  # fmt: skip


def test_generated_problems_are_read_as_a_plain_pattern_reads_them() -> None:
    settings = GeneratedDataset(source="generated", n_train=100, n_validation=50, seed=2)
    problems = load_problems(settings).table
    numbers = np.arange(0, 150, 3)
    tokens = cot_token_table(problems)
    found = {name: seen(name, tokens, numbers) for name in SETTINGS.targets}
    answers = problems["answer"].to_pylist()
    for row, number in enumerate(numbers):
        parts = re.findall(r"<<([\d.]+)([-+*/])([\d.]+)=([\d.]+)>>", answers[number])
        assert len(parts) == answers[number].count("<<")
        signs = [sign for _, sign, _, _ in parts]
        assert found["operators"][row] == set(signs)
        assert found["operands"][row] == {each for a, _, b, _ in parts for each in (a, b)}
        runs = {
            " ".join(run)
            for n in (2, 3)
            for run in zip(*(signs[start:] for start in range(n)), strict=False)
        }
        assert found["sequence"][row] == runs
        assert found["step_value"][row] == {
            label
            for step, (a, _, b, c) in enumerate(parts, 1)
            for label in (f"step {step}: {a}", f"step {step}: {b}", f"step {step} = {c}")
        }
    assert max(map(len, found["sequence"])) >= 3


def test_bins_begin_and_end_where_they_say() -> None:
    assert BIN_LABELS == (
        "1", "2", "3", "4", "5", "6-7", "8-9", "10-19", "20-49", "50-99", "100-199", "200+",
    )  # fmt: skip
    for n, place in enumerate(bin_of(np.arange(2000)).tolist()):
        if n == 0:
            assert place == -1
            continue
        ends = [int(each) for each in re.findall(r"\d+", BIN_LABELS[place])]
        assert ends[0] <= n <= (ends[-1] if "+" not in BIN_LABELS[place] else 2000)
    n_active = np.array([0, 7, 200, 1, 50, 49])
    groups = {label: np.flatnonzero(chosen).tolist() for label, chosen in bin_groups(n_active)}
    assert list(groups) == [ALL, *BIN_LABELS]
    assert groups[ALL] == [1, 2, 3, 4, 5]
    filled = {label: members for label, members in groups.items() if members and label != ALL}
    assert filled == {"1": [3], "6-7": [1], "20-49": [5], "50-99": [4], "200+": [2]}


def noise(seed: int, n_features: int = 10) -> tuple[BankFeatures, list[Target]]:
    """Signed features and labels of two targets that know nothing of each other."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0.02, 0.8, n_features)
    values = rng.standard_normal((PROBLEMS, n_features)) * (
        rng.random((PROBLEMS, n_features)) < rate
    )
    one = rng.random((PROBLEMS, 4)) < [0.5, 0.3, 0.4, 0.02]
    targets = [
        Target("operators", ["+", "-", "*", "/"], one, None),
        Target("operands", ["12", "7"], rng.random((PROBLEMS, 2)) < 0.2, None),
    ]
    place = np.arange(n_features)
    return BankFeatures(place // 4, place * 0 + 1, place % 4, values.astype(np.float32)), targets


def planted(seed: int) -> tuple[BankFeatures, list[Target]]:
    """Feature 1 fires above 0 with "-", feature 6 below 0 with "12", the rest is noise."""
    bank, targets = noise(seed)
    rng = np.random.default_rng(seed + 500)
    for feature, label, sign in (
        (1, targets[0].present[:, 1], 1),
        (6, targets[1].present[:, 0], -1),
    ):
        bank.values[:, feature] = sign * (label ^ (rng.random(PROBLEMS) < 0.1))
    return bank, targets


def slow_p_values(bank: BankFeatures, targets: list[Target], order: np.ndarray) -> pd.DataFrame:
    """All tests, one after the other, with labels in another order."""
    rows = []
    for target in targets:
        for label, present in zip(target.labels, target.present[order].T, strict=True):
            for feature, sign in np.ndindex(bank.values.shape[1], 2):
                active = bank.values[:, feature] * (1 - 2 * sign) > 0
                if active.sum() < 8 or present.sum() < 6:
                    continue
                a = int((active & present).sum())
                cells = [[a, active.sum() - a], [present.sum() - a, (~active & ~present).sum()]]
                p_value = fisher_exact(cells, alternative="greater").pvalue
                rows.append((target.name, feature, "+-"[sign], label, float(p_value)))
    return pd.DataFrame(rows, columns=["target", "feature", "sign", "label", "p_value"])


def following(target: str, members: np.ndarray) -> Callable[[pd.DataFrame], int]:
    """Counts members that have a row of the target."""

    def count(part: pd.DataFrame) -> int:
        return int(np.isin(members, part[part.target == target].feature).sum())

    return count


def test_summary_equals_slow_tests_of_every_pair() -> None:
    bank, targets = planted(1)
    tests = ExactSettings(min_active=8, min_support=6, q_value=0.3)
    own = slow_p_values(bank, targets, np.arange(PROBLEMS))
    own["q_value"] = own.groupby("target").p_value.transform(false_discovery_control)
    found = own[own.q_value <= 0.3]
    limit = found.groupby("target").p_value.max() * (1 + 1e-9)
    assert set(limit.index) == {"operators", "operands"}
    orders = [permuted_order(PROBLEMS, 4, number) for number in range(19)]
    null = []
    for order in orders:
        each = slow_p_values(bank, targets, order)
        null.append(each[each.p_value <= each.target.map(limit)])
    settings = SETTINGS.model_copy(update={"tests": tests})
    table, summary = specialist_tables(bank, targets, settings, RUN, CPU)
    made = table.to_pandas()
    assert (bank.layer * 4 + bank.index == np.arange(10)).all()
    made["feature"] += made.layer * 4
    columns = ["target", "feature", "sign", "label"]
    assert sorted(made[columns].itertuples(index=False, name=None)) == sorted(
        found[columns].itertuples(index=False, name=None)
    )
    rows = {
        (row["group"], row["layer"], row["metric"], row["control"]): row
        for row in summary.to_pylist()
    }
    n_active = np.count_nonzero(bank.values, axis=0)
    groups = [(label, None, chosen) for label, chosen in bin_groups(n_active)]
    groups += [(ALL, layer, (bank.layer == layer) & (n_active > 0)) for layer in range(3)]
    counted = 0
    for group, layer, chosen in groups:
        members = np.flatnonzero(chosen)
        assert rows[group, layer, "n_features", "none"]["value"] == len(members)
        for target in ("operators", "operands"):
            where = following(target, members)
            n_tested = where(own)
            assert rows[group, layer, f"n_tested.{target}", "none"]["value"] == n_tested
            value = rows[group, layer, f"n_specialists.{target}", "none"]["value"]
            share = rows[group, layer, f"share_specialists.{target}", "none"]["value"]
            key = group, layer, f"n_specialists.{target}", "permuted"
            if not n_tested:
                assert value is share is None
                assert key not in rows
                continue
            assert value == where(found)
            assert share == pytest.approx(where(found) / len(members))
            chance = [where(each) for each in null]
            counted += sum(chance)
            row = rows[key]
            assert (row["value"], row["ci_low"], row["ci_high"], row["n"], row["interval"]) == (
                pytest.approx(np.mean(chance)), min(chance), max(chance), 19, "permutation_range",
            )  # fmt: skip
            above = rows[group, layer, f"n_specialists_excess.{target}", "none"]
            assert above["value"] == pytest.approx(value - np.mean(chance))
            # With 19 permutations the quantiles are their smallest and their largest.
            assert (above["ci_low"], above["ci_high"]) == (value - max(chance), value - min(chance))
            above = rows[group, layer, f"share_specialists_excess.{target}", "none"]
            assert above["value"] == pytest.approx(share - np.mean(chance) / len(members))
    assert counted > 0


@pytest.mark.parametrize("seed", range(3))
def test_planted_specialists_are_found_on_their_side(seed: int) -> None:
    bank, targets = planted(seed + 20)
    table, _ = specialist_tables(bank, targets, SETTINGS, RUN, CPU)
    best = {
        (row["layer"] * 4 + row["feature"], row["sign"]): (row["target"], row["label"])
        for row in table.to_pylist()
        if row["rank"] == 0
    }
    assert best[1, "+"] == ("operators", "-")
    assert best[6, "-"] == ("operands", "12")
    assert {(1, "-"), (6, "+")}.isdisjoint(best)


def test_noise_has_specialists_no_more_often_than_the_level() -> None:
    runs, false = 40, {"operators": 0, "operands": 0}
    for seed in range(runs):
        bank, targets = noise(seed + 100)
        table, summary = specialist_tables(bank, targets, SETTINGS, RUN, CPU)
        for name in false:
            false[name] += name in table["target"].to_pylist()
        if not len(table):
            values = summary.to_pandas()
            above = values[values.metric.str.contains("_excess") & values.value.notna()]
            assert len(above)
            assert (above.value == 0).all(), "chance has no limit to fall below"
    # The level is 0.05; a test at 0.001 of whether it is held.
    assert max(false.values()) <= binom.ppf(0.999, runs, 0.05)


def test_bins_and_sites_add_up() -> None:
    bank, targets = planted(2)
    _, summary = specialist_tables(bank, targets, SETTINGS, RUN, CPU)
    rows = summary.to_pandas()
    rows = rows[rows.metric.str.startswith(("n_specialists.", "n_features", "n_tested"))]
    for (_, _), part in rows.groupby(["metric", "control"]):
        whole = part[(part.group == ALL) & part.layer.isna()].value.item()
        assert part[part.group != ALL].value.sum() == pytest.approx(whole)
        assert part[part.layer.notna()].value.sum() == pytest.approx(whole)


def test_tables_can_be_written_even_where_nothing_can_be_tested(tmp_path: Path) -> None:
    bank, targets = noise(5)
    rare = [Target("operators", [], np.zeros((PROBLEMS, 0), bool), None), targets[1]]
    strict = SETTINGS.model_copy(update={"tests": ExactSettings(min_active=PROBLEMS)})
    cases = [(targets, SETTINGS), (rare, SETTINGS), (targets, strict)]
    for number, (labels, settings) in enumerate(cases):
        tables = specialist_tables(bank, labels, settings, RUN, CPU)
        for table, artifact in zip(tables, (SPECIALISTS, HIERARCHY), strict=True):
            path = tmp_path / f"{artifact.name}{number}.parquet"
            write_table(table, path, artifact, Provenance("c"))
            frame = read_table(path, artifact).select(list(artifact.keys)).to_pandas()
            assert len(frame) == len(table)
            assert not frame.duplicated().any()
        values = {row["metric"]: row["value"] for row in tables[1].to_pylist()}
        assert (values["n_specialists.operators"] is None) == (number > 0)


def test_permutations_are_told_apart_by_number_and_seed() -> None:
    one, same = permuted_order(50, 1, 0), permuted_order(50, 1, 0)
    assert (one == same).all()
    assert sorted(one) == list(range(50))
    assert (one != permuted_order(50, 1, 1)).any()
    assert (one != permuted_order(50, 2, 0)).any()
