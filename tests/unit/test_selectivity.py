"""Published criteria and calibrated selectivity against slow versions, planted features and nulls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu

from saeflow.errors import SaeflowError
from saeflow.stats import selectivity
from saeflow.stats.selectivity import (
    class_aurocs,
    d_prime,
    nested_scores,
    published_leaders,
    published_specialist,
    rank_dtype,
    specialist_scores,
)
from saeflow.stats.selectivity_null import (
    class_relabelings,
    max_nulls,
    relabelings,
    specialist_tests,
)
from saeflow.stats.text_clusters import TextClusters
from tests.planted_texts import FORM, PAIR, TOPIC, PlantedTexts, planted_texts
from tests.sentences import check_sentence

LEVELS = st.sampled_from([0.0, 0.0, 1.0, 4.9, 5.0, 5.1, 8.0])
FEW = arrays(np.float64, (12, 9), elements=LEVELS)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow_specialist(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> tuple:
    """The study's loop, as methods/3 tells it."""
    largest = {feature: max(values[inside, feature]) for feature in range(values.shape[1])}
    listed = sorted(largest, key=lambda feature: (-largest[feature], feature))[:5]
    best, best_score = -1, -1
    for feature in listed:
        score = sum(v > 5.0 for v in values[inside, feature])
        score -= sum(v > 5.0 for v in values[outside, feature])
        if score > best_score:
            best, best_score = feature, score
    return best, best_score, best_score > 0, listed


@given(FEW)
def test_published_criteria_equal_the_slow_loops(values: np.ndarray) -> None:
    inside = np.arange(12) < 4
    outside = np.arange(12) >= 6
    found = published_specialist(values, inside, outside)
    expected = slow_specialist(values, inside, outside)
    assert (found.feature, found.score, found.found, found.candidates.tolist()) == expected
    if found.feature >= 0:
        assert found.inside - found.outside == found.score
        assert specialist_scores(values, inside, outside)[found.feature] == found.score
    leaders = published_leaders(values)
    columns = values.T.tolist()
    assert leaders.maximum == max(map(max, columns))
    assert leaders.strongest == [max(each) for each in columns].index(leaders.maximum)
    active = [sum(v > 0 for v in each) for each in columns]
    assert (leaders.frequent, leaders.n_active) == (active.index(max(active)), max(active))
    above = {f: n for f, each in enumerate(columns) if (n := sum(v > 5 for v in each))}
    fewest = min(above, key=lambda f: (above[f], f)) if above else -1
    assert (leaders.selective, leaders.n_above) == (fewest, above.get(fewest, 0))


def test_a_score_below_0_is_no_feature_and_one_text_is_a_specialist() -> None:
    values = np.zeros((6, 7))
    values[:, 0] = 9
    values[2:, 1:5] = 9
    inside = np.arange(6) < 2
    values[inside, 1:5] = 7
    found = published_specialist(values, inside, ~inside)
    assert (found.feature, found.score, found.found) == (-1, -1, False)
    assert [found.inside, found.outside] == [0, 0]
    # Feature 6 is above the threshold on one text and no other, but not among the five largest.
    values[0, 6] = 6
    assert published_specialist(values, inside, ~inside).feature == -1
    values[0, 6] = 10
    found = published_specialist(values, inside, ~inside)
    assert (found.feature, found.score, found.inside, found.outside) == (6, 1, 1, 0)
    assert found.found


def slow_areas(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Every text inside against every one outside, ties counting one half."""
    one, two = values[inside][:, None], values[outside]
    beaten = (one > two).sum((0, 1)) + (one >= two).sum((0, 1))
    return beaten / (2 * inside.sum() * outside.sum())


def slow_d_prime(one: np.ndarray, two: np.ndarray) -> float:
    if len(set(one)) == len(set(two)) == 1:
        return np.nan
    return (one.mean() - two.mean()) / np.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2)


@given(FEW)
def test_areas_equal_scipys(values: np.ndarray) -> None:
    classes = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3])
    groups = np.array([0] * 5 + [1] * 4 + [2] * 3)
    found = class_aurocs(values, classes, groups)
    for each in range(4):
        inside, outside = classes == each, groups != groups[classes == each][0]
        expected = mannwhitneyu(values[inside], values[outside]).statistic
        expected = expected / (inside.sum() * outside.sum())
        np.testing.assert_allclose(found[:, each], expected, atol=1e-12)
        one, two = values[inside], values[outside]
        slow = [slow_d_prime(*each) for each in zip(one.T, two.T, strict=True)]
        np.testing.assert_allclose(d_prime(values, inside, outside), slow, atol=1e-9)
    alone = class_aurocs(values, classes)
    np.testing.assert_allclose(
        alone[:, 1], slow_areas(values, classes == 1, classes != 1), atol=1e-12
    )


def test_areas_do_not_depend_on_the_chunk_or_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = planted_texts(seed=3)
    expected = class_aurocs(planted.values, planted.classes, planted.topics)
    spread = d_prime(planted.values, planted.classes == 0, planted.topics != 0)
    monkeypatch.setattr(selectivity, "CHUNK", 7)
    found = class_aurocs(planted.values, planted.classes, planted.topics)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        d_prime(planted.values, planted.classes == 0, planted.topics != 0), spread
    )
    assert rank_dtype(4095) is np.float32
    assert rank_dtype(4096) is np.float64
    monkeypatch.setattr(selectivity, "rank_dtype", lambda n_texts: np.float64)
    np.testing.assert_array_equal(
        class_aurocs(planted.values, planted.classes, planted.topics), expected
    )


def halves_of(planted: PlantedTexts, splits: int, seed: int = 0) -> np.ndarray:
    clusters = TextClusters(planted.pairs.tolist(), planted.classes.tolist())
    rng = generator(seed)
    return np.stack([clusters.half(rng) for _ in range(splits)])


def test_nested_scores_are_those_of_the_slow_loop() -> None:
    planted = planted_texts({FORM}, strength=1.5)
    halves = halves_of(planted, 3)
    found = nested_scores(planted.values, planted.classes, halves, planted.topics)
    for row, each in itertools.product(range(3), np.unique(planted.classes)):
        inside, half = planted.classes == each, halves[row]
        outside = planted.topics != planted.topic_of[each]
        areas = slow_areas(planted.values, inside & half, outside & half)
        spread = d_prime(planted.values, inside & half, outside & half)
        order = sorted(range(len(areas)), key=lambda f: (-round(areas[f], 9), -spread[f], f))
        feature = found.feature[row, each]
        assert feature == order[0]
        assert found.chosen_auroc[row, each] == areas[feature]
        held_out = slow_areas(planted.values, inside & ~half, outside & ~half)
        assert found.auroc[row, each] == held_out[feature]
        spread = d_prime(planted.values, inside & ~half, outside & ~half)
        assert found.d_prime[row, each] == pytest.approx(spread[feature])


def test_noise_is_chosen_above_chance_and_scored_at_chance() -> None:
    chosen, scored = [], []
    for seed in range(20):
        planted = planted_texts(seed=seed)
        halves = halves_of(planted, 2, seed)
        found = nested_scores(planted.values, planted.classes, halves, planted.topics)
        chosen.append(found.chosen_auroc.mean())
        scored.append(found.auroc.mean())
    assert np.mean(chosen) > 0.8
    assert abs(np.mean(scored) - 0.5) < 4 * np.std(scored) / np.sqrt(20)


def within_pairs(planted: PlantedTexts, each: int) -> tuple[np.ndarray, np.ndarray]:
    """A form, and the other forms of its own pairs."""
    inside = planted.classes == each
    return inside, (planted.topics == planted.topic_of[each]) & ~inside


def test_each_contrast_finds_its_own_planted_feature() -> None:
    planted = planted_texts({FORM, TOPIC, PAIR}, n_pairs=16)
    halves = halves_of(planted, 5)
    by_topic = nested_scores(planted.values, planted.topics, halves)
    assert (by_topic.feature == planted.topic_features).all()
    assert (by_topic.auroc == 1).all()
    designs = class_relabelings(planted.topics, planted.pairs, permutations=199, seed=1)
    tests = specialist_tests(planted.values, designs)
    assert tests.feature.tolist() == planted.topic_features.tolist()
    assert (tests.q_value <= 0.05).all()
    # Against other topics, a form's own feature and its topic's are both found: the study's contrast.
    parts = (planted.classes, planted.pairs, planted.topics)
    designs = class_relabelings(*parts, permutations=199)
    tests = specialist_tests(planted.values, designs)
    n_passing = [(null.p_value <= 0.05).sum() for null in max_nulls(planted.values, designs)]
    for each, feature in enumerate(planted.class_features):
        assert tests.feature[each] in (feature, planted.topic_features[planted.topic_of[each]])
        assert n_passing[each] >= 2
    # Of 11 classes, each with a chance of one in twenty of a feature more.
    assert sum(n_passing) <= 2 * 11 + 2
    # Against other forms of the same pairs, only the form's own is.
    for each, feature in enumerate(planted.class_features):
        inside, outside = within_pairs(planted, each)
        design = relabelings(inside, outside, planted.pairs, 199, generator(each))
        null = max_nulls(planted.values, [design])[0]
        assert np.flatnonzero(null.p_value <= 0.005).tolist() == [feature]


def test_without_a_feature_of_its_kind_a_contrast_finds_nothing() -> None:
    planted = planted_texts({TOPIC, PAIR})
    p_values = []
    for each in range(len(planted.class_features)):
        inside, outside = within_pairs(planted, each)
        design = relabelings(inside, outside, planted.pairs, 199, generator(each))
        p_values.append(max_nulls(planted.values, [design])[0].p_value.min())
    assert min(p_values) > 0.01
    planted = planted_texts({PAIR})
    designs = class_relabelings(planted.topics, planted.pairs, permutations=199)
    tests = specialist_tests(planted.values, designs)
    assert (tests.q_value > 0.05).all()


@pytest.mark.parametrize("kinds", [(), (PAIR,)], ids=["noise", "pair"])
def test_the_best_of_all_features_passes_at_the_nominal_rate(kinds: tuple[str, ...]) -> None:
    p_values = []
    for seed in range(150):
        planted = planted_texts(kinds, seed, forms=(3, 2, 3), n_pairs=6, n_noise=12)
        inside, outside = planted.classes == 0, planted.topics != 0
        design = relabelings(inside, outside, planted.pairs, 99, generator(seed))
        p_values.append(max_nulls(planted.values, [design])[0].p_value.min())
    rate = np.mean(np.array(p_values) <= 0.1)
    assert abs(rate - 0.1) < 3.5 * np.sqrt(0.1 * 0.9 / 150)


def test_texts_alike_within_pairs_do_not_pass_more_often() -> None:
    """Whole pairs as classes: drawing texts instead of pairs would pass far too often."""
    by_pair, by_text = [], []
    for seed in range(150):
        rng = generator(seed)
        pairs = np.repeat(np.arange(16), 3)
        values = np.repeat(rng.normal(size=(16, 10)), 3, axis=0)
        values += 0.1 * rng.normal(size=values.shape)
        inside = pairs < 6
        for clusters, rates in ((pairs, by_pair), (np.arange(48), by_text)):
            design = relabelings(inside, ~inside, clusters, 99, rng)
            rates.append(max_nulls(values, [design])[0].p_value.min() <= 0.1)
    assert abs(np.mean(by_pair) - 0.1) < 3.5 * np.sqrt(0.1 * 0.9 / 150)
    assert np.mean(by_text) > 0.4


def test_wrong_input_is_told_in_a_sentence() -> None:
    values = np.ones((4, 3))
    nobody, some = np.zeros(4, bool), np.arange(4) < 2
    with pytest.raises(SaeflowError, match=r"^0 texts are inside a class") as error:
        d_prime(values, nobody, some)
    check_sentence(error.value, "expected some of each")
    with pytest.raises(SaeflowError, match=r"2 both"):
        published_specialist(values, some, some)
    with pytest.raises(SaeflowError, match=r"numbered \[1, 3\]"):
        class_aurocs(values, np.array([1, 1, 3, 3]))
    with pytest.raises(SaeflowError, match=r"Class 0 has texts of two groups"):
        class_aurocs(values, np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]))
    with pytest.raises(SaeflowError, match=r"one group"):
        class_aurocs(values, np.array([0, 0, 1, 1]), np.zeros(4, int))
    with pytest.raises(SaeflowError, match=r"not finite"):
        class_aurocs(np.full((4, 3), np.nan), np.array([0, 0, 1, 1]))
    with pytest.raises(SaeflowError, match=r"not finite"):
        max_nulls(np.full((4, 3), np.inf), [])
    halves = np.array([[True, True, True, False]])
    with pytest.raises(SaeflowError, match=r"Half B of split 0 has no text of class 0"):
        nested_scores(values, np.array([0, 0, 1, 1]), halves)
