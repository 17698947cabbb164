"""Figures of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evaluation.canvas import render, style_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def curve_figure(points: Mapping[str, Sequence[tuple[float, NDArray[np.float64]]]], unit: float) -> str:
    """Accuracy over epsilon, one line per place of the noise; bars are one standard deviation over the seeds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, (name, line) in enumerate(points.items()):
            x = [epsilon for epsilon, _ in line]
            means = [unit * float(s[:, 0].mean()) for _, s in line]
            spread = [unit * float(s[:, 0].std(ddof=1)) for _, s in line]
            axes.errorbar(x, means, yerr=spread, label=name, linewidth=1.6, markersize=5, **style_of(index))
        axes.set(xlabel="epsilon at delta 0.00001", ylabel="test windows right, %", xscale="log")
        axes.set_xticks([epsilon for epsilon, _ in next(iter(points.values()))])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(_none())
        axes.legend(fontsize=8, loc="lower right")

    return render(draw, width=6.4, height=3.6, name="curve", description="Accuracy over epsilon by place of the noise")


def _none() -> object:
    from matplotlib.ticker import NullLocator

    return NullLocator()
