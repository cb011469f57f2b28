"""Clusters of texts that are split and exchanged whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from saeflow.errors import SaeflowError
from saeflow.stats.text_clusters import TextClusters, against_exchanges, null_test
from tests.sentences import check_sentence


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def alone(n_texts: int) -> TextClusters:
    return TextClusters(range(n_texts))


def test_exchanged_clusters_stay_whole_and_within_their_strata() -> None:
    clusters = ["a", "b", "a", "c", "b", "c", "d", "e", "f", "f"]
    forms = ["x", "y", "y", "x", "x", "y", "x", "x", "x", "x"]
    shared = TextClusters(clusters, forms)
    seen = set()
    for seed in range(200):
        order = shared.exchange(rng_of(seed))
        assert sorted(order) == list(range(10))
        assert [forms[text] for text in order] == forms
        moved = {(clusters[place], clusters[text]) for place, text in enumerate(order)}
        assert len(moved) == 6
        seen.add(tuple(order))
    assert len(seen) == 6 * 2  # all ways to permute a, b, c and d, e; f has none like it


def test_clusters_without_strata_are_exchanged_by_size() -> None:
    shared = TextClusters([0, 0, 1, 1, 2])
    orders = {tuple(shared.exchange(rng_of(seed)).tolist()) for seed in range(30)}
    assert orders == {(0, 1, 2, 3, 4), (2, 3, 0, 1, 4)}


def test_halves_hold_whole_clusters_and_half_of_each_kind() -> None:
    clusters = np.repeat(np.arange(21), 3)
    topics = np.where(clusters < 10, "maths", "code")
    shared = TextClusters(clusters.tolist(), topics.tolist())
    sizes = set()
    for seed in range(50):
        half = shared.half(rng_of(seed))
        assert shared.cut(half) == []
        maths, code = (half[topics == topic].sum() // 3 for topic in ("maths", "code"))
        assert maths == 5
        sizes.add(int(code))
    assert sizes == {5, 6}
    assert not np.array_equal(shared.half(rng_of(0)), shared.half(rng_of(1)))
    half[0] = ~half[0]
    assert shared.cut(half) == [0]


def test_selected_clusters_are_those_of_the_texts() -> None:
    shared = TextClusters([0, 1, 1, 0, 2, 3], ["x", "x", "y", "y", "x", "x"])
    chosen = np.array([True, False, False, True, True, True])
    some = shared.select(chosen)
    assert len(some) == 4
    assert {tuple(some.exchange(rng_of(seed)).tolist()) for seed in range(20)} == {
        (0, 1, 2, 3),
        (0, 1, 3, 2),
    }


def test_p_values_count_the_observed_one_and_agree_with_all_exchanges() -> None:
    values, others = rng_of(0).normal(size=(2, 5))
    others = others + values

    def together(order: np.ndarray) -> float:
        return float(values @ others[order])

    everything = [together(np.array(order)) for order in itertools.permutations(range(5))]
    exact = np.mean([each >= together(np.arange(5)) - 1e-9 for each in everything])
    found = against_exchanges(together, alone(5), rng_of(1), 4000)
    assert found.p_value == pytest.approx(exact, abs=0.02)
    assert found.expected == pytest.approx(np.mean(everything), abs=0.1)
    assert found.low <= found.expected <= found.high
    assert null_test(1.0, np.zeros(99)).p_value == 0.01
    assert null_test(0.0, np.zeros(99)).p_value == 1
    # A sum in another order is a tie.
    assert null_test(0.1 + 0.2, np.full(9, 0.3)).p_value == 1


def test_clusters_that_cannot_be_exchanged_are_told() -> None:
    with pytest.raises(SaeflowError) as caught:
        TextClusters([0, 0, 1], ["x", "y", "x"])
    check_sentence(caught.value, "none of 2 clusters")
    with pytest.raises(SaeflowError) as caught:
        TextClusters([0, 1, 2], ["x"])
    check_sentence(caught.value, "1 strata are named for 3 texts")
    with pytest.raises(SaeflowError) as caught:
        TextClusters([0, 1, 2]).select(np.array([True, False, False]))
    check_sentence(caught.value, "none of 1 clusters")
