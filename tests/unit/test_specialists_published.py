"""The study's own criteria, overlap and sparsity against slow versions, and texts as tables."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.specialists import (
    SPECIALIST_ARTIFACTS,
    SPECIALIST_FEATURES,
    SPECIALIST_TEXTS,
    SPECIALISTS,
)
from saeflow.artifacts.tables import write_table
from saeflow.config.specialists import DiscoverySettings
from saeflow.datasets.matched.published import (
    CategoryText,
    MatchedText,
    read_categories,
    read_matched_pairs,
)
from saeflow.errors import SaeflowError
from saeflow.studies.specialists.draws import draw
from saeflow.studies.specialists.overlap import published_overlap_rows
from saeflow.studies.specialists.published import (
    chance_rows,
    published_records,
    published_rows,
    sparsity_rows,
)
from saeflow.studies.specialists.rows import features_table, numbers_table
from saeflow.studies.specialists.texts import (
    StudyTexts,
    form_classes,
    pair_classes,
    read_texts,
    texts_table,
)
from tests.conftest import DATA
from tests.planted_study import CATEGORIES, KEY, N_CATEGORY, QUICK, one, planted_study
from tests.planted_texts import FORM, PAIR, TOPIC
from tests.sentences import check_sentence

SETTINGS = DiscoverySettings(threshold=2.0, candidates=4, top_means=6, top_scores=3)
PROVENANCE = Provenance("abc", 3)


def slow_specialist(values: np.ndarray, inside: list[int], outside: list[int]) -> tuple[int, int]:
    """Feature and score by the loop that methods/3, section 4.4, tells."""
    features = range(values.shape[1])
    listed = sorted(features, key=lambda each: (-max(values[inside, each]), each))[:4]
    best, best_score = -1, -1
    for feature in listed:
        score = sum(values[text, feature] > 2.0 for text in inside)
        score -= sum(values[text, feature] > 2.0 for text in outside)
        if score > best_score:
            best, best_score = feature, score
    return best, best_score


def places(texts: StudyTexts, topic: str, form: str) -> tuple[list[int], list[int]]:
    rows = list(enumerate(texts.pairs))
    inside = [number for number, row in rows if (row.topic, row.form) == (topic, form)]
    return inside, [number for number, row in rows if row.topic != topic]


@pytest.mark.parametrize("kinds", [(), (FORM,), (TOPIC, PAIR)])
def test_specialists_equal_the_slow_loop(kinds: tuple[str, ...]) -> None:
    texts, values = planted_study(kinds, seed=4, strength=2.0)
    records = list(published_records(values, texts, SETTINGS, KEY))
    checked = 0
    for row in dict.fromkeys((row.topic, row.form) for row in texts.pairs):
        inside, outside = places(texts, *row)
        found = one(
            [{**each, "control": "none"} for each in records],
            **{"class": f"{row[0]}: {row[1]}", "criterion": "specialist"},
        )
        feature, score = slow_specialist(values, inside, outside)
        assert (found["feature"], found["score"], found["found"]) == (feature, score, score > 0)
        assert (found["n_inside"], found["n_outside"]) == (len(inside), len(outside))
        assert feature < 0 or found["inside"] - found["outside"] == score
        checked += found["found"]
    start = len(texts.pairs)
    for place, name in enumerate(CATEGORIES):
        inside = [start + place * N_CATEGORY + each for each in range(N_CATEGORY)]
        outside = [each for each in range(start, len(values)) if each not in inside]
        (found,) = (
            each for each in records if each["class"] == name and each["set"] == "categories"
        )
        assert (found["feature"], found["score"]) == slow_specialist(values, inside, outside)
    rows = list(published_rows(records, KEY))
    assert one(rows, group="pairs", metric="n_specialists")["value"] == checked
    assert one(rows, group="pairs", metric="n_specialists")["n"] == 11


def test_leaders_are_of_the_whole_set() -> None:
    texts, values = planted_study((FORM,), seed=1)
    part = values[: len(texts.pairs)]
    records = [
        each
        for each in published_records(values, texts, SETTINGS, KEY)
        if each["set"] == "pairs" and each["class"] == "all"
    ]
    found = {each["criterion"]: each for each in records}
    assert found["strongest"]["feature"] == np.unravel_index(part.argmax(), part.shape)[1]
    assert found["strongest"]["score"] == part.max()
    assert found["frequent"]["score"] == (part > 0).sum(0).max()
    above = (part > 2.0).sum(0)
    assert found["selective"]["score"] == above[above > 0].min()


def test_score_of_one_of_many_is_what_classes_without_meaning_get() -> None:
    """Features of pairs alone make every class a specialist by the study's rule, and any other."""
    texts, values = planted_study((PAIR,))
    settings = DiscoverySettings()
    rows = list(published_rows(published_records(values, texts, settings, KEY), KEY))
    rows += chance_rows(values, draw(texts, QUICK), settings, KEY)
    observed = one(rows, group="pairs", metric="n_specialists")
    relabeled = one(rows, group="pairs", metric="n_specialists", control="relabeled")
    assert observed["value"] == relabeled["value"] == 11
    assert one(rows, group="pairs", metric="mean_score")["value"] == 1


def test_relabelled_classes_have_no_planted_specialist() -> None:
    texts, values = planted_study((FORM,))
    rows = list(published_rows(published_records(values, texts, DiscoverySettings(), KEY), KEY))
    rows += chance_rows(values, draw(texts, QUICK), DiscoverySettings(), KEY)
    for group, classes in (("pairs", 11), ("categories", 3)):
        assert one(rows, group=group, metric="n_specialists")["value"] == classes
        relabeled = one(rows, group=group, metric="n_specialists", control="relabeled")
        assert relabeled["value"] < classes / 3
        assert relabeled["n"] == 9
    none = draw(texts, QUICK.model_copy(update={"relabelings": 0}))
    assert list(chance_rows(values, none, DiscoverySettings(), KEY)) == []


def test_overlap_equals_sets_by_hand() -> None:
    texts, values = planted_study((FORM, TOPIC), seed=2, strength=2.0)
    rows = list(published_overlap_rows(values, texts, SETTINGS, KEY))
    means, scores = {}, {}
    for name in dict.fromkeys((row.topic, row.form) for row in texts.pairs):
        inside, outside = places(texts, *name)
        average = values[inside].astype(np.float64).mean(0)
        means[name] = set(sorted(range(len(average)), key=lambda each: (-average[each], each))[:6])
        score = (values[inside] > 2.0).sum(0) - (values[outside] > 2.0).sum(0)
        ranked = sorted(
            range(len(score)),
            key=lambda each: (-score[each], -max(values[inside, each]), each),
        )
        scores[name] = {each for each in ranked[:3] if score[each] > 0}
    for metric, sets in (("jaccard_top_means", means), ("jaccard_top_scores", scores)):
        every = []
        for first, second in combinations(sets, 2):
            if first[0] != second[0]:
                continue
            label = f"{first[0]}: {first[1]} ~ {second[1]}"
            found = one(rows, group=label, metric=metric)["value"]
            either = sets[first] | sets[second]
            if not either:
                assert found is None
                continue
            assert found == pytest.approx(len(sets[first] & sets[second]) / len(either))
            every.append(found)
        overall = one(rows, group="all", metric=metric)
        assert overall["value"] == pytest.approx(np.mean(every))
        assert overall["n"] == len(every)


def test_l0_is_counted_by_class() -> None:
    texts, values = planted_study(seed=3)
    rows = list(sparsity_rows(values, texts, KEY))
    inside, _ = places(texts, "Python", "form1")
    expected = np.mean([np.count_nonzero(values[each]) for each in inside])
    found = one(rows, group="Python: form1", metric="l0")
    assert found["value"] == pytest.approx(expected)
    assert found["n"] == len(inside)
    assert len(rows) == 11 + len(CATEGORIES)


def test_tables_fit_their_schema(tmp_path: Path) -> None:
    texts, values = planted_study((FORM,))
    records = list(published_records(values, texts, SETTINGS, KEY))
    write_table(features_table(records), tmp_path / "a", SPECIALIST_FEATURES, PROVENANCE)
    rows = list(published_rows(records, KEY))
    write_table(numbers_table(rows), tmp_path / "b", SPECIALISTS, PROVENANCE)
    write_table(texts_table(texts), tmp_path / "c", SPECIALIST_TEXTS, PROVENANCE)
    for artifact in SPECIALIST_ARTIFACTS:
        assert set(artifact.keys) <= set(artifact.column_names())
        assert artifact.about.endswith(".")
        assert all(column.about.endswith(".") for column in artifact.columns)


def test_texts_come_back_from_their_table() -> None:
    texts = StudyTexts(
        (
            MatchedText("1+1", "Math_Simple", "symbolic", 0, "addition", "2"),
            MatchedText("😀", "Social", "full_social", 7, "smile"),
        ),
        (CategoryText("x", "A"), CategoryText("今日", "B"), CategoryText("y", "A")),
    )
    table = texts_table(texts)
    assert read_texts(table) == texts
    assert table["pair"].to_pylist() == [0, 7, 0, 0, 1]
    assert table["expected"].to_pylist() == ["2", None, None, None, None]
    assert read_texts(table.take([4, 2, 0, 1, 3])) == texts
    with pytest.raises(SaeflowError) as error:
        read_texts(table.slice(1))
    check_sentence(error.value, "out of order")
    with pytest.raises(SaeflowError) as error:
        read_texts(table.slice(0, 0))
    check_sentence(error.value, "no matched pairs")


def test_classes_of_forms_hold_each_topic_once() -> None:
    texts, _ = planted_study()
    parts = form_classes(texts)
    assert [each.names for each in parts][2] == tuple(f"Python: form{n}" for n in range(3))
    assert [len(each.names) for each in parts] == [3, 2, 3, 3]
    rows = np.concatenate([each.rows for each in parts])
    assert sorted(rows.tolist()) == list(range(len(texts.pairs)))
    for each in parts:
        for number in range(len(each.names)):
            inside, outside = each.masks(number)
            assert (inside ^ outside).all()
            assert set(each.clusters[inside]) == set(each.clusters[outside])


def test_topics_of_maths_are_one_subject_beside_others_only() -> None:
    texts, _ = planted_study()
    subjects = pair_classes(texts, by_subject=True).group_of
    assert len(np.unique(subjects)) == 3
    maths = StudyTexts(tuple(row for row in texts.pairs if row.topic.startswith("Math")))
    assert len(np.unique(pair_classes(maths, by_subject=True).group_of)) == 2


@pytest.mark.data
def test_published_texts_give_the_published_contrasts() -> None:
    folder = DATA / "matched_pairs"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    texts = StudyTexts(
        tuple(read_matched_pairs(folder / "matched_pairs.json")),
        tuple(read_categories(folder / "categories70.json")),
    )
    assert json.loads((folder / "categories70.json").read_text())
    assert read_texts(texts_table(texts)) == texts
    values = np.random.default_rng(0).random((len(texts.contents), 12))
    records = list(published_records(values, texts, DiscoverySettings(), KEY))
    sizes = {
        each["class"].split(":")[0]: each["n_outside"]
        for each in records
        if each["criterion"] == "specialist" and each["set"] == "pairs"
    }
    assert sizes == {
        "Math_Simple": 589, "Math_Complex": 589, "Python": 618,
        "Non_English": 583, "Social": 583, "Formal": 583, "Conversational": 583,
    }  # fmt: skip
    assert sum(each["criterion"] == "specialist" for each in records) == 20 + 7
    overlaps = list(published_overlap_rows(values, texts, DiscoverySettings(), KEY))
    assert one(overlaps, group="all", metric="jaccard_top_means")["n"] == 19
