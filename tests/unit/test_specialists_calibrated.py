"""Choice on half A and report on half B: planted features are found, chance is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.stats import mannwhitneyu

from saeflow.config.specialists import (
    DiscoverySettings,
    SpecialistsCalibrated,
    SpecialistsStudy,
)
from saeflow.stats.selectivity import THRESHOLD
from saeflow.studies.specialists.calibrated import (
    adjust_records,
    calibrated_records,
    calibrated_rows,
    class_masks,
    held_out_rows,
    layer_threshold,
    texts_needed_rows,
)
from saeflow.studies.specialists.draws import draw
from saeflow.studies.specialists.overlap import CEILING, calibrated_overlap_rows
from saeflow.studies.specialists.summary import analyse_bank, analyse_words
from saeflow.studies.specialists.texts import StudyTexts, halves_of, study_sets
from tests.planted_study import KEY, QUICK, one, planted_study, pooled_of
from tests.planted_texts import FORM, PAIR, TOPIC

RUN = {"dictionary": "tokens", "seed": 0}


def discovered(kinds: tuple[str, ...], seed: int = 0) -> list[dict[str, Any]]:
    texts, values = planted_study(kinds, seed)
    return adjust_records(calibrated_records(values, draw(texts, QUICK), QUICK, KEY), QUICK)


def n_specialists(records: list[dict[str, Any]]) -> dict[str, float]:
    return {
        row["group"]: row["value"]
        for row in calibrated_rows(records, QUICK)
        if (row["metric"], row["control"]) == ("n_specialists", "none")
    }


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), {"pairs": 0, "categories": 0, "forms": 0}),
        ((FORM,), {"pairs": 11, "categories": 3, "forms": 11}),
        ((TOPIC,), {"pairs": 11, "categories": 0, "forms": 0}),
        ((PAIR,), {"pairs": 0, "categories": 0, "forms": 0}),
    ],
)
def test_each_set_finds_its_own_features(kinds: tuple[str, ...], expected: dict[str, int]) -> None:
    """A feature of the topic tells a class from other topics, not from other forms of its own."""
    assert n_specialists(discovered(kinds)) == expected


def test_areas_are_of_half_b_alone() -> None:
    texts, values = planted_study((FORM,), seed=5, strength=1.0)
    records = list(calibrated_records(values, draw(texts, QUICK), QUICK, KEY))
    (classes,) = (each for each in study_sets(texts, by_subject=True) if each.name == "pairs")
    halves = halves_of(texts, classes, seed=QUICK.seed, splits=QUICK.splits)
    part = values[classes.rows]
    for split, half in enumerate(halves, start=1):
        for number, name in enumerate(classes.names):
            (found,) = (
                each
                for each in records
                if (each["set"], each["class"], each["split"]) == ("pairs", name, split)
            )
            inside, outside = class_masks(classes, number)
            column = part[:, found["feature"]]
            for chosen, area in ((half, found["score"]), (~half, found["auroc"])):
                one_side, other = column[inside & chosen], column[outside & chosen]
                slow = mannwhitneyu(one_side, other).statistic / (len(one_side) * len(other))
                assert area == pytest.approx(slow)
            assert found["n_inside"] == (inside & ~half).sum()
            # Both topics of maths are one subject.
            maths = name.startswith("Math")
            assert found["n_outside"] == ((48 if maths else 40 + 24) // 2)


def test_chance_is_rarely_called_a_specialist() -> None:
    """Over seeds the smallest p-value of a class is uniform, and half B gives an area of one half."""
    p_values, areas, chosen = [], [], []
    for seed in range(12):
        for each in discovered((PAIR,), seed):
            if each["split"] == 0:
                p_values.append(each["p_value"])
            else:
                areas.append(each["auroc"])
                chosen.append(each["score"])
    assert len(p_values) == 12 * 25
    assert np.mean(np.array(p_values) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p_values))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
    assert np.mean(chosen) > 0.7


def test_a_test_is_adjusted_over_blocks_and_classes_of_its_set() -> None:
    texts, values = planted_study((FORM,), seed=1, strength=1.2)
    key = {**KEY, "layer": 2}
    draws = draw(texts, QUICK)
    both = [
        *calibrated_records(values, draws, QUICK, KEY),
        *calibrated_records(values[:, ::-1].copy(), draws, QUICK, key),
    ]
    found = adjust_records(both, QUICK)
    tested = [each for each in found if each["set"] == "pairs" and each["split"] == 0]
    assert len(tested) == 2 * 11
    p_values = np.array([each["p_value"] for each in tested])
    order = np.argsort(p_values)
    slow = [
        min(p_values[order[later]] * len(order) / (later + 1) for later in range(rank, len(order)))
        for rank in range(len(order))
    ]
    assert [tested[each]["q_value"] for each in order] == pytest.approx(slow)
    assert all(each["q_value"] is None for each in found if each["split"])
    for each in tested:
        mates = [
            other["auroc"]
            for other in found
            if (other["layer"], other["class"], other["set"])
            == (each["layer"], each["class"], "pairs")
            and other["split"]
        ]
        strong = np.mean(mates) >= QUICK.floor
        assert each["found"] == (each["q_value"] <= QUICK.q_value and strong)


def test_the_study_s_rule_does_not_hold_on_other_pairs() -> None:
    """Of pairs' features it calls every class a specialist on half A, and none is one on half B."""
    texts, values = planted_study((PAIR,))
    draws = draw(texts, QUICK)
    rows = list(held_out_rows(values, draws, DiscoverySettings(), QUICK, KEY))
    assert one(rows, group="pairs", metric="rule_half_a")["value"] == 11
    assert one(rows, group="pairs", metric="rule_half_b")["value"] == 0
    _, values = planted_study((FORM,))
    for rule in ("rule", "percentile"):
        rows = list(held_out_rows(values, draws, DiscoverySettings(), QUICK, KEY))
        assert one(rows, group="pairs", metric=f"{rule}_half_b")["value"] == 11
        # A block whose values are ten times smaller has no specialist by the fixed threshold.
    rows = list(held_out_rows(values / 10, draws, DiscoverySettings(), QUICK, KEY))
    assert one(rows, group="pairs", metric="rule_half_a")["value"] == 0
    assert one(rows, group="pairs", metric="percentile_half_b")["value"] == 11
    assert DiscoverySettings().threshold == THRESHOLD


def test_threshold_of_a_block_is_of_what_is_active() -> None:
    values = np.array([[0.0, 1.0], [3.0, -2.0], [2.0, 0.0]])
    assert layer_threshold(values, 50.0) == 2.0
    assert layer_threshold(np.zeros((2, 2)), 50.0) == 0.0


def test_more_pairs_find_better_features() -> None:
    texts, values = planted_study((FORM,), seed=3, strength=1.0, n_pairs=16, n_noise=200)
    settings = QUICK.model_copy(update={"sizes": (2, 8, 16)})
    rows = list(texts_needed_rows(values, draw(texts, settings), KEY))
    few, many = (
        one(rows, group=f"pairs, {size} of each", metric="auroc_by_size")["value"]
        for size in (2, 8)
    )
    assert few < many
    # All 16 pairs would leave none to report on; of categories there are 8 texts only.
    assert {row["group"] for row in rows} == {
        "pairs, 2 of each", "pairs, 8 of each", "categories, 2 of each",
    }  # fmt: skip


def test_overlap_reaches_its_ceiling_where_forms_are_alike() -> None:
    shared = {}
    for kinds in ((FORM,), (TOPIC,)):
        texts, values = planted_study(kinds, seed=1)
        values[values < 4] = 0  # noise
        rows = list(calibrated_overlap_rows(values, texts, DiscoverySettings(), QUICK, KEY))
        ceiling = one(rows, group="all", metric="jaccard_halves", control=CEILING)
        assert ceiling["value"] == pytest.approx(1)
        shared[kinds] = one(rows, group="Python", metric="jaccard_relative")["value"]
        floor = one(rows, group="Python", metric="jaccard_halves", control="chance")["value"]
        # One feature each: drawn from two that are active, or the same one.
        assert floor == pytest.approx(0.5 if kinds == (FORM,) else 1)
        assert len(rows) == 4 * (1 + 4 + 10)
    assert shared[(FORM,)] == 0
    assert shared[(TOPIC,)] == pytest.approx(1)


def test_overlap_of_noise_is_at_its_floor_and_ceiling_alike() -> None:
    texts, values = planted_study(seed=1, n_pairs=12, n_noise=200)
    settings = DiscoverySettings(top_means=30)
    rows = list(calibrated_overlap_rows(values, texts, settings, QUICK, KEY))
    found, ceiling, floor = (
        one(rows, group="all", metric="jaccard_halves", control=control)["value"]
        for control in ("none", CEILING, "chance")
    )
    assert found == pytest.approx(floor, abs=0.02)
    assert ceiling == pytest.approx(floor, abs=0.02)


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    texts, values = planted_study((FORM, TOPIC))
    shuffled = np.random.default_rng(0).permuted(values, axis=0)
    pooled = pooled_of(
        {
            ("published", 0, "max"): values,
            ("published", 2, "max"): shuffled,
            ("calibrated", 0, "max"): values,
            ("calibrated", 2, "max"): shuffled,
        }
    )
    found = analyse_bank(texts, pooled, DiscoverySettings(), QUICK, RUN)
    frame: pd.DataFrame = found.numbers.to_pandas()
    return frame


def test_every_number_is_named_once(numbers: pd.DataFrame) -> None:
    key = ["part", "mode", "layer", "pooling", "group", "metric", "control"]
    assert not numbers.duplicated(key).any()
    assert set(numbers["part"]) == {
        "discovery", "overlap", "geometry", "retrieval", "variance", "sparsity",
    }  # fmt: skip


def test_blocks_are_told_apart(numbers: pd.DataFrame) -> None:
    found = numbers[(numbers["metric"] == "n_specialists") & (numbers["control"] == "none")]
    counts = found.set_index(["mode", "group", "layer"])["value"]
    assert counts["calibrated", "pairs", 0] == 11
    assert counts["calibrated", "pairs", 2] == 0
    assert counts["published", "pairs", 0] == 11


def test_q_values_are_adjusted_and_published_ones_are_not(numbers: pd.DataFrame) -> None:
    tested = numbers[numbers["p_value"].notna()]
    own = tested[tested["mode"] == "calibrated"]
    assert (own["q_value"] >= own["p_value"] - 1e-12).all()
    assert tested[tested["mode"] == "published"]["q_value"].isna().all()


def test_two_runs_are_equal_and_words_need_no_bank() -> None:
    texts, values = planted_study((TOPIC,), words=("topic",))
    pooled = pooled_of({("published", 0, "max"): values, ("calibrated", 0, "max"): values})
    first, second = (analyse_bank(texts, pooled, DiscoverySettings(), QUICK, RUN) for _ in range(2))
    for one_table, other in zip(first, second, strict=True):
        assert one_table.equals(other)
    words = analyse_words(texts, QUICK)
    frame = words.numbers.to_pandas()
    assert set(frame["control"]) == {"words", "trigrams", "characters"}
    assert frame["layer"].isna().all()
    assert len(words.similarities) == 2 * 5 * 11 * 11
    difference = frame[(frame["metric"] == "difference") & (frame["group"] == "topics")]
    assert (difference["p_value"] <= 0.05).all()


def test_categories_may_be_missing() -> None:
    texts, values = planted_study((FORM,))
    alone = StudyTexts(texts.pairs)
    values = values[: len(texts.pairs)]
    pooled = pooled_of({("published", 0, "max"): values, ("calibrated", 0, "max"): values})
    found = analyse_bank(alone, pooled, DiscoverySettings(), QUICK, RUN)
    assert set(found.features["set"].to_pylist()) == {"pairs", "forms"}


@pytest.mark.parametrize(
    "broken",
    [
        {"pooling": {"poolings": ["max", "max"]}},
        {"pooling": {"poolings": ["mean"]}},
        {"pooling": {"poolings": []}},
        {"sizes": [2, 2]},
        {"sizes": [0]},
        {"permutations": 5},
        {"floor": 0.4},
        {"percentile": 100.0},
        {"split": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SpecialistsCalibrated.model_validate(broken)


def test_settings_have_the_published_values() -> None:
    found = SpecialistsStudy.model_validate(
        {"published": {"models": {"llama": {"dictionaries": ["tokens"]}, "dropped": None}}}
    )
    assert list(found.published.models) == ["llama"]
    published = found.published
    assert (published.threshold, published.candidates) == (5.0, 5)
    assert (published.top_means, published.top_scores) == (20, 5)
    assert found.calibrated.splits == 5
    assert SpecialistsCalibrated(sizes=(8, 2)).sizes == (2, 8)
