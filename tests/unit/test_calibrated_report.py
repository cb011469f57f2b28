"""Pages with the calibrated mode: what they show is what the tables hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pyarrow as pa
import pytest
from docutils.core import publish_parts

from saeflow.report.beside import control_figure, control_table
from saeflow.report.controls import DISCOVERED, HEADLINES, read_calibration
from saeflow.report.report import write_report
from saeflow.report.sizes import matched_groups
from saeflow.studies.compare.capacity import capacity_verdict
from tests.calibrated_tables import CALIBRATED, RATES, calibration, capacity, matched
from tests.report_tables import EVIL, FRESH, SPEC, TEMPLATES, make, write_tables
from tests.unit.test_report import Page, chunk

PAGES = (
    "index.html",
    "gsm8k-toy.html",
    "compare.html",
    "sizes.html",
    "features.html",
    "run.html",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("report"), calibrated=True)


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_whole(folder: Path, name: str) -> None:
    assert {path.name for path in folder.glob("*.html")} == set(PAGES)
    page = Page(folder / name)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert {target for target in targets if not target.startswith("#")} >= set(PAGES)
    figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
    drawn = {attrs["id"] for _, attrs in page.tags if "plot" in (attrs.get("class") or "").split()}
    assert figures == drawn
    assert EVIL not in (folder / name).read_text(encoding="utf-8")


def test_the_finding_is_the_first_paragraph_under_the_title(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    first = text.split("</h1>")[1].split("<p")[1]
    assert first.startswith(' id="finding"')
    assert "Not every control is beaten: 2 of 3 rates fail" in first


def test_without_the_calibrated_mode_no_page_speaks_of_it(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert not (folder / "sizes.html").exists()
    for path in folder.glob("*.html"):
        text = Page(path).text
        for word in ("Not every control", "beaten", "Follows", "Calibrated", "sizes.html"):
            assert word not in text


def test_overview_shows_each_rate_beside_each_control(folder: Path) -> None:
    text = Page(folder / "index.html").text
    for part in (
        "Observed 45.0 % [44.0, 46.0] 60.0 % [59.0, 61.0] 12.0 % [11.0, 13.0] 80.0 % [70.0, 90.0]",
        "Permuted 36.0 % [31.0, 41.0]beaten +9.0 [+3.0, +15.0]",
        "Frequency-matched 37.0 % [36.0, 38.0] 72.0 % [71.0, 73.0] – –",
        "Untrained model 50.0 % [50.0, 50.0]not beaten −5.0 [−6.0, −4.0]",
        "Chance of being confirmed – – – 4.0 % [3.0, 5.0]",
        "Layer 1 Observed 45.0 %",
        "PCA 25.0 % [25.0, 25.0]beaten +20.0 [+19.0, +21.0]",
        "false-discovery rate of 7 %",
    ):
        assert part in text.replace("\xa0", " ")


def test_controls_of_one_layer_have_no_cell_at_all_layers() -> None:
    (beside,) = read_calibration(calibration(), ["toy"])
    everywhere, layer = control_table(beside, HEADLINES)["groups"]
    assert [row["title"] for row in everywhere["rows"]] == [
        "Observed",
        "Permuted",
        "Chance of being confirmed",
        "Frequency-matched",
        "Untrained model",
    ]
    assert (layer["layer"], layer["rows"][-1]["title"]) == (1, "PCA")


def test_figure_of_controls_draws_what_the_table_says() -> None:
    (beside,) = read_calibration(calibration(), ["toy"])
    figure = control_figure(beside, [DISCOVERED])
    assert figure is not None
    found = {trace["name"]: trace for trace in figure["data"]}
    rates = RATES["discovered_rate"]
    assert list(figure["layout"]["yaxis"]["ticktext"]) == ["Discovered", "Discovered, layer 1"]
    assert list(found["permuted"]["base"]) == [rates["permuted"][1]] * 2
    assert list(found["observed"]["x"]) == [rates["none"][0]] * 2
    assert list(found["Untrained model"]["x"]) == [rates["untrained"][0]]
    assert (list(found["PCA"]["x"]), list(found["PCA"]["y"])) == ([rates["pca"][0]], [1])


def test_model_page_shows_targets_and_stability(folder: Path) -> None:
    text = Page(folder / "gsm8k-toy.html").text
    for part in (
        "12.3 % of 4,321 features 0.2 % [0.0, 0.6] +12.1 [+11.8, +12.3] 2.1 % 76.5 % 4.3 %",
        "token that the model itself decodes at the thought 1 3.2 % of 4,321 features",
        "0 and 1 1.2 % of 188 0.1 % 0.0 %",
        "by activation alone the same, matched anew 0 and 1 45.6 % of 188 1.2 % –",
        "at least 21 of them, against each label that occurs on at least 12",
    ):
        assert part in text
    # The published summary stays as it was, and rates of control dictionaries stay out of it.
    assert "45.7 % of 4,321" in text
    assert "tiny_pca" not in text
    assert "88.9" not in text
    assert "100.0 % of 4,321" not in text


def test_discovered_figure_has_bands_and_controls(folder: Path) -> None:
    figure = Page(folder / "gsm8k-toy.html").data("data-target", "discovered")
    observed = [trace for trace in figure["data"] if trace.get("mode") == "lines+markers"]
    assert [trace["y"] for trace in observed] == [[0.1234] * 3, [0.1234] * 2] * 2
    marks = {
        (trace["name"], trace["xaxis"]): (trace["x"], trace["y"])
        for trace in figure["data"]
        if trace.get("name") in ("Untrained model", "PCA")
    }
    assert marks == {
        ("Untrained model", "x"): ([0, 1, 2], [0.02] * 3),
        ("PCA", "x"): ([1], [0.06]),
    }


def test_sizes_page_shows_the_grid_and_the_verdict(folder: Path) -> None:
    text = Page(folder / "sizes.html").text
    assert "8 2 0.508 2.5 % 25.0 % 12.5 % [11.5, 13.5] +12.5 [+11.5, +13.5] – – –" in text
    assert "Equal explained variance toy − toy 16 0.654 +24.7 +12.3 [+11.3, +13.3]" in text
    assert "Equal L0 toy − toy 16 4 +24.7" in text
    # Fresh weights have learned nothing: no model counts.
    verdict = capacity_verdict(0)
    assert f"{verdict.word[0].upper()}{verdict.word[1:]}. {verdict.rule}" in text
    for rate in ("74.9 %", "72.6 %", "capacity hypothesis rejected"):
        assert rate in text
    assert "With the same SAE sizes for all models" in Page(folder / "compare.html").text
    figure = Page(folder / "sizes.html").data("data-target", "sizes-1")
    lines = [trace for trace in figure["data"] if trace["name"] == "d_sae 16"]
    assert lines[0]["x"] == [2, 4]
    assert lines[0]["y"] == pytest.approx([1 - 0.516, 1 - 0.266])


def test_every_cell_of_the_grid_and_of_the_matches_is_read() -> None:
    assert len(capacity()) == 4 * (2 + 3 * 3)
    found = matched_groups(matched(), ["toy", "toy2"], ["toy", "toy2"])
    groups = found["matched"]
    assert [group["title"] for group in groups] == ["Equal L0", "Equal explained variance"]
    assert [cell["value"] for cell in groups[0]["rows"][0]["cells"]] == [
        *("+24.7", "+12.3", "+12.3"),
        *("–", "–", "–"),
        *("+24.7", "+12.3", "+12.3"),
    ]


def test_pairs_with_an_untrained_model_stand_apart() -> None:
    more = matched().to_pandas().assign(other="toy3")
    both = pa.concat_tables([matched(), pa.Table.from_pandas(more, matched().schema)])
    names = ["toy", "toy2", "toy3"]
    found = matched_groups(both, names, names[:2])
    assert [row["other"] for group in found["matched"] for row in group["rows"]] == ["toy2"] * 2
    assert [row["other"] for group in found["others"] for row in group["rows"]] == ["toy3"] * 2
    # Where nothing is trained, all pairs are shown.
    found = matched_groups(both, names, [])
    assert sum(len(group["rows"]) for group in found["matched"]) == 4
    assert not found["others"]


def test_a_model_of_the_calibrated_mode_alone_has_its_pages(tmp_path: Path) -> None:
    files = write_tables(tmp_path, 24, FRESH, calibrated=True)
    published = {**SPEC["published"], "models": {}}
    for name in ("labels", "association", "examples"):
        (tmp_path / f"gsm8k/toy/{name}.parquet").unlink()
    spec = {**SPEC, "published": published, "calibrated": CALIBRATED}
    write_report(files, templates=TEMPLATES, spec=spec, folder=tmp_path / "report")
    page = Page(tmp_path / "report/gsm8k-toy.html")
    assert "12.3 % of 4,321 features" in page.text
    assert "45.7 % of 4,321" not in page.text
    figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
    assert figures == {"discovered", "quality"}
    assert [row[2] for row in chunk(tmp_path / "report", "features-0")] == [0, 99]


def test_caption_tells_the_calibrated_thresholds() -> None:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    params = SimpleNamespace(spec={**SPEC, "calibrated": CALIBRATED})
    source = (TEMPLATES / "gsm8k.rst").read_text(encoding="utf-8")
    text = environment.from_string(source).render(snakemake=SimpleNamespace(params=params))
    body = publish_parts(text, writer="html")["body"]
    assert "rate of 7 %" in " ".join(body.split())
    assert "system-message" not in body


def test_features_are_those_labelled_or_discovered(folder: Path) -> None:
    manifest = Page(folder / "features.html").data("id", "manifest")
    names = [(run["dictionary"], run["seed"], run["rows"]) for run in manifest["runs"]]
    assert names == [("tiny_k4", 0, 13), ("tiny_k4", 1, 13)]
    rows: list[Any] = chunk(folder, "features-0")
    by_id = {tuple(row[:3]): row for row in rows}
    # Of its tokens the one with the smallest p-value, whichever half it follows.
    assert by_id[0, 0, 0][-2:] == [EVIL, 0.0003]
    assert by_id[0, 0, 99] == [0, 0, 99, "", "no label", False, None, 0, [], None, None, "7", 0.02]
    # A target that is no token is told in the details alone.
    assert next(row for row in chunk(folder, "features-1") if row[2] == 98)[-2:] == [None, None]
    assert all(row[2] != 77 for row in rows)


def test_details_have_discoveries_and_partners(folder: Path) -> None:
    found = chunk(folder, "details-0-0")
    first = found["0_0"]
    assert [row[1:3] for row in first["found"]] == [
        ["token", "13"],
        ["token", EVIL],
        ["decoded", "+"],
    ]
    effects = [1e-9, 0.0003, 4.568, 1.234, 7.891, 0.8095, 1.0, 0.9123]
    assert first["found"][1] == ["-", "token", EVIL, 17, 4, 0, 54, *effects, False]
    assert first["found"][0][-1] is True
    assert first["matches"] == [[1, 1, -0.9123, -0.8123, True, None]]
    assert first["tokens"]
    unlabelled = found["0_99"]
    assert (unlabelled["why"], unlabelled["tokens"], unlabelled["problems"]) == ("", [], [])
    assert unlabelled["matches"] == [[1, 50, 0.2, 0.3, False, False]]
    # The same pair, seen from the other seed.
    assert chunk(folder, "details-1-0")["0_1"]["matches"] == [[0, 0, -0.9123, -0.8123, True, None]]


def test_same_tables_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = make(tmp_path, calibrated=True)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name
