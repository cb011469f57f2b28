"""One model minus another where SAEs are equally sparse or explain equally much."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from saeflow.artifacts.calibration import CAPACITY, MATCHED
from saeflow.errors import SaeflowError
from saeflow.studies.compare.capacity import capacity_verdict, matched_table
from tests.sentences import check_sentence

RATES = {"interpretable": "published", "monosemantic": "published", "discovered": "calibrated"}


def sweep(points: dict[int, dict[str, float | None]], **key: Any) -> list[dict[str, Any]]:
    """Rows of one d_sae by k: fvu, and of each rate the value, permuted values and excess."""
    place = {"model": "m", "dataset": "d", "depth": 0.75, "layer": 2, "step": 3, "d_sae": 512}
    place |= {"seed": 0, **key}
    rows = []
    for k, numbers in points.items():
        at = {**place, "k": k, "n": 512}
        bare = {"ci_low": None, "ci_high": None, "interval": "none", "control": "none"}
        rows.append({**at, **bare, "mode": "calibrated", "metric": "fvu", "value": numbers["fvu"]})
        for number, (name, mode) in enumerate(RATES.items()):
            own = numbers["rate"]
            chance = [numbers[part] for part in ("low", "mean", "high")]
            known = own is not None
            value = own / (number + 1) if known else None
            low, mean, high = (each / (number + 1) for each in chance)
            metric = {**at, "mode": mode, "metric": f"{name}_rate"}
            rows.append({**metric, **bare, "value": value})
            band = {"ci_low": low, "ci_high": high, "interval": "permutation_range"}
            rows.append({**metric, **band, "control": "permuted", "value": mean, "n": 20})
            excess = {"ci_low": value - high, "ci_high": value - low} if known else {}
            excess |= {"value": value - mean, "interval": "permutation_95"} if known else {}
            rows.append({**metric, **bare, "value": None, **excess, "metric": f"{name}_excess"})
    return rows


def matched(**models: list[dict[str, Any]]) -> pd.DataFrame:
    tables = {
        name: pa.Table.from_pylist([{**row, "model": name} for row in rows], CAPACITY.schema())
        for name, rows in models.items()
    }
    table = matched_table(tables)
    assert table.schema.equals(MATCHED.schema())
    frame = table.to_pandas()
    assert not frame.duplicated(list(MATCHED.keys)).any()
    return frame


def line(k: int, start: float, slope: float, explained: float) -> dict[str, float | None]:
    """A rate, and half of it under permutation, that are linear in the explained variance."""
    rate = start + slope * explained
    return {"fvu": 1 - explained, "rate": rate, "mean": rate / 2, "low": rate / 4, "high": rate}


def test_matching_on_l0_is_subtraction() -> None:
    rng = np.random.default_rng(0)

    def points(ks: list[int]) -> dict[int, dict[str, float | None]]:
        drawn = {}
        for k in ks:
            low, mean, high, rate = np.sort(rng.random(4)).tolist()
            drawn[k] = {"fvu": rng.random(), "low": low, "mean": mean, "high": high, "rate": rate}
        return drawn

    one, two = points([5, 10, 20]), points([10, 20, 100])
    table = matched(alpha=sweep(one), beta=sweep(two))
    table = table[table.matched_on == "l0"]
    assert set(table.level) == {10.0, 20.0}
    assert len(table) == 2 * 9
    for k, (number, (name, mode)) in itertools.product((10, 20), enumerate(RATES.items())):
        a, b = (
            {key: value / (number + 1) for key, value in each[k].items()} for each in (one, two)
        )
        at = table[(table.level == k) & (table["mode"] == mode)]
        rows = {(row.metric, row.control): row for row in at.itertuples()}
        own, permuted = rows[f"{name}_rate", "none"], rows[f"{name}_rate", "permuted"]
        excess = rows[f"{name}_excess", "none"]
        assert own.value == pytest.approx(a["rate"] - b["rate"])
        assert (own.interval, np.isnan(own.ci_low), own.n) == ("none", True, 512)
        bound = (a["low"] - b["high"], a["high"] - b["low"])
        assert permuted.value == pytest.approx(a["mean"] - b["mean"])
        assert (permuted.ci_low, permuted.ci_high) == pytest.approx(bound)
        assert (permuted.interval, permuted.n) == ("permutation_bound", 20)
        assert excess.value == pytest.approx(own.value - permuted.value)
        bound = (a["rate"] - a["high"] - b["rate"] + b["low"],
                 a["rate"] - a["low"] - b["rate"] + b["high"])  # fmt: skip
        assert (excess.ci_low, excess.ci_high) == pytest.approx(bound)
        assert excess.interval == "permutation_bound"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
def test_matching_on_explained_variance_is_the_difference_of_curves(order: Any) -> None:
    """Sweeps that do not grow with k give the same as those that do: they are sorted first."""
    ks = [(5, 10, 20, 100)[place] for place in order]
    own = dict(zip(ks, [0.3, 0.5, 0.6, 0.9], strict=True))
    others = dict(zip(ks, [0.1, 0.4, 0.55, 0.7], strict=True))
    one = {k: line(k, 0.1, 0.6, explained) for k, explained in own.items()}
    two = {k: line(k, 0.3, 0.2, explained) for k, explained in others.items()}
    table = matched(alpha=sweep(one), beta=sweep(two))
    table = table[table.matched_on == "explained_variance"]
    assert sorted(set(table.level)) == pytest.approx([0.4, 0.5, 0.6])
    assert len(table) == 3 * 9
    rates = table[(table.metric == "interpretable_rate") & (table.control == "none")]
    assert rates.value.to_numpy() == pytest.approx(-0.2 + 0.4 * rates.level.to_numpy())
    halved = table[(table.metric == "monosemantic_rate") & (table.control == "permuted")]
    assert halved.value.to_numpy() == pytest.approx((-0.2 + 0.4 * halved.level.to_numpy()) / 4)
    excess = table[table.metric == "discovered_excess"]
    assert excess.value.to_numpy() == pytest.approx((-0.2 + 0.4 * excess.level.to_numpy()) / 6)
    # Excess intervals of a rate r reach from 0 to 3 r / 4.
    one_high = 0.75 * (0.1 + 0.6 * excess.level.to_numpy()) / 3
    two_high = 0.75 * (0.3 + 0.2 * excess.level.to_numpy()) / 3
    assert excess.ci_high.to_numpy() == pytest.approx(one_high)
    assert excess.ci_low.to_numpy() == pytest.approx(-two_high)


def test_nothing_is_extrapolated() -> None:
    one = {k: line(k, 0.0, 1.0, explained) for k, explained in ((5, 0.1), (10, 0.4))}
    for explained, levels in ((0.41, set()), (0.4, {0.4})):
        two = {k: line(k, 0.0, 0.5, explained + k / 1000 - 0.005) for k in (5, 10)}
        table = matched(alpha=sweep(one), beta=sweep(two))
        assert set(table[table.matched_on == "l0"].level) == {5.0, 10.0}
        assert set(table[table.matched_on == "explained_variance"].level) == levels


def test_a_single_size_is_compared_where_the_other_reaches_it() -> None:
    one = {10: line(10, 0.0, 1.0, 0.25)}
    two = {5: line(5, 0.0, 0.5, 0.0), 20: line(20, 0.0, 0.5, 0.5)}
    table = matched(alpha=sweep(one), beta=sweep(two))
    assert set(table.matched_on) == {"explained_variance"}
    row = table[(table.metric == "interpretable_rate") & (table.control == "none")]
    assert (row.level.tolist(), row.value.tolist()) == ([0.25], [0.125])


def test_of_saes_that_explain_the_same_the_sparsest_counts() -> None:
    one = {k: line(k, rate, 0.0, 0.5) for k, rate in ((20, 0.9), (5, 0.7), (10, 0.8))}
    table = matched(alpha=sweep(one), beta=sweep({5: line(5, 0.2, 0.0, 0.5)}))
    row = table[(table.matched_on == "explained_variance") & (table.control == "none")
                & (table.metric == "interpretable_rate")]  # fmt: skip
    assert row.value.tolist() == pytest.approx([0.5])


def test_what_was_not_measured_stays_missing() -> None:
    one = {k: line(k, 0.0, 1.0, k / 100) for k in (10, 20, 50)}
    two = {k: line(k, 0.0, 0.5, k / 100) for k in (10, 20, 50)}
    two[10]["rate"] = None
    two[60] = {**line(60, 0.0, 0.5, 0.6), "fvu": None}
    table = matched(alpha=sweep(one), beta=sweep(two))
    rates = table[(table.metric == "interpretable_rate") & (table.control == "none")]
    values = {
        (row.matched_on, round(row.level, 3)): row.value
        for row in rates.itertuples()
    }  # fmt: skip
    assert np.isnan(values.pop(("l0", 10.0)))
    assert values == pytest.approx(
        {("l0", 20.0): 0.1, ("l0", 50.0): 0.25, ("explained_variance", 0.2): 0.1,
         ("explained_variance", 0.3): 0.15, ("explained_variance", 0.4): 0.2}
    )  # fmt: skip
    gone = table[(table.level == 10) & (table.metric == "interpretable_excess")]
    assert gone[["value", "ci_low", "ci_high"]].isna().all(axis=None)
    assert gone.interval.tolist() == ["none"]
    two[20]["rate"] = None
    table = matched(alpha=sweep(one), beta=sweep(two))
    between = table[(table.metric == "interpretable_rate") & (table.control == "none")
                    & (table.matched_on == "explained_variance")]  # fmt: skip
    assert between.value.isna().all()
    assert len(between) == 3


def test_pairs_share_data_set_depth_step_and_size() -> None:
    points = {10: line(10, 0.0, 1.0, 0.25)}
    table = matched(
        zeta=sweep(points, dataset="d") + sweep(points, dataset="e"),
        alpha=sweep(points, dataset="e") + sweep(points, d_sae=64),
        mid=sweep(points, step=1) + sweep(points, depth=0.5) + sweep(points, dataset="e", layer=9),
    )
    pairs = table[["model", "other", "dataset"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["zeta", "alpha", "e"], ["zeta", "mid", "e"], ["alpha", "mid", "e"]]
    assert set(table[table.control == "none"].value) == {0.0}
    assert not len(matched(zeta=sweep(points)))


def test_seeds_are_not_mixed() -> None:
    points = {10: line(10, 0.0, 1.0, 0.25)}
    with pytest.raises(SaeflowError) as caught:
        matched(one=sweep(points) + sweep(points, seed=1), two=sweep(points))
    check_sentence(caught.value, "one", "0, 1", "expected one seed")


@pytest.mark.parametrize("n_models", [1, 2, 3])
def test_few_models_cannot_test_the_capacity_claim(n_models: int) -> None:
    trend = [(float(size), -float(size)) for size in range(n_models)]
    verdict = capacity_verdict(n_models, trend)
    assert verdict.word == "not testable in this run"
    assert "needs 4" in verdict.rule
    assert f"this run compares {n_models} model" in verdict.rule


@pytest.mark.parametrize(
    ("excesses", "word"),
    [
        ([0.4, 0.3, 0.2, 0.1], "contradicted"),
        ([0.1, 0.2, 0.3, 0.4], "supported"),
        ([0.1, 0.2, 0.4, 0.3], "not distinguishable from chance"),
        ([0.4, 0.3, 0.2, 0.1, 0.5], "not distinguishable from chance"),
        ([0.9, 0.7, 0.6, 0.65, 0.4, 0.2], "contradicted"),
        ([0.2, 0.2, 0.2, 0.2], "not distinguishable from chance"),
    ],
)
def test_order_of_four_models_and_more_is_tested(excesses: list[float], word: str) -> None:
    sizes = [10.0**power for power in range(len(excesses))]
    trend = list(zip(sizes, excesses, strict=True))
    assert capacity_verdict(len(trend), trend).word == word
    assert capacity_verdict(len(trend), trend[::-1]).word == word


def test_verdict_needs_a_size_of_every_model() -> None:
    trend = [(1.0, 0.1), (1.0, 0.2), (2.0, 0.3), (3.0, 0.4)]
    for given in (trend, trend[1:], []):
        verdict = capacity_verdict(4, given)
        assert verdict.word == "not testable in this run"
        assert "different sizes" in verdict.rule
