"""What a visitor does with the pages of the study of the decimal bug."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.browser.test_report_pages import REAL
from tests.decimal_tables import BUGGY, NO_BUG, NOTHING, make_decimals
from tests.report_tables import EVIL

PAGES = ("decimal_bug.html", "decimal_bug-toy.html", "decimal_bug-other.html")
FEATURES = '[aria-label="Features of the published lists"] table.sortable'
SETS = '[aria-label="Sets that the study tried"] table.sortable'
RUN = ("llama", "gpt2", "llama_untrained")
"""Models of the study in a default run."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decimals")
    return make_decimals(root, {"toy": BUGGY, "other": NO_BUG, "toy_untrained": NOTHING})


def click(browser: Browser, by: str, selector: str) -> None:
    """Click without waiting for the page to scroll there, which it does smoothly."""
    browser.run("arguments[0].click()", browser.driver.find_element(by, selector))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_draw_and_fit(
    browser: Browser, report: Path, name: str, width: int, scheme: str
) -> None:
    browser.colours(scheme)
    browser.resize(width)
    browser.draw(report / name)
    browser.fits()


def test_the_front_page_leads_to_every_model(browser: Browser, report: Path) -> None:
    browser.open(report / "index.html")
    click(browser, "css selector", "#decimal_bug a")
    assert browser.driver.current_url.endswith("/decimal_bug.html")
    current = browser.run("return document.querySelector('[aria-current]').textContent")
    assert current == "Decimal bug"
    click(browser, "css selector", "main table a")
    assert browser.driver.current_url.endswith("/decimal_bug-toy.html")


def test_features_of_the_lists_sort_by_their_values(browser: Browser, report: Path) -> None:
    browser.open(report / "decimal_bug-toy.html")
    browser.until(f"document.querySelector('{FEATURES} .dt-column-order')")

    def names() -> list[str]:
        return [cell.text for cell in browser.all(f"{FEATURES} tbody th")]

    assert names() == ["L0_F4", "L0_F17", "L1_F0"]
    heading = "//*[@aria-label='Features of the published lists']//th[.//span[text()='{}']]"
    click(browser, "xpath", heading.format("Value in Simple"))
    assert names() == ["L0_F4", "L0_F17", "L1_F0"]
    click(browser, "xpath", heading.format("Value in Q&A"))
    assert names() == ["L0_F17", "L0_F4", "L1_F0"]


def test_what_tables_hold_is_shown_as_text(browser: Browser, report: Path) -> None:
    browser.open(report / "decimal_bug-toy.html")
    assert EVIL in browser.run(f"return document.querySelector('{SETS}').textContent")
    assert not browser.all("main table b, main table script")
    browser.open(report / "decimal_bug.html")
    assert EVIL in browser.run("return document.querySelector('.claims').textContent")
    assert not browser.all("main table script, main table b[title]")


def test_cells_of_the_map_tell_their_share(browser: Browser, report: Path) -> None:
    browser.draw(report / "decimal_bug-toy.html")
    told = browser.run(
        "return document.getElementById('plain_to_buggy').data[0].customdata[1][0]"
    ).replace("\u00a0", " ")
    assert told.startswith(
        "<b>from same pair, other format</b><br>layer 1, attention<br>2.5 % of 30 pairs"
    )
    low, high = browser.run("return document.getElementById('plain_to_buggy').layout.yaxis.range")
    # Layer 0 is on top, as in the tables.
    assert low > high


@pytest.mark.parametrize("model", RUN)
def test_pages_of_a_real_run(browser: Browser, model: str) -> None:
    page = REAL / f"decimal_bug-{model}.html"
    if not page.is_file():
        pytest.skip(f"{page} is absent; it takes a default run with the study")
    browser.draw(page)
    drawn = {each.get_attribute("id") for each in browser.all(".plot")}
    assert {"behaviour", "lists-1", "likeness-1"} <= drawn
    # Only the one with the planted bug has something to patch.
    assert ({"plain_to_buggy", "sizes"} <= drawn) == (model == "llama")
    told = browser.run("return document.getElementById('finding').textContent")
    assert ("has a bug that depends on the format" in told) == (model == "llama")
    assert ("Nothing is patched" in browser.driver.page_source) == (model != "llama")
