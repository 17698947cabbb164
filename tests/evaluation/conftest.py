import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.testing import write_synthetic_run

# Test modules import the browser of pages from here by name.
sys.path.insert(0, str(Path(__file__).parent))

_VOID = {"meta", "br", "link", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that tags balance, and gathers ids, references and the words a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href", "src"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"closing {tag} without opening"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += " " + " ".join(data.split())


@pytest.fixture
def page() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_synthetic_run(tmp_path / "run-1", rows=("class_sums", "replay"), tasks=3)
