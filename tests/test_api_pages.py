"""The API pages: made from the code as it stands, and no name of a face is missing from them."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


API = _generator()


@pytest.mark.parametrize("package", ["crypto", "privacy", "attacks", "evaluation", "secure_fcl"])
def test_api_pages_are_up_to_date(package: str) -> None:
    made = API.render(package)
    assert (DOCS / "api" / f"{package}.md").read_text(encoding="utf-8") == made, "run docs/make_api.py"


def rooms_with_faces() -> list[str]:
    """Packages and folders of ours that say `__all__`, by dotted name."""
    files = [path for package in API.MODULES for path in (ROOT / package).rglob("__init__.py")]
    faces = [path.parent for path in files if re.search(r"^__all__ =", path.read_text(encoding="utf-8"), re.MULTILINE)]
    return sorted(path.relative_to(ROOT).as_posix().replace("/", ".") for path in faces)


# Rooms whose face serves our own packages only.
INSIDE = {"secure_fcl.auditing.sums", "secure_fcl.cli"}


def missing_from_the_page(room: str) -> set[str]:
    """Names of the room's face that its package's page does not show."""
    page = API.render(room.partition(".")[0])
    # With its arguments or without: `name` or `name(`.
    shown = set(re.findall(r"^- (?:\*\*)?`(\w+)[(`]", page, re.MULTILINE))
    return set(importlib.import_module(room).__all__) - shown


@pytest.mark.parametrize("room", [room for room in rooms_with_faces() if room not in INSIDE])
def test_every_name_of_a_face_is_on_the_api_page(room: str) -> None:
    assert missing_from_the_page(room) == set()


@pytest.mark.parametrize(("toolkit", "most"), [("crypto", 30), ("privacy", 40), ("attacks", 50), ("evaluation", 25)])
def test_a_face_stays_small(toolkit: str, most: int) -> None:
    assert len(importlib.import_module(toolkit).__all__) <= most, "import it from its room instead"


def test_a_name_that_a_page_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a name the face has and the source of the page does not."""
    import crypto

    monkeypatch.setattr(crypto, "__all__", [*crypto.__all__, "unheard_of"])
    assert missing_from_the_page("crypto") == {"unheard_of"}
