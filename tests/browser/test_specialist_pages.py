"""What a visitor does with the pages of the study of specialists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.browser.test_decimal_pages import click
from tests.browser.test_report_pages import REAL
from tests.report_tables import EVIL
from tests.specialist_numbers import FOUND, NOTHING, SPARSE
from tests.specialist_tables import make_specialists

PAGES = ("specialists.html", "specialists-toy.html", "specialists-sparse.html")
RUN = ("llama", "gpt2", "llama_untrained")
"""Models of the study in a default run."""
SHOWN = """
return document.getElementById(arguments[0]).data
    .filter((trace) => trace.visible !== false).map((trace) => trace.name)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = {"toy": FOUND, "other": FOUND, "sparse": SPARSE, "toy_untrained": NOTHING}
    return make_specialists(tmp_path_factory.mktemp("specialists"), told)


def choose(browser: Browser, figure: str, choice: int, option: int) -> None:
    """Choose what a figure shows, as the keyboard does."""
    browser.run(
        "const lists = document.getElementById(arguments[0]).closest('figure').querySelectorAll('select');"
        "lists[arguments[1]].selectedIndex = arguments[2];"
        "lists[arguments[1]].dispatchEvent(new Event('change'));",
        figure,
        choice,
        option,
    )


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
    click(browser, "css selector", "#specialists a")
    assert browser.driver.current_url.endswith("/specialists.html")
    click(browser, "css selector", "main table a")
    assert browser.driver.current_url.endswith("/specialists-toy.html")


def test_lists_choose_what_is_shown_and_keep_it_in_other_colours(
    browser: Browser, report: Path
) -> None:
    browser.draw(report / "specialists-toy.html")
    first = browser.run(SHOWN, "similarity-1")
    assert first[1] == "words (calibrated: no pair in common)"
    choose(browser, "similarity-1", 1, 2)
    later = [first[0], "characters (calibrated: no pair in common)"]
    assert browser.run(SHOWN, "similarity-1") == later
    browser.colours("dark")
    assert browser.run(SHOWN, "similarity-1") == later
    choose(browser, "matrix-1", 0, 1)
    assert browser.run(SHOWN, "matrix-1") == ["effect", "minus a specialist of another topic"]
    # Every list has a name that is read out.
    named = browser.run(
        "return [...document.querySelectorAll('.choices select')].map((each) => each.labels.length)"
    )
    assert set(named) == {1}


def test_what_tables_hold_is_shown_as_text(browser: Browser, report: Path) -> None:
    browser.draw(report / "specialists-toy.html")
    names = browser.run(
        "return [...document.querySelectorAll('#similarity-1 .ytick text')].map((e) => e.textContent)"
    )
    assert f"Code: {EVIL}" in names
    options = browser.run(
        "return [...document.querySelectorAll('.choices option')].map((e) => e.textContent)"
    )
    assert f"Code: {EVIL}, layer 0, feature 13" in options
    assert not browser.all("main table b, main script, .tops b, .choices b")
    token = browser.run("return document.querySelector('.tops .n3')")
    assert (token.get_attribute("textContent"), token.get_attribute("title")) == (EVIL, "−4")


def test_signs_of_activations_differ_by_more_than_colour(browser: Browser, report: Path) -> None:
    browser.open(report / "specialists-toy.html")
    styles = browser.run(
        "return ['.tops .p5', '.tops .n3'].map((each) => "
        "getComputedStyle(document.querySelector(each)).borderBottomStyle)"
    )
    assert styles == ["solid", "dashed"]


@pytest.mark.parametrize("model", RUN)
def test_pages_of_a_real_run(browser: Browser, model: str) -> None:
    page = REAL / f"specialists-{model}.html"
    if not page.is_file():
        pytest.skip(f"{page} is absent; it takes a default run with the study")
    browser.draw(page)
    drawn = {each.get_attribute("id") for each in browser.all(".plot")}
    assert {"counts-1", "similarity-1", "retrieval-1", "scatter-1", "matrix-1"} <= drawn
    browser.fits()
