"""Similarities of classes and of pairs against slow versions, planted structure, nulls and fixtures."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import pearsonr, ttest_ind

from saeflow.errors import SaeflowError
from saeflow.stats import geometry
from saeflow.stats.geometry import (
    adjusted_difference,
    class_gram,
    cosines,
    gram_matrix,
    group_difference,
    mantel,
    principal_components,
    published_geometry,
)
from saeflow.stats.lexical import length_similarity
from saeflow.stats.pair_geometry import disjoint_pairs
from tests.conftest import DATA
from tests.planted_texts import FORM, PAIR, TOPIC, PlantedTexts, planted_texts
from tests.sentences import check_sentence

RATE_ERROR = 3.5 * np.sqrt(0.05 * 0.95)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    square = rng.normal(size=(n, n))
    return square + square.T


def class_cosines(planted: PlantedTexts) -> np.ndarray:
    return cosines(class_gram(gram_matrix(planted.values), planted.classes))


def test_cosines_of_class_means_equal_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = planted_texts({FORM})
    monkeypatch.setattr(geometry, "CHUNK", 7)
    gram = gram_matrix(planted.values)
    np.testing.assert_allclose(gram, planted.values.astype(float) @ planted.values.T, rtol=1e-6)
    means = np.stack([planted.values[planted.classes == each].mean(0) for each in range(11)])
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(class_cosines(planted), units @ units.T, atol=1e-6)
    silent = cosines(gram_matrix(np.array([[0.0, 0], [1, 0], [2, 0], [0, -3]])))
    np.testing.assert_array_equal(silent[0], 0)
    np.testing.assert_array_equal(silent[1:, 1:], [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    with pytest.raises(SaeflowError, match=r"numbered \[1, 2\]"):
        class_gram(np.eye(2), np.array([1, 2]))


def test_principal_components_equal_those_of_the_vectors() -> None:
    vectors = generator(2).normal(size=(9, 5))
    coordinates, shares = principal_components(gram_matrix(vectors), 3)
    centred = vectors - vectors.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(shares, sizes[:3] ** 2 / (sizes**2).sum())
    np.testing.assert_allclose(np.abs(coordinates), np.abs(left[:, :3] * sizes[:3]), atol=1e-9)
    assert (coordinates[np.abs(coordinates).argmax(0), range(3)] > 0).all()
    _, alike = principal_components(np.ones((4, 4)))
    np.testing.assert_array_equal(alike, 0)


def test_published_geometry_is_scipys_t_test_of_pairs() -> None:
    groups = np.repeat(np.arange(7), [3, 3, 2, 3, 3, 3, 3])
    similarity = symmetric(generator(1), 20)
    found = published_geometry(similarity, groups)
    parts: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(range(20), 2):
        parts[bool(groups[i] == groups[j])].append(similarity[i, j])
    test = ttest_ind(parts[True], parts[False])
    assert (found.n_within, found.n_across) == (19, 171)  # methods/3, section 4.5 C
    assert found.within == pytest.approx(np.mean(parts[True]))
    assert found.across == pytest.approx(np.mean(parts[False]))
    assert (found.t, found.p_value) == pytest.approx((test.statistic, test.pvalue))


def test_permuted_difference_equals_all_labelings() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2])
    similarity = symmetric(generator(4), 6)
    found = group_difference(similarity, groups, 20000, generator())
    observed = published_geometry(similarity, groups)
    assert found.difference == pytest.approx(observed.within - observed.across)
    everything = []
    for order in itertools.permutations(range(6)):
        other = published_geometry(similarity[np.ix_(order, order)], groups)
        everything.append(other.within - other.across)
    expected = np.mean(np.array(everything) >= found.difference - 1e-9)
    assert found.p_value == pytest.approx(expected, abs=0.015)
    ends = np.quantile(everything, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], ends, atol=0.05)


def slow_partial(one: np.ndarray, two: np.ndarray, given: list[np.ndarray]) -> float:
    upper = np.triu_indices(len(one), 1)
    design = np.column_stack([np.ones(len(upper[0])), *(each[upper] for each in given)])
    left = []
    for each in (one, two):
        fitted = design @ np.linalg.lstsq(design, each[upper], rcond=None)[0]
        left.append(each[upper] - fitted)
    return float(pearsonr(*left).statistic)


def slow_p_value(one: np.ndarray, two: np.ndarray, given: list[np.ndarray], seed: int) -> float:
    """Mantel's test with permuted residuals, one at a time."""
    upper = np.triu_indices(len(one), 1)
    design = np.column_stack([np.ones(len(upper[0])), *(each[upper] for each in given)])
    left = one[upper] - design @ np.linalg.lstsq(design, one[upper], rcond=None)[0]
    residual = np.zeros_like(one)
    residual[upper] = left
    residual += residual.T
    rng, observed, count = generator(seed), slow_partial(one, two, given), 0
    for _ in range(2000):
        order = rng.permutation(len(one))
        count += slow_partial(residual[np.ix_(order, order)], two, given) >= observed
    return (1 + count) / 2001


def test_mantel_and_partial_mantel_equal_slow_versions() -> None:
    rng = generator(6)
    shared, other, third = (symmetric(rng, 9) for _ in range(3))
    one, two = shared + symmetric(rng, 9), shared + other + symmetric(rng, 9)
    for given_too in ([], [other], [other, third]):
        found = mantel(one, two, 2000, generator(), given_too)
        assert found.value == pytest.approx(slow_partial(one, two, given_too))
        assert found.p_value == pytest.approx(slow_p_value(one, two, given_too, 9), abs=0.03)
        assert found.low < 0 < found.high
    nothing = mantel(one, one, 99, generator(), [one])
    assert np.isnan(list(nothing)).all()
    # The same similarities twice, and one that is constant, change nothing.
    twice = mantel(one, two, 50, generator(), [other, other, np.ones((9, 9))])
    assert twice == pytest.approx(mantel(one, two, 50, generator(), [other]))


def test_adjusted_difference_is_the_regressions_coefficient() -> None:
    rng = generator(8)
    groups = np.repeat(np.arange(5), 3)
    words, length = symmetric(rng, 15), length_similarity(rng.random(15))
    similarity = (
        2 * words + 0.5 * length + 0.7 * (groups[:, None] == groups) + symmetric(rng, 15) / 9
    )
    found = adjusted_difference(similarity, groups, [words, length], 999, generator())
    upper = np.triu_indices(15, 1)
    same = (groups[:, None] == groups)[upper]
    design = np.column_stack([np.ones(len(same)), words[upper], length[upper], same])
    beta = np.linalg.lstsq(design, similarity[upper], rcond=None)[0]
    assert found.coefficient == pytest.approx(beta[3])
    fitted = design[:, :3] @ np.linalg.lstsq(design[:, :3], similarity[upper], rcond=None)[0]
    left = similarity[upper] - fitted
    assert found.explained == pytest.approx(1 - left.var() / similarity[upper].var())
    assert found.p_value == 0.001
    partial = mantel(
        similarity, 1.0 * (groups[:, None] == groups), 999, generator(), [words, length]
    )
    assert partial.p_value == found.p_value
    with pytest.raises(SaeflowError, match=r"follows from the given") as error:
        adjusted_difference(similarity, groups, [1.0 * (groups[:, None] == groups)], 9, generator())
    check_sentence(error.value)


def test_topic_beyond_words_is_told_from_topic_by_words() -> None:
    """Similarity that is that of words, and more, against a similarity that is of words only."""
    planted = planted_texts({TOPIC}, strength=1.5, n_noise=200)
    words = class_cosines(planted)
    groups = planted.topic_of
    rng = generator(3)
    noise = [symmetric(rng, len(words)) / 100 for _ in range(2)]
    only_words = 0.8 * words + noise[0]
    assert group_difference(only_words, groups, 999, generator()).p_value < 0.01
    assert adjusted_difference(only_words, groups, [words], 999, generator()).p_value > 0.05
    beyond = only_words + 0.1 * (groups[:, None] == groups)
    assert adjusted_difference(beyond, groups, [words], 999, generator()).p_value < 0.01


def test_similarities_without_topics_pass_at_the_nominal_rate() -> None:
    p_values = []
    groups = np.repeat(np.arange(5), 3)
    for seed in range(300):
        rng = generator(seed)
        vectors = rng.normal(size=(15, 12))
        words = cosines(gram_matrix(vectors[:, :6] + 0.5 * rng.normal(size=(15, 6))))
        similarity = cosines(gram_matrix(vectors))
        topic = 1.0 * (groups[:, None] == groups)
        p_values.append(
            [
                group_difference(similarity, groups, 99, rng).p_value,
                adjusted_difference(similarity, groups, [words], 99, rng).p_value,
                mantel(similarity, topic, 99, rng, [words]).p_value,
                published_geometry(similarity, groups).p_value,
            ]
        )
    rates = (np.array(p_values) <= 0.05).mean(0)
    np.testing.assert_allclose(rates[:3], 0.05, atol=RATE_ERROR / np.sqrt(300))


def test_geometry_finds_planted_topics_and_not_forms() -> None:
    found = {
        kind: group_difference(class_cosines(planted), planted.topic_of, 999, generator()).p_value
        for kind in (TOPIC, FORM)
        for planted in [planted_texts({kind})]
    }
    assert found[TOPIC] < 0.005
    assert found[FORM] > 0.05


def test_shared_pairs_look_like_topics_until_they_are_dealt_out() -> None:
    whole, dealt = [], []
    for seed in range(60):
        planted = planted_texts({PAIR}, seed, strength=2.0)
        gram, groups = gram_matrix(planted.values), planted.topic_of
        similarity = cosines(class_gram(gram, planted.classes))
        whole.append(group_difference(similarity, groups, 99, generator(seed)).p_value <= 0.05)
        chosen = disjoint_pairs(planted.classes, planted.pairs, planted.topics, generator(seed))
        similarity = cosines(class_gram(gram[np.ix_(chosen, chosen)], planted.classes[chosen]))
        dealt.append(group_difference(similarity, groups, 99, generator(seed)).p_value <= 0.05)
    assert np.mean(whole) > 0.9
    assert abs(np.mean(dealt) - 0.05) < RATE_ERROR / np.sqrt(60)


FORMS = {
    "math_pairs_simple": ("symbolic", "verbal", "prose"),
    "math_pairs_complex": ("symbolic", "verbal", "prose"),
    "python_pairs": ("code", "pseudo"),
    "non_english_pairs": ("spanish", "french", "german"),
    "social_pairs": ("full_social", "partial_social", "standard"),
    "formal_pairs": ("highly_formal", "moderately_formal", "plain"),
    "conversational_pairs": ("first_person", "third_person", "neutral"),
}


def shares_of(texts: list[list[str]], split: str) -> np.ndarray:
    """Mean share of each word, run of three characters or character in the texts of each class."""
    cut = {
        "words": lambda text: re.findall(r"\w+|[^\w\s]", text.lower()),
        "trigrams": lambda text: [text[start : start + 3] for start in range(len(text) - 2)],
        "characters": lambda text: list(text.lower()),
    }[split]
    counts = [[Counter(cut(text)) for text in each] for each in texts]
    names = sorted({name for each in counts for text in each for name in text})
    shares = [
        [[text[name] / max(text.total(), 1) for name in names] for text in each] for each in counts
    ]
    return np.array([np.mean(each, axis=0) for each in shares])


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "within", "across", "p_value"),
    [
        ("words", 0.366, 0.107, 1e-4),
        ("trigrams", 0.428, 0.194, 1e-4),
        ("characters", 0.830, 0.813, 0.19),
    ],
)
def test_words_of_the_published_texts_cluster_by_topic(
    split: str, within: float, across: float, p_value: float
) -> None:
    """Methods/6, section 8."""
    path = DATA / "matched_pairs" / "matched_pairs.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    data = json.loads(path.read_text(encoding="utf-8"))
    texts = [[row[form] for row in data[topic]] for topic in FORMS for form in FORMS[topic]]
    groups = np.repeat(np.arange(7), [len(forms) for forms in FORMS.values()])
    similarity = cosines(gram_matrix(shares_of(texts, split)))
    found = group_difference(similarity, groups, 9999, generator())
    assert (found.within, found.across) == pytest.approx((within, across), abs=6e-4)
    assert found.p_value == pytest.approx(p_value, abs=0.02 if p_value > 0.01 else 3e-4)
