"""Pages of the report: every number in its place, nothing from elsewhere, nothing unescaped."""

from __future__ import annotations

import html
import json
import re
import time
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pyarrow as pa
import pytest
from docutils.core import publish_parts

from saeflow.artifacts.provenance import Provenance
from saeflow.report.bands import Banded, Run, run_names
from saeflow.report.heatmaps import quality_figure
from saeflow.report.site import SHARED, datatables, write_archive
from saeflow.report.tables import number_text
from tests.report_tables import EVIL, LAYERS, PERMUTATIONS, SPEC, STEPS, TEMPLATES, make

PAGES = ("index.html", "gsm8k-toy.html", "compare.html", "features.html", "run.html")
ASSETS = {
    "page.css",
    "page.js",
    "feature_parts.js",
    "features.js",
    "scaling_features.js",
    "tables.js",
    "plotly.min.js",
    "datatables.min.js",
}


class Page(HTMLParser):
    """Tags with their attributes, and the text of what is no script or style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        self.text += " " if tag in ("td", "th") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def data(self, name: str, value: str) -> Any:
        scripts = [attrs for tag, attrs in self.tags if tag == "script"]
        index = next(i for i, attrs in enumerate(scripts) if attrs.get(name) == value)
        return json.loads(self.scripts[index])


def chunk(folder: Path, name: str) -> Any:
    text = (folder / "data" / f"{name}.js").read_text(encoding="utf-8")
    found = re.fullmatch(r'saeflow\.receive\("([^"]+)",(.*)\);\n', text)
    assert found
    assert found.group(1) == name
    return json.loads(found.group(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def overview(folder: Path) -> Page:
    return Page(folder / "index.html")


@pytest.fixture(scope="module")
def study(folder: Path) -> Page:
    return Page(folder / "gsm8k-toy.html")


def test_files_of_the_report(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.html")} == set(PAGES)
    assert {path.name for path in (folder / "assets").iterdir()} == ASSETS
    assert (folder / "assets/plotly.min.js").stat().st_size > 1_000_000
    assert not list(folder.rglob("*.partial"))


def test_numbers_stand_beside_their_bands(study: Page) -> None:
    for text in (
        "45.7 % of 4,321",
        "36.1 % [31.1 %, 41.1 %]",
        "60.1 % of 1,973",
        "987",
        "950 [900, 1,000]",
        "tiny_k4",
    ):
        assert text in study.text


def test_overview_shows_the_main_rates(overview: Page) -> None:
    row = "toy tiny_k4 on small 45.7 % [44.0, 47.0] 36.0 % [31.0, 41.0] +9.7 [+8.0, +11.0] above"
    assert overview.text.count(row) == 3


def test_comparison_has_published_answers(folder: Path) -> None:
    text = Page(folder / "compare.html").text
    for rate in ("37.7 %", "41.8 %", "74.9 %", "72.6 %", "98.9 %", "98.5 %"):
        assert rate in text
    assert "+9.7 [+8.0, +11.0]" in text


def test_place_is_told_in_words(folder: Path) -> None:
    page = (folder / "gsm8k-toy.html").read_text(encoding="utf-8")
    table = re.search(r'<table class="summary">.*?</table>', page, re.S)
    assert table
    rows = {
        html.unescape(re.sub(r"<.*", "", row.split('<th scope="row">')[1]).strip()): re.findall(
            r'<span class="word [a-z-]+">([^<]+)', row
        )
        for row in table.group().split("<tr>")
        if '<th scope="row">' in row
    }
    assert rows["Features"] == ["same"] * 2
    assert rows["Interpretable"] == ["above"] * 2
    assert rows["Monosemantic"] == ["below"] * 2
    assert rows["Number"] == ["inside"] * 2
    assert rows["Largest enrichment"] == ["not defined"] * 2
    assert rows[EVIL] == ["in no permutation"] * 2


def test_thresholds_come_from_params(overview: Page, study: Page) -> None:
    assert "at least 23 analysed problems" in overview.text
    assert "0.017" in overview.text
    assert "an enrichment of at least 2.25" in overview.text
    assert "enriched at least 5.5 times" in overview.text
    assert f"up to 2 in {PERMUTATIONS + 1} numbers" in overview.text
    assert "monosemantic features enriched 11 times or more" in study.text
    for page in (overview, study):
        assert f"{PERMUTATIONS} joint permutations" in page.text


def test_problems_are_counted(overview: Page) -> None:
    assert "small 75 60 15 38 30" in overview.text


def test_quality_is_the_mean_over_sites(study: Page) -> None:
    assert "tiny_k4 0 train 6 60 0.600 – 4.0 12.5 % 0.900" in study.text
    assert "tiny_k4 1 validation 6 60 0.600" in study.text


def test_fresh_weights_are_said_to_be_so_only_where_they_are(
    overview: Page, tmp_path: Path
) -> None:
    assert "no learned reasoning to find" in overview.text
    trained = make(tmp_path, provenance=Provenance("x", model_revision="sha256:1"))
    text = Page(trained / "index.html").text
    assert "no learned reasoning" not in text
    assert "sha256:1" in text


def test_rates_figure_has_every_number_with_its_band(study: Page) -> None:
    figure = study.data("data-target", "rates")
    observed = [trace for trace in figure["data"] if trace.get("mode") == "lines+markers"]
    bands = [trace for trace in figure["data"] if trace["type"] == "bar"]
    # Two seeds, two rates, by layer and by step.
    assert len(observed) == len(bands) == 8
    assert [len(trace["y"]) for trace in observed[:2]] == [len(LAYERS), len(STEPS)]
    assert observed[0]["y"] == [0.4567] * 3
    assert bands[0]["base"] == [0.3111] * 3
    assert bands[0]["y"] == pytest.approx([0.1] * 3)
    assert bands[0]["x"] == list(LAYERS)
    assert "n = 4,321 features per layer" in study.text.replace("\xa0", " ")


def test_enrichments_figure_ends_where_nothing_is(study: Page) -> None:
    figure = study.data("data-target", "enrichments")
    bars, marks = figure["data"][:2]
    assert marks["y"] == [30, 12, 4]
    assert bars["base"] == [0, 0, 0]
    assert bars["y"] == [60, 24, 8]
    assert figure["layout"]["xaxis"]["ticktext"] == ["2–3", "3–5", "from 5"]


def test_heat_maps_have_a_cell_per_site(study: Page) -> None:
    panels = study.data("data-target", "counts")["data"]
    assert [panel["z"] for panel in panels[:3]] == [
        [[9.0] * 2, [10.0] * 2, [11.0] * 2],
        [[6.0] * 2] * 3,
        [[3.0] * 2, [4.0] * 2, [5.0] * 2],
    ]
    assert len(panels) == 6
    quality = study.data("data-target", "quality")["data"]
    assert quality[0]["z"] == [[None, None]] * 3
    assert quality[1]["z"] == [[0.125] * 2] * 3


def grid(layers: range, steps: tuple[int, ...]) -> pa.Table:
    fixed = {"dictionary": "k4", "control": "none", "split": "validation", "metric": "fvu"}
    rows = [
        {**fixed, "seed": len(steps), "layer": layer, "step": step, "value": layer + step / 10}
        for layer in layers
        for step in steps
    ]
    return pa.Table.from_pylist(rows)


def test_steps_keep_their_order_whichever_bank_comes_first() -> None:
    figure = quality_figure([grid(range(2), (3, 5)), grid(range(3), (0, 3, 5))], "validation")
    assert figure is not None
    for name, axis in figure["layout"].items():
        if name.startswith("xaxis"):
            assert axis["categoryorder"] == "array"
            assert list(axis["categoryarray"]) == ["s0", "s3", "s5"]
        if name.startswith("yaxis"):
            assert list(axis["categoryarray"]) == ["0", "1", "2"]


@pytest.mark.parametrize(("layers", "steps", "told"), [(16, 7, "numbers"), (4, 9, "a bar")])
def test_every_panel_tells_its_numbers(layers: int, steps: int, told: str) -> None:
    figure = quality_figure([grid(range(layers), tuple(range(steps)))], "validation")
    assert figure is not None
    for panel in figure["data"]:
        axis = figure["layout"][panel["coloraxis"]]
        if panel["z"]:
            assert (panel.get("texttemplate") is not None) == (told == "numbers")
            assert axis["showscale"] == (told == "a bar")
    assert any(panel["z"] for panel in figure["data"])


def test_every_labelled_feature_is_there(folder: Path) -> None:
    manifest = Page(folder / "features.html").data("id", "manifest")
    names = [(run["model"], run["seed"], run["rows"]) for run in manifest["runs"]]
    assert names == [("toy", 0, 12), ("toy", 1, 12)]
    rows = chunk(folder, "features-0")
    first = [0, 0, 0, f"number_{EVIL}", "number", False, 20, 1, ["0", EVIL], 2.0, 0.01, None, None]
    assert len(rows) == 12
    assert rows[0] == first


def test_details_of_a_feature(folder: Path) -> None:
    found = chunk(folder, "details-0-0")["0_0"]
    assert found["why"] == "because"
    assert found["tokens"] == [
        ["0", 5, 20, 3, 47, 2.0, 0.01],
        [EVIL, 5, 20, 3, 47, 2.0, 0.001],
    ]
    assert found["problems"] == [[0, 2.5], [2, -1.5]]
    problems = chunk(folder, "problems-0-0")
    assert problems["0"] == ["train_0", EVIL, [["12", "+", "1", "=", "13"], [EVIL, "12"]], "train"]
    assert set(problems) == {"0", "2"}


@pytest.mark.parametrize("name", PAGES)
def test_what_comes_from_data_never_becomes_html(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert EVIL not in text
    # Nothing but its own end tag can end a script.
    for _, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S):
        assert "<script" not in body
        assert "<!--" not in body


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_from_elsewhere(folder: Path, name: str) -> None:
    page = Page(folder / name)
    for tag, attrs in page.tags:
        for attribute in ("src", "href", "srcset", "action", "data", "poster"):
            value = attrs.get(attribute) or ""
            assert not re.match(r"\s*([a-z]+:|//)", value), value
            if value and not value.startswith("#"):
                assert (folder / value.partition("#")[0]).is_file(), value
        assert tag != "script" or attrs.get("type") == "application/json" or attrs.get("src")
    text = (folder / name).read_text(encoding="utf-8")
    assert "http" not in re.sub(r"http-equiv", "", text)
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self' file:;" in policy


def test_own_scripts_fetch_nothing(folder: Path) -> None:
    for name in SHARED:
        text = (folder / "assets" / name).read_text(encoding="utf-8")
        for word in (
            "fetch(",
            "XMLHttpRequest",
            "import(",
            "import ",
            "Worker(",
            "@import",
            "http",
        ):
            assert word not in text, (name, word)


@pytest.mark.parametrize("name", PAGES)
def test_anchors_lead_somewhere_and_ids_are_unique(folder: Path, name: str) -> None:
    page = Page(folder / name)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [str(attrs["href"]) for tag, attrs in page.tags if tag == "a"]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert {target for target in targets if not target.startswith("#")} >= set(PAGES)
    figures = {attrs["data-target"] for _, attrs in page.tags if "data-target" in attrs}
    drawn = {attrs["id"] for _, attrs in page.tags if "plot" in (attrs.get("class") or "").split()}
    assert figures == drawn


def test_same_tables_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = make(tmp_path)
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert names == [p.relative_to(again) for p in sorted(again.rglob("*")) if p.is_file()]
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    write_archive(folder, tmp_path / "one" / "report.zip")
    write_archive(again, tmp_path / "two" / "report.zip")
    archives = [tmp_path / each / "report.zip" for each in ("one", "two")]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    inside = zipfile.ZipFile(archives[0]).namelist()
    assert inside == [f"report/{name.as_posix()}" for name in names]


def test_no_labelled_feature(tmp_path: Path) -> None:
    folder = make(tmp_path, rows=0)
    text = Page(folder / "features.html").text
    assert "All 0 features" in text
    assert "No feature has a pair." in text
    assert not (folder / "data").exists()


def test_pages_over_20000_features(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.perf_counter()
    large = make(tmp_path, rows=20_000)
    seconds = time.perf_counter() - start
    rows = [chunk(large, f"features-{run}") for run in range(2)]
    size = sum((large / f"data/features-{run}.js").stat().st_size for run in range(2))
    with capsys.disabled():
        print(f"\nreport of 20,000 features: {size / 1e6:.1f} MB, {seconds:.1f} s")  # noqa: T201
    assert sum(map(len, rows)) == 20_000
    assert size < 20_000 * 120
    # The page itself does not grow.
    grown = (large / "features.html").stat().st_size - (folder / "features.html").stat().st_size
    assert grown < 100


def test_table_library_is_a_classic_script() -> None:
    text = datatables()
    assert "export{" not in text
    assert re.search(r"window\.DataTable=[A-Za-z_$][\w$]*;\}\)\(\);", text)
    assert "datatables.net/license" in text


def test_number_text() -> None:
    assert number_text(0.5, "rate") == "50.0 %"
    assert number_text(18551.0, "count") == "18,551"
    assert number_text(169.94, "ratio") == "169.9"
    assert number_text(0.12345, "fraction") == "0.123"
    assert number_text(None, "rate") == number_text(float("nan"), "rate") == "–"


def test_word_at_the_ends_of_the_band() -> None:
    assert Banded(0.3, 1, 0.2, 0.1, 0.3, 5).word == "inside"
    assert Banded(0.1, 1, 0.2, 0.1, 0.3, 5).word == "inside"
    assert Banded(0.31, 1, 0.2, 0.1, 0.3, 5).word == "above"


def test_runs_are_named_by_what_tells_them_apart() -> None:
    one = Run("a", "k1", 0, "published")
    assert run_names([one, one._replace(seed=1)]) == ["seed 0", "seed 1"]
    assert run_names([one, one._replace(dictionary="k2")]) == ["k1, seed 0", "k2, seed 0"]


def test_captions_take_their_numbers_from_params() -> None:
    # As snakemake --report renders them.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    params = SimpleNamespace(spec=SPEC)
    source = (TEMPLATES / "gsm8k.rst").read_text(encoding="utf-8")
    text = environment.from_string(source).render(snakemake=SimpleNamespace(params=params))
    body = re.sub(r"\s+", " ", publish_parts(text, writer="html")["body"])
    for part in ("<strong>toy</strong>", "at least 23 ", "p &lt; 0.017", "2.25", "5.5", "from 11"):
        assert part in body
    assert f"over {PERMUTATIONS} joint permutations" in body
    methods = publish_parts((TEMPLATES / "workflow.rst").read_text(encoding="utf-8"), writer="html")
    assert "system-message" not in body + methods["body"]
