"""Intervals of an excess rate: they hold 0 where there is nothing, and the truth where it is planted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from saeflow.config.runs import ExactSettings
from saeflow.config.studies import AssociationSettings
from saeflow.stats.contingency import PublishedTest
from saeflow.stats.frequency import frequency_matched
from saeflow.studies.chance import band, excess
from saeflow.studies.gsm8k.bank_test import BankFeatures, BankTest
from saeflow.studies.gsm8k.calibrated_rates import calibrated_permutations, calibrated_summary
from saeflow.studies.gsm8k.permutations import permuted_rows
from saeflow.studies.gsm8k.targets import Target

CPU = torch.device("cpu")
CRITERIA = AssociationSettings()
RUN = {"dataset": "made", "dictionary": "d", "seed": 0, "mode": "calibrated"}
PROBLEMS, FEATURES, PLANTED, RUNS, PERMUTATIONS = 400, 80, 24, 100, 40


class Data(NamedTuple):
    """Features and tokens that occur together, some features planted on a token each."""

    active: np.ndarray
    present: np.ndarray


def drawn(seed: int, planted: int) -> Data:
    """Tokens in groups, rare ones far more numerous; the first features follow one of the commoner."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), 8)
    factor = rng.random((PROBLEMS, 8)) < 0.3
    rate = rng.permutation(0.5 / np.arange(1, 65) ** 0.9)
    chance = np.where(factor[:, group], np.minimum(2.5 * rate, 0.9), rate / 3)
    present = rng.random((PROBLEMS, 64)) < chance
    active = rng.random((PROBLEMS, FEATURES)) < 10 ** rng.uniform(-1.2, -0.2, FEATURES)
    common = np.flatnonzero((present.sum(0) >= 25) & (present.sum(0) < 120))
    for feature in range(planted):
        has = present[:, rng.choice(common)]
        active[:, feature] = rng.random(PROBLEMS) < np.where(has, 0.9, 0.03)
    return Data(active, present)


def published_excess(data: Data, seed: int) -> dict[str, float]:
    """Excess of features with a pair; all permutations side by side are one table of labels."""
    orders = [permuted_rows(PROBLEMS, seed, number) for number in range(PERMUTATIONS)]
    tables = [data.present, *(data.present[order] for order in orders)]
    side_by_side = np.concatenate(tables, axis=1)
    test = PublishedTest(data.active, side_by_side.sum(0), CRITERIA, CPU)
    pairs = test.pairs(side_by_side)
    found = np.zeros((len(tables), FEATURES), bool)
    found[pairs.label // data.present.shape[1], pairs.feature] = True
    observed, *permuted = found.mean(1).tolist()
    return excess("excess", observed, permuted, FEATURES)


def test_on_pure_noise_the_interval_holds_nothing() -> None:
    found = [published_excess(drawn(seed, 0), seed) for seed in range(RUNS)]
    # The noise does pass the published criteria, so an excess over nothing at all would not do.
    assert np.mean([row["ci_high"] - row["ci_low"] for row in found]) > 0.1
    assert np.mean([row["ci_low"] <= 0 <= row["ci_high"] for row in found]) >= 0.9
    assert abs(np.mean([row["value"] for row in found])) < 0.02


def test_on_planted_data_the_interval_covers_the_truth() -> None:
    covered, above_nothing = [], []
    for seed in range(RUNS):
        data = drawn(1000 + seed, PLANTED)
        row = published_excess(data, seed)
        # A planted feature is always found; by chance it would be as often as a random set.
        by_chance = frequency_matched(data.active.sum(0), data.present, CRITERIA, draws=300).chance
        truth = float((1 - by_chance[:PLANTED]).sum() / FEATURES)
        covered.append(row["ci_low"] <= truth <= row["ci_high"])
        above_nothing.append(row["ci_low"] > 0)
    assert np.mean(covered) >= 0.9
    assert np.mean(above_nothing) > 0.5


def calibrated_excess(data: Data, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows about all features by the workflow's own functions, and which features are discovered."""
    at, index = np.zeros(FEATURES, np.int64), np.arange(FEATURES)
    features = BankFeatures(at, at, index, data.active.astype(np.float32))
    names = [str(label) for label in range(data.present.shape[1])]
    test = BankTest(features, [Target("token", names, data.present, None)], ExactSettings(), CPU)
    found = test.candidates()
    best, counts = {"token": test.best(found["token"])}, test.counts(found)
    null = calibrated_permutations(test, range(PERMUTATIONS), seed, RUN)
    rows = calibrated_summary(test, counts, best, [null], {}, RUN).to_pandas()
    whole = rows[rows.layer.isna() & rows.step.isna()].set_index(["metric", "control"])
    return whole, best["token"] <= counts[0].limit


@pytest.mark.usefixtures("one_thread")
def test_the_calibrated_excess_holds_nothing_on_pure_noise() -> None:
    found = [calibrated_excess(drawn(seed, 0), seed)[0] for seed in range(RUNS)]
    excess_rows = [rows.loc[("discovered_excess", "none")] for rows in found]
    assert np.mean([row.ci_low <= 0 <= row.ci_high for row in excess_rows]) >= 0.9
    # No feature at all passes the max-statistic threshold in 95 % of runs, within its error.
    passed = [rows.value["family_wise_rate", "none"] > 0 for rows in found]
    assert np.mean(passed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.usefixtures("one_thread")
def test_the_calibrated_excess_covers_the_truth_on_planted_data() -> None:
    covered, chance = [], []
    for seed in range(RUNS):
        data = drawn(2000 + seed, PLANTED)
        rows, discovered = calibrated_excess(data, seed)
        row = rows.loc[("discovered_excess", "none")]
        # Of the features that follow a token some would be below the limit by chance.
        by_chance = rows.value["discovered_rate", "permuted"]
        truth = discovered[:PLANTED].sum() / FEATURES * (1 - by_chance)
        covered.append(row.ci_low <= truth <= row.ci_high)
        chance.append(by_chance)
        assert discovered[:PLANTED].mean() > 0.8
    assert np.mean(covered) >= 0.9
    # The limit lies where chance puts some features, so that the excess is not all of the rate.
    assert np.mean(chance) > 0.005


def test_excess_takes_quantiles_rounded_outwards() -> None:
    row = excess("excess", 0.5, [number / 100 for number in range(40)], 7)
    assert (row["value"], row["ci_low"], row["ci_high"]) == (0.5 - 0.195, 0.5 - 0.39, 0.5)
    assert (row["interval"], row["n"], row["control"]) == ("permutation_95", 7, "none")
    few = excess("excess", 0.5, [0.1] * 18, 7)
    assert (few["value"], few["ci_low"], few["interval"]) == (pytest.approx(0.4), None, "none")
    whole = excess("excess", 0.5, [number / 1000 for number in range(200)], 7)
    assert (whole["ci_low"], whole["ci_high"]) == (0.5 - 0.195, 0.5 - 0.004)


def test_band_is_the_mean_and_the_ends() -> None:
    assert band([0.25, 0.75]) == {
        "value": 0.5,
        "ci_low": 0.25,
        "ci_high": 0.75,
        "interval": "permutation_range",
        "n": 2,
    }
    assert band([])["value"] is None
