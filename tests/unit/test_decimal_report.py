"""Pages of the study of the decimal bug: what they say and draw is what the tables hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saeflow.report.decimal_bug import behaviour, overlap
from saeflow.report.decimal_bug.claims import claims_table
from saeflow.report.decimal_bug.numbers import (
    Bank,
    Patch,
    Units,
    chosen_kind,
    patch_of,
    site_of,
)
from saeflow.report.decimal_bug.pages import overview_table
from saeflow.report.shares import Shares, shares_figure
from tests.decimal_tables import (
    BUGGY,
    DONORS,
    NO_BUG,
    NOTHING,
    OWN,
    make_decimals,
    models,
    numbers,
    row,
    shown,
)
from tests.report_tables import EVIL
from tests.unit.test_report import Page

PAGES = tuple(f"decimal_bug{name}.html" for name in ("", "-toy", "-other", "-toy_untrained"))
TOLD = {"toy": BUGGY, "other": NO_BUG, "toy_untrained": NOTHING}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_decimals(tmp_path_factory.mktemp("decimals"), TOLD)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / PAGES[1])


def text_of(path: Path) -> str:
    return Page(path).text.replace("\xa0", " ")


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
    assert PAGES[0] in (folder / "gsm8k-toy.html").read_text(encoding="utf-8")


def test_the_front_page_has_a_card_of_the_study(folder: Path) -> None:
    card = text_of(folder / "index.html").partition("Why does a model call the smaller")[2]
    assert "1 of 2 trained models has a bug that depends on the format: toy." in card
    targets = [str(attrs["href"]) for tag, attrs in Page(folder / "index.html").tags if tag == "a"]
    assert set(PAGES) <= set(targets)


def test_names_from_tables_are_shown_as_text(folder: Path, page: Page) -> None:
    assert f"Always wrong {EVIL}" in text_of(folder / PAGES[0])
    assert f"{EVIL} blocks 0, 2 1 as published 56.8 % [54.8, 58.8]" in page.text.replace(
        "\xa0", " "
    )
    assert not [tag for tag, attrs in page.tags if tag == "b" and "title" in attrs]


def test_a_model_page_shows_its_numbers(page: Page) -> None:
    text = page.text.replace("\xa0", " ")
    for part in (
        "Q/A, which Q: Which is bigger: 9.8 or 9.11?⏎A: Q&A",
        "plain, which Which is bigger: 9.8 or 9.11?⏎Answer: Simple",
        "Sampled: 7 answers per prompt at temperature 0.45. The untrained model, toy_untrained, has",
        "Q&A wrong −1.250 wrong",
        "0 12.5 9.2 12.5 0.750 0.875 0.750",
        "the lists of the 10 strongest of both",
        "layers below 35 % low and those above 65 % high",
        "1 80.0 high 8 4 1.125",
        "all 70.0 high: 1 – – –",
        "L1_F0 1 both 0.000 0.000 filler",
        "L0_F17 0 Q&A only 3.750 0.500",
        "Without a patch 3.0 % [2.0, 4.0] of the Q/A prompts are answered right.",
        "The chosen site: KV group 1, layer 1",
        "heads 17 of 320 11 of 40 45.5 % 43.2 %",
        "at a false-discovery rate of 7 % over the bank",
        "1 27.5 % 25.0 %",
    ):
        assert part in text, part
    assert "Nothing is patched" not in text


def test_without_a_bug_the_page_says_why_nothing_is_patched(folder: Path) -> None:
    text = text_of(folder / PAGES[2])
    assert "Nothing is patched or attributed." in text
    assert (
        "right answers are 94.0 % [90.0, 98.0] in the Q/A formats and 95.0 % [91.0, 99.0]" in text
    )
    assert "No untrained model of this shape was run." in text
    assert "Without a bug no unit is attributed." in text
    figures = {attrs.get("data-target") for _, attrs in Page(folder / PAGES[2]).tags} - {None}
    assert figures == {"behaviour", "lists-1", "likeness-1"}
    assert "No untrained model of this shape" not in text_of(folder / PAGES[3])
    assert "a control, with nothing learned to find" in text_of(folder / PAGES[3])


def test_groups_are_read_as_the_study_names_them() -> None:
    both = ("plain_to_buggy", Units("attn_out"), "both")
    assert patch_of("plain_to_buggy, attn_out, both") == Patch("map", *both, 1, "")
    assert patch_of("blend: plain_to_buggy, attn_out, both, weight 0.2") == Patch(
        "blend", *both, 0.2, ""
    )
    heads = Units("head", "0,10")
    assert patch_of("random: buggy_to_plain, head 0,10 (chosen_2), prefill") == Patch(
        "random", "buggy_to_plain", heads, "prefill", 1, "chosen_2"
    )
    assert heads.title == "heads 0, 10"
    assert Units("block", "3").title == "block 3"
    assert Units("resid_post").title == "residual stream"
    assert site_of("chosen site: kv_group 1") == Units("kv_group", "1")
    assert site_of("chosen site: attn_out") == Units("attn_out")
    assert chosen_kind("chosen, mlp_out") == "mlp_out"
    for group in ("chosen, mlp_out", "chosen site: head 1", "all"):
        assert patch_of(group) is None
    assert site_of("chosen, mlp_out") is None
    assert chosen_kind("chosen site: head 1") is None


def test_behaviour_is_beside_samples_and_the_untrained_model() -> None:
    (model, *_) = models(TOLD)
    figure = behaviour.behaviour_figure(model)
    assert figure is not None
    greedy, sampled, untrained = figure["data"]
    assert greedy["y"] == ["Q/A, which", "plain, which", "chat"]
    assert greedy["x"][:2] == ["all pairs", "prone, all"]
    assert greedy["x"][-1] == "integers"
    assert greedy["z"][0][:3] == [pytest.approx(0.06), 0.05, None]
    assert greedy["text"][1][1] == "95"
    assert greedy["customdata"][1][1] == (
        "<b>Greedy answers</b><br>plain, which, prone, all<br>95.0 % of 44 pairs<br>from 92.0 to 98.0 %"
    )
    assert sampled["z"][1][1] == 0.475
    assert untrained["z"][1][1] == 0.01
    titles = [each["text"] for each in figure["layout"]["annotations"]]
    assert titles == [
        "Greedy answers",
        "Sampled answers",
        "toy_untrained, untrained: greedy answers",
    ]
    scale = figure["layout"]["coloraxis"]
    assert (scale["cmin"], scale["cmid"], scale["cmax"]) == (0, 0.5, 1)


def test_behaviour_without_samples_and_control_has_one_panel() -> None:
    (model,) = models({"toy": replace(BUGGY, sampled=False)})
    figure = behaviour.behaviour_figure(model)
    assert figure is not None
    assert len(figure["data"]) == 1
    assert shown(behaviour.prone_table(model)) == [
        ["Format", "Right", "Coin", "Wrong", "Unclear", "Logit difference, nats"],
        *(
            [name, right, "50.0 %", wrong, "12.5 % [9.5, 15.5]", difference]
            for name, right, wrong, difference in (
                (
                    "Q/A, which",
                    "5.0 % [2.0, 8.0]",
                    "85.0 % [82.0, 88.0]",
                    "−1.400 [−1.500, −1.300]",
                ),
                (
                    "plain, which",
                    "95.0 % [92.0, 98.0]",
                    "-5.0 % [-8.0, -2.0]",
                    "+0.400 [+0.300, +0.500]",
                ),
                ("chat", "31.0 % [28.0, 34.0]", "59.0 % [56.0, 62.0]", "−0.880 [−0.980, −0.780]"),
            )
        ),
    ]


def test_the_untrained_model_stands_in_a_column_of_its_own() -> None:
    (model, *_) = models(TOLD)
    heads, first, *_ = shown(behaviour.prone_table(model))
    assert heads[:5] == ["Format", "Right", "Right, sampled", "Coin", "Right, untrained"]
    assert first[1:5] == ["5.0 % [2.0, 8.0]", "2.5 % [0.5, 4.5]", "50.0 %", "0.0 % [-3.0, 3.0]"]


def test_published_overlap_is_split_into_active_features_and_fillers() -> None:
    figure = overlap.published_figure(numbers(), OWN, 35.0, 65.0)
    assert figure is not None
    active, fillers = figure["data"]
    assert (active["name"], active["y"]) == ("shared and active", [60.0, 40.0])
    assert (fillers["name"], fillers["y"]) == ("shared fillers", [None, 40.0])
    assert figure["layout"]["barmode"] == "stack"
    assert [line["y0"] for line in figure["layout"]["shapes"]] == [35, 65]


def test_lists_that_share_nothing_have_no_bar() -> None:
    found = numbers()
    for key, each in found.rows.items():
        if key.metric in ("overlap_percent", "shared", "shared_fillers"):
            found.rows[key] = {**each, "value": 0.0}
    figure = overlap.published_figure(found, OWN, 35.0, 65.0)
    assert figure is not None
    assert [bar["y"] for bar in figure["data"]] == [[None, None], [None, None]]


def test_likeness_is_beside_paraphrases_and_the_untrained_model() -> None:
    (model, *_) = models(TOLD)
    figure = overlap.likeness_figure(model, OWN)
    assert figure is not None
    lines = [line for line in figure["data"] if line["mode"] == "lines+markers" and line["x"]]
    first = {line["name"]: line["y"] for line in lines[:4]}
    assert first == {
        "formats": [0.5, 0.51],
        "other wording": [0.625, 0.635],
        "other order": [0.9, 0.91],
        "formats, untrained": [0.5, 0.51],
    }
    bands = [line for line in figure["data"] if line.get("fill") == "toself" and line["x"]]
    assert (bands[0]["x"], bands[0]["y"]) == (
        [0, 1, 1, 0],
        [pytest.approx(end) for end in (0.55, 0.56, 0.46, 0.45)],
    )


def test_wordings_minus_formats_are_tested_layer_by_layer() -> None:
    (model, *_) = models(TOLD)
    heads, *lines = shown(overlap.likeness_table(model, OWN))
    assert heads[-4:] == [
        "Wordings minus formats",
        "p",
        "p, Holm",
        "Wordings minus formats, untrained",
    ]
    assert lines[1][:3] == ["last", "1", "Jaccard"]
    assert lines[1][-4:] == ["+0.200 [+0.195, +0.205]", "0.012", "0.025", "+0.020 [+0.015, +0.025]"]
    assert lines[2][:3] == ["all", "0", "cosine"]


def test_other_recipes_of_the_control_stand_in_for_one_that_it_lacks() -> None:
    (model, *_) = models(TOLD)
    assert model.beside(OWN) == OWN
    assert model.beside(Bank("other", 0)) == OWN
    (alone,) = models({"toy": BUGGY})
    assert alone.beside(OWN) is None
    assert alone.untrained("overlap", "last", "jaccard", OWN, 1) is None


def test_every_bank_has_a_section(tmp_path: Path) -> None:
    folder = make_decimals(tmp_path, {"toy": replace(BUGGY, seeds=2)})
    text = text_of(folder / PAGES[1])
    assert "Which features the formats share of toy_mlp, seed 3" in text
    assert "Which features the formats share of toy_mlp, seed 4" in text
    figures = {attrs.get("data-target") for _, attrs in Page(folder / PAGES[1]).tags}
    assert {"lists-1", "lists-2", "likeness-1", "likeness-2"} <= figures


def test_the_overview_has_a_row_per_model() -> None:
    heads, toy, other, untrained = shown(overview_table(models(TOLD)))
    assert heads[:6] == [
        *("Model", "Right, Q/A formats", "Right, plain formats", "Bug", "Chosen site", "Same pair")
    ]
    assert toy[:7] == [
        *("toy", "5.0 % [1.0, 9.0]", "95.0 % [91.0, 99.0]", "yes", "KV group 1, layer 1"),
        *("80.0 % [78.0, 82.0]", "90.0 % [88.0, 92.0]"),
    ]
    assert (heads[6:8], toy[7]) == (["Other pair, plain", "Names its number"], "5.0 % [3.0, 7.0]")
    donors = [donor for donor in DONORS if not donor.startswith("mean")]
    assert len(toy) == 6 + len(donors)
    assert other[3:] == ["no", *["–"] * (len(donors) + 2)]
    assert untrained[1] == "0.0 % [-4.0, 4.0]"


@pytest.mark.parametrize(
    ("bug", "chosen", "said"),
    [
        (True, True, "yes"),
        (False, False, "no"),
        (True, False, "yes, but not on the other half"),
        (False, True, "no, but on the other half"),
    ],
)
def test_halves_that_disagree_are_told(bug: bool, chosen: bool, said: str) -> None:
    (model,) = models({"toy": replace(BUGGY, bug=bug, chosen=chosen)})
    assert shown(overview_table([model]))[1][3] == said
    assert model.found == bug
    assert model.patched == chosen


def test_claims_stand_side_by_side() -> None:
    found = claims_table(models(TOLD))
    assert found is not None
    assert found["models"] == list(TOLD)
    wrong, shared, unheard = found["rows"]
    assert [cell["value"].replace("\xa0", " ") for cell in wrong["cells"]] == [
        *("95.0 % wrong", "6.0 % wrong", "100.0 % wrong")
    ]
    assert wrong["cells"][0]["procedure"].replace("\xa0", " ") == "100.0 % wrong"
    assert wrong["cells"][0]["null"].replace("\xa0", " ") == "6.2 % wrong"
    assert wrong["verdicts"] == [
        {"verdict": "not testable in this run", "rule": "Other weights.", "models": []}
    ]
    assert shared["cells"][0] == {
        "value": "0.500",
        "interval": "[0.450, 0.550]",
        "procedure": "70.0\xa0%",
        "null": "0.625",
        "layer": "",
    }
    # Rules that tell a model's own numbers differ between models.
    assert [each["models"] for each in shared["verdicts"]] == [[name] for name in TOLD]
    assert [cell["value"] for cell in unheard["cells"]] == ["–"] * 3
    assert found["rules"] == []


def test_a_rule_of_many_claims_is_told_once() -> None:
    (model,) = models({"toy": BUGGY})
    first = model.numbers.claims["qa_wrong"]
    model.numbers.claims["more"] = {**first, "claim": "more"}
    twice = claims_table([model])
    assert twice is not None
    assert not twice["rules"]
    model.numbers.claims["and_more"] = {**first, "claim": "and_more"}
    found = claims_table([model])
    assert found is not None
    assert found["rules"] == [{"verdict": "not testable in this run", "rule": "Other weights."}]
    rules = [each["verdicts"][0]["rule"] for each in found["rows"]]
    assert rules == ["", "As 0.05.", "Drawn at random.", "", ""]


def test_no_claim_gives_no_table() -> None:
    (model,) = models({"toy": BUGGY})
    model.numbers.claims.clear()
    assert claims_table([model]) is None


def test_wide_heat_maps_are_not_written_in() -> None:
    columns = [str(column) for column in range(17)]
    cell = row("patching", "x", "right", 0.999)
    wide = shares_figure([Shares("t", ["0"], columns, {("0", "3"): cell})], of="pairs")
    assert wide is not None
    assert "texttemplate" not in wide["data"][0]
    few = shares_figure([Shares("t", ["0"], columns[:5], {("0", "3"): cell})], of="pairs")
    assert few is not None
    # Neither all nor nothing is written where it is not.
    assert few["data"][0]["text"][0] == ["", "", "", "99.9", ""]
    assert shares_figure([Shares("t", ["0"], columns, {})], of="pairs") is None
