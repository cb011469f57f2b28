"""What the hierarchy study published, and where this run's counts by the same rules stand."""

from __future__ import annotations

import pytest

from saeflow.config.root import parse_config
from saeflow.studies.compare.published_hierarchy import (
    PUBLISHED_ACTIVE,
    PUBLISHED_COUNTS,
    PUBLISHED_PROBLEMS,
    PUBLISHED_SAE,
    PublishedCount,
)
from tests.configs import default_values


def test_counts_are_those_of_the_study() -> None:
    told = {(each.group, each.metric): (each.count, each.of) for each in PUBLISHED_COUNTS}
    assert told == {
        ("top", "n_high"): (3, 10),
        ("50-200", "n_specialised"): (1, 151),
        ("400-512", "n_specialised"): (5, 109),
        ("400-512", "n_measurable"): (0, 5),
        ("k=50", "n_specialised"): (29, 149),
        ("k=75", "n_specialised"): (30, 156),
        ("k=100", "n_specialised"): (5, 109),
        ("k=200", "n_specialised"): (0, 113),
        ("k=300", "n_specialised"): (0, 113),
    }
    assert PUBLISHED_ACTIVE == {332: 4, 194: 1, 392: 1}
    shares = [round(each.share, 3) for each in PUBLISHED_COUNTS if each.group in ("k=50", "k=75")]
    assert shares == [0.195, 0.192]  # as the study rounds them


@pytest.mark.parametrize("count", PUBLISHED_COUNTS, ids=lambda each: f"{each.group} {each.metric}")
def test_counts_agree_with_each_other(count: PublishedCount) -> None:
    assert 0 <= count.count <= count.of
    assert count.rare is None or 0 <= count.rare <= count.count
    first, _, last = count.group.partition("-")
    if last and count.metric == "n_specialised":
        assert count.of <= int(last) - int(first) + 1
    same = [each for each in PUBLISHED_COUNTS if each.group == count.group]
    if count.metric == "n_measurable":
        assert count.of in [each.count for each in same]


def test_the_default_run_has_the_groups_that_counts_are_held_against() -> None:
    study = parse_config(default_values()).studies.hierarchy
    assert study is not None
    assert study.calibrated is not None
    assert study.calibrated.sweep is not None
    ranges = {f"{first}-{last}" for first, last in study.published.specialists.rank_ranges}
    swept = {f"k={k}" for k in study.calibrated.sweep.k}
    groups = {each.group for each in PUBLISHED_COUNTS}
    assert groups == {"top"} | ranges | swept
    tested = {each.of for each in PUBLISHED_COUNTS if each.metric == "n_high"}
    assert tested == {study.published.impact.top}
    assert "k 100" in PUBLISHED_SAE
    assert max(PUBLISHED_ACTIVE.values()) < PUBLISHED_PROBLEMS
