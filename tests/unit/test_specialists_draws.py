"""What is drawn once for all blocks, how many specialists chance gives, and signed features."""

from __future__ import annotations

import numpy as np
import pytest

from saeflow.config.specialists import DiscoverySettings
from saeflow.stats.selectivity_null import max_nulls
from saeflow.stats.signed import halves
from saeflow.studies.specialists.calibrated import (
    adjust_records,
    calibrated_records,
    calibrated_rows,
    passing_share,
)
from saeflow.studies.specialists.draws import draw, some_clusters
from saeflow.studies.specialists.summary import analyse_bank
from saeflow.studies.specialists.texts import halves_of, pair_classes
from tests.planted_study import KEY, QUICK, one, planted_study, pooled_of
from tests.planted_texts import FORM, PAIR

RUN = {"dictionary": "tokens", "seed": 0}


def test_draws_are_of_all_sets_and_depend_on_texts_alone() -> None:
    texts, _ = planted_study()
    found, again = (draw(texts, QUICK) for _ in range(2))
    assert [each.classes.name for each in found.tested] == ["pairs", "categories"] + ["forms"] * 4
    assert [each.classes.name for each in found.studied] == ["pairs", "categories"]
    # Of 8 pairs of a topic, or texts of a category.
    assert [(each.classes.name, each.size) for each in found.sized] == [
        ("pairs", 2), ("pairs", 4), ("categories", 2), ("categories", 4),
    ]  # fmt: skip
    for one_set, other in zip(
        found.tested + found.studied, again.tested + again.studied, strict=True
    ):
        classes = one_set.classes
        np.testing.assert_array_equal(one_set.splits, other.splits)
        halved = halves_of(texts, classes, seed=QUICK.seed, splits=QUICK.splits)
        np.testing.assert_array_equal(one_set.splits, halved)
        assert len(one_set.designs) == len(classes.names)
        for number, design in enumerate(one_set.designs):
            np.testing.assert_array_equal(design.drawn_inside, other.designs[number].drawn_inside)
            assert not (design.drawn_inside & design.drawn_outside).any()
            assert (design.drawn_inside.sum(0) == (classes.classes == number).sum()).all()
    for one_set in found.studied:
        for number, design in enumerate(one_set.designs):
            inside, outside = one_set.classes.masks(number)
            np.testing.assert_array_equal(design.inside, inside)
            np.testing.assert_array_equal(design.outside, outside)
            assert design.drawn_inside.shape[1] == QUICK.relabelings
    assert found.tested[0].designs[0].drawn_inside.shape[1] == QUICK.permutations


def test_choice_of_some_pairs_is_even_and_whole() -> None:
    texts, _ = planted_study()
    classes = pair_classes(texts)
    chosen = some_clusters(classes, 3, 4, seed=0)
    assert chosen is not None
    for each in chosen:
        assert (np.bincount(classes.classes[each]) == 3).all()
        assert not set(classes.clusters[each]) & set(classes.clusters[~each])
    assert len(np.unique(chosen, axis=0)) == 4
    assert some_clusters(classes, 8, 4, seed=0) is None


def test_share_of_relabelings_that_pass_is_counted() -> None:
    """Each relabeling in turn is told from all others and the observed class, as that one is."""
    texts, values = planted_study((FORM,), strength=1.0)
    (drawn,) = (each for each in draw(texts, QUICK).tested if each.classes.name == "pairs")
    null = max_nulls(values[drawn.classes.rows], drawn.designs[:1])[0]
    every = np.append(null.maxima, null.statistic.max())
    p_values = np.array([(every >= each - 1e-12).mean() for each in every])
    for n_passed, n_tested in ((11, 11), (5, 11), (1, 11), (0, 11), (0, 20), (1, 30)):
        q_values = [0.01] * n_passed + [0.5] * (n_tested - n_passed)
        line = QUICK.q_value * max(n_passed, 1) / n_tested
        assert passing_share(q_values, QUICK) == pytest.approx((p_values <= line + 1e-12).mean())


def test_chance_of_specialists_is_of_all_blocks_adjusted_together() -> None:
    texts, values = planted_study((FORM,))
    shuffled = np.random.default_rng(0).permuted(values, axis=0)
    draws = draw(texts, QUICK)
    records = adjust_records(
        [
            *calibrated_records(values, draws, QUICK, KEY),
            *calibrated_records(shuffled, draws, QUICK, {**KEY, "layer": 2}),
        ],
        QUICK,
    )
    rows = list(calibrated_rows(records, QUICK))
    passed = sum(
        each["q_value"] <= 0.05 for each in records if each["set"] == "pairs" and not each["split"]
    )
    assert passed >= 11
    for layer, expected in ((1, 11), (2, 0)):
        found = one(rows, layer=layer, group="pairs", metric="n_specialists")
        assert (found["value"], found["n"]) == (expected, 11)
        chance = one(rows, layer=layer, group="pairs", metric="n_specialists", control="relabeled")
        # 22 classes are adjusted together, half of which pass: at a p-value of about .025.
        assert chance["value"] == pytest.approx(11 * np.floor(100 * 0.05 * passed / 22) / 100)


def test_no_more_relabelled_classes_pass_than_expected() -> None:
    """Where nothing is planted but pairs, as many pass at a line as the chance row says."""
    counted, expected = 0, 0.0
    for seed in range(12):
        texts, values = planted_study((PAIR,), seed)
        records = list(calibrated_records(values, draw(texts, QUICK), QUICK, KEY))
        p_values = [each["p_value"] for each in records if not each["split"]]
        share = passing_share([0.0] * len(p_values), QUICK)  # the line at which all pass: .05
        counted += sum(each <= 0.05 for each in p_values)
        expected += share * len(p_values)
    assert expected == pytest.approx(12 * 25 * 0.05)
    assert abs(counted - expected) < 3.5 * np.sqrt(expected)


def test_a_feature_may_stand_for_a_class_by_being_negative() -> None:
    texts, values = planted_study((FORM,))
    pooled = pooled_of({("published", 1, "max"): values, ("calibrated", 1, "max"): values})
    turned = values.copy()
    turned[:, ::2] *= -1
    signed = pooled_of({("published", 1, "max"): turned, ("calibrated", 1, "max"): turned})
    assert signed.signed
    assert not pooled.signed
    plain, found = (
        analyse_bank(texts, each, DiscoverySettings(), QUICK, RUN).features.to_pandas()
        for each in (pooled, signed)
    )
    plain, found = (each[each["mode"] == "calibrated"] for each in (plain, found))
    assert (plain["sign"] == 1).all()
    assert (found["sign"] == np.where(found["feature"] % 2 == 0, -1, 1)).all()
    assert set(found["sign"]) == {-1, 1}
    # Silent halves change neither the best feature nor what the best of all is by chance.
    same = ["feature", "score", "auroc", "d_prime", "p_value", "chance_score", "found"]
    assert plain[same].equals(found[same])


def test_halves_have_the_index_of_their_feature() -> None:
    texts, values = planted_study((FORM,))
    draws = draw(texts, QUICK)
    plain = list(calibrated_records(values, draws, QUICK, KEY))
    d_sae = values.shape[1]
    negative = list(calibrated_records(halves(-values), draws, QUICK, KEY, d_sae=d_sae))
    assert [each["feature"] for each in plain] == [each["feature"] for each in negative]
    assert {each["sign"] for each in negative} == {-1}
