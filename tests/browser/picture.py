"""Take the README's picture from the report of a finished default run: `make picture`."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from tests.browser.chromium import launch

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs/images/report.png"
WIDTH = 1180
LAST = "#main .figcaption, #main figcaption"
"""The picture ends with the first caption of the overview."""


def main() -> None:
    """Open the overview, wait for its figure, write what is above the table."""
    report = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results/report"
    with tempfile.TemporaryDirectory() as profile:
        browser = launch(Path(profile))
        try:
            browser.resize(WIDTH, 2000)
            browser.colours("light")
            browser.open((report / "index.html").resolve())
            browser.until("document.querySelector('#main .plot svg .points')")
            end = f"document.querySelector('{LAST}').getBoundingClientRect().bottom"
            width = browser.run("return document.documentElement.clientWidth")
            clip = {"x": 0, "y": 0, "width": width, "height": browser.run(f"return {end}") + 16}
            taken = browser.driver.execute_cdp_cmd(
                "Page.captureScreenshot", {"format": "png", "clip": {**clip, "scale": 1}}
            )
        finally:
            browser.driver.quit()
    PICTURE.write_bytes(base64.b64decode(taken["data"]))


if __name__ == "__main__":
    main()
