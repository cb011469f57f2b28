"""Features of two models paired on shared texts: planted, and with nothing in common."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from saeflow.errors import SaeflowError
from saeflow.stats import feature_alignment
from saeflow.stats.feature_alignment import (
    RULES,
    HeldOutPairs,
    Rule,
    choose_partners,
    held_out_partners,
    neighbours_again,
)
from saeflow.stats.text_clusters import TextClusters
from tests.sentences import check_sentence


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def naive_correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / size) if size > 1e-12 else 0.0


def alone(n_texts: int) -> TextClusters:
    return TextClusters(range(n_texts))


@pytest.mark.parametrize("block", [3, 1000])
def test_partners_equal_a_search_pair_by_pair(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_alignment, "BLOCK", block)
    generator = rng_of(3)
    first, second = generator.normal(size=(12, 10)), generator.normal(size=(12, 8))
    first[:, 2], second[:, 5] = 1, 2
    table = np.array([[naive_correlation(x, y) for y in second.T] for x in first.T])
    nearest = [(x, int(table[x].argmax())) for x in range(10) if x != 2 and table[x].max() > 0]
    mutual = [(x, y) for x, y in nearest if table[:, y].argmax() == x]
    for rule, expected in (("nearest", nearest), ("mutual", mutual)):
        found = choose_partners(first, second, rule)  # type: ignore[arg-type]
        assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
        np.testing.assert_allclose(found.similarity, [table[pair] for pair in expected])
    assert 0 < len(mutual) < len(nearest)
    small = table[:5, :4]
    best = max(
        sum(small[row, column] for row, column in zip(rows, range(4), strict=True))
        for rows in itertools.permutations([0, 1, 3, 4], 4)
    )
    found = choose_partners(first[:, :5], second[:, :4], "one_to_one")
    assert found.similarity.sum() >= best - 1e-9  # pairs below 0 are left out
    assert len(set(found.second.tolist())) == len(found.first)
    assert 2 not in found.first
    assert (found.similarity > 0).all()


def planted(
    seed: int, n_texts: int = 120, shared: int = 6, own: int = 20, noise: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two models: `shared` features of the first come back in the second, noisy and shuffled."""
    generator = rng_of(seed)
    first = np.maximum(generator.normal(size=(n_texts, shared + own)), 0)
    second = np.maximum(generator.normal(size=(n_texts, shared + own)), 0)
    second[:, :shared] = first[:, :shared] + noise * generator.normal(size=(n_texts, shared))
    order = generator.permutation(shared + own)
    partner = np.argsort(order)[:shared]
    return first, second[:, order], partner


def aligned(first: np.ndarray, second: np.ndarray, rule: Rule, seed: int = 0) -> HeldOutPairs:
    clusters = alone(len(first))
    half = clusters.half(rng_of(seed))
    return held_out_partners(
        first,
        second,
        rule,
        clusters=clusters,
        half=half,
        generator=rng_of(seed + 1),
        permutations=199,
    )


@pytest.mark.parametrize("rule", RULES)
def test_planted_features_are_found_and_the_others_are_not(rule: Rule) -> None:
    first, second, partner = planted(4)
    found = aligned(first, second, rule)
    pairs = dict(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert [pairs[feature] for feature in range(6)] == partner.tolist()
    real = found.first < 6
    assert (found.p_value[real] == 1 / 200).all()
    assert found.held_out[real].min() > 0.4
    assert found.mean.p_value == 1 / 200
    # The others were chosen for a correlation that is gone on other texts.
    assert (~real).sum() >= 5
    assert found.chosen[~real].mean() > 0.2
    assert abs(found.held_out[~real].mean()) < 0.12
    assert (found.p_value[~real] <= 0.05).mean() < 0.3


def test_held_out_correlations_are_those_of_the_other_half() -> None:
    first, second, _ = planted(5)
    clusters = alone(len(first))
    half = clusters.half(rng_of(0))
    found = held_out_partners(
        first,
        second,
        "one_to_one",
        clusters=clusters,
        half=half,
        generator=rng_of(1),
        permutations=9,
    )
    for number, (x, y) in enumerate(zip(found.first, found.second, strict=True)):
        chosen = naive_correlation(first[half, x], second[half, y])
        held_out = naive_correlation(first[~half, x], second[~half, y])
        assert found.chosen[number] == pytest.approx(chosen)
        assert found.held_out[number] == pytest.approx(held_out)
    assert found.mean.value == pytest.approx(found.held_out.mean())
    # Other values of the half that is reported on choose nothing else.
    changed = second.copy()
    changed[~half] = rng_of(2).normal(size=changed[~half].shape)
    again = held_out_partners(
        first,
        changed,
        "one_to_one",
        clusters=clusters,
        half=half,
        generator=rng_of(1),
        permutations=9,
    )
    np.testing.assert_array_equal(again.second, found.second)
    np.testing.assert_array_equal(again.chosen, found.chosen)
    assert not np.allclose(again.held_out, found.held_out)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_shared_gives_no_small_p_values(rule: Rule) -> None:
    p_values, chosen, held_out = [], [], []
    for seed in range(60):
        first, second, _ = planted(100 + seed, n_texts=40, shared=0)
        found = aligned(first, second, rule, seed)
        p_values.append(found.mean.p_value)
        chosen.append(found.chosen.mean())
        held_out.append(found.held_out.mean())
    assert min(chosen) > 0.2
    assert abs(np.mean(held_out)) < 0.03
    # Of 60 fair ones, 9 or more below .05 happen once in 500 times.
    assert np.sum(np.array(p_values) <= 0.05) < 9
    assert 0.35 < np.mean(p_values) < 0.65


def test_repeats_within_clusters_are_no_evidence_for_pairs() -> None:
    names = np.repeat(np.arange(24), 8)
    small = {"clusters": 0, "texts": 0}
    for seed in range(60):
        generator = rng_of(300 + seed)
        first, second = generator.normal(size=(2, 24, 4)).repeat(8, axis=1)
        whole = TextClusters(names.tolist())
        half = whole.half(generator)
        for name, clusters in (("clusters", whole), ("texts", alone(len(names)))):
            found = held_out_partners(
                first,
                second,
                "nearest",
                clusters=clusters,
                half=half,
                generator=generator,
                permutations=99,
            )
            small[name] += found.mean.p_value <= 0.05
    assert small["clusters"] < 9
    assert small["texts"] > 15


def test_neighbours_come_again_only_where_features_are_shared() -> None:
    def share(seed: int, shared: int) -> Any:
        first, second, _ = planted(seed, shared=shared, own=26 - shared, noise=0.3)
        clusters = alone(len(first))
        half = clusters.half(rng_of(seed))
        test = neighbours_again(
            first, second, clusters=clusters, half=half, generator=rng_of(0), permutations=39
        )
        pairs = choose_partners(first[half], second[half], "mutual")
        again = choose_partners(first[~half], second[~half], "mutual")
        both = set(zip(*pairs[:2], strict=True)) & set(zip(*again[:2], strict=True))
        assert test.value == pytest.approx(len(both) / len(pairs.first))
        return test

    found = share(7, shared=10)
    assert found.value > 0.6
    assert found.p_value == 1 / 40
    assert found.expected < 0.15
    nothing = [share(seed, shared=0) for seed in range(30)]
    # Several are nearest in both directions on each half, but not the same ones.
    assert np.mean([each.value for each in nothing]) < 0.15
    assert np.sum([each.p_value <= 0.05 for each in nothing]) < 6


def test_features_that_never_vary_have_no_partner() -> None:
    first, second, _ = planted(8)
    clusters = alone(len(first))
    half = clusters.half(rng_of(0))
    settings: dict[str, Any] = {
        "clusters": clusters,
        "half": half,
        "generator": rng_of(1),
        "permutations": 9,
    }
    for rule in RULES:
        found = held_out_partners(np.zeros_like(first), second, rule, **settings)
        assert len(found.first) == len(found.p_value) == 0
        assert np.isnan(found.mean.value)
        assert found.mean.p_value == 1
    assert np.isnan(neighbours_again(first * 0, second, **settings).value)
    # Active on one half alone: chosen there, and 0 on the other.
    silent = first.copy()
    silent[~half, 0] = 0
    found = held_out_partners(silent, second, "nearest", **settings)
    assert found.held_out[found.first == 0].tolist() == [0.0]
    assert found.p_value[found.first == 0].tolist() == [1.0]


def test_the_same_seed_gives_the_same() -> None:
    first, second, _ = planted(14)
    one, other = (aligned(first, second, "mutual", seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.p_value, other.p_value)
    assert one.mean == other.mean


def test_what_does_not_fit_is_told() -> None:
    first, second, _ = planted(15, n_texts=12)
    clusters = alone(12)
    half = clusters.half(rng_of(0))
    settings: dict[str, Any] = {"clusters": clusters, "generator": rng_of(0), "permutations": 9}
    with pytest.raises(SaeflowError) as caught:
        held_out_partners(
            first, second, "nearest", half=half, **{**settings, "clusters": alone(11)}
        )
    check_sentence(caught.value, "12 and 12 texts and 11 have clusters")
    with pytest.raises(SaeflowError) as caught:
        choose_partners(first[:1], second[:1], "nearest")
    check_sentence(caught.value, "1 and 1 texts", "2 at least")
    broken = second.copy()
    broken[4, 2] = np.nan
    for call in (
        lambda: choose_partners(first, broken, "nearest"),
        lambda: held_out_partners(first, broken, "nearest", half=half, **settings),
    ):
        with pytest.raises(SaeflowError) as caught:
            call()
        check_sentence(caught.value, "feature 2 of the second model is nan on text 4")
    few = np.arange(12) < 2
    with pytest.raises(SaeflowError) as caught:
        held_out_partners(first, second, "mutual", half=few, **settings)
    check_sentence(caught.value, "2 of 12 texts", "10 to report on", "3 of each")
    pairs = TextClusters([number // 2 for number in range(12)])
    with pytest.raises(SaeflowError) as caught:
        neighbours_again(first, second, half=np.arange(12) < 5, **{**settings, "clusters": pairs})
    check_sentence(caught.value, "cluster 2 has texts in both halves")
