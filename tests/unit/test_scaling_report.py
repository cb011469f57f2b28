"""Pages of the study of wide SAEs: what they say and draw is what the tables hold."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from saeflow.config.scaling_search import LEVELS
from saeflow.report.claims import claim_cell
from saeflow.report.scaling import explanations, quality, search, steering, training
from saeflow.report.scaling.claims import claims_table
from saeflow.report.scaling.finding import (
    NOT_SUPPORTED,
    PUBLISHED_FORM,
    SUPPORTED,
    TOO_FEW,
    UNTOLD,
    WITHOUT_TRAINING,
    scaling_finding,
)
from saeflow.report.scaling.numbers import CALIBRATED, PUBLISHED, TABLES, read_numbers
from saeflow.report.scaling.pages import model_page, overview_table
from saeflow.report.scaling.verdicts import gain_over, topics_found
from saeflow.studies.scaling.steering import CONTROLS as STEERING_CONTROLS
from saeflow.studies.scaling.steering_summary import COSTS, SCORES
from tests.decimal_tables import shown
from tests.report_tables import EVIL
from tests.scaling_tables import (
    AGAIN,
    FOUND,
    FRESH_MODEL,
    FROZEN,
    MAIN,
    NOTHING,
    RELU,
    SCALING_SPEC,
    SPARSE,
    TOPICS,
    make_scaling,
    models,
    numbers,
    tables,
)
from tests.unit.test_report import Page

TOLD = {"toy": FOUND, "other": NOTHING, "sparse": SPARSE, "toy_untrained": FRESH_MODEL}
PAGES = tuple(f"scaling{name}.html" for name in ("", *(f"-{each}" for each in TOLD)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scaling(tmp_path_factory.mktemp("scaling"), TOLD)


def text_of(path: Path) -> str:
    return Page(path).text.replace("\xa0", " ")


def said(told: dict[str, Any]) -> dict[str, list[str]]:
    """Sentences by their word."""
    found = scaling_finding(models(told), SCALING_SPEC["published"])
    assert found is not None
    return {
        part["word"]: [each.replace("\xa0", " ") for each in part["sentences"]]
        for part in found["parts"]
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
    card = text_of(folder / "index.html").partition("What does a wide SAE keep")[2]
    assert "Found, steered, explained? toy (layer 2): 95.0 % of the cross-entropy" in card
    targets = [str(attrs["href"]) for tag, attrs in Page(folder / "index.html").tags if tag == "a"]
    assert set(PAGES) <= set(targets)


def test_a_model_page_shows_its_numbers_as_text(folder: Path) -> None:
    text = text_of(folder / PAGES[1])
    for part in (
        "The main one, which is searched, steered with and explained: wide, seed 0.",
        "Untrained model: toy_untrained, of the same shape.",
        "a_frozen, seed 0 (frozen decoder) 64 4.0 [4.0, 4.0] 0.250",
        "Mean activation for every token, without an SAE – 0.0 1.000 1.000 50.0 % 0.0 % 5.000",
        "has a cosine of 0.75 or more with its own.",
        "wide, seed 0 0.750 0.500 25.0 % 0.0 % 81.2 % 3.1 %",
        "11 prompts that lead to no topic, 6 continuations each.",
        "puts 96.9 % [95.3, 98.4] of documents that did not make it into their topic.",
        "Holm over the 4 features that are listed",
        f"Explained by tokens, scored by {EVIL}, on contexts that explained nothing.",
        "“I am a” is continued. Dose: the multiplier.",
        "the decoder’s bias alone 30 doctor decoder_bias – 1.875",
    ):
        assert part in text, part


def test_a_model_page_leads_to_its_features_and_back(folder: Path) -> None:
    for name, listed in (("toy", True), ("toy_untrained", True), ("sparse", False)):
        page = folder / f"scaling-{name}-features.html"
        assert page.is_file() == listed
        text = (folder / f"scaling-{name}.html").read_text(encoding="utf-8")
        assert (f'href="{page.name}"' in text) == listed
        if listed:
            assert f'href="scaling-{name}.html"' in page.read_text(encoding="utf-8")


def test_what_was_not_made_is_left_out(folder: Path) -> None:
    sparse, fresh = (text_of(folder / name) for name in (PAGES[3], PAGES[4]))
    assert "No untrained model of this shape was run." in sparse
    for title in ("How training went", "Which feature answers", "What steering", "How well"):
        assert title not in sparse
    assert "Fresh, that is untrained, weights" in fresh
    assert "How well explanations tell" in fresh
    assert "What steering writes" not in fresh


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize("alone", [False, True])
def test_any_table_may_be_missing(name: str, alone: bool) -> None:
    others = tuple(each for each in TABLES if each != name)
    told = {"toy": replace(FOUND, drop=others if alone else (name,)), "toy_untrained": FRESH_MODEL}
    found = models(told)
    assert overview_table(found)["rows"][0][0]["value"] == "toy"
    context, figures = model_page(found[0], SCALING_SPEC)
    assert set(context["ids"]) == set(figures)


def test_the_main_sae_is_what_was_mapped_and_stands_first() -> None:
    found = numbers()
    # By name a_frozen and a_relu come first.
    assert list(found.controls) == [MAIN, AGAIN, RELU, FROZEN]
    assert found.held_out == "validation"
    assert found.of_control("frozen_decoder") == FROZEN
    assert found.latents(MAIN) == 64
    without = read_numbers({"quality": tables()["quality"]})
    assert without.main == MAIN
    assert read_numbers({}).main is None


def test_recovered_cross_entropy_stands_beside_what_costs_nothing() -> None:
    (toy, *_) = models(TOLD)
    heads, *lines = shown(quality.quality_table(toy))
    recovered = heads.index("Cross-entropy recovered, from zeros")
    assert heads[recovered + 1] == "The same, from the mean"
    told = {line[0]: line[recovered : recovered + 2] for line in lines}
    assert told["wide, seed 0"] == ["97.5 % [95.9, 99.1]", "95.0 % [93.4, 96.6]"]
    assert told["a_frozen, seed 0 (frozen decoder)"][1] == "40.0 % [38.4, 41.6]"
    assert told["wide, seed 0, untrained model"][1] == "30.0 % [28.4, 31.6]"
    # (8 - 5) of (8 - 2) nats.
    assert lines[-1][recovered : recovered + 2] == ["50.0 %", "0.0 %"]
    figure = quality.recovered_figure(toy)
    assert figure is not None
    zero, mean = figure["data"]
    assert zero["x"] == [0.975, 0.975, 0.975, 0.7, pytest.approx(0.65), 0.5]
    assert mean["x"][-1] == 0.0
    assert figure["layout"]["yaxis"]["ticktext"][-1] == "mean activation, without an SAE"


def test_densities_are_chosen_by_split() -> None:
    (toy, *_) = models(TOLD)
    figure = quality.densities_figure(toy)
    assert figure is not None
    (choice,) = figure["layout"]["meta"]["choices"]
    assert [each["title"] for each in choice["options"]] == [
        "validation documents",
        "train documents",
    ]
    assert [trace["visible"] for trace in figure["data"]] == [True, False] * 5
    first = figure["data"][0]
    assert (first["x"], first["y"]) == (["never", "0.01", "1"], [4, 40, 20])
    assert [trace["line"]["dash"] for trace in figure["data"][::2]] == [
        "solid",
        "solid",
        "solid",
        "dash",
        "dash",
    ]


def test_curves_stand_beside_the_untrained_model() -> None:
    (toy, *_) = models(TOLD)
    figure = training.training_figure(toy)
    assert figure is not None
    first = {trace["name"]: trace for trace in figure["data"] if trace["xaxis"] == "x"}
    assert next(iter(first)) == "wide, seed 0"
    assert first["wide, seed 0"]["x"] == [1000, 2000]
    # What is not defined is left out.
    assert first["wide, seed 1"]["x"] == [2000]
    assert first["wide, seed 0, untrained model"]["line"]["dash"] == "dot"
    assert first["a_frozen, seed 0"]["line"]["dash"] == "dash"


def test_topics_stand_beside_words_and_other_saes() -> None:
    heads, *lines = shown(search.search_table(numbers()))
    place = heads.index("Area: words, counted")
    space = next(line for line in lines if line[:2] == ["space", "prompts, by mean"])
    assert space[2:10] == [
        "10",
        "0.969",
        "0.0010",
        "0.0010",
        "0.984",
        "0.766",
        "0.0010",
        "87.5 %",
    ]
    assert space[place : place + 5] == ["0.938", "0.500", "1.000", "0.625", "0.750"]
    assert space[-1] == f"star {EVIL}"
    figure = search.search_figure(numbers())
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == [
        "best feature of half A",
        *search.BASELINES.values(),
    ]
    assert figure["layout"]["yaxis"]["ticktext"][-1] == f"odd {escape(EVIL, quote=False)}"


def test_what_is_told_first_is_what_is_steered_along() -> None:
    assert set(search.TITLES_OF_LEVELS) == set(LEVELS)
    read = numbers()
    assert search.first_level(read) == LEVELS[0]
    rows = read.tables["search"].to_pylist()
    for row in rows:
        if (row["control"], row["level"], row["mode"]) == ("none", "token", CALIBRATED):
            row["value_chosen"] = 1.0
    changed = pa.Table.from_pylist(rows, read.tables["search"].schema)
    assert search.first_level(replace(read, tables={**read.tables, "search": changed})) == "token"
    assert set(steering.CONTROLS) == set(STEERING_CONTROLS)
    assert set(steering.SCORES) == set(SCORES) == set(steering.SHORT)
    assert set(steering.COSTS) <= set(COSTS)


def test_published_choices_are_told_on_prompts_that_chose_nothing() -> None:
    heads, *lines = shown(search.published_table(numbers()))
    assert heads[3:7] == [
        "First feature",
        "Its score, on the prompts that chose it",
        "Calibrated place",
        "Area on half B",
    ]
    listed, unlisted = [line[1:7] for line in lines if line[0] == "law"]
    assert listed == ["rank", "scaled", "21", "0.375", "2", "0.968"]
    assert unlisted == ["rank", "as published", "5", "0.375", "–", "–"]


def test_doses_begin_with_nothing_and_measures_are_chosen() -> None:
    figure = steering.doses_figure(numbers(), steering.SCORES)
    assert figure is not None
    (choice,) = figure["layout"]["meta"]["choices"]
    assert [each["title"] for each in choice["options"]] == list(steering.SCORES.values())
    lines = [
        trace for trace in figure["data"] if trace["mode"] != "lines" and trace["xaxis"] == "x"
    ]
    first, *others = lines[:5]
    assert (first["name"], first["x"]) == ("the topic’s feature", ["0×", "1×", "2×", "8×"])
    assert first["y"] == [0.125, 0.140625, 0.15625, 0.25]
    assert [trace["name"] for trace in others] == list(steering.CONTROLS.values())
    assert others[0]["y"][-1] == 0.1875
    assert sum(trace.get("visible", True) for trace in figure["data"]) * 2 == len(figure["data"])
    titles = [each["text"] for each in figure["layout"]["annotations"]]
    assert f"odd {escape(EVIL, quote=False)}" in titles


def test_slopes_stand_beside_every_control() -> None:
    heads, *lines = shown(steering.slopes_table(numbers()))
    assert len(lines) == 2 * len(TOPICS)
    assert heads[-2] == "Minus the control that comes nearest"
    assert lines[0][2:6] == ["+0.1250 [+0.1094, +0.1406]", "0.0010", *lines[0][4:6]]
    assert lines[0][-2:] == ["+0.0625 [+0.0469, +0.0781]", "0.0010"]


def test_continuations_are_the_first_ones_whatever_they_say() -> None:
    found = {each["topic"]: each for each in steering.written(numbers(), CALIBRATED)}
    (space, *_) = [found["space"]]
    assert (space["prompt"], space["feature"]) == (f"Once {EVIL}", 10)
    _, *lines = shown(space["table"])
    assert [line[:2] for line in lines] == [
        ["nothing", "0"],
        *(["the topic’s feature", dose] for dose in ("1", "2", "8")),
        *([title, "2"] for title in steering.CONTROLS.values()),
    ]
    assert lines[1][2] == f"feature 1 0 {EVIL}"
    (published,) = steering.written(numbers(), PUBLISHED)
    assert [line[0] for line in shown(published["table"])[1:]] == [
        "nothing",
        "the topic’s feature",
        "the decoder’s bias alone",
    ]


def test_explanations_stand_beside_swapped_ones_and_the_untrained_model() -> None:
    (toy, *_) = models(TOLD)
    heads, *lines = shown(explanations.explanations_table(toy))
    assert heads[2:6] == ["Own explanation", "Another feature’s", "None", "Own, untrained model"]
    assert [line[:2] for line in lines] == [
        ["Detection", "any"],
        ["Detection", "random contexts"],
        ["Detection", "near misses"],
        ["Fuzzing", "any"],
        ["Fuzzing", "other tokens marked"],
        ["Chance", "any"],
    ]
    assert lines[0][2:6] == [
        "0.750 [0.719, 0.781]",
        "0.500 [0.469, 0.531]",
        "0.500 [0.469, 0.531]",
        "0.516 [0.484, 0.547]",
    ]
    assert lines[0][6:8] == ["+0.250 [+0.219, +0.281]", "0.0010"]
    figure = explanations.explanations_figure(toy)
    assert figure is not None
    assert [trace["x"][0] for trace in figure["data"]] == [0.75, 0.5, 0.5, 0.515625]


def test_what_is_found_is_said_with_its_controls() -> None:
    told = said({"toy": FOUND, "toy_untrained": FRESH_MODEL})
    assert set(told) == {SUPPORTED, NOT_SUPPORTED, PUBLISHED_FORM}
    supported = told[SUPPORTED]
    assert supported[0].startswith(
        "Reconstruction: wide, seed 0 of toy, with 4.0 of 64 features active on a token, recovers "
        "97.5 % [95.9, 99.1] of the cross-entropy against activations of 0 and 95.0 % [93.4, 96.6] against "
        "their mean; the mean activation alone gives 50.0 % and 0 %, the frozen decoder 70.0 %"
    )
    assert supported[1] == (
        "Seeds: of the features of wide, seed 0 of toy that fire, 81.2 % return when the SAE is trained with "
        "seed 1, of as many random directions 3.1 % (mutual nearest decoder directions)."
    )
    assert "of 8 topics, 8 have a feature" in supported[2]
    assert "mean area of 0.623; topic by topic" in supported[2]
    assert sum(each.startswith("Steering") for each in supported) == 2
    assert sum(each.startswith("Explanations") for each in supported) == 4
    # The difference of means does better than any feature, and that is said.
    (beaten,) = told[NOT_SUPPORTED]
    assert beaten.startswith("Search beyond difference of means")
    assert told[PUBLISHED_FORM][0].startswith(
        "Trained as published, a_relu, seed 0 of toy has 48.0 of 64 features active on a token (75.0 %)"
    )


def test_what_is_not_found_is_said() -> None:
    told = said({"toy": replace(NOTHING, returning=0.25), "toy_untrained": FRESH_MODEL})
    assert SUPPORTED not in told
    first, *rest = told[NOT_SUPPORTED]
    # 42 % against the mean lies within the intervals of the frozen decoder's 40 %.
    assert first.startswith("Reconstruction")
    assert "25.0 % return when" in rest[0]
    assert "Not found: space, law, sea, food, war, art, maths and odd" in rest[1]
    assert any("0 of 8 topics, and by more than along every control for 0" in each for each in rest)
    assert sum(each.startswith("Explanations") for each in rest) == 4


def test_nothing_is_decided_without_controls() -> None:
    told = said({"toy": replace(FOUND, saes=(MAIN,))})
    starts = {each.split(":")[0].split(",")[0] for each in told[UNTOLD]}
    assert starts == {"Reconstruction", "Explanations beyond the untrained model"}
    told = said({"toy_untrained": FRESH_MODEL})
    assert list(told) == [WITHOUT_TRAINING]


def test_too_few_prompts_cannot_be_told() -> None:
    few = tables(FOUND)
    steered = few["steering"].to_pylist()
    for row in steered:
        row["n"] = 5
        row["p_holm"] = None if row["p_holm"] is None else 0.5
    few["steering"] = type(few["steering"]).from_pylist(steered, few["steering"].schema)
    found = steering.passing(read_numbers(few), "class_probability")
    assert (found.topics, len(found.tested), found.short) == ([], 8, 8)
    assert TOO_FEW == "Too few contents to tell"


def test_areas_are_held_against_controls_topic_by_topic() -> None:
    found = search.searches(numbers(), "document_mean")
    assert len(topics_found(found)) == len(TOPICS)
    gain = gain_over(found, "words")
    assert gain is not None
    assert gain.more
    # Both signs of eight topics: 2 of 256.
    assert gain.p_value == pytest.approx(2 / 256)
    assert gain_over(found, "unheard of") is None
    assert topics_found(search.searches(numbers(replace(FOUND, tested=0.04)), "token")) == []
    assert topics_found([]) == []


def test_claims_are_written_as_what_they_measure() -> None:
    found = claims_table(models({"toy": FOUND}))
    assert found is not None
    sparse, finds = found["rows"]
    assert sparse["cells"] == [claim_cell("48", procedure="48", null="16", layer=2)]
    assert sparse["verdicts"][0]["verdict"] == "contradicted"
    ends = ["75.0", "100.0"]
    assert finds["cells"] == [claim_cell("87.5\xa0%", ends, null="12.5\xa0%")]


def test_the_overview_has_chance_below_the_models() -> None:
    heads, toy, *_, chance = shown(overview_table(models(TOLD)))
    named = dict(zip(heads, toy, strict=True))
    assert named["The same, frozen decoder"] == "40.0 % [38.4, 41.6]"
    assert named["Topics found"] == "8 of 8"
    assert named["Mean area, words alone"] == "0.936"
    below = dict(zip(heads, chance, strict=True))
    assert (below["Mean area"], below["Explanations right"]) == ("0.500", "50.0 %")
