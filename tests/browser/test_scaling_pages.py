"""What a visitor does with the pages of the study of wide SAEs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.browser.test_decimal_pages import click
from tests.browser.test_report_pages import REAL
from tests.browser.test_specialist_pages import SHOWN, choose
from tests.report_tables import EVIL
from tests.scaling_tables import FOUND, FRESH_MODEL, NOTHING, SPARSE, make_scaling

PAGES = ("scaling.html", "scaling-toy.html", "scaling-sparse.html")
RUN = {
    "llama": {"recovered", "densities", "curves", "areas", "scores", "costs", "accuracies"},
    "llama_untrained": {"recovered", "densities", "curves", "accuracies"},
}
"""Models of the study in a default run, and what is drawn of them."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = {"toy": FOUND, "other": NOTHING, "sparse": SPARSE, "toy_untrained": FRESH_MODEL}
    return make_scaling(tmp_path_factory.mktemp("scaling"), told)


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
    click(browser, "css selector", "#scaling a")
    assert browser.driver.current_url.endswith("/scaling.html")
    click(browser, "css selector", "main table a")
    assert browser.driver.current_url.endswith("/scaling-toy.html")


def test_lists_choose_what_is_measured(browser: Browser, report: Path) -> None:
    browser.draw(report / "scaling-toy.html")
    levels = (
        "return document.getElementById(arguments[0]).data.filter((t) => t.visible !== false)[1].y"
    )
    assert browser.run(levels, "costs")[0] == 0
    before = len(browser.run(SHOWN, "costs"))
    choose(browser, "costs", 0, 4)
    assert len(browser.run(SHOWN, "costs")) == before
    first = browser.run(SHOWN, "densities")
    choose(browser, "densities", 0, 1)
    assert browser.run(SHOWN, "densities") == first
    # Every list has a name that is read out.
    named = browser.run(
        "return [...document.querySelectorAll('.choices select')].map((each) => each.labels.length)"
    )
    assert named == [1, 1, 1]


def test_what_tables_hold_is_shown_as_text(browser: Browser, report: Path) -> None:
    browser.draw(report / "scaling-toy.html")
    names = browser.run(
        "return [...document.querySelectorAll('#areas .ytick text')].map((e) => e.textContent)"
    )
    assert f"odd {EVIL}" in names
    titles = browser.run(
        "return [...document.querySelectorAll('#scores .annotation-text')].map((e) => e.textContent)"
    )
    assert f"odd {EVIL}" in titles
    texts = browser.run(
        "return [...document.querySelectorAll('details td.wrap')].map((e) => e.textContent)"
    )
    assert f"feature 1 0 {EVIL}" in texts
    assert not browser.all("main table b, main script, main summary b, .choices b")


def test_continuations_open(browser: Browser, report: Path) -> None:
    browser.draw(report / "scaling-toy.html")
    opened = browser.run(
        "const found = [...document.querySelectorAll('#steering details')]"
        ".find((each) => each.querySelector('summary').textContent.startsWith('space'));"
        "found.querySelector('summary').click();"
        "return [found.open, found.querySelectorAll('tbody tr').length]"
    )
    assert opened == [True, 8]
    browser.fits()


@pytest.mark.parametrize("model", RUN)
def test_pages_of_a_real_run(browser: Browser, model: str) -> None:
    page = REAL / f"scaling-{model}.html"
    if not page.is_file():
        pytest.skip(f"{page} is absent; it takes a default run with the study")
    browser.draw(page)
    assert RUN[model] <= {each.get_attribute("id") for each in browser.all(".plot")}
    browser.fits()
