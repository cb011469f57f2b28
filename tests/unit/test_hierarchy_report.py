"""Pages of the hierarchy study: what they say and draw is what the tables hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from saeflow.report.hierarchy.numbers import HierarchyRun, ModelTables, read_runs
from saeflow.report.hierarchy.pages import read_models
from saeflow.report.hierarchy.tables import impact_sentence
from saeflow.studies.compare.hierarchy import Compared, compare_hierarchy
from tests.hierarchy_tables import (
    CALIBRATED,
    FROZEN,
    GOOD,
    SHORTLIST,
    SITES,
    Told,
    comparison_of,
    make_hierarchy,
    model_tables,
)
from tests.report_tables import EVIL
from tests.unit.test_report import Page

PAGES = ("hierarchy.html", "hierarchy-toy.html", "hierarchy-toy_untrained.html")
UNTRAINED = Told(
    levels={"operators": (31.0, 0.0, 4.0), "operator_value": (6.0, 0.0, 1.0)},
    followers={"operators": (2.0, 0.0, 9.0)},
    largest=(-0.01, -0.03, 0.02),
    p_value=0.3,
)
PUBLISHED_ONLY = Told(calibrated=False)
NO_CAUSAL = Told(largest=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hierarchy")
    return make_hierarchy(root, {"toy": GOOD, "toy_untrained": UNTRAINED}, {})


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "hierarchy-toy.html")


def test_nothing_of_an_untrained_model_is_called_supported(folder: Path, tmp_path: Path) -> None:
    strong = make_hierarchy(tmp_path, {"toy": GOOD, "toy_untrained": GOOD}, {})
    for root in (folder, strong):
        text = Page(root / "hierarchy-toy_untrained.html").text
        assert "Supported" not in text
    assert "Found without training" in text
    assert "Untrained weights, too, exceed chance" in text
    assert "which holds against matched features, with nothing learned." in text


def test_pages_are_whole(folder: Path) -> None:
    assert set(PAGES) <= {path.name for path in folder.glob("*.html")}
    for name in PAGES:
        page = Page(folder / name)
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        targets = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]
        assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
        for target in targets:
            assert target.startswith("#") or (folder / target).is_file()
        figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
        drawn = {a["id"] for _, a in page.tags if "plot" in (a.get("class") or "").split()}
        assert figures == drawn
        text = (folder / name).read_text(encoding="utf-8")
        assert EVIL not in text
        assert text.split("</h1>")[1].split("<p")[1].startswith(' id="finding"')
    assert "hierarchy.html" in (folder / "gsm8k-toy.html").read_text(encoding="utf-8")
    overview = Page(folder / "index.html").text
    assert "Some of what was tested holds against its chance level" in overview
    assert "a control, with nothing learned" in Page(folder / PAGES[2]).text


def test_tables_show_the_numbers(page: Page) -> None:
    text = page.text.replace("\xa0", " ")
    for part in (
        "impact over mean activation is 0.0711 to 0.0822 over 36 features",
        "By its rule, 1 of 4 sites pass: at least 70 % of the 9 most frequent features",
        "L1_P1 25.0 % yes 25.0 % no 25.0 % yes 0.0711 0.0822 0.0711 0.0822",
        "By the mean activation times that constant alone 1 pass",
        "changes the reconstruction by at most 0, no feature never fires",
        "reconstruction is 0.0123, that of the mean activation 0.456: 4 of 4 sites pass",
        "all ranks 200 12 13.5 6 6.8",
        "mixed 38 2 38",
        "Follow an operator 150 41 4.5 [0, 9] +36.5 [+32, +41] 20.5 % 2 1.0 %",
        "the set of operators 31 2 [0, 4] 51.7 % 31 51.7 %",
        "Modules that follow an operator 1 1.5 [0, 3] −0.5 [−2, +1] 1",
        "Untrained: toy_untrained, of the same shape with nothing learned. Of untrained models sets "
        "alone are ablated, on 31 reported problems, and no SAEs of other k are trained.",
        "on 45 features are screened and the sets picked, on 30 a site is chosen, and on 31 every",
        "the model answers 58.0 % [40.0, 77.0] of the reported problems right",
        "over the 31 reported problems, of which the model answers 58.0 % right without",
        "at its own chosen site: −0.010 [−0.030, +0.020].",
        "Measured on 31 balanced problems, which tell at most 6 stories",
        "Pairs that fire together 99 1.2 [1, 1.5] +97.8 [+97.5, +98]",
        "The largest 2 of 2 modules",
        "L1_P2 11 * 9 1.8 0.46 < 0.0001 < 0.0001 F0, F1, F2, F3, F4, F5, F6, F7, …",
        "Chosen site: L1_P2. Its set changes the log-probability by −0.765 nats",
        "and by −0.432 [−0.600, −0.200] on the reported ones (one-sided p 0.012",
        "Set to zero −0.400 [−0.420, −0.370] – 12.5 % [10.5, 15.5] 0.200",
        "Reconstruction in place of the activation −0.004",
        "L1_P2_set another operator 14 +0.234 [+0.214, +0.264] +0.035 [+0.015, +0.065] "
        "+0.200 [+0.180, +0.230] 6.2 % [4.2, 9.2] 3.0 %",
        "and no test is made, which would count the problems as independent",
        "Rank correlation over 3 features: 0.44; attributed on the reported problems, too: 0.88. 67 %",
        "Search −9.88 1,234",
        "2+3=5 | 5*4=20",
    ):
        assert part in text, part


def test_the_impact_is_called_a_constant_only_where_it_is(page: Page) -> None:
    assert "is its mean activation times a constant" in page.text
    (run,) = read_runs(model_tables())
    key = ("published", "top", "impact_over_magnitude.max", "closed_form", None, None)
    run.numbers[key] = {**run.numbers[key], "value": 0.0823}
    sentence = impact_sentence(run)
    assert sentence is not None
    assert (sentence["measured"], sentence["closed"]) == ("0.0711 to 0.0822", "0.0711 to 0.0823")
    assert not sentence["same"]


def test_single_features_stand_with_controls_labels_and_q(page: Page) -> None:
    text = page.text
    rows = [
        text.index(f"L{layer}_P{step}_F{feature} ")
        for layer, step, feature in ((1, 2, 7), (0, 1, 5), (1, 1, 3))
    ]
    assert rows == sorted(rows)
    first = text[text.index("L0_P1_F5 ") :][:400]
    assert EVIL in first
    beyond = "−0.050 [−0.070, −0.020] 0.032 0.0010 −0.067 [−0.087, −0.037] 0.0043"
    for part in ("11 −0.060", "−0.010", beyond):
        assert part in first


def figure(page: Page, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.data("data-target", f"{name}-1")["data"]
    return found


def test_frequency_curve_has_the_rule_and_its_chance(page: Page) -> None:
    lines = {line["name"]: (line["x"], line["y"]) for line in figure(page, "frequency")}
    bins = ["1", "6-7", "200+"]
    assert lines == {
        "published rule: random problems": (bins, [1.0, 0.25, 0.0]),
        "published rule: features": (bins, [1.0, 0.125, 0.0]),
        "ties counted: random problems": (bins, [0.5, 0.125, 0.0]),
        "ties counted: features": (bins, [0.5, 0.0625, 0.0]),
    }
    axis = page.data("data-target", "frequency-1")["layout"]["xaxis"]
    assert axis["categoryarray"][:3] == ["1", "2", "3"]
    assert axis["categoryarray"][-1] == "200+"


def test_calibrated_figures_have_their_bands(page: Page) -> None:
    band, mean, own = figure(page, "followed")[:3]
    assert (band["base"], band["y"]) == ([0.0, 0.0], [9 / 200] * 2)
    assert (mean["y"], own["y"]) == ([4.5 / 200] * 2, [41 / 200] * 2)
    assert own["x"] == ["20-49", "200+"]
    band, _, own = figure(page, "levels")
    assert own["y"] == [31.0, 2.0, 3.0, 0.0, 7.0, 17.0]
    assert own["x"][1:] == ["first operator", "sequence", "value", "operator × value", "no level"]
    assert [base + height for base, height in zip(band["base"], band["y"], strict=True)] == [
        *(4.0, 1.0, 5.0, 0.0, 1.0, 60.0)
    ]
    null, own = figure(page, "scores")
    assert (own["x"], own["y"]) == (["0", "0.1"], [40.0, 20.0])
    assert null["y"] == [2.0] * 3
    sweep = figure(page, "sweep")
    observed = [line["y"] for line in sweep if line["name"] == "observed"]
    assert observed == [[7.0, 5.0], [7.0, 5.0], [5.0, 7.0]]


def test_ablation_panels_are_set_control_and_difference(page: Page) -> None:
    own, control, difference = (panel["z"] for panel in figure(page, "ablation"))
    assert own == [pytest.approx([-0.1, -0.2]), pytest.approx([-0.3, -0.4])]
    assert control == [[-0.05, -0.05]] * 2
    assert difference == [pytest.approx([-0.05, -0.15]), pytest.approx([-0.25, -0.35])]


def test_forest_splits_features_at_the_false_discovery_rate(page: Page) -> None:
    dots = {each["name"]: each for each in figure(page, "forest")}
    assert dots["q ≤ 0.07"]["x"] == [-0.2002, -0.0501]
    assert dots["q > 0.07"]["x"] == [0.0123]
    assert dots["q > 0.07"]["error_x"]["array"] == [pytest.approx(0.03)]
    names = page.data("data-target", "forest-1")["layout"]["yaxis"]["ticktext"]
    assert names == ["L1_P2_F7", "L0_P1_F5", "L1_P1_F3"]


def test_dose_curves_stand_beside_a_random_direction(page: Page) -> None:
    lines = figure(page, "doses")
    own = [line for line in lines if line["name"] == "feature or set"]
    turned = [line for line in lines if line["name"] == "random direction"]
    # Three measures of two units.
    assert len(own) == len(turned) == 6
    assert own[0]["x"] == [0.0, 1.0, 10.0]
    assert own[0]["y"] == pytest.approx([0.1, 0.0, -0.9])
    assert turned[0]["y"] == pytest.approx([0.05, 0.0, -0.45])


def test_screening_shows_exact_over_attributed(page: Page) -> None:
    _, dots = figure(page, "screen")
    assert dots["x"] == pytest.approx([2 * effect for effect in SHORTLIST.values()])
    assert dots["y"] == list(SHORTLIST.values())


def headings(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [part.split(">", 1)[1].split("<")[0] for part in text.split("<h2")[1:]]


@pytest.mark.parametrize(
    ("told", "calibrated", "expected"),
    [
        (PUBLISHED_ONLY, None, ["What the published rules call specialised"]),
        (
            NO_CAUSAL,
            {**CALIBRATED, "causal": None},
            [
                "What the published rules call specialised",
                "What features follow by exact tests",
                "Levels: operators, values or both",
                "SAEs of other k",
                "Features that fire together",
            ],
        ),
    ],
)
def test_parts_that_did_not_run_leave_no_heading(
    tmp_path: Path, told: Told, calibrated: Any, expected: list[str]
) -> None:
    folder = make_hierarchy(tmp_path, {"toy": told}, {"calibrated": calibrated})
    assert headings(folder / "hierarchy-toy.html") == expected
    assert "ablat" not in Page(folder / "hierarchy.html").text.split("What was")[0].lower().replace(
        "the features of one site ablated together", ""
    )


def test_a_control_has_sets_alone(folder: Path) -> None:
    found = headings(folder / "hierarchy-toy_untrained.html")
    assert "What the answer loses without features" in found
    for part in ("Single features", "Dose and response", "Swaps between problems"):
        assert part not in found
        assert part in headings(folder / "hierarchy-toy.html")


def test_overview_puts_models_beside_each_other(folder: Path) -> None:
    text = Page(folder / "hierarchy.html").text
    row = "toy 6.0 % 6.8 % 20.5 % 2.2 % [0.0, 4.5] 11.0 % 6.2 % [0.0, 12.5] L1_P2 −0.432"
    assert row in text
    assert "toy_untrained 6.0 % 6.8 % 1.0 % 2.2 %" in text
    # Both models were made with the same packages.
    assert text.count("made with") == 1
    assert "toy, toy_untrained: made with" in text


def test_overview_has_no_column_of_what_did_not_run(tmp_path: Path) -> None:
    folder = make_hierarchy(tmp_path, {"toy": PUBLISHED_ONLY}, {"calibrated": None})
    text = Page(folder / "hierarchy.html").text.replace("\xa0", " ")
    assert "Model Specialised by the published rule Random problems toy 6.0 % 6.8 %" in text
    assert "Permuted" not in text
    assert "specialised ranks 400 to 512 that fire 5 of 109 (4.6 %)" in text


def test_old_tables_without_what_is_counted_since_are_told_without(tmp_path: Path) -> None:
    folder = make_hierarchy(tmp_path, {"toy": replace(GOOD, reported=None)}, {})
    text = Page(folder / "hierarchy-toy.html").text
    assert "on some features are screened and the sets picked, on others a site is chosen" in text
    assert "without an intervention" not in text.lower()
    assert "None" not in text


def test_runs_of_one_model_have_sections_of_their_own(tmp_path: Path) -> None:
    tables = model_tables(PUBLISHED_ONLY)
    second = tables.summary.to_pandas().assign(seed=1)
    both = pa.concat_tables(
        [tables.summary, pa.Table.from_pandas(second, tables.summary.schema, preserve_index=False)]
    )
    runs = read_runs(ModelTables(both))
    assert [(run.dictionary, run.dataset, run.seed) for run in runs] == [
        ("tiny_k4", "small", 0),
        ("tiny_k4", "small", 1),
    ]
    (model,) = read_models({"toy": ModelTables(both)}, comparison_of({"toy": both}))
    names = [subject.name for subject in model.subjects]
    assert names == [f"toy, tiny_k4 on small, seed {seed}" for seed in range(2)]


def test_the_sweep_is_no_bank_of_its_own() -> None:
    (run,) = read_runs(model_tables())
    assert isinstance(run, HierarchyRun)
    assert {k for k, *_ in run.sweep} == {2, 4}
    assert len(run.conditions("zero")) == len(SITES) + len(SHORTLIST)


def test_without_the_study_no_page_speaks_of_it(tmp_path: Path) -> None:
    from tests.report_tables import make

    folder = make(tmp_path)
    assert not list(folder.glob("hierarchy*"))
    for path in folder.glob("*.html"):
        assert "ierarchy" not in path.read_text(encoding="utf-8")


BESIDE = replace(
    GOOD,
    frozen=Told(
        followers={"operators": (40.0, 0.0, 8.0), "operands": (2.0, 0.0, 3.0)},
        levels={"operators": (5.0, 0.0, 4.0)},
    ),
)


def test_control_dictionaries_stand_beside_the_untrained_model(tmp_path: Path) -> None:
    folder = make_hierarchy(tmp_path, {"toy": BESIDE, "toy_untrained": UNTRAINED}, {})
    page = Page(folder / "hierarchy-toy.html")
    text = page.text.replace("\xa0", " ")
    for part in (
        f"Frozen decoder: {FROZEN}, SAEs of the same layers and steps",
        "Of all that fire Untrained Untrained, share Frozen decoder Frozen decoder, share",
        "Follow an operator 150 41 4.5 [0, 9] +36.5 [+32, +41] 20.5 % 2 1.0 % 40 20.0 %",
        "the set of operators 31 2 [0, 4] 51.7 % 31 51.7 % 5 8.3 %",
        "Observed Permuted Excess Untrained Frozen decoder",
        "Modules that follow an operator 1 1.5 [0, 3] −0.5 [−2, +1] 1 1",
    ):
        assert part in text, part
    # It is no run of its own, and its modules are not listed among those of the SAEs.
    assert len(headings(folder / "hierarchy-toy.html")) == len(set(headings(folder / PAGES[1])))
    row = (
        "toy 6.0 % 6.8 % 20.5 % 2.2 % [0.0, 4.5] 20.0 % 11.0 % 6.2 % [0.0, 12.5] 1.0 % L1_P2 −0.432"
    )
    overview = Page(folder / "hierarchy.html").text.replace("\xa0", " ")
    assert row in overview
    assert "Frozen decoder: the same of SAEs of these layers" in overview
    assert "toy_untrained 6.0 % 6.8 % 1.0 % 2.2 % [0.0, 4.5] – 11.0 %" not in overview
    assert "Frozen decoder" not in Page(folder / PAGES[2]).text


def test_what_a_control_dictionary_shows_as_much_is_not_called_supported(tmp_path: Path) -> None:
    folder = make_hierarchy(tmp_path, {"toy": BESIDE, "toy_untrained": UNTRAINED}, {})
    text = Page(folder / "hierarchy-toy.html").text.replace("\xa0", " ")
    finding = text[: text.index("Models of this study")]
    supported, _, failed = finding.partition("Not supported")
    assert "41 follow an operator" not in supported
    assert "41 follow an operator" in failed
    assert "frozen decoder 40: " in failed
    # Without the control it is.
    alone = make_hierarchy(tmp_path / "alone", {"toy": GOOD, "toy_untrained": UNTRAINED}, {})
    text = Page(alone / "hierarchy-toy.html").text
    assert "41 follow an operator" in text.split("Not supported")[0]


def test_a_control_dictionary_that_is_studied_by_itself_has_a_section(tmp_path: Path) -> None:
    tables = model_tables(BESIDE)
    both = {"tiny_k4": {"frozen_decoder": FROZEN}, FROZEN: {}}
    comparison = compare_hierarchy({"toy": tables.summary}, [Compared("toy", [], both)])
    (model,) = read_models({"toy": tables}, comparison)
    assert [subject.run.dictionary for subject in model.subjects] == ["tiny_k4", FROZEN]
    first, second = model.subjects
    assert {name: run.dictionary for name, run in first.controls.items()} == {
        "frozen_decoder": FROZEN
    }
    assert second.controls == {}


def test_same_tables_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = make_hierarchy(tmp_path, {"toy": GOOD, "toy_untrained": UNTRAINED}, {})
    for name in PAGES:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
