"""A headless Chromium that tells what it asked for and what it complained about."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
"""Debian has them as chromium and chromium-driver."""


class Browser:
    """A Chromium, and checks on what it did since it was asked last."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path) -> None:
        """Open a page from disk and wait until it is loaded."""
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *, seconds: float = 60) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({script})"):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.05)

    def draw(self, page: Path) -> None:
        """Open a page and wait until every figure is drawn."""
        self.open(page)
        plots = len(self.all(".plot"))
        self.until(f"document.querySelectorAll('.plot .main-svg').length >= {plots}")

    def fits(self) -> None:
        """Check that nothing is wider than the window, once a plot has found its width."""
        wide = "document.documentElement.scrollWidth > window.innerWidth"
        self.until(f"!({wide})", seconds=10)

    def all(self, selector: str) -> list[Any]:
        """Elements that a CSS selector finds."""
        return list(self.driver.find_elements("css selector", selector))

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page's inside this size, which a window cannot have below 500 pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def colours(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """What stands in the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call that are neither files nor in the page."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if not url.startswith(("file:", "data:", "blob:"))]


def launch(profile: Path) -> Browser:
    """Start a headless Chromium whose settings live in a folder of their own."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return Browser(webdriver.Chrome(options=options, service=service))
