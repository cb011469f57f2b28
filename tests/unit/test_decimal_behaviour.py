"""What models answer to comparisons: prompts, greedy and drawn answers, judgements."""

from __future__ import annotations

import pytest

from saeflow.artifacts.decimal_bug import DECIMAL_ANSWERS, PROMPTS
from saeflow.config.decimal_bug import BehaviourSettings, PairSettings
from saeflow.datasets.comparisons.prompts import Prompt
from saeflow.datasets.texts.judge import full_judgement
from saeflow.models.codi import CodiModel
from saeflow.studies.decimal_bug.behaviour import ask, draw_prompts
from saeflow.studies.decimal_bug.records import prompts_table, read_prompts
from tests.small_models import FAMILIES, small_model

SETTINGS = BehaviourSettings(max_new_tokens=6, samples=2)
PUBLISHED = ("9.8", "9.11")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> CodiModel:
    return small_model(request.param)


@pytest.fixture(scope="module")
def prompts(model: CodiModel) -> list[Prompt]:
    asked = draw_prompts(model, 0, PairSettings(drawn=400, per_stratum=4), PUBLISHED)
    assert "chat_template" in asked.note
    return asked.prompts


def test_prompts_are_the_published_pair_and_as_many_of_every_kind(prompts: list[Prompt]) -> None:
    assert {(each.first, each.second) for each in prompts if each.item == -1} == {
        PUBLISHED,
        PUBLISHED[::-1],
    }
    counts = {
        stratum: len({each.item for each in prompts if each.stratum == stratum})
        for stratum in {each.stratum for each in prompts if each.item >= 0}
    }
    assert len(counts) == 7
    assert counts.pop("prone_dates") == 5  # the published pair is one
    assert set(counts.values()) == {4}
    table = prompts_table(prompts)
    assert table.schema == PROMPTS.schema()
    assert read_prompts(table) == prompts


def test_answers_are_those_that_each_prompt_gives_by_itself(
    model: CodiModel, prompts: list[Prompt]
) -> None:
    chosen = prompts[::17]
    table = ask(model, chosen, SETTINGS, batch_size=5)
    assert table.schema == DECIMAL_ANSWERS.schema()
    rows = table.to_pylist()
    assert len(rows) == 3 * len(chosen)
    greedy = {(row["form"], row["order"], row["item"]): row for row in rows if not row["sample"]}
    for each in chosen:
        row = greedy[each.form, each.order, each.item]
        ids = list(model.tokenizer(each.text)["input_ids"])
        (answer,) = model.continue_rows([ids], max_new_tokens=SETTINGS.max_new_tokens)
        judged = full_judgement(answer, each.truth, each.other)
        assert row["answer"] == answer
        assert (row["verdict"], row["fallback"]) == judged[:2]
        assert row["gibberish"] == bool(judged.gibberish)
        assert row["logit_difference"] is not None
    assert all((row["logit_difference"] is None) == (row["sample"] > 0) for row in rows)


def test_drawn_answers_differ_from_each_other_and_not_by_company(
    model: CodiModel, prompts: list[Prompt]
) -> None:
    chosen = prompts[3:40:6]
    together = ask(model, chosen, SETTINGS, batch_size=64).to_pylist()
    alone = [
        row for each in chosen for row in ask(model, [each], SETTINGS, batch_size=1).to_pylist()
    ]
    key = ("sample", "form", "order", "item")

    def answers(rows: list[dict[str, object]]) -> dict[tuple[object, ...], object]:
        return {tuple(row[name] for name in key): row["answer"] for row in rows}

    assert answers(together) == answers(alone)
    by_sample = [[row["answer"] for row in together if row["sample"] == n] for n in range(3)]
    assert by_sample[1] != by_sample[2]
    assert by_sample[1] != by_sample[0]
