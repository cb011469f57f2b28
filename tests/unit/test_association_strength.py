"""Associations of activation with outcomes against slow versions, planted ones and nulls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, pointbiserialr, rankdata, spearmanr, ttest_ind

from saeflow.errors import SaeflowError
from saeflow.stats import association_strength
from saeflow.stats.association_strength import published_association, spearman_association
from saeflow.stats.resampling import resample_counts
from tests.sentences import check_sentence

RATE_ERROR = 3.5 * np.sqrt(0.05 * 0.95)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_published_association_is_scipys() -> None:
    rng = generator(1)
    activation = rng.random(30).astype(np.float32)
    correct = activation + rng.random(30) > 0.8
    found = published_association(activation, correct)
    expected = pointbiserialr(correct, activation.astype(float))
    assert (found.r, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    test = ttest_ind(activation[correct].astype(float), activation[~correct].astype(float))
    assert (found.t, found.t_p_value) == pytest.approx((test.statistic, test.pvalue))
    assert found.t_p_value == pytest.approx(found.p_value)
    assert found.n == 30


def test_published_association_of_what_does_not_vary_is_nan() -> None:
    # GPT-2 answered none of 54 tasks (methods/3, section 4.5 E).
    for activation, correct in (
        (np.arange(54.0), np.zeros(54, bool)),
        (np.zeros(54), np.arange(54) < 5),
        (np.arange(2.0), np.array([True, False])),
    ):
        found = published_association(activation, correct)
        assert np.isnan(list(found[:4])).all()
        assert found.n == len(activation)


def slow_partial(columns: np.ndarray) -> float:
    """Correlation of residuals of ranks."""
    ranks = rankdata(columns, axis=0)
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2:]])
    left = [
        ranks[:, each] - design @ np.linalg.lstsq(design, ranks[:, each], rcond=None)[0]
        for each in (0, 1)
    ]
    return float(pearsonr(*left).statistic)


def slow_bootstrap(columns: np.ndarray, clusters: list[int], seed: int) -> list[float]:
    names = list(dict.fromkeys(clusters))
    rows = [np.flatnonzero(np.array(clusters) == name) for name in names]
    drawn = []
    for counts in resample_counts(len(names), generator(seed)):
        chosen = np.concatenate([np.tile(each, n) for each, n in zip(rows, counts, strict=True)])
        drawn.append(slow_partial(columns[chosen]))
    return drawn


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_partial_correlation_and_interval_equal_slow_versions(
    n_covariates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = generator(5)
    clusters = [each // 3 for each in range(36)]
    columns = np.round(rng.normal(size=(36, 2 + n_covariates)), 1)
    columns[:, 1] += columns[:, 0] + columns[:, 2:].sum(1)
    fixed = columns[:, 2:] if n_covariates else None
    monkeypatch.setattr(association_strength, "BLOCK", 36 * 50)
    found = spearman_association(
        columns[:, 0], columns[:, 1], clusters, generator(), covariates=fixed, permutations=99
    )
    assert found.value == pytest.approx(slow_partial(columns))
    if not n_covariates:
        assert found.value == pytest.approx(spearmanr(columns[:, 0], columns[:, 1]).statistic)
    ends = np.quantile(slow_bootstrap(columns, clusters, 0), [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], ends, atol=1e-9)
    assert found.p_value == 0.01
    assert (found.n, found.n_clusters, found.left_out) == (36, 12, 0)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
)
def test_weighted_ranks_are_ranks_of_repeated_values(values: list[int], times: list[int]) -> None:
    weights = np.array([times[: len(values)]], float)
    found = association_strength._weighted_ranks(np.array(values, float), weights)[0]
    repeated = np.repeat(values, times[: len(values)])
    ranks = dict(zip(repeated.tolist(), rankdata(repeated).tolist(), strict=True))
    for value, time, rank in zip(values, times, found, strict=False):
        if time:
            assert rank == pytest.approx(ranks[value])


def test_length_alone_is_told_from_a_specialist() -> None:
    rng = generator(2)
    length = rng.integers(1, 30, 150).astype(float)
    activation = length + 2 * rng.normal(size=150)
    outcome = -length + 2 * rng.normal(size=150)
    clusters = [each // 3 for each in range(150)]
    plain = spearman_association(activation, outcome, clusters, generator())
    assert plain.value < -0.8
    assert plain.high < 0
    assert plain.p_value == pytest.approx(1 / 1001)
    partial = spearman_association(
        activation, outcome, clusters, generator(), covariates=length[:, None]
    )
    assert abs(partial.value) < 0.2
    assert partial.low < 0 < partial.high
    assert partial.p_value > 0.05
    planted = spearman_association(
        activation, outcome + 2 * activation, clusters, generator(), covariates=length[:, None]
    )
    assert planted.low > 0.5
    assert planted.p_value == pytest.approx(1 / 1001)


def test_clusters_without_association_pass_at_the_nominal_rate() -> None:
    """Texts of a pair are alike; taken one by one they would pass far too often."""
    by_cluster, by_text, covered = [], [], []
    for seed in range(300):
        rng = generator(seed)
        clusters = [each // 4 for each in range(80)]
        length = rng.normal(size=80)
        one, two = (
            np.repeat(rng.normal(size=20), 4) + 0.3 * rng.normal(size=80) + length for _ in range(2)
        )
        found = spearman_association(
            one, two, clusters, rng, covariates=length[:, None], permutations=99
        )
        by_cluster.append(found.p_value <= 0.05)
        covered.append(found.low <= 0 <= found.high)
        found = spearman_association(
            one, two, None, rng, covariates=length[:, None], permutations=99
        )
        by_text.append(found.p_value <= 0.05)
    assert abs(np.mean(by_cluster) - 0.05) < RATE_ERROR / np.sqrt(300)
    assert np.mean(covered) > 0.87
    assert np.mean(by_text) > 0.2


def test_clusters_of_several_sizes_move_among_their_like() -> None:
    rng = generator(3)
    clusters = ["a", "b", "b", "c", "d", "d", "e"]
    activation = rng.normal(size=7)
    # Of 3! orders of single ones and 2! of twos, one in twelve is the observed one.
    found = spearman_association(activation, activation, clusters, generator(), permutations=4000)
    assert found.value == 1
    assert found.p_value == pytest.approx(1 / 12, abs=0.015)
    assert found.n_clusters == 5


def test_missing_numbers_are_left_out_and_nothing_left_is_nan() -> None:
    rng = generator(4)
    columns = rng.normal(size=(20, 3))
    columns[3, 0] = columns[7, 1] = columns[7, 2] = np.nan
    clusters = [each // 2 for each in range(20)]
    whole = ~np.isnan(columns).any(1)
    found = spearman_association(
        columns[:, 0], columns[:, 1], clusters, generator(), covariates=columns[:, 2:]
    )
    assert (found.n, found.left_out, found.n_clusters) == (18, 2, 10)
    assert found.value == pytest.approx(slow_partial(columns[whole]))
    length = np.arange(20.0)
    for activation, outcome in ((length, columns[:, 1]), (np.zeros(20), length)):
        found = spearman_association(
            activation, outcome, clusters, generator(), covariates=length[:, None]
        )
        assert np.isnan(list(found[:4])).all()
    empty = spearman_association(np.zeros(0), np.zeros(0), None, generator())
    assert np.isnan(empty.value)
    assert empty.n == empty.n_clusters == 0


def test_constant_covariates_change_nothing() -> None:
    rng = generator(9)
    one, two = rng.normal(size=(2, 30))
    plain = spearman_association(one, two, None, generator(), permutations=50)
    fixed = spearman_association(
        one, two, None, generator(), covariates=np.ones((30, 2)), permutations=50
    )
    assert fixed == pytest.approx(plain)


def test_wrong_lengths_are_told_in_a_sentence() -> None:
    for outcome, clusters, covariates, kind in (
        (np.ones(4), None, None, "4 outcomes"),
        (np.ones(5), [1], None, "1 clusters"),
        (np.ones(5), None, np.ones((3, 1)), "3 rows of covariates"),
    ):
        with pytest.raises(SaeflowError, match=rf"^{kind} are given for 5 examples") as error:
            spearman_association(np.ones(5), outcome, clusters, generator(), covariates=covariates)
        check_sentence(error.value)
