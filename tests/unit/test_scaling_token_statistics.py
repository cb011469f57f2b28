"""Token statistics find what was planted, say nothing of noise, and look up as a slow reference does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saeflow.config.scaling_explanations import TokenRules
from saeflow.errors import SaeflowError
from saeflow.studies.scaling.contexts import Context, FeatureContexts, contexts_table, read_contexts
from saeflow.studies.scaling.token_statistics import explain_by_tokens, group_words
from saeflow.studies.scaling.token_table import Rule, TokenExplanation
from tests.planted_features import TOPICS, after, at_random, on_token, on_topic, planted
from tests.sentences import check_sentence

RULES = TokenRules()
SITE = {"dictionary": "wide", "seed": 0, "layer": 2}
ODD = ["🙂", " ", "\n", "\t", "", "ünï", "«", '"', "\\", "\u2028", "中文", "👩‍👩‍👧", "a" * 300]


def context(tokens: list[str], values: list[float], number: int = 0, **more: object) -> Context:
    given = {"kind": "activating" if any(values) else "random", "group": "", "quantile": 0, **more}
    return Context(
        example=number,
        document=number,
        tokens=tuple(tokens),
        activations=np.array(values, np.float32),
        **given,  # type: ignore[arg-type]
    )


def test_one_token() -> None:
    found = explain_by_tokens(planted(0, on_token("river"), 0, held=["river"]).train, RULES)
    assert found.head == "token"
    assert [rule.token for rule in found.rules] == ["river"]
    assert found.rules[0].share == pytest.approx(1)
    assert 0.8 < found.rules[0].weight <= 1
    assert found.text().startswith('fires on "river" (100%)')


def test_a_token_only_after_another() -> None:
    pair = ["full", "moon"]
    found = explain_by_tokens(
        planted(0, after(*pair), 0, held=pair, near=["word1", "moon"]).train, RULES
    )
    assert found.expected(["the", "full", "moon"])[2] > 0.8
    assert found.expected(["the", "moon", "full"]).max() == 0
    assert found.expected(["word1", "moon"])[1] == 0


def test_any_token_after_another() -> None:
    found = explain_by_tokens(planted(0, after("not", None), 0, held=["not"]).train, RULES)
    assert found.head == "previous"
    assert [rule.shown() for rule in found.rules] == ['any token after "not"']
    assert found.expected(["unseen", "not", "unseen", "unseen"]).round(1).tolist() == [0, 0, 1, 0]


def test_a_token_that_silence_follows() -> None:
    """Firing depends on what comes next: the exception is listed as one."""
    rows = [["xyz"[number % 3], "b", "cd"[number % 2]] for number in range(24)]
    contexts = [
        context(row, [0, float(row[2] == "c"), 0], number) for number, row in enumerate(rows)
    ]
    found = explain_by_tokens(contexts, RULES)
    assert found.expected(["z", "b", "c"])[1] > 0.8
    assert found.expected(["z", "b", "d"])[1] == 0


def test_a_topic_s_unseen_words_count_where_its_seen_ones_fire() -> None:
    topic = planted(0, on_topic("law"), 0, only="law", count=12)
    others = [planted(number, on_topic("law"), 5, only="law", count=40) for number in (1, 2)]
    words = group_words([topic, *others], RULES)
    assert {*words["law"]} <= {*TOPICS["law"]}
    assert len(words["law"]) > 10
    unseen = {*TOPICS["law"]} - {token for each in topic.train for token in each.tokens}
    alone = explain_by_tokens(topic.train, RULES)
    helped = explain_by_tokens(topic.train, RULES, words)
    assert helped.groups[0][0] == "law"
    assert unseen & {*helped.words}
    shown = sorted(unseen & {*helped.words})
    assert alone.expected(shown).max() == 0
    assert helped.expected(shown).min() > 0.3
    # One that fires on a single word of the topic does not get the others.
    single = planted(3, on_token("law3"), 0, held=["law3"], only="law")
    assert not explain_by_tokens(single.train, RULES, words).words


def test_group_words_are_few_where_groups_mean_nothing() -> None:
    generator = np.random.default_rng(0)
    words = [f"w{number}" for number in range(300)]
    contexts = tuple(
        context(generator.choice(words, 20).tolist(), [0] * 20, number, group="ab"[number % 2])
        for number in range(80)
    )
    found = group_words([FeatureContexts(0, contexts, ())], RULES)
    assert sum(map(len, found.values())) <= 0.02 * 2 * len(words)


def test_neighbours_of_noise_are_not_listed() -> None:
    listed = [
        rule
        for seed in range(20)
        for rule in explain_by_tokens(planted(seed, at_random, seed).train, RULES).rules
        if sum(each is not None for each in rule[:3]) > 1
    ]
    assert len(listed) <= 4


def test_order_of_contexts_is_of_no_account() -> None:
    contexts = planted(0, on_topic("law"), 0, only="law").train
    assert explain_by_tokens(contexts[::-1], RULES) == explain_by_tokens(contexts, RULES)


def test_a_feature_that_never_fires_is_not_explained() -> None:
    silent = [context(["a", "b"], [0, 0])]
    for contexts in ([], silent):
        found = explain_by_tokens(contexts, RULES)
        assert found == TokenExplanation()
        assert found.text() == ""
        assert not found.expected(["a"]).any()


def test_settings_bound_what_is_listed() -> None:
    contexts = planted(0, on_topic("law"), 0, only="law").train
    assert len(explain_by_tokens(contexts, TokenRules(patterns=3)).rules) == 3
    assert sum(r.share for r in explain_by_tokens(contexts, TokenRules(coverage=0.3)).rules) < 0.5
    pair = ["full", "moon"]
    near = planted(0, after(*pair), 0, held=pair, near=["word1", "moon"]).train
    found = explain_by_tokens(near, TokenRules(refinements=0))
    assert all(sum(each is not None for each in rule[:3]) == 1 for rule in found.rules)


@given(st.lists(st.sampled_from([*ODD, "a", "b"]), max_size=12), st.integers(0, 99))
def test_look_up_is_the_slow_one(tokens: list[str], seed: int) -> None:
    generator = np.random.default_rng(seed)
    some = [None, *ODD[:4], "a", "b"]
    head = str(generator.choice(["token", "previous", "following"]))
    rules = []
    for number in range(6):
        names = dict(zip(("token", "previous", "following"), generator.choice(7, 3), strict=True))
        named = {name: some[place] for name, place in names.items()}
        if named[head] is not None:
            rules.append(Rule(**named, share=0.1, weight=float(number)))
    table = TokenExplanation(head, tuple(rules), (), ("b",), 9.0)
    found = table.expected(tokens)
    for place, token in enumerate(tokens):
        around = (
            token,
            tokens[place - 1] if place else None,
            tokens[place + 1] if place + 1 < len(tokens) else None,
        )
        fitting = [
            rule.weight
            for rule in rules
            if all(want in (None, have) for want, have in zip(rule[:3], around, strict=True))
        ]
        assert found[place] == (fitting[0] if fitting else 9.0 if token == "b" else 0.0)
    assert TokenExplanation.from_json(table.to_json()) == table


def test_odd_tokens_survive() -> None:
    contexts = [
        context([token, "x", "x"], [1, 0, 0], number) for number, token in enumerate(ODD * 2)
    ]
    found = explain_by_tokens(contexts, RULES)
    assert {rule.token for rule in found.rules} == {*ODD}
    assert found.expected(ODD).min() > 0
    assert TokenExplanation.from_json(found.to_json()) == found
    for token in ODD:
        assert json.dumps(token, ensure_ascii=False) in found.text()
    table = contexts_table([FeatureContexts(7, tuple(contexts), ())], SITE)
    again = read_contexts(table)[0].train
    assert [each.tokens for each in again] == [each.tokens for each in contexts]


def test_contexts_survive_their_table_in_any_order() -> None:
    wanted = [planted(0, on_token("moon"), 0, held=["full", "moon"], near=["word2"])]
    table = contexts_table(wanted, SITE)
    order = np.random.default_rng(0).permutation(len(table))
    (found,) = read_contexts(table.take(order))
    again = contexts_table([found], SITE)
    keys = [(key, "ascending") for key in ("feature", "set", "kind", "example")]
    assert again.sort_by(keys).equals(table.sort_by(keys))
    assert found.of_kind("train", "near_miss")[0].tempting is not None
    assert read_contexts(table[:0]) == []


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"set": "half"}, "train or test"),
        ({"kind": "odd"}, "unknown kind"),
        ({"activations": [1.0]}, "one for each"),
        ({"tempting": [True]}, "one for each"),
        ({"activations": [0.0, 0.0]}, "does not fire"),
        ({"kind": "random"}, "fires"),
    ],
)
def test_bad_contexts_are_refused(change: dict[str, object], part: str) -> None:
    table = contexts_table([FeatureContexts(0, (context(["a", "b"], [1, 0]),), ())], SITE)
    rows = [{**table.to_pylist()[0], **change}]
    with pytest.raises(SaeflowError, match=part) as error:
        read_contexts(type(table).from_pylist(rows, table.schema))
    check_sentence(error.value)


def test_a_document_in_both_sets_is_refused() -> None:
    one = context(["a"], [1])
    table = contexts_table([FeatureContexts(0, (one,), ()), FeatureContexts(1, (), (one,))], SITE)
    with pytest.raises(SaeflowError, match="both sets") as error:
        read_contexts(table)
    check_sentence(error.value)
