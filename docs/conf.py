"""The documentation as a site: `make docs` puts it into build/site.

Sphinx, with MyST for the Markdown that is read in the repository as well, and furo. MkDocs 1 has had no release since
2024 and MkDocs 2 drops plugins and themes; Material for MkDocs ends with 2026, and its authors' next generator is still
being built. Sphinx has releases every few months, checks every link of a page, and is what torch and numpy use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from secure_fcl import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "secure-fcl"
author = "The secure-fcl authors"
version = release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["make_*.py"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "secure-fcl"
html_copy_source = False
html_show_sourcelink = False

# The pages stand here, and not in index.md, which is also read where such a block would show as code.
_PAGES = {
    "Concepts": ["concepts", "threat-models", "sharp-edges", "persons", "skellam", "decisions", "literature"],
    "How to": ["how-to/*"],
    "Strategies": ["strategies", "strategies-calm"],
    "Measured": ["forgetting-and-leakage", "benchmarks-*"],
    "Reference": ["configuration", "files", "api/*"],
}

# Pages of the repository that are not part of the site, and folders: there is no page to link to.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)#]*?(?:\.md|(?<=/)\w+)(?:#[\w-]+)?\)")


def _with_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append the table of contents to the first page, and make links out of the site plain text."""
    depth = docname.count("/")
    source[0] = _OUTSIDE.sub(lambda link: link[1] if _leaves(link[0], depth) else link[0], source[0])
    if docname == app.config.root_doc:
        for caption, pages in _PAGES.items():
            lines = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{lines}\n```\n"


def _leaves(link: str, depth: int) -> bool:
    """Return whether a link of a page `depth` folders below docs/ leads out of docs/."""
    return link.count("../") > depth


def setup(app: Sphinx) -> None:
    """Connect the hook; called by Sphinx."""
    app.connect("source-read", _with_contents)
