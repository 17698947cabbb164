"""Draw docs/images/report.png: the first screen of a run's report, as a browser shows it.

    python docs/make_report_picture.py RUN [--out docs/images/report.png]

RUN is the folder of a finished run, such as the one that `make demo` leaves. The page is rendered anew from its files.
Needs Debian's `chromium` (or another one on the path) and Playwright, which is in the development group.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from evaluation.report import render_report

WIDTH, HEIGHT = 1280, 800
OUT = Path(__file__).parent / "images" / "report.png"


def take_picture(run: Path, out: Path) -> Path:
    """Write the first screen of the report of `run` to `out`, and return it; exits where there is no browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next((path for name in names if (path := shutil.which(name))), None)
    if browser_path is None:
        sys.exit("no browser was found; install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        page = Path(folder) / "report.html"
        page.write_text(render_report(run), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", offline=True)
        view.goto(page.as_uri())
        view.screenshot(path=out)
        browser.close()
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    print(take_picture(given.run, given.out))
