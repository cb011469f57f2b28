"""Contrast sets and halves of the specialists study, on the published texts and on small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saeflow.datasets.matched.bundled import bundled_pairs
from saeflow.datasets.matched.contrast import (
    category_halves,
    category_sets,
    contrast_sets,
    pair_halves,
    subject_of,
)
from saeflow.datasets.matched.published import (
    CategoryText,
    MatchedText,
    read_categories,
    read_matched_pairs,
)
from saeflow.datasets.texts.pairs import pair_texts
from saeflow.errors import SaeflowError
from tests.conftest import DATA
from tests.sentences import check_sentence


@pytest.fixture(scope="module")
def published() -> Path:
    folder = DATA / "matched_pairs"
    if not (folder / "matched_pairs.json").is_file():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="module")
def bundled() -> list[MatchedText]:
    return bundled_pairs(pair_texts(seed=0, n_per_topic=150))


@pytest.mark.data
def test_the_published_contrasts(published: Path) -> None:
    rows = read_matched_pairs(published / "matched_pairs.json")
    found = contrast_sets(rows)
    sizes = {topic: len(each.contrast) for (topic, _), each in found.items()}
    assert list(sizes.values()) == [589, 589, 618, 583, 583, 583, 583]
    assert [len(each.inside) for each in found.values()] == [33] * 6 + [35] * 14
    for (topic, form), each in found.items():
        assert {(rows[place].topic, rows[place].form) for place in each.inside} == {(topic, form)}
        assert topic not in {rows[place].topic for place in each.contrast}
    by_subject = contrast_sets(rows, by_subject=True)
    assert len(by_subject["Math_Simple", "prose"].contrast) == 490
    assert len(by_subject["Social", "standard"].contrast) == 583


@pytest.mark.data
def test_the_published_contrasts_of_categories(published: Path) -> None:
    found = category_sets(read_categories(published / "categories70.json"))
    assert [(len(each.inside), len(each.contrast)) for each in found.values()] == [(10, 60)] * 7


def test_contrasts_hold_each_text_once_and_none_from_inside() -> None:
    rows = [
        MatchedText("a", "Python", "code", 0),
        MatchedText("a", "Python", "code", 1),
        MatchedText("b", "Python", "pseudo", 0),
        MatchedText("a", "Social", "standard", 0),
        MatchedText("c", "Social", "standard", 1),
        MatchedText("c", "Formal", "plain", 0),
    ]
    found = contrast_sets(rows)
    assert list(found) == [
        *(("Python", "code"), ("Python", "pseudo"), ("Social", "standard"), ("Formal", "plain"))
    ]
    assert found["Python", "code"].inside.tolist() == [0]
    assert found["Python", "code"].contrast.tolist() == [4]
    assert found["Python", "pseudo"].contrast.tolist() == [3, 4]
    assert found["Formal", "plain"].contrast.tolist() == [0, 2]


def test_nothing_to_be_told_from_is_told() -> None:
    rows = [MatchedText("a", "Python", "code", 0), MatchedText("b", "Python", "pseudo", 0)]
    with pytest.raises(SaeflowError) as caught:
        contrast_sets(rows)
    check_sentence(caught.value, "('Python', 'code') has no texts of other topics")
    with pytest.raises(SaeflowError, match="'A' has no texts of other topics"):
        category_sets([CategoryText(*pair) for pair in ("aA", "aB")])


def test_maths_is_one_subject() -> None:
    assert subject_of("Math_Simple") == subject_of("Math_Complex") == "Math"
    assert subject_of("Python") == "Python"


def test_halves_split_pairs_whole_and_evenly(bundled: list[MatchedText]) -> None:
    rows = bundled
    halves = pair_halves(rows, seed=3, repeats=40)
    assert halves.shape == (40, len(rows))
    surplus = dict.fromkeys([row.topic for row in rows], 0)
    for half in halves:
        chosen = {row.content for row, first in zip(rows, half, strict=True) if first}
        other = {row.content for row, first in zip(rows, half, strict=True) if not first}
        assert not chosen & other
        for topic in surplus:
            sizes = [sum(name == topic for name, _ in part) for part in (chosen, other)]
            assert abs(sizes[0] - sizes[1]) == sum(sizes) % 2
            surplus[topic] += sizes[0] - sizes[1]
        for part in (half, ~half):
            assert len({(rows[place].topic, rows[place].form) for place in part.nonzero()[0]}) == 20
    # The odd pair goes to either half: 40 coins are almost never all the same.
    assert all(abs(each) < 30 for each in surplus.values())
    # Every pair is chosen about half of the time, and no two repeats are alike.
    assert 0.15 < halves.mean(0).min() < halves.mean(0).max() < 0.85
    assert len(np.unique(halves, axis=0)) == 40


def test_halves_depend_on_seed_and_pairs_alone(bundled: list[MatchedText]) -> None:
    rows = bundled
    halves = pair_halves(rows, seed=0)
    assert halves.shape[0] == 5
    np.testing.assert_array_equal(pair_halves(rows, seed=0, repeats=2), halves[:2])
    assert (pair_halves(rows, seed=1) != halves).any()
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = pair_halves([rows[place] for place in order], seed=0)
    np.testing.assert_array_equal(shuffled, halves[:, order])
    some = [place for place, row in enumerate(rows) if row.topic != "Social"]
    np.testing.assert_array_equal(pair_halves([rows[p] for p in some], seed=0), halves[:, some])


def test_categories_are_halved_too_and_one_item_cannot_be() -> None:
    rows = [CategoryText(f"{name} {number}", name) for number in range(10) for name in "AB"]
    halves = category_halves(rows, seed=0, repeats=20)
    for name in "AB":
        own = [row.category == name for row in rows]
        assert (halves[:, own].sum(1) == 5).all()
    with pytest.raises(SaeflowError, match="C has one item, which cannot be split"):
        category_halves([*rows, CategoryText("c", "C")], seed=0)
    single = [MatchedText(form, "Python", form, 0) for form in ("code", "pseudo")]
    with pytest.raises(SaeflowError, match="Python has one item"):
        pair_halves(single, seed=0)


def test_topics_are_split_independently() -> None:
    rows = [MatchedText(f"{t} {n}", t, "", n) for t in ("Python", "Social") for n in range(20)]
    halves = pair_halves(rows, seed=0, repeats=30)
    # Of 20 pairs about 10 fall on the same side in both topics, not all of them.
    assert 0.4 < (halves[:, :20] == halves[:, 20:]).mean() < 0.6
