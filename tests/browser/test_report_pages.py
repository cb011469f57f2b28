"""What a visitor does with the report."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

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
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_and_draw(browser: Browser, report: Path, name: str, scheme: str) -> None:
    browser.colours(scheme)
    browser.open(report / name)
    plots = browser.all(".plot")
    browser.until(f"document.querySelectorAll('.plot .main-svg').length >= {len(plots)}")
    if name == "features.html":
        browser.until(SHOWN)
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 380) == (scheme == "light")


@pytest.mark.parametrize("name", PAGES)
def test_narrow_pages_scroll_only_inside(browser: Browser, report: Path, name: str) -> None:
    browser.resize(390)
    browser.open(report / name)
    if name == "features.html":
        browser.until(SHOWN)
    wide = browser.run("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0


def test_every_page_of_a_real_run(browser: Browser) -> None:
    if not (REAL / "index.html").is_file():
        pytest.skip(f"{REAL} is absent; only the small report is opened without a default run")
    for page in sorted(REAL.glob("*.html")):
        browser.open(page)
        plots = len(browser.all(".plot"))
        browser.until(f"document.querySelectorAll('.plot .main-svg').length >= {plots}")
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
    button.click()
    assert not browser.all(".details")


def test_missing_data_are_told(chromium: Browser, tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / "data/features-1.js").unlink()
    chromium.open(folder / "features.html")
    chromium.until("document.getElementById('loading').textContent.includes('features-1.js')")
    # The browser itself says so in its console, too.
    assert any("features-1.js" in message for message in chromium.complaints())


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
