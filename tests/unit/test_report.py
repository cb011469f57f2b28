from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pyarrow as pa
import pytest
from docutils.core import publish_parts

from saeflow.artifacts.catalog import LABELS, PROBLEMS, QUALITY, SUMMARY
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.studies import Gsm8kPublished
from saeflow.report.bands import Banded, Run, run_names
from saeflow.report.page import write_report
from saeflow.report.tables import number_text

EVIL = "<script>alert(1)</script>"
LAYERS, STEPS, SEEDS = range(3), range(2), (0, 1)
PERMUTATIONS = 7
RUN = {"dataset": "small", "dictionary": "tiny_k4", "mode": "published"}
FRESH = Provenance("x", model_revision="fresh:0", packages=("pyarrow",))
TEMPLATES = Path(__file__).resolve().parents[2] / "workflow/report"
SPEC = {
    "models": ["toy"],
    "published": Gsm8kPublished.model_validate(
        {
            "models": {"toy": {"datasets": ["small"], "dictionaries": ["tiny_k4"]}},
            "association": {"min_active": 23, "p_value": 0.017, "min_enrichment": 2.25},
            "labels": {"monosemantic_enrichment": 5.5, "high_enrichment": 11},
            "permutations": {"count": PERMUTATIONS},
        }
    ).model_dump(mode="json"),
    "evaluated": {"latents": {}, "curves": []},
}


def labelled(count: int) -> list[dict[str, Any]]:
    return [
        {
            **RUN,
            "seed": number % 2,
            "layer": number // 2 % 3,
            "step": number // 6 % 2,
            "feature": number // 12,
            "feature_id": f"L{number // 2 % 3}_P{number // 6 % 2}_F{number // 12}",
            "label": f"number_{number}" if number else f"number_{EVIL}",
            "label_type": "number",
            "monosemantic": number % 3 > 0,
            "explanation": "because",
            "n_active": 20 + number % 7,
            "activation_rate": 0.1,
            "n_kept": 1 + number % 5,
            "top_tokens": [str(number), EVIL if number == 0 else "12"],
            "max_enrichment": 2.0 + number / 7,
            "min_p_value": 10.0 ** -(2 + number % 300),
        }
        for number in range(count)
    ]


def pair_of_rows(
    key: dict[str, Any], metric: str, value: float | None, n: int, band: tuple[float, float] | None
) -> list[dict[str, Any]]:
    own = {"value": value, "ci_low": None, "ci_high": None, "interval": "none", "n": n}
    rows = [{**key, "metric": metric, "control": "none", **own}]
    if band:
        low, high = band
        ends = {"value": (low + high) / 2, "ci_low": low, "ci_high": high, "n": PERMUTATIONS}
        rows.append(
            {
                **key,
                "metric": metric,
                "control": "permuted",
                **ends,
                "interval": "permutation_range",
            }
        )
    return rows


def summary_rows(seed: int) -> list[dict[str, Any]]:
    places = [(None, None), *((layer, None) for layer in LAYERS), *((None, step) for step in STEPS)]
    rows: list[dict[str, Any]] = []
    for layer, step in places:
        key = {**RUN, "seed": seed, "layer": layer, "step": step}
        rows += pair_of_rows(key, "n_features", 4321, 4321, (4321, 4321))
        rows += pair_of_rows(key, "n_tested", 3210, 4321, (3210, 3210))
        rows += pair_of_rows(key, "n_correlations", 987, 4321, (900, 1000))
        rows += pair_of_rows(key, "interpretable_rate", 0.4567, 4321, (0.3111, 0.4111))
        rows += pair_of_rows(key, "monosemantic_rate", 0.6012, 1973, (0.7, 0.8))
        rows += pair_of_rows(key, "number_rate", 0.98, 1973, (0.97, 0.99))
        rows += pair_of_rows(key, "high_enrichment_rate", 0.5, 1186, (0.4, 0.6))
        rows += pair_of_rows(key, "max_enrichment", None, 0, (30.0, 40.0))
    key = {**RUN, "seed": seed, "layer": None, "step": None}
    rows += pair_of_rows(key, "share_type.number", 0.9, 1973, (0.8, 0.95))
    rows += pair_of_rows(key, f"share_type.{EVIL}", 0.1, 1973, None)
    return rows


def quality_rows(seed: int) -> list[dict[str, Any]]:
    values = {"explained_variance": 0.5, "fvu": None, "mse": 9.0, "l0_mean": 4.0, "l0_std": 0.0}
    values |= {"dead_share": 0.125, "cosine": 0.9}
    fixed = {"dictionary": "tiny_k4", "seed": seed, "control": "none", "ci_low": None}
    fixed |= {"ci_high": None, "interval": "none", "n": 60}
    return [
        {**fixed, "layer": layer, "step": step, "split": split, "metric": metric}
        # Over three layers the mean explained variance is 0.6.
        | {"value": value + 0.1 * layer if metric == "explained_variance" else value}
        for layer in LAYERS
        for step in STEPS
        for split in ("train", "validation", "all")
        for metric, value in values.items()
    ]


def make(root: Path, rows: int = 24, provenance: Provenance = FRESH) -> Path:
    """Write small tables and the report over them."""
    count = 75
    problems = root / "datasets/small/problems.parquet"
    columns = {
        "problem": range(count),
        "problem_id": [f"train_{number}" for number in range(count)],
        "question": [EVIL] * count,
        "answer": [EVIL] * count,
        "gold": [1.0] * count,
        "n_steps": [1] * count,
        "split": ["train"] * 60 + ["validation"] * 15,
        "analysed": [number % 2 == 0 for number in range(count)],
        "held_out_pair": [None] * count,
    }
    write_table(columns, problems, PROBLEMS, Provenance("x"))
    labels, summary = root / "gsm8k/toy/labels.parquet", root / "gsm8k/toy/summary.parquet"
    features = pa.Table.from_pylist(labelled(rows), LABELS.schema())
    write_table(features, labels, LABELS, provenance)
    measured = [row for seed in SEEDS for row in summary_rows(seed)]
    write_table(pa.Table.from_pylist(measured), summary, SUMMARY, provenance)
    banks = [root / f"saes/toy/tiny_k4/seed{seed}" for seed in SEEDS]
    for seed, bank in zip(SEEDS, banks, strict=True):
        table = pa.Table.from_pylist(quality_rows(seed))
        write_table(table, bank / "quality.parquet", QUALITY, provenance)
    page = root / "report/index.html"
    write_report(
        template=TEMPLATES / "index.html.jinja",
        problems=[problems],
        banks=banks,
        labels=[labels],
        summaries=[summary],
        spec=SPEC,
        folder=page.parent,
    )
    return page


class Page(HTMLParser):
    """Tags with their attributes, and the text of what is no script or style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
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
        elif self._inside != "style":
            self.text += data

    def data(self, name: str, value: str) -> Any:
        scripts = [attrs for tag, attrs in self.tags if tag == "script"]
        index = next(i for i, attrs in enumerate(scripts) if attrs.get(name) == value)
        return json.loads(self.scripts[index])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_numbers_stand_beside_their_bands(page: Page) -> None:
    for text in (
        "45.7 % of 4,321",
        "36.1 % [31.1 %, 41.1 %]",
        "60.1 % of 1,973",
        "987",
        "950 [900, 1,000]",
        "toy",
        "tiny_k4",
    ):
        assert text in page.text


def test_place_is_told_in_words(written: Path) -> None:
    table = re.search(r'<table class="summary">.*?</table>', written.read_text(), re.S)
    assert table
    rows = {
        re.sub(r"<.*", "", row.split('<th scope="row">')[1]).strip(): re.findall(
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
    assert rows[html.escape(EVIL)] == ["in no permutation"] * 2


def test_thresholds_come_from_params(page: Page) -> None:
    assert "at least 23 analysed problems" in page.text
    assert "0.017" in page.text
    assert "an enrichment of at least 2.25" in page.text
    assert "enriched at least 5.5 times" in page.text
    assert "monosemantic features enriched 11 times or more" in page.text
    assert f"{PERMUTATIONS} joint permutations" in page.text
    assert f"up to 2 in {PERMUTATIONS + 1} numbers" in page.text


def test_problems_are_counted(page: Page) -> None:
    assert "small 75 60 15 38 30" in page.text


def test_quality_is_the_mean_over_sites(page: Page) -> None:
    assert "tiny_k4 0 train 6 60 0.600 – 4.0 12.5 % 0.900" in page.text
    assert "tiny_k4 1 validation 6 60 0.600" in page.text


def test_fresh_weights_are_said_to_be_so_only_where_they_are(page: Page, tmp_path: Path) -> None:
    assert "no learned reasoning to find" in page.text
    trained = make(tmp_path, provenance=Provenance("x", model_revision="sha256:1"))
    text = Page(trained.read_text(encoding="utf-8")).text
    assert "no learned reasoning" not in text
    assert "sha256:1" in text


def test_figure_has_every_number_with_its_band(page: Page) -> None:
    figure = page.data("data-target", "model-1-figure")
    observed = [trace for trace in figure["data"] if trace.get("mode") == "lines+markers"]
    bands = [trace for trace in figure["data"] if trace["type"] == "bar"]
    # Two seeds, two rates, by layer and by step.
    assert len(observed) == len(bands) == 8
    assert [len(trace["y"]) for trace in observed[:2]] == [len(LAYERS), len(STEPS)]
    assert observed[0]["y"] == [0.4567] * 3
    assert bands[0]["base"] == [0.3111] * 3
    assert bands[0]["y"] == pytest.approx([0.1] * 3)
    assert bands[0]["x"] == list(LAYERS)
    assert "n = 4,321 features per layer" in page.text.replace("\xa0", " ")


def test_every_labelled_feature_is_there(page: Page) -> None:
    data = page.data("id", "feature-data")
    assert data["runs"] == [["toy", "small", "tiny_k4", 0], ["toy", "small", "tiny_k4", 1]]
    assert len(data["rows"]) == 24
    first = [0, 0, 0, 0, f"number_{EVIL}", "number", False, 20, 1, ["0", EVIL], 2.0, 0.01]
    assert data["rows"][0] == first


def test_what_comes_from_data_never_becomes_html(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert EVIL not in text
    assert "alert(1)" in text
    # Nothing but its own end tag can end a script.
    for _, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S):
        assert "<script" not in body
        assert "<!--" not in body


def test_nothing_is_loaded_from_elsewhere(written: Path, page: Page) -> None:
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attrs.get(name) or ""
            assert not re.match(r"\s*([a-z]+:)?//", value), value
    assert [attrs["src"] for _, attrs in page.tags if attrs.get("src")] == ["plotly.min.js"]
    assert (written.parent / "plotly.min.js").stat().st_size > 1_000_000
    text = re.sub(r'id="datatables-bundle">[^<]*', "", written.read_text(encoding="utf-8"))
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "@import" not in text
    assert "fetch(" not in text
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    assert policy
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_anchors_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert len(targets) >= 5
    assert {str(target).removeprefix("#") for target in targets} <= set(ids)


def test_same_tables_same_bytes(written: Path, tmp_path: Path) -> None:
    again = make(tmp_path)
    for name in ("index.html", "plotly.min.js"):
        assert again.with_name(name).read_bytes() == written.with_name(name).read_bytes()
    assert not list(again.parent.glob("*.partial"))


def test_no_labelled_feature(tmp_path: Path) -> None:
    text = Page(make(tmp_path, rows=0).read_text(encoding="utf-8")).text
    assert "All 0 features" in text


def test_a_page_with_20000_features(
    tmp_path: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.perf_counter()
    large = make(tmp_path, rows=20_000)
    seconds = time.perf_counter() - start
    size = large.stat().st_size - written.stat().st_size
    with capsys.disabled():
        print(f"\nreport of 20,000 features: {size / 1e6:.1f} MB more, {seconds:.1f} s")  # noqa: T201
    assert len(Page(large.read_text(encoding="utf-8")).data("id", "feature-data")["rows"]) == 20_000
    assert size < 20_000 * 200


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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is absent")
def test_opens_from_disk(written: Path) -> None:
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    quiet = ["--disable-background-networking", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*browser, *quiet, f"--user-data-dir={written.parent.parent}/profile", written.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Showing 1 to 24 of 24 entries" in done.stdout
    assert done.stdout.count('class="main-svg"') >= 1
    assert "<code>&lt;script&gt;alert(1)&lt;/script&gt;</code>" in done.stdout
