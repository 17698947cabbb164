"""One look for every figure: matplotlib without pyplot, the same bytes for the same data.

Colours are Okabe and Ito's (2008), told apart with any common colour blindness; series differ in marker and
dash as well, so a black-and-white print stays readable. Matplotlib is imported when the first figure is
drawn.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1f24"
MUTED = "#59636e"
GRID = "#d9dee3"
PAPER = "#ffffff"
THEMED = {INK: "--ink", MUTED: "--muted", GRID: "--rule", PAPER: "--paper"}
"""Colours that a page may replace by its own, with the CSS variable that replaces each."""

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")

_STYLE: Any = {
    "svg.hashsalt": "secure-fcl",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    # Names from a run are drawn as they are; a dollar sign in one must not start a formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "hatch.linewidth": 0.6,
}


_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def style_of(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the series number `index`; the three repeat together after 84."""
    return {
        "color": SERIES[index % len(SERIES)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index % len(DASHES)],
    }


def empty_panel(axes: Axes, message: str) -> None:
    """Say in the panel why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", transform=axes.transAxes, color=MUTED)


def _unique_ids(svg: str, name: str) -> str:
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)


def render(draw: Callable[[Figure], None], *, width: float, height: float, name: str, description: str) -> str:
    """The figure that `draw` fills, as one SVG element without XML prologue, scaling with its container.

    Args:
        draw: adds axes to an empty figure of the house style.
        width: in inches at 72 points.
        height: in inches.
        name: letters, digits and hyphens; prefix of every id, so that several figures fit one page.
        description: what a reader who cannot see the figure is told; may hold any text.

    *Guarantee*: equal data and equal versions of matplotlib give equal text; no date, no random id.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            # The reader's own fonts draw the text; that ours lack a character does not matter.
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue().decode()
    svg = _unique_ids(svg[svg.index("<svg") :], name)
    opening, rest = svg.split(">", 1)
    label = escape(description, {'"': "&quot;"})
    title = f"<title>{escape(description)}</title>"
    return _NOT_IN_XML.sub("", f'{opening} role="img" aria-label="{label}">{title}{rest}'.strip())


def themed(svg: str) -> str:
    """`svg` with the colours of `THEMED` as CSS variables, for a page with a light and a dark look."""
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    return svg
