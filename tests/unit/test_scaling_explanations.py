"""Scores of explanations: planted features are told apart, noise is not, and no test example leaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.artifacts.scaling_explanations import EXPLANATION_ARTIFACTS, EXPLANATION_SUMMARY
from saeflow.config.scaling_explanations import ExplanationSettings
from saeflow.errors import SaeflowError
from saeflow.studies.scaling import scorers
from saeflow.studies.scaling.contexts import Context, FeatureContexts
from saeflow.studies.scaling.explaining import MARKS
from saeflow.studies.scaling.explanations import (
    BLOCK,
    ExplanationTables,
    choose_features,
    explain_and_score,
    swap_features,
)
from saeflow.studies.scaling.scorers import best_threshold, match_scores, parse_verdicts
from saeflow.studies.scaling.token_table import Rule, TokenExplanation
from saeflow.studies.scaling.trials import MOVED, Trial, make_trials
from tests.planted_features import on_token, planted, planted_features, random_features
from tests.sentences import check_sentence

SITE = {"dictionary": "wide", "seed": 0, "layer": 2}
SETTINGS = ExplanationSettings(permutations=499)
ASKED = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m", "key_variable": None}
BY_MODEL = ExplanationSettings.model_validate({"scorer": ASKED, "permutations": 499})


class Fake:
    """Replies by a rule, and remembers what it was asked."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply, self.prompts = reply, list[str]()

    def write(self, prompts: Sequence[str]) -> list[str]:
        self.prompts += prompts
        return [self.reply(prompt) for prompt in prompts]


def densities(features: Sequence[FeatureContexts]) -> dict[int, float]:
    return {each.feature: 0.01 * (1 + each.feature % 7) for each in features}


def value(tables: ExplanationTables, metric: str, control: str = "none", **where: str) -> float:
    wanted = {"method": "detection", "kind": "all", **where, "metric": metric, "control": control}
    (row,) = (
        row
        for row in tables.summary.to_pylist()
        if all(row[name] == each for name, each in wanted.items())
    )
    return float(row["value"])


def column(tables: ExplanationTables, name: str, metric: str) -> list[float]:
    return [row[name] for row in tables.summary.to_pylist() if row["metric"] == metric]


@pytest.fixture(scope="module")
def features() -> list[FeatureContexts]:
    return list(itertools.chain.from_iterable(planted_features().values()))


@pytest.fixture(scope="module")
def scored(features: list[FeatureContexts]) -> ExplanationTables:
    return explain_and_score(features, densities(features), SETTINGS, SITE)


def test_planted_features_are_told_apart_and_swapped_explanations_are_not(
    scored: ExplanationTables,
) -> None:
    for method in ("detection", "fuzzing"):
        for kind in ("random", "near_miss", "all"):
            assert value(scored, "balanced_accuracy", method=method, kind=kind) > 0.95
            assert value(scored, "auroc", method=method, kind=kind) > 0.95
            assert value(scored, "balanced_accuracy", "swapped", method=method, kind=kind) < 0.65
            assert value(scored, "balanced_accuracy", "empty", method=method, kind=kind) == 0.5
            assert value(scored, "auroc", "empty", method=method, kind=kind) == 0.5
    assert value(scored, "balanced_accuracy", method="fuzzing", kind=MOVED) > 0.95
    rows = scored.summary.to_pylist()
    tested = {
        (row["method"], row["kind"]): row["q_value"]
        for row in rows
        if row["metric"] == "gain_over_swapped"
    }
    own, swapped = (value(scored, "balanced_accuracy", each) for each in ("none", "swapped"))
    assert value(scored, "gain_over_swapped") == pytest.approx(own - swapped)
    assert value(scored, "gain_over_empty") == pytest.approx(own - 0.5)
    assert tested["detection", "all"] < 0.05
    assert tested["fuzzing", "all"] < 0.05
    assert all(row["q_value"] >= row["p_value"] for row in rows if row["p_value"] is not None)


def test_every_feature_has_its_interval(scored: ExplanationTables) -> None:
    rows = [row for row in scored.scores.to_pylist() if row["control"] == "none"]
    assert all(row["ci_low"] <= row["balanced_accuracy"] <= row["ci_high"] for row in rows)
    perfect = [row for row in rows if row["balanced_accuracy"] == 1]
    assert perfect
    assert all(row["ci_low"] < 0.95 for row in perfect)


def test_features_of_nothing_gain_nothing() -> None:
    noise = random_features(seed=1, count=12)
    found = explain_and_score(noise, densities(noise), SETTINGS, SITE)
    for method in ("detection", "fuzzing"):
        assert 0.4 < value(found, "balanced_accuracy", method=method) < 0.6
    assert min(column(found, "q_value", "gain_over_swapped")) > 0.05
    assert min(column(found, "q_value", "gain_over_empty")) > 0.05


def test_tables_fit_their_artifacts_and_are_the_same_again(
    scored: ExplanationTables, features: list[FeatureContexts]
) -> None:
    by_name = {artifact.name: artifact for artifact in EXPLANATION_ARTIFACTS}
    for name, table in zip(("", "_verdicts", "_scores", "_summary"), scored, strict=True):
        artifact = by_name["scaling_explanations" if not name else f"scaling_explanation{name}"]
        assert table.schema == artifact.schema()
        keys = table.select(artifact.keys).to_pylist()
        assert len({tuple(row.items()) for row in keys}) == len(keys)
        for each in artifact.columns:
            assert each.nullable or not table[each.name].null_count
    again = explain_and_score(features[::-1], densities(features), SETTINGS, SITE)
    keys = [(key, "ascending") for key in EXPLANATION_SUMMARY.keys]
    assert again.summary.sort_by(keys).equals(scored.summary.sort_by(keys))


def test_test_contexts_decide_no_explanation_and_no_threshold(
    scored: ExplanationTables, features: list[FeatureContexts]
) -> None:
    """Other test contexts, or none: the same explanations and thresholds."""
    other = [replace(each, test=each.test[::2]) for each in features]
    found = explain_and_score(other, densities(features), SETTINGS, SITE)
    assert found.explanations.equals(scored.explanations)

    def thresholds(tables: ExplanationTables) -> dict[tuple[str, ...], float]:
        names = ("feature", "method", "control", "kind")
        rows = tables.scores.to_pylist()
        return {tuple(row[name] for name in names): row["threshold"] for row in rows}

    assert thresholds(found) == thresholds(scored)


def test_thresholds_see_training_trials_only(
    monkeypatch: pytest.MonkeyPatch, features: list[FeatureContexts]
) -> None:
    seen = list[int]()
    real = scorers.best_threshold

    def spy(scores: np.ndarray, kinds: Sequence[str]) -> float:
        seen.append(len(scores))
        return real(scores, kinds)

    monkeypatch.setattr(scorers, "best_threshold", spy)
    one = features[0]
    explain_and_score([one], densities([one]), SETTINGS, SITE)
    sizes = [
        len(make_trials(one, "train", method, count=None, seed=0))
        for method in ("detection", "fuzzing")
    ]
    assert set(seen) == set(sizes)


def test_both_methods_ask_about_as_many_of_each_kind(features: list[FeatureContexts]) -> None:
    for each in features:
        asked = make_trials(each, "test", "detection", count=10, seed=3)
        marked = make_trials(each, "test", "fuzzing", count=10, seed=3)
        kinds = [trial.kind for trial in asked]
        assert {kinds.count(kind) for kind in set(kinds)} == {10}
        assert [trial.kind for trial in marked].count(MOVED) == 10
        documents = {trial.context.document for trial in asked}
        assert {trial.context.document for trial in marked} == documents
        positive = [trial.context.quantile for trial in asked if trial.positive]
        assert {*positive} == {0, 1, 2, 3}
        assert not documents & {context.document for context in each.train}
        for trial in marked:
            assert trial.marked is not None
            if trial.positive:
                np.testing.assert_array_equal(trial.marked, trial.context.fires)
            else:
                assert trial.marked.any()
                assert not (trial.marked & trial.context.fires).any()
            if trial.kind == "near_miss":
                np.testing.assert_array_equal(trial.marked, trial.context.tempting)


def test_matcher_is_the_slow_one(features: list[FeatureContexts]) -> None:
    table = TokenExplanation("token", (Rule("word1", None, None, 1.0, 0.25),))
    for method in ("detection", "fuzzing"):
        trials = make_trials(features[0], "test", method, count=None, seed=0)
        for trial, score in zip(trials, match_scores(table, trials), strict=True):
            tokens = trial.context.tokens
            if trial.marked is None:
                wanted = 0.25 * tokens.count("word1")
            else:
                chosen = [t for t, m in zip(tokens, trial.marked, strict=True) if m]
                wanted = 0.25 * chosen.count("word1") / len(chosen)
            assert score == pytest.approx(wanted)


KINDS = ("activating", "random", "near_miss")


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(KINDS)), min_size=1, max_size=20))
def test_no_threshold_is_better(rows: list[tuple[int, str]]) -> None:
    scores = np.array([score for score, _ in rows], float)
    kinds = np.array([kind for _, kind in rows])

    def gained(threshold: float) -> float:
        said = scores >= threshold
        negatives = [kinds == kind for kind in KINDS[1:] if (kinds == kind).any()]
        refused = np.mean([1 - said[each].mean() for each in negatives])
        return float(said[kinds == KINDS[0]].mean() + refused)

    found = best_threshold(scores, kinds.tolist())
    if not (kinds == KINDS[0]).any():
        assert found == float("inf")
    elif not (kinds != KINDS[0]).any():
        assert 0 < found <= scores.max() or not scores.any()
    else:
        places = [-1.0, *np.arange(0.5, 5), float("inf")]
        assert gained(found) == pytest.approx(max(map(gained, places)))


def test_an_unhelpful_score_says_never() -> None:
    scores = np.array([1.0, 1, 2, 2])
    assert best_threshold(scores, ["activating"] * 2 + ["random"] * 2) == float("inf")


@pytest.mark.parametrize(
    ("reply", "accuracy", "unread"),
    [
        (lambda prompt: "[1, 1, 1, 1, 1]" if "5 pieces" in prompt else "[1]", 0.5, None),
        (lambda prompt: "no", None, 1.0),
        (lambda prompt: prompt, None, None),
        (lambda prompt: "", None, 1.0),
    ],
    ids=["always yes", "garbage", "echo", "nothing"],
)
def test_replies_without_content_are_chance_or_counted(
    features: list[FeatureContexts],
    reply: Callable[[str], str],
    accuracy: float | None,
    unread: float | None,
) -> None:
    found = explain_and_score(features, densities(features), BY_MODEL, SITE, scorer=Fake(reply))
    for method in ("detection", "fuzzing"):
        rows = [row for row in found.scores.to_pylist() if row["method"] == method]
        assert {row["balanced_accuracy"] for row in rows} - {None} <= {
            accuracy or 0.5,
            0.5,
            None,
        } or (
            # An echo repeats the sample, which knows nothing of the contexts.
            abs(value(found, "balanced_accuracy", method=method) - 0.5) < 0.1
        )
        if unread is not None:
            assert value(found, "unread_share", method=method) == unread
            assert all(row["n_unread"] and not row["n_positive"] for row in rows)
        assert all(row["auroc"] is None and row["threshold"] is None for row in rows)


def test_a_model_that_reads_the_explanation_is_scored(features: list[FeatureContexts]) -> None:
    """A fake that answers by the token in the explanation, marked or anywhere."""
    some = [
        planted(number, on_token(f"river{number}"), 0, held=[f"river{number}"])
        for number in range(9)
    ]

    def reply(prompt: str) -> str:
        said = prompt.partition("active on: ")[2].partition("\n")[0]
        word = said.partition('\\"')[2].partition('\\"')[0]
        lines = [line for line in prompt.splitlines() if line[:1].isdigit()]
        if "are marked" in prompt:
            word = f"{MARKS[0][0]}{word}{MARKS[0][1]}"
        # Tokens stand beside one another without a blank.
        found = [int(bool(said.startswith('"')) and word in line) for line in lines]
        return f"Let me see. [maybe]\nThe list is {found}."

    scorer = Fake(reply)
    found = explain_and_score(some, densities(some), BY_MODEL, SITE, scorer=scorer)
    for method in ("detection", "fuzzing"):
        assert value(found, "balanced_accuracy", method=method) == 1
        assert value(found, "balanced_accuracy", "swapped", method=method) < 0.6
        assert value(found, "balanced_accuracy", "empty", method=method) == 0.5
    assert len(scorer.prompts) == len({*scorer.prompts})
    assert any("(not known)" in prompt for prompt in scorer.prompts)
    assert found.scores["scorer"].unique().to_pylist() == ["m"]
    # Marks of a fuzzing prompt are told; activations are never shown.
    assert all("0." not in prompt.partition("Below")[2] for prompt in scorer.prompts)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.text(max_size=30), st.data())
def test_lists_are_read_in_any_form(wanted: list[bool], around: str, data: st.DataObject) -> None:
    words = data.draw(
        st.sampled_from([("1", "0"), ("yes", "No"), ("True", "false"), ('"1"', '"0"')])
    )
    said = [words[0] if each else words[1] for each in wanted]
    clean = around.replace("[", "").replace("]", "")
    whole = f"{clean}[{', '.join(said)}]{clean}"
    assert parse_verdicts(whole, len(wanted)).tolist() == wanted
    numbered = "\n".join(f"{number}. {word}" for number, word in enumerate(said, 1))
    assert parse_verdicts(f"So:\n{numbered}", len(wanted)).tolist() == wanted
    assert np.isnan(parse_verdicts(whole, len(wanted) + 1)).all()
    if len(wanted) > 1:
        assert np.isnan(parse_verdicts(whole, len(wanted) - 1)).all()


@given(st.text(max_size=200), st.integers(1, 6))
def test_any_reply_is_read_or_refused(reply: str, count: int) -> None:
    found = parse_verdicts(reply, count)
    assert found.shape == (count,)
    assert np.isnan(found).all() or set(found.tolist()) <= {0.0, 1.0}


def test_the_last_fitting_list_counts() -> None:
    assert parse_verdicts("[0, 0] no, rather [1, 0] (see [3])", 2).tolist() == [1, 0]
    assert parse_verdicts("Yes.", 1).tolist() == [1]
    assert np.isnan(parse_verdicts("Yes.", 2)).all()


def test_features_without_contexts_are_kept_without_scores(
    features: list[FeatureContexts],
) -> None:
    dead = FeatureContexts(900, (), ())
    untested = replace(features[0], feature=901, test=())
    never = FeatureContexts(902, (), features[0].test)
    some = [*features[1:4], dead, untested, never]
    found = explain_and_score(some, densities(some), SETTINGS, SITE)
    said = {row["feature"]: row for row in found.explanations.to_pylist()}
    assert said[900]["explanation"] == said[902]["explanation"] == ""
    assert said[900]["swapped_with"] == said[902]["swapped_with"] == -1
    assert said[901]["explanation"]
    rows = {
        (row["feature"], row["control"]): row
        for row in found.scores.to_pylist()
        if row["kind"] == "all" and row["method"] == "detection"
    }
    assert rows[900, "none"]["balanced_accuracy"] is None
    assert rows[901, "none"]["balanced_accuracy"] is None
    assert rows[902, "none"]["balanced_accuracy"] == 0.5
    assert (902, "swapped") not in rows


@pytest.mark.parametrize("count", [0, 1])
def test_one_feature_or_none(features: list[FeatureContexts], count: int) -> None:
    some = features[:count]
    found = explain_and_score(some, densities(some), SETTINGS, SITE)
    assert len(found.explanations) == count
    assert "swapped" not in found.scores["control"].to_pylist()
    assert found.summary.schema == EXPLANATION_SUMMARY.schema()


@given(st.integers(2, 60), st.integers(0, 5))
def test_swaps_are_derangements_among_similar_densities(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    density = dict(enumerate(generator.random(count).round(2).tolist()))
    partners = swap_features(range(count), density, seed)
    assert sorted(partners) == sorted(partners.values()) == list(range(count))
    assert all(feature != partner for feature, partner in partners.items())
    ranks = {
        feature: rank
        for rank, feature in enumerate(sorted(density, key=lambda each: (density[each], each)))
    }
    assert all(abs(ranks[a] - ranks[b]) < 2 * BLOCK for a, b in partners.items())
    assert partners == swap_features([*range(count)][::-1], density, seed)


def test_features_are_drawn_from_all_densities() -> None:
    density = np.concatenate([np.zeros(50), np.geomspace(1e-5, 0.5, 950)])
    found = choose_features(density, 48, 6, 0)
    assert len(found) == len({*found.tolist()}) == 48
    assert found.min() >= 50
    edges = np.array_split(np.arange(50, 1000), 6)
    assert {int(np.isin(found, each).sum()) for each in edges} == {8}
    np.testing.assert_array_equal(found, choose_features(density, 48, 6, 0))
    assert found.tolist() != choose_features(density, 48, 6, 1).tolist()
    assert choose_features(density[:53], 48, 6, 0).tolist() == [50, 51, 52]
    assert choose_features(np.zeros(5), 48, 6, 0).tolist() == []


def test_a_writer_must_fit_the_settings(features: list[FeatureContexts]) -> None:
    some = features[:2]
    for settings, writers in ((BY_MODEL, {}), (SETTINGS, {"scorer": Fake(str)})):
        with pytest.raises(SaeflowError, match=r"scorer\.kind") as error:
            explain_and_score(some, densities(some), settings, SITE, **writers)
        check_sentence(error.value)
    with pytest.raises(SaeflowError, match="density of feature") as error:
        explain_and_score(some, {}, SETTINGS, SITE)
    check_sentence(error.value)


def test_a_context_of_firing_tokens_alone_moves_no_marks() -> None:
    context = Context("activating", 0, 0, "", 0, ("a", "b"), np.ones(2, np.float32))
    found = make_trials(FeatureContexts(0, (), (context,)), "test", "fuzzing", count=5, seed=0)
    assert [trial.kind for trial in found] == ["activating"]
    assert isinstance(found[0], Trial)


def test_verdicts_name_their_contexts(
    scored: ExplanationTables, features: list[FeatureContexts]
) -> None:
    by_feature = {each.feature: each for each in features}
    rows: pa.Table = scored.verdicts
    for row in rows.to_pylist()[::37]:
        (context,) = (
            each
            for each in by_feature[row["feature"]].of_kind("test", row["of_kind"])
            if each.example == row["example"]
        )
        assert context.document == row["document"]
        assert len(row["marked"]) == (len(context.tokens) if row["method"] == "fuzzing" else 0)
        if row["kind"] == MOVED:
            assert row["of_kind"] == "activating"
