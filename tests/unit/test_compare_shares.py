"""Shares of features, against every permutation and against controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from saeflow.stats.differences import (
    Interval,
    bounded_difference,
    independent_difference,
    mean_of_units,
)
from saeflow.studies.compare.hierarchy import Compared
from saeflow.studies.compare.shares import BOUND, SPREAD, control_rows, permutation_rows
from tests.unit.test_compare_hierarchy import compared, row, table

SHARE = "share_level.operators"
MINUS, BEYOND = f"{SHARE}.minus_untrained", f"{SHARE}.beyond_untrained"


def shares(
    count: float, low: float, high: float, n: int, metric: str = SHARE, **more: Any
) -> list[dict[str, Any]]:
    """A share with its permutations, whose mean is in the middle of their range."""
    ends = {"ci_low": low / n, "ci_high": high / n, "interval": "permutation_range", "n": 50}
    null = row(metric, (low + high) / 2 / n, **{**more, **ends, "control": "permuted"})
    return [row(metric, count / n, **{**more, "n": n}), null]


def test_the_interval_of_a_difference_holds_all_that_lies_in_both() -> None:
    one, two = Interval(5.0, 4.0, 7.0), Interval(2.0, 0.0, 3.0)
    found = bounded_difference(one, two)
    assert found == (3.0, 1.0, 7.0)
    drawn = np.random.default_rng(0).uniform((4, 0), (7, 3), (1000, 2))
    assert found.low <= (drawn[:, 0] - drawn[:, 1]).min()
    assert (drawn[:, 0] - drawn[:, 1]).max() <= found.high


def test_independent_means_are_told_apart_as_by_a_test() -> None:
    generator = np.random.default_rng(3)
    samples = generator.normal(-0.5, 1.0, 400), generator.normal(-0.1, 0.4, 300)
    half = [1.96 * each.std(ddof=1) / np.sqrt(len(each)) for each in samples]
    own = [
        Interval(float(each.mean()), float(each.mean() - width), float(each.mean() + width))
        for each, width in zip(samples, half, strict=True)
    ]
    found = independent_difference(*own)
    expected = ttest_ind(*samples, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((own[0].value - own[1].value, *expected), abs=1e-3)
    # Each side has the reach of the ends that matter for it.
    skewed = independent_difference(Interval(0.0, -3.0, 1.0), Interval(0.0, -2.0, 4.0))
    assert skewed == pytest.approx((0.0, -5.0, np.sqrt(5)))


@pytest.mark.parametrize(("count", "above"), [(4, 0), (5, 0), (6, 1)])
def test_a_share_must_exceed_every_permutation(count: int, above: int) -> None:
    (found,) = permutation_rows(shares(count, 1, 5, 100))
    assert (found["metric"], found["value"]) == (f"{SHARE}.beyond_permuted", above)
    # As many permutations as there were.
    assert (found["n"], found["interval"], found["control"]) == (50, "none", "none")


@pytest.mark.parametrize(
    ("trained", "untrained", "beyond"),
    [
        # More of them, but permutations of either move further.
        ((9939, 171, 930, 11_444), (9369, 145, 986, 10_985), 0),
        ((9939, 171, 200, 11_444), (9369, 190, 230, 10_985), 1),
        # What both have beyond chance is the same.
        ((7, 1, 1, 60), (6, 0, 0, 60), 0),
        ((7, 0, 0, 70), (6, 0, 0, 60), 0),
        ((41, 0, 4, 200), (2, 0, 4, 200), 1),
        # A smaller share, of more features.
        ((50, 0, 0, 1000), (40, 0, 0, 100), 0),
    ],
)
def test_the_control_is_beaten_at_the_nearest_ends_of_both_ranges(
    trained: tuple[int, int, int, int], untrained: tuple[int, int, int, int], beyond: int
) -> None:
    own, beside = shares(*trained), shares(*untrained)
    difference, verdict = control_rows(own, beside, "untrained", "u")
    (one, low, high, n), (two, other_low, other_high, m) = trained, untrained
    assert difference["metric"] == MINUS
    assert difference["value"] == pytest.approx(
        (one - (low + high) / 2) / n - (two - (other_low + other_high) / 2) / m
    )
    assert difference["ci_low"] == pytest.approx((one - high) / n - (two - other_low) / m)
    assert difference["ci_high"] == pytest.approx((one - low) / n - (two - other_high) / m)
    assert difference["interval"] == BOUND
    assert difference["n"] == min(n, m)
    assert (verdict["metric"], verdict["value"]) == (BEYOND, beyond)
    assert {difference["other"], verdict["other"]} == {"u"}
    assert {difference["control"], verdict["control"]} == {"none"}


def of_sites(
    differences: list[int], base: int, n: int = 100
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A trained and an untrained model whose counts differ by so many, site by site."""
    both: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for number, difference in enumerate(differences):
        place = {"layer": number // 2, "step": number % 2}
        for rows, more in zip(both, (difference, 0), strict=True):
            rows += shares(base + more, 1, 1, n, **place)
    total, whole = len(differences) * base, len(differences) * n
    for rows, more in zip(both, (sum(differences), 0), strict=True):
        rows += shares(total + more, 0, 2, whole)
        rows += shares(base + more, 0, 2, n, layer=0) + shares(base + more, 0, 2, n, step=1)
    return both


@pytest.mark.parametrize(
    ("differences", "beyond"),
    [
        # The same sum: what a few sites have is not what SAEs of this model have.
        ([5, 4, 6, 5], 1),
        ([20, 0, 0, 0], 0),
        ([40, -20, 5, -5], 0),
        # One feature beside none.
        ([1, 0, 0, 0], 0),
    ],
)
def test_the_control_is_beaten_at_most_sites(differences: list[int], beyond: int) -> None:
    own, beside = of_sites(differences, 20)
    found = {each["metric"]: each for each in control_rows(own, beside, "untrained", "u")}
    assert set(found) == {MINUS, f"{MINUS}.by_site", BEYOND}
    assert found[BEYOND]["value"] == beyond
    by_site = found[f"{MINUS}.by_site"]
    assert (by_site["interval"], by_site["n"], by_site["layer"]) == (SPREAD, 4, None)
    interval = ttest_1samp(np.array(differences) / 100, 0).confidence_interval(0.95)
    assert by_site["value"] == pytest.approx(np.mean(differences) / 100)
    assert (by_site["ci_low"], by_site["ci_high"]) == pytest.approx(tuple(interval))
    # A site that the control lacks is compared with nothing.
    fewer = [row for row in beside if (row["layer"], row["step"]) != (1, 1)]
    (part,) = (
        each["n"]
        for each in control_rows(own, fewer, "untrained", "u")
        if each["metric"].endswith("by_site")
    )
    assert part == 3


def test_one_unit_has_no_spread() -> None:
    assert mean_of_units([]) is None
    assert mean_of_units([0.5]) is None
    assert mean_of_units([0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_means_over_units_are_covered_as_often_as_the_interval_says() -> None:
    drawn = np.random.default_rng(1).normal(0.3, 2.0, (1000, 6))
    found = [mean_of_units(each.tolist()) for each in drawn]
    hits = np.mean([each is not None and each.low <= 0.3 <= each.high for each in found])
    assert abs(hits - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)


def test_only_what_was_permuted_on_both_sides_is_held_against_a_control() -> None:
    own = shares(41, 0, 4, 200)
    for beside in (shares(2, 0, 4, 200)[:1], [], shares(2, 0, 4, 200, seed=1)):
        assert not list(control_rows(own, beside, "untrained", "u"))
    assert not list(permutation_rows(own[:1]))
    # Neither bins, nor features without a level, nor what is not a share of features.
    for metric, changes in (
        (SHARE, {"group": "20-49"}),
        ("share_level.none", {}),
        ("share_specialised", {}),
        ("n_level.operators", {}),
    ):
        assert not list(permutation_rows(shares(41, 0, 4, 200, metric, **changes)))


def test_the_comparison_holds_shares_against_every_control() -> None:
    target = "share_specialists.operators"
    tables = {
        "a": table(
            *shares(41, 0, 4, 200),
            *shares(30, 0, 9, 200, target),
            *shares(41, 0, 6, 200, dictionary="k4_frozen"),
            *shares(3, 0, 9, 200, target, dictionary="k4_frozen"),
        ),
        "u": table(*shares(2, 0, 4, 200)),
    }
    frame = compared(tables, Compared("a", ["u"], {"k4": {"frozen_decoder": "k4_frozen"}}))
    assert set(frame.dictionary) == {"k4"}
    assert set(frame[frame.control == "permuted"].other) == {""}
    # Of the untrained model, by its own name, whether it is above its permutations; of controls
    # among dictionaries, nothing.
    untrained = frame[frame.model == "u"]
    assert untrained[["metric", "value", "other"]].to_numpy().tolist() == [
        [f"{SHARE}.beyond_permuted", 0.0, ""]
    ]
    own = frame[(frame.control == "none") & (frame.model == "a")].set_index("metric")
    assert own[own.other == ""].value.to_dict() == pytest.approx(
        {SHARE: 0.205, f"{SHARE}.beyond_permuted": 1, target: 0.15, f"{target}.beyond_permuted": 1}
    )
    verdicts = own[own.index.str.contains(".beyond_", regex=False) & (own.other != "")]
    assert verdicts.value.to_dict() == {
        BEYOND: 1,
        f"{SHARE}.beyond_frozen_decoder": 0,
        f"{target}.beyond_frozen_decoder": 1,
    }
    assert verdicts.other.to_dict() == {
        BEYOND: "u",
        f"{SHARE}.beyond_frozen_decoder": "k4_frozen",
        f"{target}.beyond_frozen_decoder": "k4_frozen",
    }
    differences = own[own.index.str.contains(".minus_", regex=False)]
    assert len(differences) == 3
    assert differences.value[MINUS] == pytest.approx(39 / 200)
