"""The page about the run, before it has ended and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import Browser
from tests.report_tables import EVIL, make
from tests.run_tables import manifest, write_results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, whose page is not filled yet."""
    folder = write_results(tmp_path_factory.mktemp("run"))
    make(folder / "tables").rename(folder / "results/report")
    return folder


def test_the_page_is_reached_before_the_run_has_ended(browser: Browser, run: Path) -> None:
    browser.open(run / "results/report/index.html")
    browser.driver.find_element("link text", "This run").click()
    assert browser.driver.current_url.endswith("run.html")
    assert "is filled when a run ends" in browser.driver.find_element("id", "main").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_tells_of_the_run(browser: Browser, run: Path, scheme: str, width: int) -> None:
    manifest(run)
    browser.colours(scheme)
    browser.resize(width)
    browser.draw(run / "results/report/run.html")
    browser.fits()
    text = browser.driver.find_element("id", "main").text
    assert "2 jobs" in text
    assert "cuda, H200, 140 GB" in text
    # What data say stays text.
    assert EVIL in text
    assert not browser.all("#main b[title]")
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 380) == (scheme == "light")


def test_tables_sort_and_search_and_lead_to_files(browser: Browser, run: Path) -> None:
    manifest(run)
    browser.draw(run / "results/report/run.html")
    rules = browser.all("#rules table.sortable")[0]

    def first() -> str:
        row = rules.find_element("css selector", "tbody tr")
        return str(row.find_element("css selector", "th").text)

    assert first() == "capture"
    heading = rules.find_element("xpath", ".//th[.//span[text()='Time']]")
    browser.run("arguments[0].click(); arguments[0].click()", heading)
    assert first() == "load"
    search = browser.all("#configuration input[type=search]")[0]
    search.send_keys("compute.threads")
    shown = "document.querySelectorAll('#configuration tbody tr').length"
    browser.until(f"{shown} === 1")
    links = browser.run("return [...document.querySelectorAll('#main a')].map((a) => a.href)")
    files = [Path(link.removeprefix("file://")) for link in links if link.endswith(".parquet")]
    assert len(files) > 7
    assert all(path.is_file() for path in files)
