"""What a visitor does with the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from saeflow.report import features
from tests.browser.chromium import Browser
from tests.conftest import ROOT
from tests.report_tables import EVIL, make

PAGES = ("index.html", "gsm8k-toy.html", "compare.html", "features.html")
REAL = Path(os.environ.get("SAEFLOW_RESULTS", ROOT / "results")) / "report"
MANY = 50_000
ROWS = "#feature-table > tbody > tr"
SHOWN = f"document.querySelectorAll('{ROWS}').length"
COUNT = "document.querySelector('.dt-info').textContent"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        # A problem per chunk, so that finding the chunk of a problem is put to use.
        patch.setattr(features, "BLOCK", 1)
        yield make(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_and_draw(browser: Browser, report: Path, name: str, scheme: str) -> None:
    browser.colours(scheme)
    browser.draw(report / name)
    if name == "features.html":
        browser.until(SHOWN)
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 380) == (scheme == "light")


@pytest.mark.parametrize("name", PAGES)
def test_narrow_pages_scroll_only_inside(browser: Browser, report: Path, name: str) -> None:
    browser.resize(390)
    browser.draw(report / name)
    if name == "features.html":
        browser.until(SHOWN)
    browser.fits()


def test_every_page_of_a_real_run(browser: Browser) -> None:
    if not (REAL / "index.html").is_file():
        pytest.skip(f"{REAL} is absent; only the small report is opened without a default run")
    for page in sorted(REAL.glob("*.html")):
        browser.draw(page)
        if page.name == "features.html":
            browser.until(SHOWN)


def test_pages_lead_to_each_other(browser: Browser, report: Path) -> None:
    browser.open(report / "index.html")
    for name in PAGES:
        browser.driver.find_element("css selector", f'nav a[href="{name}"]').click()
        assert browser.driver.current_url.endswith(name)
        assert (
            browser.run("return document.querySelector('[aria-current]').getAttribute('href')")
            == name
        )


def test_table_sorts_filters_and_searches(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    assert len(browser.all(ROWS)) == 24

    def column(number: int) -> list[str]:
        cells = browser.all(f"{ROWS} > td:nth-child({number})")
        return [cell.text for cell in cells]

    heading = browser.driver.find_element("xpath", "//th[.//span[text()='Enrichment']]")
    heading.click()
    values = [float(text) for text in column(9)]
    assert values == sorted(values, reverse=True)
    token = browser.driver.find_element("css selector", "[data-key=token]")
    token.send_keys("7")
    browser.until(f"{SHOWN} === 1")
    assert column(4) == ["number_7"]
    browser.driver.find_element("css selector", "#filters button").click()
    browser.until(f"{SHOWN} === 24")
    browser.driver.find_element("css selector", ".dt-search input").send_keys("number_13")
    browser.until(f"{SHOWN} === 1")
    assert column(1) == ["L0_P0_F1"]
    browser.driver.find_element("css selector", "#filters button").click()
    browser.until(f"{SHOWN} === 24")


def test_filters_of_numbers_and_choices(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)

    def choose(key: str, text: str) -> list[str]:
        browser.driver.find_element("css selector", f"[data-key={key}]").send_keys(text)
        browser.run("return new Promise((done) => setTimeout(done, 400))")
        found = [row.text.split()[0] for row in browser.all(ROWS)]
        browser.driver.find_element("css selector", "#filters button").click()
        browser.until(f"{SHOWN} === 24")
        return found

    layers = choose("layer", "2")
    assert len(layers) == 8
    assert {name[:3] for name in layers} == {"L2_"}
    assert len(choose("mono", "no")) == 8
    # Feature by feature, p falls by a tenth from 0.01 and enrichment grows by a seventh from 2.
    assert len(choose("p", "1e-20")) == 6
    assert len(choose("enrichment", "5")) == 3
    assert len(choose("active", "26")) == 3


def test_nothing_in_a_cell_becomes_an_element(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    browser.driver.find_element("css selector", ".dt-search input").send_keys("alert")
    browser.until(f"{SHOWN} === 1")
    row = browser.all(ROWS)[0]
    texts = browser.run("return [...arguments[0].cells].map((cell) => cell.textContent)", row)
    assert f"number_{EVIL}" in texts
    codes = browser.run(
        "return [...arguments[0].querySelectorAll('code')].map((code) => code.textContent)", row
    )
    assert codes == ["0", EVIL]
    assert not browser.all(f"{ROWS} b, {ROWS} script")


def test_feature_opens_with_its_tokens_marked(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    # The feature whose label and tokens would run a script if anything were unescaped.
    browser.driver.find_element("css selector", ".dt-search input").send_keys("alert")
    browser.until(f"{SHOWN} === 1")
    button = browser.all("button.opens")[0]
    button.click()
    browser.until("document.querySelector('.details li')")
    details = browser.all(".details")[0]
    assert [mark.text for mark in browser.all(".details mark")] == [EVIL]
    assert "2.5 on train_0 (train)" in details.text
    assert "-1.5 on train_2 (train)" in details.text
    assert EVIL in details.text
    assert button.get_attribute("aria-expanded") == "true"
    assert not browser.all(".details b, .details script")
    assert "Tokens that pass the criteria" in details.text
    assert "The most enriched token, 0, is in 0 of these 2." in details.text
    button.click()
    assert not browser.all(".details")


def test_missing_data_are_told(chromium: Browser, tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "data/features-1.js").unlink()
    chromium.open(folder / "features.html")
    chromium.until("document.getElementById('loading').textContent.includes('features-1.js')")
    # The browser itself says so in its console, too.
    assert any("features-1.js" in message for message in chromium.complaints())


def test_opened_feature_fits_a_narrow_window(browser: Browser, report: Path) -> None:
    browser.resize(390)
    browser.open(report / "features.html")
    browser.until(SHOWN)
    # The page scrolls smoothly, which a click by coordinates does not wait for.
    browser.run("document.querySelector('button.opens').click()")
    browser.until("document.querySelector('.details li')")
    right = "document.querySelector('.details li p').getBoundingClientRect().right"
    assert browser.run(f"return {right} <= window.innerWidth")


def test_damaged_data_are_told(chromium: Browser, tmp_path: Path) -> None:
    folder = make(tmp_path)
    path = folder / "data/features-0.js"
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    chromium.open(folder / "features.html")
    chromium.until("document.getElementById('loading').textContent.includes('is damaged')")
    assert any("SyntaxError" in message for message in chromium.complaints())


def test_tokens_beyond_the_stored_ones_are_counted(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    browser.driver.find_element("css selector", ".dt-search input").send_keys("number_13")
    browser.until(f"{SHOWN} === 1")
    browser.all("button.opens")[0].click()
    browser.until("document.querySelector('.details li')")
    assert "The 2 most enriched of 4 tokens" in browser.all(".details caption")[0].text


def test_table_of_50000_features(
    browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path, rows=MANY)
    times = {}
    start = time.perf_counter()
    browser.open(folder / "features.html")
    browser.until(SHOWN)
    times["open"] = time.perf_counter() - start
    assert f"of {MANY:,} entries" in browser.run(f"return {COUNT}")
    # What is not shown is not built.
    assert len(browser.all(ROWS)) == 25
    start = time.perf_counter()
    browser.driver.find_element("css selector", "[data-key=token]").send_keys("4321")
    browser.until(f"{SHOWN} === 1")
    times["filter"] = time.perf_counter() - start
    browser.driver.find_element("css selector", "#filters button").click()
    browser.until(f"{SHOWN} === 25")
    start = time.perf_counter()
    browser.driver.find_element("xpath", "//th[.//span[text()='Enrichment']]").click()
    browser.until(f"document.querySelector('{ROWS}').textContent.includes('number_{MANY - 1}')")
    times["sort"] = time.perf_counter() - start
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
    with capsys.disabled():
        print(f"\n{MANY:,} features in Chromium: {told}")  # noqa: T201
