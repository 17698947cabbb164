"""The frame that every page shares: a run, a study, a comparison, an audit of one's own model.

A page is a template of `evaluation/templates` that extends `base.html` and fills its blocks:

    {% extends "base.html" %}
    {% block kicker %}what kind of page{% endblock %}
    {% block title %}its subject{% endblock %}
    {% block facts %}{{ parts.facts(facts) }}{% endblock %}        what ran, as pairs
    {% block summary %}...{% endblock %}                           the answer, on one screen
    {% block body %}{% call parts.fold("cost", "Cost") %}...{% endcall %}{% endblock %}     the rest, folded

`parts` holds the pieces (`parts.html`): `show` a `tables.Table`, `figures` with a verdict each (`figures.Subject`),
`matrix` (`grids.Grid`), `warnings` (`verdict.Banner`), `fold`, `figure`. In a table's text there is no markup: whatever
comes from a file is escaped. A page is one file: style and figures are inside, nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.canvas import themed

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, **values: object) -> str:
    """Return the page that a template of `evaluation/templates` makes of `values`, as the text of one HTML file.

    Every string in `values` is escaped; only what `inline` made goes in as it is. A name that the template uses and
    `values` lacks is an error, so that no part of a page is empty by mistake. Equal values give equal text.

    Args:
        template: name of the file, such as "report.html".
        values: what the template names.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)


def inline(svg: str) -> Markup:
    """Return a figure of `evaluation.canvas.render` as it goes into a page, in the page's colours, light or dark."""
    from markupsafe import Markup

    return Markup(themed(svg))
