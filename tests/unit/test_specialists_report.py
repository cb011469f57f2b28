"""Pages of the study of specialists: what they say and draw is what the tables hold."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from saeflow.report.claims import claim_cell
from saeflow.report.claims import claims_table as told_once
from saeflow.report.shades import legend
from saeflow.report.specialists import (
    alignment,
    behaviour,
    discovery,
    effects,
    examples,
    geometry,
    retrieval,
)
from saeflow.report.specialists.claims import _cell, claims_table
from saeflow.report.specialists.pages import _model, overview_table
from tests.decimal_tables import shown
from tests.report_tables import EVIL
from tests.specialist_numbers import CLASSES, FOUND, NOTHING, POOLING, SPARSE, summary_rows
from tests.specialist_tables import (
    OWN,
    SPECIALIST_SPEC,
    alignment_of_two,
    make_specialists,
    models,
    numbers,
)
from tests.unit.test_report import Page

TOLD = {"toy": FOUND, "other": replace(NOTHING, seeds=2), "toy_untrained": NOTHING}
PAGES = tuple(f"specialists{name}.html" for name in ("", *(f"-{each}" for each in TOLD)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_specialists(tmp_path_factory.mktemp("specialists"), TOLD)


def text_of(path: Path) -> str:
    return Page(path).text.replace("\xa0", " ")


def lines_of(figure: dict[str, Any] | None) -> dict[tuple[str, str], list[float]]:
    """Values of a figure's lines by name and axis."""
    assert figure is not None
    return {
        (line["name"], line["xaxis"] + line["yaxis"]): line["y"]
        for line in figure["data"]
        if line["mode"] == "lines+markers"
    }


def test_pages_are_whole(folder: Path) -> None:
    for name in PAGES:
        page = Page(folder / name)
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        for target in [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]:
            assert target.startswith("#") or (folder / target).is_file()
        figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
        drawn = {a["id"] for _, a in page.tags if "plot" in (a.get("class") or "").split()}
        assert figures == drawn
        text = (folder / name).read_text(encoding="utf-8")
        assert EVIL not in text
        assert text.split("</h1>")[1].split("<p")[1].startswith(' id="finding"')
        assert not [tag for tag, attrs in page.tags if tag == "b" and "title" in attrs]
    assert PAGES[0] in (folder / "gsm8k-toy.html").read_text(encoding="utf-8")


def test_the_front_page_has_a_card_of_the_study(folder: Path) -> None:
    card = text_of(folder / "index.html").partition("Do the most selective features")[2]
    assert (
        "Form or meaning? toy (layer 2): 3 of 4 forms have a feature of their own (untrained"
        in card
    )
    targets = [str(attrs["href"]) for tag, attrs in Page(folder / "index.html").tags if tag == "a"]
    assert set(PAGES) <= set(targets)


def test_a_model_page_shows_its_numbers_as_text(folder: Path) -> None:
    text = text_of(folder / PAGES[1])
    for part in (
        "3 of 4 0.8 [0.2, 1.2] 0 of 4",
        "3 of 4 0.2 0.900 [0.880, 0.920] 0.550",
        "0 11, below 0 0.900",
        "Untrained model: toy_untrained, of the same shape.",
        "0.900 [0.800, 1.000] 2.125 [1.875, 2.375] 0.938 0.688",
        "words alone – 0.500 0.250 +0.250",
        "the study’s rule finds for 17 sets of classes",
        "Jaccard index of the 13 strongest",
        "cloze arithmetic level 2 60.0 % [50.0, 70.0] 25.0 %",
        f"Code: {EVIL} 0 13 cloze arithmetic margin −0.375 20 0.0025 0.010",
        "41 its texts contains the right answer 12.5 % +0.312 0.062 1.75 0.062 – – 20",
        "13 cloze arithmetic log-probability – – – – – +0.438 0.031 20",
        "Math_Simple, its own 12 −0.250 [−0.350, −0.150]",
        "as published −.546 (GPT-2) −0.5 0.300",
        "Judge: exact.",
    ):
        assert part in text, part


def test_every_bank_has_a_section(folder: Path) -> None:
    text = text_of(folder / PAGES[2])
    assert "Which classes have a specialist of toy_tokens, seed 3" in text
    assert "Which classes have a specialist of toy_tokens, seed 4" in text
    assert text.count("Cloze lines and questions that no training text holds") == 1
    figures = {attrs.get("data-target") for _, attrs in Page(folder / PAGES[2]).tags}
    assert {"counts-1", "counts-2", "matrix-2"} <= figures


def test_a_sparse_study_has_pages_without_what_was_not_measured(tmp_path: Path) -> None:
    empty = alignment_of_two().slice(0, 0)
    folder = make_specialists(tmp_path, {"toy": SPARSE}, empty)
    page = Page(folder / "specialists-toy.html")
    figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
    shown_ones = {"counts", "areas", "needed", "similarity", "retrieval", "variance", "overlap"}
    assert figures == {f"{name}-1" for name in shown_ones}
    text = page.text
    assert "No untrained model of this shape was run." in text
    assert "What specialists respond to" not in text
    assert "Answers to the study’s prompts" not in text
    assert "What the models share" not in text_of(folder / "specialists.html")


METRICS = sorted({each["metric"] for each in summary_rows(FOUND)})
SMALL = replace(FOUND, layers=(1,), poolings=(POOLING,))
GROUPS = 8


@pytest.mark.parametrize("number", range(GROUPS))
def test_any_metrics_may_be_missing(number: int) -> None:
    some = tuple(METRICS[number::GROUPS])
    others = tuple(each for each in METRICS if each not in some)
    for drop in (some, others):
        found = models({"toy": replace(SMALL, drop=drop), "toy_untrained": SMALL})
        assert overview_table(found, POOLING)["rows"][0][0]["value"] == "toy"
        context, figures = _model(found[0], SPECIALIST_SPEC)
        assert set(context["ids"]) == set(figures)


def test_counts_stand_beside_classes_drawn_anew_and_the_untrained() -> None:
    (model, *_) = models(TOLD)
    figure = discovery.counts_figure(model, OWN)
    found = lines_of(figure)
    # Rows are sets of classes, columns poolings; only the first pooling has the study's rule.
    assert found["study’s rule", "xy"] == [3.0, 3.0]
    assert found["study’s rule, classes drawn anew", "xy"] == [0.75, 0.75]
    assert found["calibrated", "x2y2"] == [3.0, 3.0]
    assert found["calibrated, expected by chance", "x2y2"] == [0.25, 0.25]
    assert found["calibrated, untrained model", "xy"] == [0.0, 0.0]
    assert ("study’s rule", "x2y2") not in found
    assert found["study’s rule", "x5y5"] == [6.0, 6.0]
    assert figure is not None
    titles = [each["text"] for each in figure["layout"]["annotations"]]
    # Panels below have the same titles, and say them once.
    assert titles == ["encode, then average", "maximum"]


def _spaced(table: dict[str, Any] | None) -> list[list[str]]:
    return [[cell.replace("\xa0", " ") for cell in line] for line in shown(table)]


def test_the_depth_claim_stands_beside_its_replication() -> None:
    (heads, first, second, *rest) = _spaced(discovery.depth_beside_table(models({"toy": FOUND})))
    assert heads[:4] == ["Model", "Pooling", "Layers", "Study’s rule"]
    named = "GPT-2 small, as published"
    assert first[:5] == [named, "average, then encode", "6, 8, 10, 11", "5, 6, 7, 7", "–"]
    assert second[:4] == [named, "encode, then average", "6, 8, 10, 11", "7, 7, 7, 7"]
    assert rest == [
        [
            "toy",
            "encode, then average",
            "0, 2",
            "6, 6",
            "0.75, 0.75",
            # The rule's own counts on halves, of the published mode as those on all texts.
            "1.2, 1.2",
            "6, 6",
            "0.25, 0.25",
        ],
        ["toy", "maximum", "0, 2", "–", "–", "–", "6, 6", "0.25, 0.25"],
    ]
    assert len(discovery.depth_beside_table(models({"toy": SPARSE}))["rows"]) == 2


def test_classes_without_a_feature_have_a_dash() -> None:
    heads, *lines = shown(discovery.rule_table(numbers(), OWN))
    assert heads[5:7] == ["Feature", "Score"]
    first = next(line for line in lines if line[0] == CLASSES[0])
    assert first[5:] == ["–", "0", "0 of 30", "0 of 60", "no"]


def test_heat_maps_are_chosen_from_lists() -> None:
    figure = geometry.similarity_figure(numbers(), OWN, POOLING)
    assert figure is not None
    features, words = figure["layout"]["meta"]["choices"]
    assert [each["title"] for each in features["options"]][:2] == [
        "layer 2, encode, then average (calibrated: no pair in common)",
        "layer 0, encode, then average (calibrated: no pair in common)",
    ]
    assert words["options"][0]["title"] == "words (calibrated: no pair in common)"
    seen = [number for number, trace in enumerate(figure["data"]) if trace["visible"]]
    assert seen == [features["options"][0]["traces"][0], words["options"][0]["traces"][0]]
    trace = figure["data"][0]
    assert trace["y"][-1] == f"Code: {escape(EVIL, quote=False)}"
    assert trace["z"][0][:2] == [1.0, 0.125]


def test_lengths_and_words_are_beside_features() -> None:
    (model, *_) = models(TOLD)
    heads, first, *rest = shown(geometry.clustering_table(model, OWN))
    assert heads[:5] == [
        "Features or words",
        "Layer",
        "Within topics",
        "Across topics",
        "Difference",
    ]
    assert first[:5] == ["encode, then average", "0", "0.600", "0.250", "+0.350"]
    assert rest[-3][:5] == ["words alone", "–", "0.500", "0.250", "+0.250"]
    published = shown(geometry.published_table(numbers(), OWN))
    assert published[-1][:6] == [
        "GPT-2 small, as published",
        "11",
        "0.610",
        "0.137",
        "8.391",
        "< 0.0001",
    ]


def test_retrieval_is_beside_chance_words_and_the_untrained() -> None:
    (model, *_) = models(TOLD)
    found = lines_of(retrieval.retrieval_figure(model, OWN))
    assert found["features", "xy"] == [0.45, 0.45]
    assert found["chance", "xy"] == [0.03, 0.03]
    assert found["words alone", "xy"] == [0.35, 0.35]
    assert found["features", "x5y5"] == [0.75, 0.75]
    assert found["features, untrained model", "x5y5"] == [0.5, 0.5]
    overlap = lines_of(retrieval.overlap_figure(model, OWN))
    assert overlap["one form, both halves: the ceiling", "xy"] == [0.6, 0.6]
    assert overlap["random sets", "xy"] == [0.02, 0.02]
    assert overlap["published: largest means", "xy"] == [0.1875, 0.1875]


def test_the_scatter_shows_a_specialist_at_a_time() -> None:
    figure = behaviour.scatter_figure(numbers(), OWN)
    assert figure is not None
    (choice,) = figure["layout"]["meta"]["choices"]
    assert [each["title"] for each in choice["options"]] == [
        f"Code: {EVIL}, layer {layer}, feature 13" for layer in (0, 2)
    ]
    assert [trace["visible"] for trace in figure["data"]] == [True, True, False, False]
    cloze, other = figure["data"][:2]
    assert (cloze["name"], cloze["x"], cloze["y"]) == (
        "cloze arithmetic",
        [0, 0.5, 1],
        [0, 0.25, 0.5],
    )
    assert (other["name"], other["x"][0]) == ("choices other", 0.25)


def test_many_tasks_are_thinned_evenly() -> None:
    assert behaviour._spaced(range(5)) == [0, 1, 2, 3, 4]
    kept = behaviour._spaced(range(1000))
    assert len(kept) == behaviour.MOST
    assert {later - earlier for earlier, later in pairwise(kept)} == {4, 5}


def test_the_matrix_marks_what_passes_and_leaves_the_control_to_choose() -> None:
    figure = effects.matrix_figure(numbers(), OWN)
    assert figure is not None
    (choice,) = figure["layout"]["meta"]["choices"]
    assert [each["title"] for each in choice["options"]] == list(effects.CONTROLS.values())
    assert [trace.get("visible", True) for trace in figure["data"]] == [True, True, False, False]
    first = figure["data"][0]
    place = first["y"].index("Math_Simple: symbols, layer 0")
    assert first["x"] == ["Math_Simple", "Code", "cloze arithmetic"]
    # Where the specialist is silent nothing was tested.
    assert first["text"][place] == ["*", "", "*"]
    heads, *lines = shown(effects.matrix_table(numbers(), OWN))
    assert heads[6:8] == ["Minus a random feature", "Holm"]
    assert ["Math_Simple: symbols", "0", "10", "Code"] not in [line[:4] for line in lines]


def test_nothing_significant_has_no_mark() -> None:
    figure = effects.matrix_figure(numbers(NOTHING), OWN)
    assert figure is not None
    assert {mark for line in figure["data"][0]["text"] for mark in line} == {""}


def test_travel_of_ablations_is_by_topic() -> None:
    found = lines_of(effects.cascade_figure(numbers(), OWN))
    assert found == {
        ("Math_Simple", "xy"): [0.25, 0.125, pytest.approx(0.25 / 3)],
        ("a random direction", "xy"): [0.125, 0.0625, pytest.approx(0.125 / 3)],
    }


def test_models_are_beside_exchanged_texts() -> None:
    found = alignment.alignment_rows(alignment_of_two(), ["toy", "other"])
    heads, first, *rest = shown(alignment.alignment_table(found))
    assert heads[:2] == ["Models", "What is shared"]
    assert first[:2] == ["toy and other", "CKA"]
    assert first[5:9] == ["0.625", "any contents", "0.375", "0.0050"]
    # CKA of blocks that nothing else matches is in the figure only.
    assert len(rest) == 3
    figure = alignment.cka_figure(found)
    assert figure is not None
    assert [trace["z"][0] for trace in figure["data"]] == [[0.625, 0.625], [0.375, 0.375]]
    assert alignment.alignment_rows(alignment_of_two(), ["toy"]) == []


def test_tokens_are_marked_by_size_and_sign() -> None:
    (first, *_) = examples.top_texts(numbers(), OWN)
    assert (first["title"], first["feature"], first["most"]) == (CLASSES[3], 13, "8")
    assert first["tested"]
    marks = [
        (token["text"], token["mark"], token["value"]) for token in first["texts"][0]["tokens"]
    ]
    assert marks == [
        ("<s>", "begin", ""),
        ("2", "p5", "8"),
        (" +", "", ""),
        (EVIL, "n3", "−4"),
        ("\n", "", ""),
        ("end", "p1", "0.5"),
    ]


def test_tokens_are_escaped_and_tell_their_number(folder: Path) -> None:
    text = (folder / PAGES[1]).read_text(encoding="utf-8")
    assert f'<span class="n3" title="−4">{escape(EVIL)}</span>'.replace("&quot;", "&#34;") in text
    assert (
        '<span class="begin" title="put before the text by the tokenizer">&lt;s&gt;</span>' in text
    )
    marks = [each["mark"] for each in legend()]
    assert marks == ["n5", "n4", "n3", "n2", "n1", "p1", "p2", "p3", "p4", "p5"]


def test_claims_stand_side_by_side() -> None:
    found = claims_table(models(TOLD))
    assert found is not None
    assert found["models"] == list(TOLD)
    depth, other = found["rows"]
    assert [cell["value"] for cell in depth["cells"]] == ["0.900", "0.550", "0.550"]
    assert depth["cells"][0]["interval"] == "[0.800, 0.950]"
    # The procedure's count is of the first block, the number of the last: none is named for both.
    assert (depth["cells"][0]["procedure"], depth["cells"][0]["layer"]) == ("6", "")
    assert other["cells"][0]["value"] == "12.5\xa0%"
    assert other["verdicts"] == [
        {"verdict": "not testable in this run", "rule": "Other weights.", "models": []}
    ]


def test_of_each_verdict_one_rule_is_told_once() -> None:
    fixed = {"statement": "s", "source": "s", "scope": "model", "published": "p", "verdict": "no"}
    rules = dict(enumerate([*["common"] * 4, *["other"] * 3, "rare"]))
    rows = {str(number): {**fixed, "rule": rule} for number, rule in rules.items()}
    found = told_once({"toy": rows}, lambda name, row: claim_cell(name))
    assert found is not None
    assert found["rules"] == [{"verdict": "no", "rule": "common"}]
    told = [row["verdicts"][0]["rule"] for row in found["rows"]]
    assert told == [*[""] * 4, *["other"] * 3, "rare"]


def test_numbers_of_claims_are_written_as_what_they_measure() -> None:
    row = {**dict.fromkeys(("ci_low", "ci_high", "layer", "analogue_value")), "value": 5.6}
    row |= {"published_value": 4.0, "null": 0.0256, "metric": "rule_half_b"}
    assert _cell("rule_finds_categories", row) == claim_cell("5.6", procedure="4", null="0.0256")
    share = {**row, "value": 0.2, "ci_low": 0.1, "ci_high": 0.3, "published_value": 0.25}
    assert _cell("no_right_answers", share | {"null": 0.02}) == claim_cell(
        "20.0\xa0%", ["10.0", "30.0"], procedure="25.0\xa0%", null="2.0\xa0%"
    )


def test_the_overview_has_chance_and_words_below_the_models() -> None:
    heads, toy, *_, chance, words = shown(overview_table(models(TOLD), POOLING))
    assert heads[0] == "Model"
    assert toy[:4] == ["toy", "2", "0.920 [0.900, 0.940]", "0.920 [0.900, 0.940]"]
    assert chance[:4] == ["Chance", "–", "0.500", "0.500"]
    assert chance[-2:] == ["3.0 %", "50.0 %"]
    assert words[-2:] == ["35.0 % [30.0, 40.0]", "–"]
