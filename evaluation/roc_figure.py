"""ROC curves on logarithmic axes: what is found where false alarms are few (Carlini et al. 2022, section III)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.canvas import MUTED, SERIES, empty_panel, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""Curves in one figure at most: there are as many colours, and more could not be told apart."""

_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


@dataclass(frozen=True)
class RocLine:
    """One attack's curve: points (false positive rate, true positive rate) from (0, 0) to (1, 1)."""

    label: str
    points: tuple[tuple[float, float], ...]


def log_roc(lines: Sequence[RocLine], *, width: float = 4.4, name: str = "roc") -> str:
    """Draw at most `SHOWN` curves, both axes logarithmic, with the diagonal of no knowledge.

    A rate of 0 has no place on such an axis: the axes begin below the smallest rate that any curve can show.
    """
    shown = [line for line in lines if len(line.points) > 1][:SHOWN]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not shown:
            return empty_panel(axes, "No attack was played.")
        rates = [rate for line in shown for point in line.points for rate in point if rate > 0.0]
        floor = min([0.1, *rates]) / 1.5
        for index, line in enumerate(shown):
            x, y = ([max(point[axis], floor) for point in line.points] for axis in (0, 1))
            axes.step(
                x, y, where="post", label=line.label, color=SERIES[index], linestyle=_DASHES[index], linewidth=1.7
            )
        axes.plot([floor, 1], [floor, 1], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), label="no knowledge")
        axes.set(xscale="log", yscale="log", xlim=(floor, 1.05), ylim=(floor, 1.1), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda rate, _: f"{100 * rate:g}")
        axes.minorticks_off()
        axes.set(xlabel="false alarms (% of non-members, log scale)", ylabel="members found (%, log scale)")
        figure.legend(loc="outside lower left", fontsize=9, ncols=2 if len(shown) > 2 else 1)
        return None

    described = "ROC curves on logarithmic axes of " + (", ".join(line.label for line in shown) or "no attack")
    return render(draw, width=width, height=width * 1.05, name=name, description=described)
