"""What a visitor does with a report of both modes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.report_tables import EVIL, make

PAGES = ("index.html", "gsm8k-toy.html", "compare.html", "sizes.html", "features.html")
ROWS = "#feature-table > tbody > tr"
SHOWN = f"document.querySelectorAll('{ROWS}').length"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("calibrated"), calibrated=True)


def open_feature(browser: Browser, report: Path, text: str) -> str:
    """Search for a feature, open it, and return what it tells."""
    browser.open(report / "features.html")
    browser.until(SHOWN)
    browser.driver.find_element("css selector", ".dt-search input").send_keys(text)
    browser.until(f"{SHOWN} === 1")
    browser.run("document.querySelector('button.opens').click()")
    browser.until("document.querySelector('.details')")
    return str(browser.run("return document.querySelector('.details').innerText"))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 420])
def test_pages_draw_and_fit(browser: Browser, report: Path, name: str, width: int) -> None:
    browser.resize(width)
    browser.draw(report / name)
    if name == "features.html":
        browser.until(SHOWN)
    browser.fits()


def test_a_feature_shows_its_discoveries_and_partners(browser: Browser, report: Path) -> None:
    told = open_feature(browser, report, "alert")
    tables = browser.run(
        "return [...document.querySelectorAll('.details table')].map((table) => "
        "[...table.tBodies[0].rows].map((row) => [...row.cells].map("
        "(cell) => cell.textContent.replace('\u00a0', ' '))))"
    )
    published, discovered, partners = tables
    assert [row[0] for row in published] == ["0", EVIL]
    numbers = ["17", "4", "0", "54"]
    effects = ["4.57 [1.23, 7.89]", "0.81", "1.00", "0.91"]
    assert discovered == [
        ["13", "token", "above 0", *numbers, "1.0e-5", "0.0040", *effects, "yes"],
        [EVIL, "token", "below 0", *numbers, "1.0e-9", "3.0e-4", *effects, "no"],
        ["+", "decoded", "below 0", *numbers, "1.0e-12", "1.0e-8", *effects, "no"],
    ]
    assert partners == [["L0_P0_F1", "1", "-0.91", "-0.81", "yes", "–"]]
    assert "Problems where it fires hardest" in told
    assert not browser.all(".details b, .details script")


def test_a_feature_without_a_label_opens_too(browser: Browser, report: Path) -> None:
    told = open_feature(browser, report, "L0_P0_F99")
    assert "so it has no label" in told
    assert "No examples are stored" in told
    assert "L0_P0_F50" in told
    cells = browser.run(
        f"return [...document.querySelector('{ROWS}').cells].map((c) => c.innerText)"
    )
    assert cells[-2:] == ["7", "0.0200"]
    assert cells.count("–") == 4


def test_calibrated_filters(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    # Over two seeds 24 features have a label and two more a discovery.
    browser.until("document.querySelector('.dt-info').textContent.includes('of 26 entries')")

    def choose(key: str, text: str) -> list[str]:
        browser.driver.find_element("css selector", f"[data-key={key}]").send_keys(text)
        browser.run("return new Promise((done) => setTimeout(done, 400))")
        found = [row.text.split()[0] for row in browser.all(ROWS)]
        browser.driver.find_element("css selector", "#filters button").click()
        browser.until(f"{SHOWN} === 25")
        return found

    assert sorted(choose("follows", "yes")) == ["L0_P0_F0", "L0_P0_F99"]
    assert choose("q", "0.001") == ["L0_P0_F0"]
    assert sorted(choose("type", "no label")) == ["L0_P0_F99", "L2_P0_F98"]


def test_features_without_a_number_sort_last(browser: Browser, report: Path) -> None:
    browser.open(report / "features.html")
    browser.until(SHOWN)
    browser.driver.find_element("xpath", "//th[.//span[text()='q']]").click()
    browser.until(f"document.querySelector('{ROWS}').textContent.includes('L0_P0_F0')")
    names = [row.text.split()[0] for row in browser.all(ROWS)[:2]]
    assert names == ["L0_P0_F0", "L0_P0_F99"]


def test_opened_discoveries_fit_a_narrow_window(browser: Browser, report: Path) -> None:
    browser.resize(420)
    open_feature(browser, report, "L0_P0_F99")
    right = "document.querySelector('.details > p').getBoundingClientRect().right"
    assert browser.run(f"return {right} <= window.innerWidth")
    browser.fits()
