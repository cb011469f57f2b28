"""Clustering by topic, retrieval of pairs and shares of variance: each finds what is planted for it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from saeflow.datasets.matched.published import MatchedText, read_matched_pairs
from saeflow.errors import SaeflowError
from saeflow.stats.geometry import cosines, gram_matrix
from saeflow.stats.lexical import TERMS, term_frequencies
from saeflow.studies.specialists.baselines import Baselines, lexical_baselines
from saeflow.studies.specialists.geometry import (
    calibrated_geometry_rows,
    calibrated_similarity,
    lexical_records,
    lexical_rows,
    published_geometry_rows,
    published_similarity,
    similarity_records,
)
from saeflow.studies.specialists.retrieval import against_words, pair_draws
from saeflow.studies.specialists.texts import StudyTexts
from tests.conftest import DATA
from tests.planted_study import KEY, QUICK, one, planted_study
from tests.planted_texts import FORM, PAIR, TOPIC
from tests.sentences import check_sentence


def analysed(kinds: tuple[str, ...], seed: int = 0, **sizes: Any) -> list[dict[str, Any]]:
    texts, values = planted_study(kinds, seed, **sizes)
    words = lexical_baselines(texts, QUICK.seed)
    return geometry_of(values, words)


def geometry_of(values: np.ndarray, words: Baselines) -> list[dict[str, Any]]:
    draws = pair_draws(words.classes, QUICK)
    return list(calibrated_geometry_rows(values, words, draws, QUICK, KEY))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.sqrt(first @ first * (second @ second)))


def test_published_numbers_equal_those_by_hand() -> None:
    texts, values = planted_study((FORM, TOPIC), seed=2, strength=1.5)
    words = lexical_baselines(texts, QUICK.seed)
    rows = list(published_geometry_rows(values, texts, words, KEY))
    names = list(dict.fromkeys((row.topic, row.form) for row in texts.pairs))
    means = [
        np.mean(
            [values[n] for n, row in enumerate(texts.pairs) if (row.topic, row.form) == name],
            axis=0,
            dtype=np.float64,
        )
        for name in names
    ]
    within, across, same_form = [], [], []
    for one_class, two in combinations(range(len(names)), 2):
        found = cosine(means[one_class], means[two])
        same = names[one_class][0] == names[two][0]
        (within if same else across).append(found)
        if not same and names[one_class][1] == names[two][1]:
            same_form.append(found)
    test = ttest_ind(within, across)
    expected = {
        "within": np.mean(within),
        "across": np.mean(across),
        "t": test.statistic,
        "same_form_across": np.mean(same_form),
    }
    for metric, value in expected.items():
        assert one(rows, group="topics", metric=metric)["value"] == pytest.approx(value), metric
    assert one(rows, group="topics", metric="t")["p_value"] == pytest.approx(test.pvalue)
    assert one(rows, group="topics", metric="within")["n"] == len(within) == 10
    centred = np.array(means) - np.mean(means, axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    for number in (1, 2):
        share = one(rows, group="topics", metric=f"variance_share_{number}")["value"]
        assert share == pytest.approx(variances[number - 1] / variances.sum())


def test_single_texts_are_compared_within_form_and_within_pair() -> None:
    texts, values = planted_study((PAIR,), seed=1)
    rows = list(published_geometry_rows(values, texts, lexical_baselines(texts, QUICK.seed), KEY))
    for metric, same in (("text_within_form", "form"), ("text_within_pair", "pair")):
        found = [
            cosine(values[first].astype(float), values[second].astype(float))
            for (first, a), (second, b) in combinations(enumerate(texts.pairs), 2)
            if a.topic == b.topic == "Python" and getattr(a, same) == getattr(b, same)
        ]
        row = one(rows, group="Python", metric=metric)
        assert row["value"] == pytest.approx(np.mean(found))
        assert row["n"] == len(found)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [((), ()), ((FORM,), ("form",)), ((TOPIC,), ("topic",)), ((PAIR,), ("pair",))],
)
def test_each_analysis_finds_its_own(kinds: tuple[str, ...], expected: tuple[str, ...]) -> None:
    rows = analysed(kinds)
    tests = {
        "topic": one(rows, group="topics", metric="difference"),
        "topic, beyond words": one(rows, group="topics", metric="difference_beyond_words"),
        "topic, partial": one(rows, group="topics", metric="mantel_beyond_words"),
        "pair": one(rows, group="all", metric="mrr"),
        "pair, against words": one(rows, group="all", metric="found_against_words"),
        **{
            f"{term}, share": one(rows, group=term, metric="share")
            for term in ("topic", "form", "pair")
        },
    }
    for name, row in tests.items():
        assert (row["p_value"] <= 0.05) == (name.split(",")[0] in expected), (name, row)


def test_chance_stands_beside_each_number() -> None:
    rows = analysed(())
    for metric in ("top_1", "mrr"):
        found = one(rows, group="all", metric=metric)
        chance = one(rows, group="all", metric=metric, control="chance")
        assert found["ci_low"] < chance["value"] < found["ci_high"]
        assert found["n"] == 32
    assert one(rows, group="all", metric="top_1", control="chance")["value"] == 1 / 8
    for metric in ("difference", "difference_beyond_words", "mantel_beyond_words"):
        found = one(rows, group="topics", metric=metric)
        null = one(rows, group="topics", metric=metric, control="relabeled")
        assert null["ci_low"] < found["value"] < null["ci_high"]
    perfect = one(analysed((PAIR,)), group="all", metric="top_1")
    assert perfect["value"] == 1
    assert perfect["interval"] == "none"


def test_forms_of_the_same_pairs_do_not_make_a_topic() -> None:
    """Features of pairs bring classes of a topic together only where they hold the same pairs."""
    texts, values = planted_study((PAIR,))
    words = lexical_baselines(texts, QUICK.seed)
    published = list(published_geometry_rows(values, texts, words, KEY))
    assert one(published, group="topics", metric="t")["p_value"] < 1e-6
    calibrated = geometry_of(values, words)
    assert one(calibrated, group="topics", metric="difference")["p_value"] > 0.05
    pairs = [{texts.pairs[n].content for n in words.apart if words.classes.classes[n] == each}
             for each in range(11)]  # fmt: skip
    assert all(not first & second for first, second in combinations(pairs, 2))
    assert all(pairs)


@pytest.mark.parametrize("mixed", [False, True])
def test_what_words_alone_give_is_not_beyond_words(mixed: bool) -> None:
    """Features that count words, or sizes of mixtures of them, cluster by topic, but not beyond."""
    texts, values = planted_study((), words=("topic",))
    words = lexical_baselines(texts, QUICK.seed)
    bag = term_frequencies([row.text for row in texts.pairs], TERMS["words"])
    if mixed:
        bag = np.abs(bag @ np.random.default_rng(0).normal(size=(bag.shape[1], 60)))
    counted = np.concatenate([bag, np.zeros((len(values) - len(bag), bag.shape[1]))])
    rows = geometry_of(counted, words)
    assert one(rows, group="topics", metric="difference")["p_value"] <= 0.05
    assert one(rows, group="words", metric="mantel")["p_value"] <= 0.05
    assert one(rows, group="topics", metric="explained_by_words")["value"] > 0.7
    for metric in ("difference_beyond_words", "mantel_beyond_words"):
        found = one(rows, group="topics", metric=metric)
        assert found["p_value"] is None or found["p_value"] > 0.05
        assert mixed or found["value"] is None or found["value"] == pytest.approx(0, abs=1e-9)
    baseline = list(lexical_rows(words, QUICK))
    assert one(baseline, part="geometry", group="topics", metric="difference", control="words",
               mode="calibrated")["p_value"] <= 0.05  # fmt: skip


def test_pairs_that_words_find_are_not_found_against_them() -> None:
    """Where words mislead, features that count them go along, and features of pairs do not."""
    texts, values = planted_study((PAIR,))
    words = lexical_baselines(texts, QUICK.seed)
    bag = term_frequencies([row.text for row in texts.pairs], TERMS["words"])
    np.testing.assert_array_less(np.nanmax(against_words(cosines(bag @ bag.T), words)), 0.51)
    gram = gram_matrix(values[words.classes.rows])
    assert np.nanmin(against_words(cosines(gram), words)) == 1
    neither = against_words(np.zeros_like(gram), words)
    np.testing.assert_array_equal(neither[~np.isnan(neither)], 0.5)


def test_comparison_against_words_equals_a_slow_one() -> None:
    texts, values = planted_study((PAIR,), seed=3, strength=1.0, words=("pair",))
    words = lexical_baselines(texts, QUICK.seed)
    similarity = cosines(gram_matrix(values[words.classes.rows]))
    found = against_words(similarity, words)
    some = 0
    for text, row in enumerate(texts.pairs):
        beaten = []
        for partner, other in enumerate(texts.pairs):
            if other.content != row.content or partner == text:
                continue
            for rival, third in enumerate(texts.pairs):
                if (third.topic, third.form) != (other.topic, other.form) or rival == partner:
                    continue
                if all(
                    words.of_texts[name][text, rival] >= words.of_texts[name][text, partner]
                    for name in ("words", "trigrams")
                ):
                    beaten.append(similarity[text, partner] > similarity[text, rival])
        assert np.isnan(found[text]) if not beaten else found[text] == np.mean(beaten)
        some += bool(beaten)
    # Words find most pairs of these, and are silent there.
    assert some < len(texts.pairs)


def test_chance_rarely_passes() -> None:
    p_values: dict[str, list[float]] = {}
    for seed in range(20):
        for row in analysed((FORM,), seed):
            if row["group"] in ("topics", "all", "topic", "pair") and row["p_value"] is not None:
                p_values.setdefault(f"{row['group']} {row['metric']}", []).append(row["p_value"])
    assert len(p_values) == 7, sorted(p_values)
    for name, found in p_values.items():
        assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20), name


def test_few_classes_leave_nothing_beyond_words() -> None:
    """Two topics in two forms: six similarities, which five baselines and a constant give exactly."""
    planted, values = planted_study((TOPIC,), forms=(2, 2))
    # Texts of one length would leave a similarity out.
    lengths = np.random.default_rng(0).integers(0, 9, len(planted.pairs)).tolist()
    texts = StudyTexts(
        tuple(
            replace(row, text=row.text + " longer" * more)
            for row, more in zip(planted.pairs, lengths, strict=True)
        ),
        planted.categories,
    )
    words = lexical_baselines(texts, QUICK.seed)
    rows = geometry_of(values, words)
    for metric in ("difference_beyond_words", "mantel_beyond_words", "explained_by_words"):
        row = one(rows, group="topics", metric=metric)
        assert row["value"] is row["p_value"] is None
    # Both topics are of maths, so that there is one subject and no second grouping.
    assert {row["group"] for row in rows if row["metric"] == "difference"} == {"topics"}


def test_features_that_are_all_zero_give_no_error() -> None:
    texts, values = planted_study()
    words = lexical_baselines(texts, QUICK.seed)
    rows = geometry_of(np.zeros_like(values), words)
    assert one(rows, group="topics", metric="difference")["value"] == 0
    assert one(rows, group="topics", metric="difference")["p_value"] == 1
    chance = one(rows, group="all", metric="mrr", control="chance")["value"]
    assert one(rows, group="all", metric="mrr")["value"] == pytest.approx(chance)
    published = list(published_geometry_rows(np.zeros_like(values), texts, words, KEY))
    assert one(published, group="topics", metric="t")["value"] is None


def test_fewer_pairs_than_forms_are_refused() -> None:
    rows = [
        MatchedText(f"{topic} {form} {pair}", topic, form, pair)
        for topic in ("A", "B")
        for form in ("x", "y", "z")
        for pair in range(2 if topic == "B" else 3)
    ]
    with pytest.raises(SaeflowError) as error:
        lexical_baselines(StudyTexts(tuple(rows)), 0)
    check_sentence(error.value, "'B: ", "as many pairs")


def test_similarities_are_listed_both_ways() -> None:
    texts, values = planted_study((TOPIC,))
    words = lexical_baselines(texts, QUICK.seed)
    names = words.classes.names
    for similarity in (published_similarity(values, words), calibrated_similarity(values, words)):
        listed = list(similarity_records(similarity, words.classes, KEY))
        assert len(listed) == 121
        found = {(each["first"], each["second"]): each["similarity"] for each in listed}
        assert found[names[0], names[4]] == similarity[0, 4]
        assert found[names[4], names[0]] == pytest.approx(similarity[0, 4])
        assert found[names[3], names[3]] == pytest.approx(1)
    records = list(lexical_records(words))
    assert {each["pooling"] for each in records} == {*TERMS, "word_length", "character_length"}


@pytest.mark.data
def test_words_of_the_published_texts_give_the_fixture() -> None:
    """methods/6, section 8; and the classes of a topic are that alike where they share no pair."""
    path = DATA / "matched_pairs" / "matched_pairs.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    texts = StudyTexts(tuple(read_matched_pairs(path)))
    rows = list(lexical_rows(lexical_baselines(texts, 0), QUICK))
    for name, within, across in (("words", 0.366, 0.107), ("trigrams", 0.428, 0.194)):
        for metric, expected in (("within", within), ("across", across)):
            found = one(rows, mode="published", group="topics", metric=metric, control=name)
            assert found["value"] == pytest.approx(expected, abs=5e-4)
        difference = one(rows, mode="calibrated", group="topics", metric="difference", control=name)
        assert difference["p_value"] == 1 / (1 + QUICK.permutations)
    assert one(rows, mode="published", group="topics", metric="within", control="words")["n"] == 19
