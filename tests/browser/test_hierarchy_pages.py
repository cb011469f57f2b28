"""What a visitor does with the pages of the hierarchy study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.hierarchy_tables import GOOD, SHORTLIST, Told, make_hierarchy
from tests.report_tables import EVIL

PAGES = ("index.html", "hierarchy.html", "hierarchy-toy.html", "hierarchy-toy_untrained.html")
FEATURES = '[aria-label="Single features"] table.sortable'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hierarchy")
    return make_hierarchy(root, {"toy": GOOD, "toy_untrained": Told()}, {})


def click(browser: Browser, by: str, selector: str) -> None:
    """Click without waiting for the page to scroll there, which it does smoothly."""
    browser.run("arguments[0].click()", browser.driver.find_element(by, selector))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_draw_and_fit(
    browser: Browser, report: Path, name: str, width: int, scheme: str
) -> None:
    browser.colours(scheme)
    browser.resize(width)
    browser.draw(report / name)
    browser.fits()


def test_overview_leads_to_every_model(browser: Browser, report: Path) -> None:
    browser.open(report / "index.html")
    click(browser, "css selector", "#hierarchy a")
    assert browser.driver.current_url.endswith("/hierarchy.html")
    assert browser.run("return document.querySelector('[aria-current]').textContent") == "Hierarchy"
    click(browser, "css selector", "main table a")
    assert browser.driver.current_url.endswith("/hierarchy-toy.html")


def test_features_sort_by_their_numbers(browser: Browser, report: Path) -> None:
    browser.open(report / "hierarchy-toy.html")
    browser.until(f"document.querySelector('{FEATURES} .dt-column-order')")

    def names() -> list[str]:
        return [cell.text for cell in browser.all(f"{FEATURES} tbody th")]

    assert names() == ["L1_P2_F7", "L0_P1_F5", "L1_P1_F3"]
    assert len(names()) == len(SHORTLIST)
    heading = "//*[@aria-label='Single features']//th[.//span[text()='{}']]"
    click(browser, "xpath", heading.format("q"))
    assert names() == ["L1_P1_F3", "L1_P2_F7", "L0_P1_F5"]
    click(browser, "xpath", heading.format("Beyond random feature"))
    # With a minus sign in its text a number still sorts as one.
    assert names() == ["L1_P1_F3", "L0_P1_F5", "L1_P2_F7"]
    click(browser, "xpath", heading.format("Feature"))
    assert names() == ["L0_P1_F5", "L1_P1_F3", "L1_P2_F7"]


def test_what_tables_hold_is_shown_as_text(browser: Browser, report: Path) -> None:
    browser.open(report / "hierarchy-toy.html")
    assert EVIL in browser.run(f"return document.querySelector('{FEATURES}').textContent")
    assert EVIL in browser.run("return document.querySelector('.maximal').textContent")
    assert not browser.all("main table b, main table script")
