"""The frontier of a study: which of its points no other beats in everything, and a figure that marks them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluation.canvas import MUTED, PAPER, empty_panel, render, style_of
from evaluation.evidence import Score
from evaluation.plots import WIDTH
from evaluation.tasks import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: What a point is judged by beside its epsilon, and whether more of it is better.
CRITERIA: Mapping[str, bool] = {"micro": True, "forgetting": False, "leakage": False}
_AXES = {"micro": "right, all examples (%)", "forgetting": "forgetting (points)", "leakage": "membership advantage (%)"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a study's grid: all seeds of a setting.

    Attributes:
        name: of the line that it lies on, such as "replay, local noise".
        epsilon: what was spent, or the budget where the study does not say; infinite without a guarantee.
        scores: mean over seeds with an interval, by the names of `CRITERIA`; one that was not measured is not there.
        more: further means by name.
        seeds: number of runs.
    """

    name: str
    epsilon: float
    scores: Mapping[str, Score]
    seeds: int
    more: Mapping[str, float] = field(default_factory=dict)


def criteria(points: Sequence[Point]) -> tuple[str, ...]:
    """Return those of `CRITERIA` that every point has; by the others points cannot be compared."""
    return tuple(name for name in CRITERIA if points and all(name in point.scores for point in points))


def non_dominated(points: Sequence[Point]) -> tuple[bool, ...]:
    """Return for each point whether no other is at least as good in epsilon and all `criteria`, and better in one.

    Judged by means over seeds, whatever their intervals. Equal points do not beat each other.
    """
    names = criteria(points)
    costs: NDArray[np.float64] = np.array(
        [
            [point.epsilon, *(point.scores[name].value * (-1.0 if CRITERIA[name] else 1.0) for name in names)]
            for point in points
        ]
    ).reshape(len(points), 1 + len(names))
    return tuple(not ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any() for own in costs)


def plot_frontier(points: Sequence[Point], name: str = "frontier") -> str:
    """Accuracy, forgetting and leakage over epsilon (log axis), as far as measured; what no point beats is filled.

    Points without a guarantee stand at the right end, joined by no line.
    """
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.name, []).append(point)
    marked = {id(point) for point, best in zip(points, non_dominated(points), strict=True) if best}
    shown = [metric for metric in CRITERIA if any(metric in point.scores for point in points)]
    finite = sorted({point.epsilon for point in points if math.isfinite(point.epsilon)})
    beyond = (finite[-1] if finite else 1.0) * 2.5

    def draw(figure: Figure) -> None:
        if not shown:
            return empty_panel(figure.subplots(), "The study has no finished run.")
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, metric in zip(panels, shown, strict=True):
            for index, line in enumerate(lines.values()):
                _draw_line(axes, line, metric, index, beyond, marked)
            axes.set_ylabel(_AXES[metric])
            axes.set_xscale("log")
            axes.minorticks_off()
        ends = [beyond] if any(math.isinf(point.epsilon) for point in points) else []
        axes.set_xticks(*_ticks(finite, ends))
        axes.set_xlabel("epsilon of the worst cohort (filled: on the frontier)")
        if ends:
            for axes in panels:
                axes.axvline(beyond / 1.6, color=MUTED, linewidth=0.8, linestyle=":")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=1 if max(map(len, names)) > 24 else 2)
        return None

    described = f"Epsilon and {', '.join(shown) or 'nothing'} of {len(points)} points, {len(marked)} on the frontier"
    height = 0.9 + 1.75 * max(len(shown), 1) + 0.2 * len(lines)
    return render(draw, width=WIDTH, height=height, name=name, description=described)


def _ticks(finite: Sequence[float], ends: Sequence[float]) -> tuple[list[float], list[str]]:
    """At most six epsilons that lie apart from each other, and "none" for those without a guarantee."""
    chosen: list[float] = []
    for value in finite:
        if not chosen or value > chosen[-1] * 1.5:
            chosen.append(value)
    chosen = chosen[:: max(1, math.ceil(len(chosen) / 6))]
    return [*chosen, *ends], [*(f"{value:.3g}" for value in chosen), *("none" for _ in ends)]


def _draw_line(axes: Axes, line: Sequence[Point], metric: str, index: int, beyond: float, marked: set[int]) -> None:
    style = style_of(index)
    axes.plot([], [], label=shortened(line[0].name), markerfacecolor=PAPER, markersize=5, linewidth=1.2, **style)
    known = sorted((point for point in line if metric in point.scores), key=lambda point: point.epsilon)
    private = [point for point in known if math.isfinite(point.epsilon)]
    axes.plot(
        [point.epsilon for point in private], [100 * point.scores[metric].value for point in private], linewidth=1.2,
        color=style["color"], linestyle=style["linestyle"],
    )  # fmt: skip
    for point in known:
        score = point.scores[metric]
        spread = 0.0 if math.isnan(score.high) else 100 * (score.high - score.value)
        axes.errorbar(
            [point.epsilon if math.isfinite(point.epsilon) else beyond], [100 * score.value], yerr=spread, capsize=2.5,
            color=style["color"], marker=style["marker"], markersize=7 if id(point) in marked else 5, linestyle="none",
            markerfacecolor=style["color"] if id(point) in marked else PAPER,
        )  # fmt: skip
