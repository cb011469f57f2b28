"""Published and calibrated overlap on hand-made activations, against slow versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from saeflow.stats.overlap import (
    overlap_class,
    overlap_summary,
    published_overlap,
    similarity,
    top_features,
)
from saeflow.stats.signed import halves

PUBLISHED_OVERLAP = (
    *(40, 25, 30, 50, 35, 45, 60, 10, 20, 45, 80, 60, 40, 40, 60, 65),
    *(65, 55, 75, 45, 45, 50, 55, 30, 60, 60, 65, 65, 45, 55, 65, 80),
)
"""Percent, layer by layer, of Llama-3.1-8B-Instruct with SAEs of its base model (methods/4, 5.2)."""
PUBLISHED_AMPLIFICATION = (
    *(1.11, 0.77, 0.78, 1.71, 1.15, 2.63, 1.81, 1.00, 1.97, 1.25, 1.24, 1.00, 0.88, 0.97, 0.86, 1.08),
    *(0.96, 0.95, 1.08, 1.11, 1.13, 1.28, 1.10, 1.70, 1.31, 1.13, 1.16, 1.04, 1.17, 0.88, 1.28, 1.18),
)  # fmt: skip
"""Mean ratio of values of shared features, wrong answer over right one, layer by layer."""


FEW = arrays(np.float64, (4, 12), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.5, -1.0, -0.25]))


def hand_made() -> tuple[np.ndarray, np.ndarray]:
    """Values of two prompts: 6 and 9 features active, 5 in both (methods/4, 5.6.5)."""
    wrong, correct = np.zeros((2, 100))
    wrong[[40, 50, 60, 70, 80, 90]] = [3, 2, 4, 1, 5, 2]
    correct[[40, 50, 60, 70, 80, 41, 51, 61, 71]] = [1, 2, 2, 2, 4, 7, 1, 1, 1]
    return wrong, correct


def test_published_overlap_of_hand_made_activations_is_80_percent_and_mostly_filler() -> None:
    wrong, correct = hand_made()
    found = published_overlap(wrong, correct)
    assert found.percent == 80
    # Zero-valued features with the lowest numbers fill both lists up to 20.
    assert found.shared.tolist() == [*range(11), 40, 50, 60, 70, 80]
    assert found.wrong_only.tolist() == [11, 12, 13, 90]
    assert found.correct_only.tolist() == [41, 51, 61, 71]
    assert (found.wrong_fillers, found.correct_fillers, found.shared_fillers) == (14, 11, 11)
    assert found.amplification == pytest.approx(np.mean([3, 1, 2, 0.5, 1.25]))


def test_calibrated_overlap_of_hand_made_activations_is_a_half() -> None:
    wrong, correct = hand_made()
    found = similarity(wrong[None], correct[None])
    assert found.jaccard.tolist() == [0.5]
    assert (found.n_active.tolist(), found.other_n_active.tolist()) == ([6], [9])
    assert found.weighted_jaccard[0] == pytest.approx((1 + 2 + 2 + 1 + 4) / (17 + 21 - 10))


def test_published_overlap_of_the_other_artefact_is_20_percent() -> None:
    # Layer 8: two latents active in one prompt, seventeen in the other, one of them shared.
    wrong, correct = np.zeros((2, 7000))
    wrong[[6560, 100]] = 1
    correct[[6560, *range(200, 216)]] = 1
    found = published_overlap(wrong, correct)
    assert found.percent == 20
    assert found.shared.tolist() == [0, 1, 2, 6560]
    assert found.shared_fillers == 3
    assert similarity(wrong[None], correct[None]).jaccard[0] == pytest.approx(1 / 18)


@given(st.integers(0, 10**6), st.integers(1, 8))
def test_published_overlap_equals_a_slow_version(seed: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    wrong, correct = (rng.integers(-1, 4, (2, 6)) / 2).astype(np.float32)

    def strongest(values: np.ndarray) -> set[int]:
        return set(sorted(range(6), key=lambda feature: (-values[feature], feature))[:top])

    first, second = strongest(wrong), strongest(correct)
    found = published_overlap(wrong, correct, top)
    assert set(found.shared.tolist()) == first & second
    assert set(found.wrong_only.tolist()) == first - second
    assert set(found.correct_only.tolist()) == second - first
    assert found.percent == pytest.approx(100 * len(first & second) / min(top, 6))
    ratios = [wrong[each] / correct[each] for each in first & second if correct[each] > 0]
    assert found.amplification == pytest.approx(np.mean(ratios) if ratios else 1)


def test_ties_go_to_the_lowest_number_in_any_type() -> None:
    for kind in (np.float16, np.float32, np.float64):
        assert top_features(np.array([0, 5, 0, 5, 7, 0], kind), 4).tolist() == [4, 1, 3, 0]


def test_published_vectors_have_the_published_summary() -> None:
    found = overlap_summary(np.array(PUBLISHED_OVERLAP, float))
    assert len(PUBLISHED_OVERLAP) == len(PUBLISHED_AMPLIFICATION) == 32
    assert (found.low, found.medium, found.high) == (6, 18, 8)
    assert found.mean == 50.625
    assert found.sd == pytest.approx(16.477, abs=5e-4)
    assert np.mean(PUBLISHED_AMPLIFICATION) == pytest.approx(1.208, abs=5e-4)
    assert [overlap_class(each) for each in (39.9, 40.0, 60.0, 60.1)] == [
        "low",
        "medium",
        "medium",
        "high",
    ]


@given(FEW, FEW)
def test_similarities_equal_those_of_half_features(first: np.ndarray, second: np.ndarray) -> None:
    found = similarity(first, second)
    for place, (one, other) in enumerate(zip(halves(first), halves(second), strict=True)):
        some = set(np.flatnonzero(one).tolist())
        others = set(np.flatnonzero(other).tolist())
        if not some | others:
            assert np.isnan([column[place] for column in found[:3]]).all()
            continue
        assert found.jaccard[place] == pytest.approx(len(some & others) / len(some | others))
        weighted = np.minimum(one, other).sum() / np.maximum(one, other).sum()
        assert found.weighted_jaccard[place] == pytest.approx(weighted)
        lengths = math.hypot(*first[place]) * math.hypot(*second[place])
        cosine = float(first[place] @ second[place]) / lengths if lengths else 0.0
        assert found.cosine[place] == pytest.approx(cosine)
        assert (found.n_active[place], found.other_n_active[place]) == (len(some), len(others))
    swapped = similarity(second, first)
    for column, back in zip(found[:3], swapped[:3], strict=True):
        np.testing.assert_allclose(column, back)


def test_similarity_of_the_same_opposite_and_nothing() -> None:
    one = np.array([[1.0, -2.0, 0.0]])
    same, opposite, missing = (similarity(one, other) for other in (one, -one, 0 * one))
    assert [column[0] for column in same[:3]] == pytest.approx([1, 1, 1])
    assert [column[0] for column in opposite[:3]] == pytest.approx([0, 0, -1])
    assert [column[0] for column in missing[:3]] == [0, 0, 0]
    nothing = similarity(0 * one, 0 * one)
    assert all(np.isnan(column[0]) for column in nothing[:3])
