"""Features of two models on the same texts: what is shared is found, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from saeflow.artifacts.specialists import FEATURE_ALIGNMENT
from saeflow.config.specialists import AlignmentSettings
from saeflow.errors import SaeflowError
from saeflow.stats.feature_alignment import RULES
from saeflow.studies.specialists.alignment import (
    ANY,
    Side,
    align_models,
    alignment_rows,
    exchanges,
    same_depths,
)
from saeflow.studies.specialists.alignment import (
    TOPIC as WITHIN_TOPIC,
)
from saeflow.studies.specialists.texts import StudyTexts, pair_classes
from tests.planted_study import one, planted_study, pooled_of
from tests.planted_texts import PAIR, TOPIC
from tests.sentences import check_sentence

SETTINGS = AlignmentSettings(
    poolings=("max",), permutations=59, neighbour_permutations=39, share=0.9, seed=0
)
KEY = {"mode": "calibrated", "layer": 0, "other_layer": 0, "pooling": "max"}
METRICS = (*(f"correlation_{rule}" for rule in RULES), "mutual_again", "svcca")


def aligned(first: np.ndarray, second: np.ndarray, texts: StudyTexts) -> list[dict[str, Any]]:
    classes = pair_classes(texts)
    parts = (each[: len(texts.pairs)].astype(np.float64) for each in (first, second))
    return list(alignment_rows(*parts, classes, SETTINGS, KEY))


def with_contents(values: np.ndarray, texts: StudyTexts) -> np.ndarray:
    """Ten features beyond noise that say the same of a content in every form and model.

    A feature of one pair alone would not do: half B does not hold the pair that it was chosen on.
    """
    pairs = pair_classes(texts).clusters
    level = np.random.default_rng(9).normal(size=(pairs.max() + 1, 10))
    found = values.copy()
    found[: len(pairs), :10] += np.maximum(6 * level[pairs], 0)
    return found


def test_the_same_features_in_another_order_are_matched() -> None:
    texts, values = planted_study((TOPIC, PAIR))
    order = np.random.default_rng(0).permutation(values.shape[1])
    rows = aligned(values, 3 * values[:, order], texts)
    for group in (ANY, WITHIN_TOPIC):
        for metric in METRICS:
            found = one(rows, group=group, metric=metric)
            assert found["value"] == pytest.approx(1), metric
            assert found["p_value"] == pytest.approx(1 / 40 if metric == "mutual_again" else 1 / 60)
            null = one(rows, group=group, metric=metric, control="exchanged")
            assert null["ci_high"] < 1


def test_noise_shares_nothing() -> None:
    texts, values = planted_study()
    _, others = planted_study(seed=7)
    p_values = [row["p_value"] for row in aligned(values, others, texts) if row["p_value"]]
    assert len(p_values) == 2 * len(METRICS)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.2


def test_topics_are_shared_but_not_pairs() -> None:
    """Where models have no more in common than topics, only contents of other topics tell."""
    texts, values = planted_study((TOPIC,))
    _, others = planted_study((TOPIC,), seed=7)
    rows = aligned(values, others, texts)
    assert one(rows, group=ANY, metric="correlation_one_to_one")["p_value"] <= 0.05
    assert one(rows, group=WITHIN_TOPIC, metric="correlation_one_to_one")["p_value"] > 0.05
    rows = aligned(with_contents(values, texts), with_contents(others, texts), texts)
    assert one(rows, group=WITHIN_TOPIC, metric="correlation_one_to_one")["p_value"] <= 0.05


def test_exchanges_keep_what_they_should() -> None:
    texts, _ = planted_study()
    classes = pair_classes(texts)
    within = exchanges(classes)[WITHIN_TOPIC]
    order = within.exchange(np.random.default_rng(0))
    np.testing.assert_array_equal(classes.classes[order], classes.classes)
    assert (order != np.arange(len(order))).any()
    order = exchanges(classes)[ANY].exchange(np.random.default_rng(0))
    assert (classes.groups[order] != classes.groups).any()
    # A content comes whole.
    for cluster in np.unique(classes.clusters):
        assert len(set(classes.clusters[order[classes.clusters == cluster]])) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ([6, 8, 10, 11], [23, 30, 37, 41], [(6, 23), (8, 30), (10, 37), (11, 41)]),
        ([0, 5], [1, 2, 3], [(0, 1), (5, 3)]),
        ([0, 1, 2, 3, 4], [7, 8, 9], [(0, 7), (2, 8), (4, 9)]),
        ([3], [1, 2], [(3, 2)]),
    ],
)
def test_blocks_meet_at_the_same_depth(
    first: list[int], second: list[int], expected: list[tuple[int, int]]
) -> None:
    assert same_depths(first, second) == expected
    assert same_depths(second, first) == [pair[::-1] for pair in expected]


@pytest.fixture(scope="module")
def sides() -> tuple[StudyTexts, Side, Side, dict[tuple[str, int], np.ndarray]]:
    texts, values = planted_study((TOPIC,))
    _, others = planted_study((TOPIC,), seed=3)
    values, others = with_contents(values, texts), with_contents(others, texts)
    noise = np.random.default_rng(5).random(others.shape).astype(np.float32)
    matrices = {
        ("one", 1): values, ("one", 3): noise[::-1].copy(),
        ("two", 0): others, ("two", 2): noise, ("two", 4): np.where(others > 1, others, 0),
    }  # fmt: skip
    pooled = {
        model: pooled_of(
            {
                (mode, layer, "max"): each
                for mode in ("published", "calibrated")
                for (name, layer), each in matrices.items()
                if name == model
            }
        )
        for model in ("one", "two")
    }
    sides = (Side("one", "tokens", 0, pooled["one"]), Side("two", "wide", 1, pooled["two"]))
    return texts, *sides, matrices


def test_two_models_are_aligned_block_by_block(
    sides: tuple[StudyTexts, Side, Side, dict[tuple[str, int], np.ndarray]],
) -> None:
    texts, first, second, _ = sides
    table = align_models(first, second, texts, SETTINGS)
    assert table.schema == FEATURE_ALIGNMENT.schema()
    frame = table.to_pandas()
    assert not frame.duplicated(list(FEATURE_ALIGNMENT.keys)).any()
    cka = frame[(frame["metric"] == "cka") & (frame["control"] == "none")]
    assert len(cka) == 2 * 3 * 2
    found = cka.set_index(["group", "layer", "other_layer"])
    assert found["p_value"][WITHIN_TOPIC, 1, 0] <= 0.05
    assert found["p_value"][WITHIN_TOPIC, 1, 2] > 0.05
    assert (found["q_value"] >= found["p_value"]).all()
    matched = frame[frame["metric"] == "svcca"]
    assert set(zip(matched["layer"], matched["other_layer"], strict=True)) == {(1, 0), (3, 4)}
    assert set(frame["other_model"]) == {"two"}


def test_active_features_are_correlated_by_class(
    sides: tuple[StudyTexts, Side, Side, dict[tuple[str, int], np.ndarray]],
) -> None:
    texts, first, second, matrices = sides
    rows = align_models(first, second, texts, SETTINGS).to_pylist()
    names = list(dict.fromkeys((row.topic, row.form) for row in texts.pairs))
    means = {}
    for place in (("one", 1), ("two", 0)):
        active = [np.count_nonzero(row) for row in matrices[place]]
        means[place] = [
            np.mean(
                [active[n] for n, row in enumerate(texts.pairs) if (row.topic, row.form) == name]
            )
            for name in names
        ]
    found = one(rows, metric="l0_spearman", layer=1)
    slow = spearmanr(*means.values())
    assert found["value"] == pytest.approx(slow.statistic)
    assert found["p_value"] == pytest.approx(slow.pvalue)
    assert found["mode"] == "published"
    partial = one(rows, metric="l0_spearman_beyond_length", layer=1)
    assert partial["n"] == 11
    assert partial["ci_low"] < partial["value"] < partial["ci_high"]


def test_a_fixed_number_of_active_features_says_nothing() -> None:
    texts, values = planted_study()
    ones = np.ones_like(values)
    matrices = {("published", 0, "max"): ones, ("calibrated", 0, "max"): values}
    side = Side("one", "tokens", 0, pooled_of(matrices))
    rows = align_models(side, side, texts, SETTINGS).to_pylist()
    assert one(rows, metric="l0_spearman")["value"] is None


def test_other_texts_are_refused(
    sides: tuple[StudyTexts, Side, Side, dict[tuple[str, int], np.ndarray]],
) -> None:
    texts, first, second, _ = sides
    with pytest.raises(SaeflowError) as error:
        align_models(first, second, StudyTexts(texts.pairs), SETTINGS)
    check_sentence(error.value, "one and two read 112 and 112 of 88 texts")
    wanted = SETTINGS.model_copy(update={"poolings": ("last",)})
    with pytest.raises(SaeflowError) as error:
        align_models(first, second, texts, wanted)
    check_sentence(error.value, "by last", "max")
