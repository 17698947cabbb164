"""The figure of the page: accuracy over epsilon, a panel for each data set and each measure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.strategies.runs import Line
from benchmarks.strategies.table import COLUMNS, NAMES, TITLES, chosen
from evaluation.canvas import render, style_of
from evaluation.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Fine-tuning lies far below the rest and is left to the tables.
SHOWN = ("joint", "replay", "derpp", "class_sums", "slda", "calm")
#: Where no noise is drawn, right of every epsilon.
NO_NOISE = 24.0


def plot(lines: Sequence[Line], path: Path) -> None:
    """Write the figure; noise shared in the sum, bars are one standard deviation over seeds."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(TITLES), squeeze=False)[0]
        for number, (data, title) in enumerate(TITLES.items()):
            mine = [line for line in lines if line["data"] == data]
            for index, row in enumerate(SHOWN):
                shown = [chosen(mine, row, *column) for column in COLUMNS if column[1] != "local"]
                _curve(axes[number], [line for cell in shown for line in cell], row, index)
            axes[number].set(xscale="log", xlabel="epsilon", title=title.partition(":")[0])
            axes[number].set_xticks([1.0, 2.0, 8.0, NO_NOISE], ["1", "2", "8", "no noise"])
            axes[number].minorticks_off()
        axes[0].set_ylabel("test examples right, %")
        axes[-1].legend(fontsize=8, loc="lower right")

    text = render(draw, width=8.2, height=3.6, name="strategies", description="Accuracy over epsilon by strategy")
    atomic_write(path, text.encode())


def _curve(axes: Axes, lines: Sequence[Line], row: str, index: int) -> None:
    by_epsilon: dict[float, list[float]] = {}
    for line in lines:
        by_epsilon.setdefault(line["target"] or NO_NOISE, []).append(100 * line["micro"])
    x = sorted(by_epsilon)
    if not x:
        return
    means = [statistics.mean(by_epsilon[e]) for e in x]
    spread = [statistics.stdev(by_epsilon[e]) if len(by_epsilon[e]) > 1 else 0.0 for e in x]
    ours = row == "calm"
    axes.errorbar(
        x, means, yerr=spread, label=NAMES[row].strip("*"), linewidth=2.4 if ours else 1.4, markersize=5,
        zorder=3 if ours else 2, **style_of(index),
    )  # fmt: skip
