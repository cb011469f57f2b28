"""The calibrated mode of a bank, against SciPy and slow, obvious versions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import false_discovery_control, fisher_exact

from saeflow.artifacts.calibration import DISCOVERIES
from saeflow.artifacts.catalog import PERMUTATIONS, SUMMARY
from saeflow.artifacts.features import LayerTable
from saeflow.config.runs import ExactSettings
from saeflow.config.studies import HalvesSettings
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest, bank_features
from saeflow.studies.gsm8k.calibrated_rates import (
    calibrated_permutations,
    calibrated_summary,
    family_wise_limit,
)
from saeflow.studies.gsm8k.discoveries import discovery_table, single_label_rates
from saeflow.studies.gsm8k.halves import split_half
from saeflow.studies.gsm8k.permutations import permuted_rows
from saeflow.studies.gsm8k.targets import Target

CPU = torch.device("cpu")
RUN = {"dataset": "made", "dictionary": "d", "seed": 3, "mode": "calibrated"}
SETTINGS = ExactSettings(min_active=8, min_support=6)
PROBLEMS, LAYERS, STEPS, D_SAE = 160, (1, 3), (0, 2), 6


class Bank(NamedTuple):
    """Features, targets, and which feature follows which token."""

    features: BankFeatures
    targets: list[Target]


def planted(seed: int = 0, problems: int = PROBLEMS) -> Bank:
    """Signed features at four sites: of each site the first two follow tokens, one by being negative."""
    rng = np.random.default_rng(seed)
    tokens = rng.random((problems, 9)) < np.r_[0.3, 0.3, 0.25, 0.2, 0.15, 0.1, 0.1, 0.02, 0.5]
    parts = []
    for layer in LAYERS:
        for step in STEPS:
            values = rng.normal(size=(problems, D_SAE)) * (rng.random((problems, D_SAE)) < 0.3)
            values[:, 0] = np.where(tokens[:, 0], rng.uniform(0.5, 2, problems), values[:, 0] * 0)
            values[:, 1] = np.where(tokens[:, 1], -1.0, np.abs(values[:, 1]))
            index = np.arange(D_SAE)
            parts.append((np.full(D_SAE, layer), np.full(D_SAE, step), index, values))
    layer, step, index = (np.concatenate([part[place] for part in parts]) for place in range(3))
    values = np.concatenate([part[3] for part in parts], axis=1).astype(np.float32)
    own_step = np.stack([values[:, 0] > 1, rng.random(problems) < 0.5], axis=1)
    targets = [
        Target("token", [f"t{number}" for number in range(9)], tokens, None),
        Target("correct", ["answered right"], rng.random((problems, 1)) < 0.6, None),
        Target("decoded", ["12", "7"], own_step, 2),
    ]
    return Bank(BankFeatures(layer, step, index, values), targets)


def slow_tests(bank: Bank, target: str) -> dict[tuple[int, str, str], float]:
    """P-value of every tested pair, by column of the feature, sign and label."""
    found = {}
    for each in bank.targets:
        if each.name != target:
            continue
        for column in range(len(bank.features.layer)):
            if each.step is not None and bank.features.step[column] != each.step:
                continue
            for sign, half in (("+", 1), ("-", -1)):
                fires = half * bank.features.values[:, column] > 0
                if fires.sum() < SETTINGS.min_active:
                    continue
                for label, has in zip(each.labels, each.present.T, strict=True):
                    if has.sum() >= SETTINGS.min_support:
                        cells = [[int((x & y).sum()) for y in (has, ~has)] for x in (fires, ~fires)]
                        p_value = fisher_exact(cells, alternative="greater").pvalue
                        found[column, sign, label] = float(p_value)
    return found


@pytest.fixture(scope="module")
def bank() -> Bank:
    return planted()


@pytest.fixture(scope="module")
def test(bank: Bank) -> BankTest:
    return BankTest(bank.features, bank.targets, SETTINGS, CPU)


@pytest.mark.parametrize("target", ["token", "correct", "decoded"])
def test_every_place_counts_what_scipy_discovers_there(
    bank: Bank, test: BankTest, target: str
) -> None:
    slow = slow_tests(bank, target)
    counts = [each for each in test.counts(test.candidates()) if each.target == target]
    assert len(counts) == 1 + 2 + 2 + 4
    for count in counts:
        chosen = {
            pair: p_value
            for pair, p_value in slow.items()
            if count.layer in (None, bank.features.layer[pair[0]])
            and count.step in (None, bank.features.step[pair[0]])
        }
        assert count.n_tests == len(chosen)
        assert count.n_features == D_SAE * len(LAYERS) * len(STEPS) // (
            (1 if count.layer is None else 2) * (1 if count.step is None else 2)
        )
        if not chosen:
            assert (count.n_discovered, count.smallest) == (0, 1.0)
            continue
        q_values = false_discovery_control(list(chosen.values()))
        found = {pair[0] for pair, q in zip(chosen, q_values, strict=True) if q <= 0.05}
        assert count.n_discovered == len(found)
        least = min(chosen.values())
        if least <= 0.05:
            assert count.smallest == pytest.approx(least, rel=1e-9)
    assert target != "token" or counts[0].n_discovered >= 8


def test_discoveries_are_scipys_with_their_effects(bank: Bank, test: BankTest) -> None:
    table = discovery_table(test, test.candidates(), RUN)
    assert table.schema == DISCOVERIES.schema()
    rows = table.to_pandas()
    place = {
        (layer, step, index): column
        for column, (layer, step, index) in enumerate(
            zip(bank.features.layer, bank.features.step, bank.features.index, strict=True)
        )
    }
    for target in ("token", "correct", "decoded"):
        slow = slow_tests(bank, target)
        q_values = false_discovery_control(list(slow.values()))
        expected = {pair: q for pair, q in zip(slow, q_values, strict=True) if q <= 0.05}
        own = rows[rows.target == target]
        keys = [
            (place[row.layer, row.step, row.feature], row.sign, row.label)
            for row in own.itertuples()
        ]
        assert set(keys) == set(expected)
        assert len(keys) == len(expected)
        for key, row in zip(keys, own.itertuples(), strict=True):
            assert row.p_value == pytest.approx(slow[key], rel=1e-9)
            assert row.q_value == pytest.approx(expected[key], rel=1e-9)
            assert row.precision == row.a / (row.a + row.b)
            assert row.recall == row.a / (row.a + row.c)
            assert row.log_odds_low < row.log_odds < row.log_odds_high
    first = rows[(rows.target == "token") & (rows.feature == 0) & (rows["rank"] == 0)]
    # A token that occurs only when the feature fires: c = 0, invisible to the published rule.
    assert list(first.label) == ["t0"] * 4
    assert (first.c == 0).all()
    assert (first.sign == "+").all()
    negative = rows[(rows.target == "token") & (rows.feature == 1) & (rows.label == "t1")]
    assert list(negative.sign) == ["-"] * 4
    assert (negative.point_biserial < 0).all()


@pytest.mark.parametrize("target", ["token", "decoded"])
def test_benjamini_and_yekutieli_correct_the_discoveries_as_they_do_the_counts(
    bank: Bank, target: str
) -> None:
    stricter = SETTINGS.model_copy(update={"correction": "benjamini_yekutieli", "q_value": 0.4})
    strict = BankTest(bank.features, bank.targets, stricter, CPU)
    slow = slow_tests(bank, target)
    q_values = false_discovery_control(list(slow.values()), method="by")
    expected = {pair: q for pair, q in zip(slow, q_values, strict=True) if q <= 0.4}
    found = strict.candidates()
    rows = discovery_table(strict, found, RUN).to_pandas()
    own = rows[rows.target == target].sort_values("p_value", kind="stable")
    assert len(own) == len(expected) > 0
    assert own.q_value.tolist() == pytest.approx(sorted(expected.values()), rel=1e-9)
    whole = next(each for each in strict.counts(found) if each.target == target)
    assert whole.n_discovered == len({pair[0] for pair in expected})
    assert whole.n_discovered == own.groupby(["layer", "step", "feature"]).ngroups
    assert whole.limit == pytest.approx(own.p_value.max(), rel=1e-9)
    # Benjamini and Hochberg would discover more of what is not planted.
    looser = stricter.model_copy(update={"correction": "benjamini_hochberg"})
    loose = BankTest(bank.features, bank.targets, looser, CPU)
    assert len(discovery_table(loose, loose.candidates(), RUN)) > len(rows)


def test_no_more_discoveries_are_kept_than_asked_for(bank: Bank) -> None:
    settings = SETTINGS.model_copy(update={"keep": 1})
    test = BankTest(bank.features, bank.targets, settings, CPU)
    rows = discovery_table(test, test.candidates(), RUN).to_pandas()
    assert (rows["rank"] == 0).all()
    assert not rows.duplicated(["layer", "step", "feature", "sign", "target"]).any()


def test_a_token_that_rides_on_another_is_carried() -> None:
    rng = np.random.default_rng(5)
    leader = rng.random(600) < 0.3
    rider = leader & (rng.random(600) < 0.6) | (rng.random(600) < 0.03)
    value = np.where(leader & (rng.random(600) < 0.9), 1.0, 0.0).astype(np.float32)
    features = BankFeatures(np.zeros(1, int), np.zeros(1, int), np.zeros(1, int), value[:, None])
    target = Target("token", ["leader", "rider"], np.stack([leader, rider], 1), None)
    test = BankTest(features, [target], SETTINGS, CPU)
    table = discovery_table(test, test.candidates(), RUN)
    rows = table.to_pandas()
    assert list(rows.label) == ["leader", "rider"]
    assert list(rows.carried) == [False, True]
    assert rows.conditional_p_value[1] > 0.05 > rows.q_value[1]
    (whole, of_layer) = single_label_rates(test, table, RUN)
    assert (whole["value"], whole["n"], whole["layer"]) == (1.0, 1, None)
    assert (of_layer["value"], of_layer["layer"]) == (1.0, 0)


def test_ranges_of_permutations_merge_exactly(test: BankTest) -> None:
    whole = calibrated_permutations(test, range(9), 4, RUN)
    parts = [calibrated_permutations(test, numbers, 4, RUN) for numbers in (range(5), range(5, 9))]
    assert pa.concat_tables(parts).equals(whole)
    summaries = [summary_of(test, tables) for tables in ([whole], parts, parts[::-1])]
    assert summaries[0].equals(summaries[1])
    assert summaries[0].sort_by("metric").equals(summaries[2].sort_by("metric"))
    assert set(whole.column_names) == set(PERMUTATIONS.column_names())


def summary_of(test: BankTest, permuted: list[pa.Table]) -> pa.Table:
    found = test.candidates()
    best = {target: test.best(each) for target, each in found.items()}
    return calibrated_summary(test, test.counts(found), best, permuted, {}, RUN)


def test_each_permutation_moves_all_labels_together(bank: Bank, test: BankTest) -> None:
    table = calibrated_permutations(test, range(2, 3), 4, RUN).to_pandas()
    order = permuted_rows(PROBLEMS, 4, 2)
    moved = [Target(t.name, t.labels, t.present[order].copy(), t.step) for t in bank.targets]
    again = BankTest(bank.features, moved, SETTINGS, CPU)
    observed = test.counts(test.candidates())
    for count in again.counts(again.candidates(), observed):
        rows = table[(table.target == count.target)]
        for name, wanted in (("layer", count.layer), ("step", count.step)):
            rows = rows[rows[name].isna() if wanted is None else rows[name] == wanted]
        values = rows.set_index("metric")["value"]
        assert values["discovered_rate"] == count.n_discovered / count.n_features
        assert values["smallest_p_value"] == count.smallest


def test_permuted_labels_are_held_against_the_measured_limit(bank: Bank, test: BankTest) -> None:
    observed = test.counts(test.candidates())
    assert test.counts(test.candidates(), observed) == observed
    order = permuted_rows(PROBLEMS, 4, 2)
    slow = slow_tests(
        bank._replace(
            targets=[Target(t.name, t.labels, t.present[order], t.step) for t in bank.targets]
        ),
        "token",
    )
    count, whole = test.counts(test.candidates(test.present[order]), observed)[0], observed[0]
    below = {pair[0] for pair, p_value in slow.items() if p_value <= whole.limit * (1 + 1e-9)}
    assert 0 < whole.limit < 0.05
    assert count.n_discovered == len(below)
    assert count.limit == whole.limit


def test_rates_stand_beside_their_permutations(test: BankTest) -> None:
    permuted = calibrated_permutations(test, range(39), 0, RUN)
    summary = summary_of(test, [permuted])
    assert set(summary.column_names) == set(SUMMARY.column_names())
    rows = summary.to_pandas()
    whole = rows[(rows.target == "token") & rows.layer.isna() & rows.step.isna()]
    whole = whole.set_index(["metric", "control"])
    frame = permuted.to_pandas()
    chance = frame[(frame.target == "token") & frame.layer.isna() & frame.step.isna()]
    by_chance = chance[chance.metric == "discovered_rate"]["value"]
    rate = whole.value["discovered_rate", "none"]
    assert rate == test.counts(test.candidates())[0].n_discovered / 24
    assert whole.value["discovered_rate", "permuted"] == pytest.approx(by_chance.mean())
    assert whole.ci_high["discovered_rate", "permuted"] == by_chance.max()
    assert whole.value["discovered_excess", "none"] == pytest.approx(rate - by_chance.mean())
    limit = chance[chance.metric == "smallest_p_value"]["value"].nsmallest(2).iloc[-1]
    best = test.best(test.candidates()["token"])
    assert whole.value["family_wise_rate", "none"] == (best < limit).mean() > 0
    # Nothing can be tested against tokens decoded at another step.
    elsewhere = rows[(rows.target == "decoded") & (rows.step == 0)]
    assert elsewhere[elsewhere.metric == "discovered_rate"].value.isna().all()


def test_family_wise_limit_is_the_rank_that_the_level_allows() -> None:
    smallest = [number / 1000 for number in range(1, 201)]
    assert family_wise_limit(smallest[::-1], 0.05) == 0.010
    assert family_wise_limit(smallest[:19], 0.05) == 0.001
    assert family_wise_limit(smallest[:18], 0.05) == 0.0


def test_the_other_half_confirms_what_is_planted_and_little_else() -> None:
    found = planted(1, problems=400)
    splits = HalvesSettings(count=20)
    confirmed = split_half(found.features, found.targets, SETTINGS, splits, CPU)
    tokens = confirmed["token"]
    assert len(tokens.n_found) == 20
    assert min(tokens.n_found) >= 8
    assert min(tokens.confirmed) > 0.8
    assert 0 < max(tokens.chance) <= 0.05
    # No feature follows whether the answer is right: hardly anything is found.
    nothing = confirmed["correct"]
    assert np.mean(nothing.n_found) <= 2
    again = split_half(found.features, found.targets, SETTINGS, splits, CPU)
    assert again == confirmed


def test_dense_features_hold_the_problems_asked_for() -> None:
    table = pa.table(
        {
            "problem": pa.array([2, 2, 5, 9, 9], pa.int32()),
            "layer": pa.array([4] * 5, pa.int16()),
            "step": pa.array([1, 3, 3, 1, 3], pa.int16()),
            "feature": pa.array([0, 1, 1, 1, 0], pa.int32()),
            "value": pa.array([1.0, -2.0, 3.0, 4.0, 5.0], pa.float32()),
        }
    )
    found = bank_features([LayerTable(4, (1, 3), 2, table)], np.array([1, 2, 9]))
    expected = [[0, 0, 0, 0], [1, 0, 0, -2], [0, 4, 5, 0]]
    np.testing.assert_array_equal(found.values, np.array(expected, np.float32))
    assert found.layer.tolist() == [4] * 4
    assert found.step.tolist() == [1, 1, 3, 3]
    assert found.index.tolist() == [0, 1, 0, 1]
