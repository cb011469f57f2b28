"""Which specialists are tested, and on which texts and tasks: none of those that chose them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import yaml

from saeflow.config.specialists import AblationSettings
from saeflow.datasets.texts.text import HELD_OUT, Text
from saeflow.studies.specialists.calibrated import calibrated_records
from saeflow.studies.specialists.chosen import (
    choose_specialists,
    half_b,
    items_to_read,
    published_specialists,
    texts_to_read,
)
from saeflow.studies.specialists.cloze import content_of
from saeflow.studies.specialists.draws import draw
from saeflow.studies.specialists.texts import halves_of, pair_classes
from tests.conftest import ROOT
from tests.planted_study import KEY, QUICK, planted_study

FEW = QUICK.model_copy(update={"ablation": AblationSettings(pairs=2)})


def records_of(seed: int = 0) -> tuple:  # type: ignore[type-arg]
    texts, values = planted_study(("form",), seed)
    draws = draw(texts, QUICK)
    found = list(calibrated_records(values, draws, QUICK, KEY))
    return texts, values, found


def test_the_best_form_of_each_topic_is_chosen_by_half_a() -> None:
    texts, values, records = records_of()
    chosen = choose_specialists(records, texts, "max")
    topics = list(dict.fromkeys(each.topic for each in texts.pairs))
    assert [each.specialist.topic for each in chosen] == topics
    half = halves_of(texts, pair_classes(texts), seed=QUICK.seed, splits=QUICK.splits)[0]
    for each in chosen:
        own = [
            row
            for row in records
            if row["split"] == 1
            and row["set"] == "pairs"
            and row["class"].startswith(each.specialist.topic + ":")
        ]
        best = max(own, key=lambda row: row["score"])
        assert (each.specialist.feature, each.name) == (best["feature"], best["class"])
        assert each.auroc == best["auroc"]
        # A planted feature: larger inside its class on the half that did not choose it.
        column = values[: len(texts.pairs), each.specialist.feature]
        inside = np.array(
            [(row.topic, row.form) == tuple(each.specialist[2:4]) for row in texts.pairs]
        )
        assert column[inside & ~half].mean() > column[~inside & ~half].mean() + 1


def test_other_poolings_splits_and_modes_choose_nothing() -> None:
    texts, _, records = records_of()
    assert choose_specialists(records, texts, "last") == []
    for name, value in (("split", 2), ("set", "forms"), ("mode", "published"), ("criterion", "x")):
        others = [{**row, name: value} for row in records if row["split"] == 1]
        assert choose_specialists(others, texts, "max") == []


def test_a_half_below_zero_is_chosen_with_its_sign() -> None:
    texts, _, records = records_of()
    turned = [{**row, "sign": -1} for row in records]
    assert {each.sign for each in choose_specialists(turned, texts, "max")} == {-1}


def test_published_specialists_are_those_that_were_found() -> None:
    row = {
        "mode": "published",
        "pooling": "max",
        "set": "pairs",
        "criterion": "specialist",
        "class": "a: b",
        "layer": 2,
        "feature": 7,
        "found": True,
    }
    others = [{**row, "found": False}, {**row, "set": "categories"}, {**row, "pooling": "last"}]
    assert published_specialists([row, *others], "max") == [("a: b", 2, 7)]


def test_texts_that_are_read_chose_nothing() -> None:
    texts, _ = planted_study()
    half = halves_of(texts, pair_classes(texts), seed=FEW.seed, splits=FEW.splits)[0]
    read = texts_to_read(texts, FEW)
    assert not half[read].any()
    assert set(read.tolist()) <= set(half_b(texts, FEW).tolist())
    rows = [texts.pairs[each] for each in read.tolist()]
    contents = Counter((row.topic, row.pair) for row in rows)
    assert set(contents.values()) == {1}, "one form of each pair"
    assert set(Counter(row.topic for row in rows).values()) == {2}
    every = texts_to_read(texts, QUICK)
    own = {(texts.pairs[each].topic, texts.pairs[each].pair) for each in half_b(texts, QUICK)}
    assert len(every) == len(own), "all of half B where it has fewer"
    forms = Counter((texts.pairs[each].topic, texts.pairs[each].form) for each in every.tolist())
    for topic in {row.topic for row in texts.pairs}:
        some = [count for (other, _), count in forms.items() if other == topic]
        assert max(some) - min(some) <= 1, "forms take turns"


def test_a_default_run_could_pass_its_own_tests() -> None:
    """Of a topic's pairs half B reads so many that the smallest p-value survives Holm over all cells."""
    configured = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    study = configured["studies"]["specialists"]
    pairs = min(study["texts"]["per_topic"] // 2, study["calibrated"]["ablation"]["pairs"])
    topics, layers = 7, 4
    smallest = 2 * max(1 / 2**pairs, 1 / (1 + AblationSettings().permutations))
    assert smallest * topics * topics * layers <= 0.05


def item(number: int, form: str, group: str = "arithmetic") -> Text:
    return Text("cloze", group, form, number, HELD_OUT, f"{number} {form}", "x", ("y",))


@pytest.mark.parametrize("wanted", [1, 5, 7, 1000])
def test_items_are_whole_contents(wanted: int) -> None:
    items = [item(number, form) for number in range(6) for form in ("a", "b")]
    items += [item(number, "c", "other") for number in range(4)]
    found = items_to_read(items, wanted, 0)
    assert found == [each for each in items if each in found], "in their order"
    for group, size in (("arithmetic", 12), ("other", 4)):
        some = [each for each in found if each.group == group]
        assert min(wanted, size) <= len(some) <= min(wanted + 1, size)
        whole = Counter(map(content_of, some))
        assert set(whole.values()) <= {2 if group == "arithmetic" else 1}
    assert found == items_to_read(items, wanted, 0)
