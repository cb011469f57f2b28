"""CKA and SVCCA of two models on shared texts: by their definitions, rotated, and with nothing shared."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from saeflow.errors import SaeflowError
from saeflow.stats.shared_subspaces import cka_test, svcca_test
from saeflow.stats.text_clusters import TextClusters
from tests.sentences import check_sentence


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def alone(n_texts: int) -> TextClusters:
    return TextClusters(range(n_texts))


def rotation(size: int, generator: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(size, size)))[0]


def repeated(seed: int, n_clusters: int = 20, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Nothing shared, but the texts of a cluster are nearly the same."""
    generator = rng_of(seed)
    first, second = generator.normal(size=(2, n_clusters, 5)).repeat(size, axis=1)
    noise = 0.1 * generator.normal(size=(2, *first.shape))
    return first + noise[0], second + noise[1]


def test_clusters_are_exchanged_whole_so_that_repeats_are_no_evidence() -> None:
    names = np.repeat(np.arange(20), 6).tolist()
    found: dict[str, list[float]] = {"clusters": [], "texts": []}
    for seed in range(60):
        first, second = repeated(seed)
        for name, clusters in (("clusters", TextClusters(names)), ("texts", alone(120))):
            test = cka_test(
                first, second, clusters=clusters, generator=rng_of(seed), permutations=99
            )
            found[name].append(test.p_value)
    small = {name: int(np.sum(np.array(values) <= 0.05)) for name, values in found.items()}
    assert small["clusters"] < 9
    assert small["texts"] > 45


def test_strata_keep_what_topics_share() -> None:
    generator = rng_of(6)
    topic = np.repeat(np.arange(4), 30)
    p_values = []
    for _ in range(40):
        means = generator.normal(size=(2, 4, 8))
        first, second = means[:, topic] + generator.normal(size=(2, 120, 8))
        free, within = (
            cka_test(
                first,
                second,
                clusters=TextClusters(range(120), strata),
                generator=generator,
                permutations=99,
            )
            for strata in (None, topic.tolist())
        )
        assert free.value == within.value
        p_values.append((free.p_value, within.p_value))
    free_share, within_share = np.mean(np.array(p_values) <= 0.05, axis=0)
    assert free_share > 0.9
    assert within_share < 0.2


def cka(first: np.ndarray, second: np.ndarray) -> float:
    clusters = alone(len(first))
    return cka_test(first, second, clusters=clusters, generator=rng_of(0), permutations=1).value


def test_cka_follows_its_definition_and_ignores_rotation_scale_and_shift() -> None:
    generator = rng_of(9)
    first, second = generator.normal(size=(25, 40)), generator.normal(size=(25, 7))
    second[:, :3] += first[:, :3]
    x, y = first - first.mean(0), second - second.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert cka(first, second) == pytest.approx(expected)
    turned = 3 * first @ rotation(40, generator) + 5
    assert cka(turned, second) == pytest.approx(expected)
    assert cka(first, turned) == pytest.approx(1)
    stretched = first * np.linspace(0.1, 5, 40)
    assert cka(first, stretched) < 0.95
    assert cka(first, np.ones((25, 3))) == 0


def test_cka_is_large_without_anything_shared_and_its_expectation_says_so() -> None:
    generator = rng_of(10)
    p_values = []
    for _ in range(40):
        first, second = generator.normal(size=(2, 30, 300))
        found = cka_test(first, second, clusters=alone(30), generator=generator, permutations=99)
        assert found.value > 0.8
        assert found.expected == pytest.approx(found.value, abs=0.03)
        p_values.append(found.p_value)
    assert np.sum(np.array(p_values) <= 0.05) < 8
    second[:, :60] = first[:, :60] @ rotation(60, generator)
    found = cka_test(first, second, clusters=alone(30), generator=generator, permutations=99)
    assert found.p_value == 0.01
    assert found.value > found.high


def canonical(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Correlations of directions where they are found, with the same texts on the other half."""
    clusters, half = alone(2 * len(first)), np.arange(2 * len(first)) < len(first)
    twice = np.tile(first, (2, 1)), np.tile(second, (2, 1))
    return svcca_test(
        *twice, clusters=clusters, half=half, generator=rng_of(0), share=share, permutations=1
    ).chosen


def naive_canonical(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By the generalised eigenvalues of the covariances."""
    x, y = first - first.mean(0), second - second.mean(0)
    cross = x.T @ y
    values = scipy.linalg.eigh(cross @ np.linalg.solve(y.T @ y, cross.T), x.T @ x)[0]
    return np.sqrt(np.sort(values)[::-1][: min(x.shape[1], y.shape[1])].clip(0))


def test_svcca_equals_eigenvalues_and_keeps_the_share_of_variance() -> None:
    generator = rng_of(11)
    scales = np.array([8, 4, 2, 1, 0.5, 0.01])
    first = generator.normal(size=(60, 6)) * scales
    second = first[:, :4] @ generator.normal(size=(4, 4)) + generator.normal(size=(60, 4))
    np.testing.assert_allclose(canonical(first, second, 1.0), naive_canonical(first, second))
    variance = np.linalg.svd(first - first.mean(0))[1] ** 2
    for share in (0.5, 0.9, 0.99):
        kept = next(
            count for count in range(1, 7) if variance[:count].sum() >= share * variance.sum()
        )
        directions = np.linalg.svd(first - first.mean(0))[2][:kept].T
        found = canonical(first, first, share=share)
        np.testing.assert_allclose(found, np.ones(kept))
        other = canonical(first, second @ np.linalg.qr(np.ones((4, 1)))[0], share=share)
        expected = naive_canonical(first @ directions, second.sum(1, keepdims=True))
        np.testing.assert_allclose(other, expected)


def test_svcca_ignores_rotation_scale_and_shift_and_finds_the_shared_space() -> None:
    generator = rng_of(12)
    first = generator.normal(size=(200, 10))
    second = generator.normal(size=(200, 12))
    second[:, :4] = first[:, :4]
    mixed = 2 * second @ rotation(12, generator) - 3
    before, after = canonical(first, second, share=1.0), canonical(first, mixed, share=1.0)
    np.testing.assert_allclose(before, after)
    np.testing.assert_allclose(before[:4], 1)
    assert before[4] < 0.6
    clusters = alone(200)
    half = clusters.half(rng_of(0))
    found = svcca_test(
        first,
        mixed,
        clusters=clusters,
        half=half,
        generator=generator,
        share=1.0,
        permutations=99,
    )
    np.testing.assert_allclose(found.chosen, canonical(first[half], mixed[half], share=1.0))
    np.testing.assert_allclose(found.held_out[:4], 1)
    assert (found.p_value[:4] == 0.01).all()
    assert np.abs(found.held_out[4:]).mean() < 0.25
    assert found.mean.p_value == 0.01


def test_held_out_svcca_of_a_rotated_model_is_perfect_with_more_features_than_texts() -> None:
    generator = rng_of(13)
    # Few directions hold everything, as low-dimensional content does.
    first = generator.normal(size=(60, 5)) @ generator.normal(size=(5, 80))
    turned = first @ rotation(80, generator)
    clusters = TextClusters(np.repeat(np.arange(20), 3).tolist())
    found = svcca_test(
        first,
        turned,
        clusters=clusters,
        half=clusters.half(rng_of(0)),
        generator=generator,
        share=1.0,
        permutations=99,
    )
    assert len(found.chosen) == 5  # rounding is no direction
    np.testing.assert_allclose(found.held_out, 1)
    assert found.mean.p_value == 0.01


def test_svcca_of_nothing_shared_is_perfect_where_it_is_fitted_and_nil_elsewhere() -> None:
    p_values = []
    for seed in range(40):
        generator = rng_of(200 + seed)
        first, second = generator.normal(size=(2, 40, 100))
        clusters = alone(40)
        half = clusters.half(generator)
        found = svcca_test(
            first, second, clusters=clusters, half=half, generator=generator, permutations=99
        )
        assert found.chosen.mean() > 0.95
        assert abs(found.mean.value) < 0.25
        p_values.append(found.mean.p_value)
    assert np.sum(np.array(p_values) <= 0.05) < 8
    silent = np.zeros((40, 3))
    found = svcca_test(silent, second, clusters=clusters, half=half, generator=generator)
    assert len(found.chosen) == 0
    assert np.isnan(found.mean.value)


def test_what_does_not_fit_is_told() -> None:
    first, second = rng_of(15).normal(size=(2, 12, 5))
    settings: dict[str, Any] = {"generator": rng_of(0), "permutations": 9}
    with pytest.raises(SaeflowError) as caught:
        cka_test(first, second, clusters=alone(11), **settings)
    check_sentence(caught.value, "12 and 12 texts and 11 have clusters")
    second[4, 2] = np.nan
    half = np.arange(12) < 6
    for call in (cka_test, partial(svcca_test, half=half)):
        with pytest.raises(SaeflowError) as caught:
            call(first, second, clusters=alone(12), **settings)
        check_sentence(caught.value, "feature 2 of the second model is nan on text 4")
    pairs = TextClusters([number // 2 for number in range(12)])
    with pytest.raises(SaeflowError) as caught:
        svcca_test(first, first, half=np.arange(12) < 5, clusters=pairs, **settings)
    check_sentence(caught.value, "cluster 2 has texts in both halves")
    for share in (0.0, 1.5):
        with pytest.raises(SaeflowError) as caught:
            svcca_test(first, first, half=half, clusters=alone(12), share=share, **settings)
        check_sentence(caught.value, str(share), "at most 1")
