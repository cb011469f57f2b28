"""What a visitor does with the page of a wide SAE's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saeflow.report.scaling import features
from tests.browser.chromium import Browser
from tests.report_tables import EVIL
from tests.scaling_feature_tables import SAID, feature_tables, make_features

ROWS = "#feature-table > tbody > tr"
SHOWN = f"document.querySelectorAll('{ROWS}').length"
TITLE = "document.getElementById('detail-title').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BLOCK", 2)
        return make_features(tmp_path_factory.mktemp("features"), feature_tables())


def show(browser: Browser, page: Path, feature: int) -> None:
    """Open the page as a link to a feature does."""
    browser.driver.get("about:blank")
    browser.driver.get(f"{page.as_uri()}#feature-{feature}")
    browser.until(f"{TITLE} === 'Feature {feature}'")


def texts(browser: Browser, selector: str) -> list[str]:
    found: Any = browser.run(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)",
        selector,
    )
    return list(found)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_draws_and_fits_with_a_feature_open(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.colours(scheme)
    browser.resize(width)
    browser.draw(page)
    browser.until(f"{SHOWN} === 6")
    browser.run("location.hash = '#feature-1'")
    browser.until(f"{TITLE} === 'Feature 1'")
    browser.run("document.querySelectorAll('#detail details').forEach((e) => { e.open = true; })")
    browser.fits()


def test_table_sorts_filters_and_searches(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.until(f"{SHOWN} === 6")

    def first() -> list[str]:
        return texts(browser, f"{ROWS} > td:first-child")

    # The half that chose sorts, and what no search lists comes last.
    assert first() == ["1", "2", "3", "4", "0", "5"]
    browser.driver.find_element("xpath", "//th[.//span[text()='Density']]").click()
    browser.until(f"document.querySelector('{ROWS}').textContent.startsWith('5')")
    assert first() == ["5", "4", "3", "2", "1", "0"]
    for key, value, left in (
        ("topic", "sport", ["4", "3"]),
        ("place", "1", ["3", "2", "1"]),
        ("rare", "0.002", ["2", "1", "0"]),
        ("detection", "0.873", ["2", "1", "0"]),
    ):
        browser.driver.find_element("css selector", f"[data-key={key}]").send_keys(value)
        browser.until(f"{SHOWN} === {len(left)}")
        assert first() == left
        browser.driver.find_element("css selector", "#filters button").click()
        browser.until(f"{SHOWN} === 6")
    browser.driver.find_element("css selector", ".dt-search input").send_keys('"word 3"')
    browser.until(f"{SHOWN} === 1")
    assert first() == ["3"]


def test_a_link_opens_a_feature_and_back_returns(browser: Browser, page: Path) -> None:
    show(browser, page, 2)
    browser.run("document.querySelector('#detail-body a[href=\"#feature-3\"]').click()")
    browser.until(f"{TITLE} === 'Feature 3'")
    assert browser.run("return document.activeElement.id") == "detail-title"
    browser.driver.back()
    browser.until(f"{TITLE} === 'Feature 2'")
    # A neighbour that is not listed has no link.
    assert not browser.all("#detail-body a[href='#feature-11']")
    show(browser, page, 11)
    assert texts(browser, "#detail-body p") == ["It is not listed on this page."]


def test_examples_are_shaded_and_their_token_is_framed(browser: Browser, page: Path) -> None:
    show(browser, page, 2)
    summaries = texts(browser, "#detail-body details summary")
    assert summaries[:4] == [
        "Largest in validation documents: 2 tokens",
        "From every strength in validation documents, drawn at random",
        "Silent in validation documents: tokens around which it is 0, drawn at random",
        "Largest in train documents: 2 tokens",
    ]
    strengths = texts(browser, "#detail-body details:nth-of-type(2) > p")
    assert strengths[0] == "75 to 100 % of its largest activation: 1 of 1,234 tokens"
    assert len(strengths) == 4
    framed = browser.all("#detail-body .tops li:first-child .centre")[0]
    assert framed.get_attribute("class") == "p5 centre"
    assert framed.get_attribute("title") == "4"
    outline = browser.run("return getComputedStyle(arguments[0]).outlineStyle", framed)
    assert outline == "solid"
    # Silent examples have a framed token without a shade.
    silent = browser.all("#detail-body details:nth-of-type(3) .centre")
    assert [each.get_attribute("class") for each in silent] == ["centre"]


def test_signs_differ_by_more_than_colour(browser: Browser, page: Path) -> None:
    show(browser, page, 1)
    styles = browser.run(
        "return ['.p5', '.n2'].map((each) => "
        "getComputedStyle(document.querySelector('#detail-body ' + each)).borderBottomStyle)"
    )
    assert styles == ["solid", "dashed"]


def test_what_tables_hold_is_shown_as_text(browser: Browser, page: Path) -> None:
    show(browser, page, 1)
    assert not browser.all(
        "#detail-body b b, #detail-body script, #feature-table b, .plot b script"
    )
    said = SAID.replace("\0", "�")
    assert said in texts(browser, f"{ROWS} > td")
    assert any(said in text for text in texts(browser, "#detail-body > p"))
    codes = texts(browser, "#detail-body table code")
    assert {EVIL, "�", "⏎", "⇥", " سلام"} <= set(codes)
    assert any(f"topic {EVIL}" in text for text in texts(browser, ".tops .activation"))
    arabic = browser.run(
        "return [...document.querySelectorAll('#detail-body table code')]"
        ".filter((each) => each.textContent.includes('سلام'))"
        ".map((each) => getComputedStyle(each).direction)"
    )
    assert set(arabic) == {"rtl"}
    assert EVIL in texts(browser, "#map .legendtext")


def test_a_point_of_the_map_leads_to_its_feature(browser: Browser, page: Path) -> None:
    from selenium.webdriver import ActionChains

    browser.draw(page)
    browser.until(f"{SHOWN} === 6")
    browser.run(
        "document.getElementById('map').scrollIntoView({ behavior: 'instant', block: 'center' })"
    )
    # The traces of the map are in the order of the topics, of which sport has features 3 and 4.
    traces = [
        each.find_elements("css selector", "path.point")
        for each in browser.all("#map .scatterlayer .trace")
    ]
    point = next(points[0] for points in traces if len(points) == 2)
    ActionChains(browser.driver).move_to_element(point).pause(0.3).click().perform()
    browser.until(f"{TITLE} === 'Feature 3'")
    assert browser.driver.current_url.endswith("#feature-3")


def test_missing_details_are_told(chromium: Browser, tmp_path: Path) -> None:
    page = make_features(tmp_path, feature_tables())
    (tmp_path / "data/scaling-toy-features-0.js").unlink()
    show(chromium, page, 1)
    assert "scaling-toy-features-0.js" in texts(chromium, "#detail-body p")[0]
    # The browser itself says so in its console, too.
    assert any("features-0.js" in message for message in chromium.complaints())
