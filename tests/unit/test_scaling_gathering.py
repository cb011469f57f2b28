"""Contexts gathered from windows: halves by document, near misses that are near and miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from saeflow.config.scaling_explanations import ExplanationSettings
from saeflow.errors import SaeflowError
from saeflow.studies.scaling.contexts import FeatureContexts, contexts_table, read_contexts
from saeflow.studies.scaling.explanations import explain_and_score
from saeflow.studies.scaling.gathering import (
    Pool,
    Window,
    gather_contexts,
    half_of,
    read_windows,
)
from tests.sentences import check_sentence

SITE = {"dictionary": "wide", "seed": 0, "layer": 2}
WORDS = [f"w{number}" for number in range(8)]
LENGTH = 6
LATENTS = np.array([3, 7, 9])
"""3 fires on w1 after w0, 7 on w2, 9 on nothing."""


def values(tokens: Sequence[str], latent: int) -> np.ndarray:
    pairs = zip(["", *tokens[:-1]], tokens, strict=True)
    fires = {3: [pair == ("w0", "w1") for pair in pairs], 7: [each == "w2" for each in tokens]}
    return np.array(fires.get(latent, [False] * len(tokens)), np.float32)


@pytest.fixture(scope="module")
def drawn() -> tuple[dict[int, list[Window]], Pool]:
    generator = np.random.default_rng(0)
    texts = [tuple(generator.choice(WORDS, LENGTH).tolist()) for _ in range(1500)]
    windows = [
        Window(number // 2, text, np.zeros(LENGTH, np.float32)) for number, text in enumerate(texts)
    ]
    fires = np.array([[values(text, latent).any() for latent in (3, 7, 9)] for text in texts])
    activating: dict[int, list[Window]] = {
        latent: [
            Window(number // 2, text, values(text, latent), number % 4)
            for number, text in enumerate(texts)
            if values(text, latent).any()
        ][:80]
        for latent in (3, 7)
    }
    return activating, Pool(windows, fires, LATENTS)


def gathered(
    drawn: tuple[dict[int, list[Window]], Pool], **change: object
) -> list[FeatureContexts]:
    activating, pool = drawn
    given = {"neighbours": {3: [7, 1000]}, "groups": {0: "law"}, "count": 30, "seed": 0} | change
    return gather_contexts(activating, pool, **given)  # type: ignore[arg-type]


def test_documents_are_of_one_half(drawn: tuple[dict[int, list[Window]], Pool]) -> None:
    found = gathered(drawn)
    assert [each.feature for each in found] == [3, 7]
    for each in found:
        for part in ("train", "test"):
            contexts = each.train if part == "train" else each.test
            assert {half_of(context.document, 0) for context in contexts} == {part}
            for kind in ("activating", "random", "near_miss"):
                some = each.of_kind(part, kind)
                assert [context.example for context in some] == list(range(len(some)))
    # The reader refuses a document in both halves, and contexts of the wrong kind.
    assert len(read_contexts(contexts_table(found, SITE))) == 2
    halves = [half_of(number, 1) for number in range(2000)]
    assert 900 < halves.count("train") < 1100
    assert halves != [half_of(number, 0) for number in range(2000)]


def test_near_misses_are_near_and_miss(drawn: tuple[dict[int, list[Window]], Pool]) -> None:
    first, second = gathered(drawn)
    for part in ("train", "test"):
        near = first.of_kind(part, "near_miss")
        assert len(near) == 30
        assert len(first.of_kind(part, "random")) == 30
        holding = [each for each in near if "w1" in each.tokens]
        beside = [each for each in near if "w2" in each.tokens]
        assert len(holding) >= 15
        assert len(beside) >= 15
        assert {*map(id, holding)} | {*map(id, beside)} == {*map(id, near)}
        for each in near:
            assert not values(each.tokens, 3).any()
            assert not each.activations.any()
            if each in holding:
                assert each.tempting is not None
                marked = [t for t, m in zip(each.tokens, each.tempting, strict=True) if m]
                assert {*marked} == {"w1"}
            else:
                assert each.tempting is None
        windows = [(each.document, each.tokens) for each in near]
        others = [(each.document, each.tokens) for each in first.of_kind(part, "random")]
        assert not {*windows} & {*others}
        # Wherever its token is, the second fires; it has no neighbour here.
        assert second.of_kind(part, "near_miss") == []


def test_the_token_of_a_near_miss_comes_from_the_training_half(
    drawn: tuple[dict[int, list[Window]], Pool],
) -> None:
    """Test windows on which another token is stronger do not change what is drawn."""
    activating, pool = drawn
    changed = {
        feature: [
            replace(each, activations=np.where(each.activations > 0, 1, 99).astype(np.float32))
            if half_of(each.document, 0) == "test"
            else each
            for each in some
        ]
        for feature, some in activating.items()
    }
    for one, other in zip(gathered(drawn), gathered((changed, pool)), strict=True):
        for part in ("train", "test"):
            for kind in ("random", "near_miss"):
                own = [(c.document, c.tokens) for c in one.of_kind(part, kind)]
                assert own == [(c.document, c.tokens) for c in other.of_kind(part, kind)]


def test_explanations_pass_the_near_misses_that_they_must(
    drawn: tuple[dict[int, list[Window]], Pool],
) -> None:
    found = explain_and_score(gathered(drawn), {3: 0.1, 7: 0.1}, ExplanationSettings(), SITE)
    rows = {
        (row["feature"], row["method"], row["kind"]): row["balanced_accuracy"]
        for row in found.scores.to_pylist()
        if row["control"] == "none"
    }
    for method in ("detection", "fuzzing"):
        assert rows[3, method, "near_miss"] > 0.95
        assert rows[7, method, "random"] == 1
    single = ExplanationSettings.model_validate({"tokens": {"refinements": 0}})
    coarse = explain_and_score(gathered(drawn), {3: 0.1, 7: 0.1}, single, SITE)
    worse = [
        row["balanced_accuracy"]
        for row in coarse.scores.to_pylist()
        if (row["control"], row["feature"], row["kind"]) == ("none", 3, "near_miss")
    ]
    assert min(worse) < 0.9


def test_edges(drawn: tuple[dict[int, list[Window]], Pool]) -> None:
    activating, pool = drawn
    assert gather_contexts({}, pool, {}, {}, count=5, seed=0) == []
    (dead,) = gather_contexts({9: []}, pool, {}, {}, count=5, seed=0)
    assert {each.kind for each in dead.train} == {"random"}
    assert {each.group for each in gathered(drawn)[0].train} == {""} or half_of(0, 0) == "train"
    nothing = Pool([], np.zeros((0, 3), bool), LATENTS)
    (alone,) = gather_contexts({3: activating[3]}, nothing, {3: [7]}, {}, count=5, seed=0)
    assert {each.kind for each in (*alone.train, *alone.test)} == {"activating"}
    with pytest.raises(SaeflowError, match="feature 4") as error:
        gather_contexts({4: []}, pool, {}, {}, count=5, seed=0)
    check_sentence(error.value)


def test_windows_are_cut_to_what_counts() -> None:
    nan = float("nan")
    asked = list[int]()

    def show(token: int) -> str:
        asked.append(token)
        return "🙂" if token == 5 else f"t{token}"

    found = read_windows(
        np.array([4, 8, 9]),
        np.array([[-1, 0, 5], [1, 5, 1], [-1, -1, -1]]),
        np.array([[nan, nan, 2.0], [0.0, 1.5, 0.0], [nan] * 3], np.float32),
        np.array([1, -1, -1]),
        show,
    )
    assert [each.tokens for each in found] == [("🙂",), ("t1", "🙂", "t1"), ()]
    assert [each.activations.tolist() for each in found] == [[2.0], [0.0, 1.5, 0.0], []]
    assert [(each.document, each.quantile) for each in found] == [(4, 1), (8, -1), (9, -1)]
    assert asked == [5, 1]
