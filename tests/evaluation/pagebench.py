"""A real browser for tests of pages: Debian's chromium, driven by Playwright, which brings none of its own here."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: Set where a missing browser is a failure and no reason to skip (.ci/run).
REQUIRED = "SECURE_FCL_BROWSER_REQUIRED"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZES = {1280: 800, 390: 844}
INSPECT = (Path(__file__).parent / "inspect_page.js").read_text(encoding="utf-8")


def browser_path() -> str:
    """Where the browser is; without one or its driver the test is skipped, or fails where `REQUIRED` is set."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is not None and importlib.util.find_spec("playwright") is not None:
        return found
    say = pytest.fail if os.environ.get(REQUIRED) else pytest.skip
    say("no browser: playwright is not installed" if found else f"no browser: none of {', '.join(NAMES)} is installed")
    raise AssertionError


@dataclass
class Seen:
    """What a page did and how it looks in one window."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def inspect(self) -> dict[str, list[str]]:
        """What is wrong with the page as it stands: small or pale texts, and what is cut."""
        found: dict[str, list[str]] = self.page.evaluate(INSPECT)
        return found

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser, for a whole module of tests."""
    path = browser_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # A container has no user namespaces to make a sandbox of, and all pages are our own.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def shown(browser: Any, path: Path, width: int, scheme: str = "light", **more: Any) -> Iterator[Seen]:
    """The page in `path` in a window of this width, with everything recorded that it asked for or complained of."""
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme, offline=True, **more
    )
    page = context.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.messages.append(message.text))
    page.on("pageerror", lambda error: seen.messages.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    try:
        page.goto(path.as_uri())
        yield seen
    finally:
        context.close()
