"""The study's scores of features on hand-made arrays, whose values are worked out beside them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array

from saeflow.errors import SaeflowError
from saeflow.studies.scaling.search_published import (
    OF_CORPUS,
    SCORES,
    CorpusStatistics,
    corpus_statistics,
    position,
    published_scores,
    top_features,
)

# Four features on three tokens of positive prompts and two of negative ones.
POSITIVE = np.array([[0, 2, 5, 0], [4, 2, 5, 0], [2, 6, 5, 1]], np.float32)
NEGATIVE = np.array([[1, 0, 5, 0], [0, 0, 9, 0]], np.float32)
VALUES = csc_array(np.concatenate([POSITIVE, NEGATIVE]))
SIDE = np.array([True, True, True, False, False])
CORPUS = CorpusStatistics(
    minimum=np.array([0.0, 0, 0, 0]),
    maximum=np.array([8.0, 10, 20, 2]),
    low=np.array([0.0, 1, 0, 0]),
    high=np.array([2.0, 3, 10, 1]),
    mean=np.array([1.0, 1, 4, 0]),
    deviation=np.array([2.0, 4, 2, 0.5]),
)


def test_local_min_max_scales_each_side_by_itself() -> None:
    found = published_scores(VALUES, SIDE)["local_min_max"]
    # Feature 0: (0 + 1 + ½) / 3 = ½ on positive tokens, (1 + 0) / 2 on negative ones.
    # Feature 1: (0 + 0 + 1) / 3, and 0 on negative ones, where it is constant.
    # Feature 2: constant on positive ones: 0; (0 + 1) / 2 on negative ones.
    # Feature 3: (0 + 0 + 1) / 3, and silent on negative ones.
    np.testing.assert_allclose(found, [0, 1 / 3, -1 / 2, 1 / 3], atol=1e-7)
    # So a feature that is four times as large on positive tokens scores 0: the score favours what is
    # flat on the negative side (methods/5, 6.8).


def test_without_negative_prompts_nothing_is_subtracted() -> None:
    found = published_scores(csc_array(POSITIVE), np.ones(3, bool), SCORES, corpus=CORPUS)
    np.testing.assert_allclose(found["local_min_max"], [1 / 2, 1 / 3, 0, 1 / 3], atol=1e-7)
    np.testing.assert_allclose(found["rank"], [0, 1 / 3, 2 / 3, 0])
    assert np.isnan(found["cohens_d"]).all()
    np.testing.assert_allclose(found["z_score"], [1 / 2, 7 / 12, 1 / 2, 2 / 3], atol=1e-7)


def test_rank_counts_tokens_of_which_a_feature_is_among_the_largest() -> None:
    # 5 % of 4 features are none, so one is counted: feature 2, 2 and 1; on negative ones 2 and 2.
    found = published_scores(VALUES, SIDE, ["rank"])["rank"]
    np.testing.assert_allclose(found, [0, 1 / 3, 2 / 3 - 1, 0])
    # Two at least are listed, so two are counted: 2 and 1; 2 and 0; 1 and 2. On negative tokens 2 and
    # 0; and 2 alone, for the others are 0 there.
    found = published_scores(VALUES, SIDE, ["rank"], top=2)["rank"]
    np.testing.assert_allclose(found, [1 / 3 - 1 / 2, 2 / 3, 0, 0])


def test_five_percent_is_rounded_down() -> None:
    # Of 59 features two are counted, of 60 three.
    for n_features, counted in ((59, 2), (60, 3)):
        values = csc_array(np.arange(1, n_features + 1, dtype=np.float32)[None])
        found = published_scores(values, np.array([True]), ["rank"])["rank"]
        assert np.flatnonzero(found).tolist() == list(range(n_features - counted, n_features))
    wide = csc_array(np.arange(1, 65_537, dtype=np.float32)[None])
    assert published_scores(wide, np.array([True]), ["rank"])["rank"].sum() == 3276


def test_equal_values_at_the_end_go_to_lower_numbers() -> None:
    values = csc_array(np.array([[3, 3, 3]], np.float32))
    found = published_scores(values, np.array([True]), ["rank"], top=2)["rank"]
    assert found.tolist() == [1, 1, 0]


def test_scores_that_were_tried_beside() -> None:
    found = published_scores(VALUES, SIDE, SCORES, corpus=CORPUS)
    # Joint: feature 0 between 0 and 4: (0 + 1 + ½) / 3 - (¼ + 0) / 2. Feature 1 between 0 and 6:
    # (⅓ + ⅓ + 1) / 3. Feature 2 between 5 and 9: 0 - (0 + 1) / 2. Feature 3 between 0 and 1: ⅓.
    joint = [1 / 2 - 1 / 8, 5 / 9, -1 / 2, 1 / 3]
    np.testing.assert_allclose(found["joint_min_max"], joint, atol=1e-7)
    # Differences of means are 2 - ½, 10/3, 5 - 7 and ⅓; the rest are these over a width.
    differences = np.array([3 / 2, 10 / 3, -2, 1 / 3])
    np.testing.assert_allclose(
        found["global_min_max"], differences / np.array([8, 10, 20, 2]), atol=1e-6
    )
    # Not clipped: feature 0 of up to 4 is scaled by 2, so its mean is 1 on positive tokens alone.
    np.testing.assert_allclose(
        found["percentile"], differences / np.array([2, 2, 10, 1]), atol=1e-6
    )
    np.testing.assert_allclose(found["z_score"], differences / np.array([2, 4, 2, 0.5]), atol=1e-6)
    # Feature 0: squares (4 + 4 + 0) + (¼ + ¼) over 3 + 2 - 2; feature 1: 4 × (4/3 + 4/3 + 16/3) … :
    # values 2, 2, 6 about 10/3 give 16/9 + 16/9 + 64/9 = 32/3; feature 2: 0 + (4 + 4); feature 3:
    # 1/9 + 1/9 + 4/9 = 2/3.
    pooled = np.sqrt(np.array([8.5, 32 / 3, 8, 2 / 3]) / 3)
    np.testing.assert_allclose(found["cohens_d"], differences / pooled, atol=1e-6)
    # Softmax of each token, added up.
    powers = np.exp(np.concatenate([POSITIVE, NEGATIVE]).astype(np.float64))
    shares = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(found["softmax_sum"], shares[:3].sum(0) - shares[3:].sum(0))


def test_places_of_features_are_counted_from_1() -> None:
    scores = np.array([0.2, 0.9, np.nan, 0.9, 0.5])
    assert [position(scores, feature) for feature in range(5)] == [4, 1, None, 1, 3]
    assert top_features(scores, 3).tolist() == [1, 3, 4]
    assert top_features(scores, 9).tolist() == [1, 3, 4, 0]


def test_corpus_is_gathered_as_if_it_were_whole() -> None:
    rng = np.random.default_rng(0)
    whole = rng.exponential(size=(500, 6)) * (rng.random((500, 6)) < 0.4)
    whole[:, 4], whole[:, 5] = 0, 3
    whole[:, 3] -= 1

    def read(size: int) -> Iterable[csc_array]:
        return [csc_array(whole[start : start + size]) for start in range(0, 500, size)]

    found = corpus_statistics(lambda: read(90))
    np.testing.assert_allclose(found.minimum, whole.min(0))
    np.testing.assert_allclose(found.maximum, whole.max(0))
    np.testing.assert_allclose(found.mean, whole.mean(0))
    np.testing.assert_allclose(found.deviation, whole.std(0, ddof=1), atol=1e-7)
    width = np.ptp(whole, axis=0) / 100
    for share, ends in ((0.01, found.low), (0.99, found.high)):
        exact = np.sort(whole, axis=0)[int(np.ceil(share * 500)) - 1]
        assert ((ends <= exact + 1e-9) & (exact <= ends + width + 1e-9)).all()
    for one, two in zip(found, corpus_statistics(lambda: read(500)), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_slow_loops_agree_on_random_values() -> None:
    rng = np.random.default_rng(2)
    values = rng.exponential(size=(30, 130)) * (rng.random((30, 130)) < 0.3)
    side = rng.random(30) < 0.5
    found = published_scores(csc_array(csr_array(values)), side, ["rank", "local_min_max"])
    counted = np.zeros(values.shape)
    for token, row in enumerate(values):
        for feature in np.argsort(-row, kind="stable")[:6]:
            counted[token, feature] = row[feature] > 0
    np.testing.assert_allclose(found["rank"], counted[side].mean(0) - counted[~side].mean(0))
    for feature, column in enumerate(values.T):
        means = []
        for part in (column[side], column[~side]):
            means.append(np.mean((part - part.min()) / (part.max() - part.min() + 1e-8)))
        assert found["local_min_max"][feature] == pytest.approx(means[0] - means[1])


@pytest.mark.parametrize("score", OF_CORPUS)
def test_scores_without_what_they_need_are_refused(score: str) -> None:
    with pytest.raises(SaeflowError, match=f"{score} needs what features give on a corpus"):
        published_scores(VALUES, SIDE, [score])  # type: ignore[list-item]
    with pytest.raises(SaeflowError, match="No token is of a positive prompt"):
        published_scores(VALUES, ~np.ones(5, bool))
    with pytest.raises(SaeflowError, match="1 tokens"):
        corpus_statistics(lambda: [csc_array(np.ones((1, 2)))])
