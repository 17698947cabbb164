"""The documentation as a site: it builds without a warning, has every page, and a broken link stops it."""

import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_builds_and_has_every_page(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.html")} >= pages
    contents = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not [page for page in pages if page.name != "index.html" and f'href="{page.as_posix()}"' not in contents]


def test_a_link_to_no_page_stops_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs, ignore=shutil.ignore_patterns("api", "how-to", "benchmarks-*", "images"))
    (docs / "concepts.md").write_text("# Concepts\n\n[nowhere](no-such-page.md)\n", encoding="utf-8")
    done = build(docs, tmp_path / "site")
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr
