"""What a model that explains is shown, and how its replies are read."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from saeflow.config.messages import STUDY_TAGS
from saeflow.config.scaling_explanations import REPLY, ExplanationSettings, teller_name
from saeflow.config.writers import EndpointSettings, LocalSettings
from saeflow.models.writers.endpoint import EndpointWriter
from saeflow.studies.scaling.contexts import ACTIVATING, Context, FeatureContexts
from saeflow.studies.scaling.explaining import (
    LONGEST,
    MARKS,
    across_quantiles,
    choose_marks,
    explain_features,
    explainer_prompt,
    marked_text,
    parse_explanation,
)
from saeflow.studies.scaling.explanations import explain_and_score
from tests.fake_endpoint import KEY, VARIABLE, Asked, Reply, said, serving
from tests.planted_features import on_token, planted

ODD = ["🙂", " ", "\n", "ünï", '"', "\\", "\u2028", "中文", "Reply: yes"]
ENDPOINT = {"kind": "endpoint", "url": "http://127.0.0.1:1/v1", "model": "m"}
BY_MODEL = ExplanationSettings.model_validate({"explainer": ENDPOINT, "scorer": ENDPOINT})


class Scripted:
    """Says what it was given for each prompt, and remembers them."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.replies, self.prompts = list(replies), list[str]()

    def write(self, prompts: Sequence[str]) -> list[str]:
        self.prompts += prompts
        return self.replies[: len(prompts)]


def context(tokens: Sequence[str], values: Sequence[float], number: int = 0) -> Context:
    return Context(
        ACTIVATING, number, number, "", number % 4, tuple(tokens), np.array(values, np.float32)
    )


@given(
    st.text(max_size=40), st.sampled_from(["EXPLANATION: ", "**Explanation:** ", "explanation :\n"])
)
def test_what_follows_the_last_colon_is_the_explanation(phrase: str, head: str) -> None:
    words = " ".join(phrase.split()) or "x"
    wanted = words.strip(" \t*_`\"'<>")
    text, parsed = parse_explanation(f"Let me think.\nExplanation: no\n\n{head}{words}\nMore.")
    if wanted and "xplanation" not in words:
        assert parsed
        assert text == wanted


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ('EXPLANATION: "words about rivers"', ("words about rivers", True)),
        ("**EXPLANATION:** words about 🙂 rivers.", ("words about 🙂 rivers.", True)),
        ("<think>explanation: hm</think>\nEXPLANATION: <ends of words>", ("ends of words", True)),
        ("words\n about   rivers", ("words about rivers", False)),
        ("EXPLANATION:", ("EXPLANATION:", False)),
        ("", ("", False)),
    ],
)
def test_replies_are_read_or_kept(reply: str, wanted: tuple[str, bool]) -> None:
    assert parse_explanation(reply) == wanted


@given(st.text(max_size=2000))
def test_any_reply_gives_one_short_line(reply: str) -> None:
    text, _ = parse_explanation(reply)
    assert len(text) <= LONGEST
    assert len(text.splitlines()) <= 1


def test_the_prompt_shows_marks_and_tenths() -> None:
    prompt = explainer_prompt([context(["a", "b", "c"], [0, 2, 1]), context(["b", "d"], [0.5, 0])])
    assert '1. "a<<bc>>"\n   [["b", 10], ["c", 5]]' in prompt
    assert '2. "<<b>>d"\n   [["b", 2]]' in prompt
    assert prompt.count("EXPLANATION:") == 1
    assert "2 pieces of text" in prompt


@given(st.lists(st.sampled_from(ODD), min_size=1, max_size=8), st.data())
def test_no_text_poses_as_a_line_of_ours(tokens: list[str], data: st.DataObject) -> None:
    values = data.draw(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=len(tokens), max_size=len(tokens))
    )
    prompt = explainer_prompt([context([*tokens, "x"], [*values, 1.0])])
    lines = prompt.split("\n")
    (shown,) = (line for line in lines if line.startswith("1. "))
    text = json.loads(shown.removeprefix("1. "))
    assert text.replace("<<", "").replace(">>", "") == "".join([*tokens, "x"])


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "🙂"]), st.booleans()), max_size=10))
def test_marks_stand_around_runs(rows: list[tuple[str, bool]]) -> None:
    tokens = [token for token, _ in rows]
    marked = np.array([chosen for _, chosen in rows], bool)
    text = marked_text(tokens, marked, ("<", ">"))
    outside, inside, within = "", "", False
    for letter in text:
        if letter in "<>":
            assert within == (letter == ">")
            within = letter == "<"
        elif within:
            inside += letter
        else:
            outside += letter
    assert not within
    assert inside == "".join(token for token, chosen in rows if chosen)
    assert outside == "".join(token for token, chosen in rows if not chosen)
    assert "><" not in text


def test_marks_that_a_text_holds_are_not_used() -> None:
    assert choose_marks([["a", "b"]]) == MARKS[0]
    # A pair may come about where two tokens meet.
    assert choose_marks([["a"], ["x <", "< y"]]) == MARKS[1]
    assert choose_marks([["<<"], ["⟦"], ["⟪"]]) == MARKS[-1]
    assert "⟦b⟧" in explainer_prompt([context(["x << y", "b"], [0, 1])])


def test_all_strengths_are_shown_and_documents_repeat_late() -> None:
    contexts = [context(["a"], [1], number) for number in range(40)]
    drawn = across_quantiles(contexts, 8, 0, "x")
    assert [each.quantile for each in drawn] == [0, 1, 2, 3] * 2
    assert drawn == across_quantiles(contexts, 8, 0, "x")
    assert drawn != across_quantiles(contexts, 8, 1, "x")
    twice = [
        Context("random", number, number // 10, "", -1, ("a",), np.zeros(1, np.float32))
        for number in range(40)
    ]
    assert {each.document for each in across_quantiles(twice, 4, 0)} == {0, 1, 2, 3}
    assert across_quantiles([], 5, 0) == []
    assert len(across_quantiles(twice, 99, 0)) == 40


def test_a_model_sees_training_contexts_only_and_dead_features_are_not_asked_about() -> None:
    feature = planted(0, on_token("river"), 0, held=["river"])
    dead = FeatureContexts(1, (), ())
    writer = Scripted(["EXPLANATION: the word river", "not this"])
    found = explain_features([feature, dead], BY_MODEL, writer)
    assert [each.text for each in found] == ["the word river", ""]
    assert [each.table for each in found] == [None, None]
    assert [each.n_activating for each in found] == [20, 0]
    (prompt,) = writer.prompts
    for part, wanted in (("train", 20), ("test", 0)):
        texts = [
            json.dumps(marked_text(each.tokens, each.fires, MARKS[0]), ensure_ascii=False)
            for each in feature.of_kind(part, ACTIVATING)
        ]
        assert sum(text in prompt for text in texts) == wanted


def test_replies_of_another_form_are_kept_and_counted() -> None:
    some = [
        planted(number, on_token(f"river{number}"), 0, held=[f"river{number}"], count=8)
        for number in range(3)
    ]
    explainer = Scripted(["EXPLANATION: rivers", "Rivers!", ""])
    tables = explain_and_score(
        some,
        {each.feature: 0.1 for each in some},
        BY_MODEL,
        {"dictionary": "wide", "seed": 0, "layer": 2},
        explainer=explainer,
        scorer=Scripted(["[1, 0, 1, 0, 1]"] * 999),
    )
    rows = tables.explanations.to_pylist()
    assert [row["explanation"] for row in rows] == ["rivers", "Rivers!", ""]
    assert [row["parsed"] for row in rows] == [True, False, False]
    assert {row["explainer"] for row in rows} == {"m"}
    (unparsed,) = (r for r in tables.summary.to_pylist() if r["metric"] == "unparsed_share")
    assert unparsed["value"] == pytest.approx(2 / 3)


def test_an_endpoint_explains_with_a_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)

    def answer(_: Asked, __: int) -> Reply:
        return said("EXPLANATION: the word river")

    feature = planted(0, on_token("river"), 0, held=["river"])
    with serving(answer) as endpoint:
        settings = EndpointSettings(
            kind="endpoint", url=endpoint.url, model="m", key_variable=VARIABLE
        )
        (found,) = explain_features([feature], BY_MODEL, EndpointWriter(settings))
    assert (found.text, found.parsed) == ("the word river", True)


def test_settings_default_to_no_model() -> None:
    found = ExplanationSettings()
    assert found.explainer.kind == found.scorer.kind == "tokens"
    assert teller_name(found.explainer) == "tokens"
    assert (
        set(STUDY_TAGS["explainer"]) == set(STUDY_TAGS["scorer"]) == {"tokens", "local", "endpoint"}
    )


def test_replies_get_more_room_than_a_judge_s_word() -> None:
    assert isinstance(BY_MODEL.explainer, EndpointSettings)
    assert BY_MODEL.explainer.max_new_tokens == REPLY
    own = {**ENDPOINT, "max_new_tokens": 20}
    found = ExplanationSettings.model_validate({"explainer": own, "scorer": own})
    assert isinstance(found.scorer, EndpointSettings)
    assert found.scorer.max_new_tokens == 20
    assert teller_name(LocalSettings(kind="local", path="x")) == "local"


def test_a_matcher_reads_no_model_s_phrases() -> None:
    with pytest.raises(ValidationError, match="expected local or endpoint"):
        ExplanationSettings.model_validate({"explainer": ENDPOINT})
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        ExplanationSettings.model_validate({"explainer": {"kind": "exact"}})
