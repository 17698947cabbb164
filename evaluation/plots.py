"""The figures of a run and of a study, each from plain data to one SVG element (see `evaluation.canvas`).

Accuracies come in as shares in [0, 1] and are drawn in percent. None and NaN are left out; no data at all
gives a figure that says so.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.canvas import GRID, INK, MUTED, PAPER, SERIES, empty_panel, render, style_of
from evaluation.matrix import AccuracyMatrix
from evaluation.tasks import shortened, task_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

WIDTH = 4.7
"""Width of a figure in inches: on a phone 390 pixels wide, where it shrinks to 82 %, no text falls below 9 pixels."""

_SHOWN_COHORTS = 40


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def accuracy_over_tasks(rows: Mapping[str, Sequence[float | None]]) -> str:
    """Accuracy over the classes seen so far, after each task; one line per row.

    Args:
        rows: name of a row to its shares in task order, None where not measured.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        drawn = 0
        longest = 1
        for index, (name, shares) in enumerate(rows.items()):
            points = [(i + 1, 100 * s) for i, s in enumerate(shares) if s is not None and _known(s)]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, linewidth=1.8, markersize=5, **style_of(index))
                longest = max(longest, points[-1][0])
                drawn += 1
        if not drawn:
            return empty_panel(axes, "No task is finished yet.")
        axes.set(xlim=(0.8, longest + 0.2), ylim=(0, 102), xlabel="tasks learnt")
        axes.set_ylabel("right among windows of\nclasses seen so far (%)")
        axes.set_xticks(range(1, longest + 1))
        figure.legend(loc="outside upper left", fontsize=9, ncols=3)
        return None

    described = "Accuracy over the classes seen so far after each task, for " + (", ".join(rows) or "no row")
    return render(draw, width=WIDTH, height=3.1, name="curve", description=described)


def accuracy_matrix(matrix: AccuracyMatrix, row: str, name: str = "matrix") -> str:
    """Heat map of an accuracy matrix: stages downward, tasks rightward, hatched where not measured."""
    size = matrix.tasks

    def draw(figure: Figure) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.subplots()
        # One hue from light to dark keeps its order in grey print and for every kind of colour blindness.
        blues = LinearSegmentedColormap.from_list("blues", ["#f3f7fb", "#7fb2d8", "#0072b2", "#08304f"])
        axes.set_facecolor(PAPER)
        axes.grid(visible=False)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", title=row)
        for (stage, task), value in np.ndenumerate(matrix.values):
            corner = (task - 0.48, stage - 0.48)
            if np.isnan(value):
                axes.add_patch(_cell(corner, facecolor=PAPER, edgecolor=GRID, hatch="////"))
                continue
            axes.add_patch(_cell(corner, facecolor=blues(value), edgecolor="none"))
            # Not the page's ink: the cell keeps its colour when the page is dark.
            axes.text(
                task, stage, f"{100 * value:.0f}", ha="center", va="center", fontsize=9,
                color="#fffffe" if value > 0.5 else "#1b1f25",
            )  # fmt: skip
        ticks = list(range(size))
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set(xlabel="accuracy on task (%)", ylabel="after learning task")

    side = min(5.0, 1.3 + 0.33 * size)
    return render(draw, width=side, height=side, name=name, description=f"Accuracy matrix of {row}, {size} tasks")


def _cell(corner: tuple[float, float], **style: Any) -> Patch:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 0.96, 0.96, linewidth=0.0, **style)


@dataclass(frozen=True, kw_only=True)
class CohortBar:
    """One bar: examples of one group and arrival task (0-based), all kept in a memory or all discarded.

    Or, where the fate is "whole", the clients of one group with their whole streams.
    """

    group: str
    arrival: int
    fate: str
    epsilon: float | None


def epsilon_per_cohort(cohorts: Sequence[CohortBar], row: str, name: str = "epsilon") -> str:
    """Epsilon of each cohort as horizontal bars, kept ones hatched; the worst is the guarantee.

    Beyond 40 cohorts the 40 with the largest epsilon are drawn. A cohort without finite epsilon is left out
    here and stays in the table.
    """
    finite = [(c, c.epsilon) for c in cohorts if c.epsilon is not None and math.isfinite(c.epsilon)]
    shown = sorted(finite, key=lambda item: -item[1])[:_SHOWN_COHORTS]
    shown.sort(key=lambda item: (item[0].group, item[0].arrival, item[0].fate))
    groups = len({cohort.group for cohort, _ in shown})

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not shown:
            return empty_panel(axes, "No cohort has a finite epsilon.")
        for position, (cohort, epsilon) in enumerate(shown):
            kept = cohort.fate == "kept"
            axes.barh(
                position, epsilon, height=0.7, color=SERIES[1] if kept else SERIES[0], edgecolor=PAPER,
                hatch="////" if kept else None, linewidth=0.0,
            )  # fmt: skip
            axes.text(epsilon, position, f" {_ceil(epsilon)}", va="center", fontsize=9)
        short = [_told(c) for c, _ in shown]
        labels = [f"{shortened(c.group)}, {name}" for (c, _), name in zip(shown, short, strict=True)]
        axes.set_yticks(range(len(shown)), labels if groups > 1 else short)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        worst = max(epsilon for _, epsilon in shown)
        axes.axvline(worst, color=INK, linewidth=0.9, linestyle="--")
        smallest = min(epsilon for _, epsilon in shown)
        if 0 < smallest < worst / 20:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.set_xlim(smallest / 2, worst * 2.5)
        else:
            axes.set_xlim(0, worst * 1.2 or 1)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        scale = ", log scale" if axes.get_xscale() == "log" else ""
        axes.set(xlabel=f"epsilon spent (dashed: the worst{scale})", title=row)
        return None

    height = 0.95 + 0.23 * max(len(shown), 2)
    described = f"Epsilon per cohort of {row}, {len(shown)} of {len(cohorts)} cohorts"
    return render(draw, width=WIDTH, height=height, name=name, description=described)


def _told(cohort: CohortBar) -> str:
    return "whole stream" if cohort.fate == "whole" else f"{task_name(cohort.arrival)}, {cohort.fate}"


def _ceil(epsilon: float) -> str:
    # An upper bound may only be rounded up.
    return f"{math.ceil(epsilon * 100 - 1e-9) / 100:.2f}"


@dataclass(frozen=True)
class AttackBar:
    """One attack: its AUC and the blind baseline's, each (value, low, high), None where not measured."""

    label: str
    auc: tuple[float | None, float | None, float | None]
    blind: tuple[float | None, float | None, float | None]
    void: bool = False


def attack_aucs(attacks: Sequence[AttackBar], name: str = "attacks") -> str:
    """Forest plot: AUC of each attack with its interval, the blind baseline in outline, chance as a line.

    Names stand above their lines, so that the axis has the whole width.
    """
    labels = [_wrapped(attack.label + ("  (void)" if attack.void else "")) for attack in attacks]
    # Lines of text from the top: those of a name, then one and a half for its whiskers.
    starts = [sum(len(before) + 1.8 for before in labels[:place]) for place in range(len(labels))]
    depth = sum(len(label) + 1.8 for label in labels)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not attacks:
            return empty_panel(axes, "No attack was run.")
        across = axes.get_yaxis_transform()
        for attack, label, start in zip(attacks, labels, starts, strict=True):
            colour, position = MUTED if attack.void else SERIES[0], start + len(label) + 0.6
            for number, line in enumerate(label):
                ink = MUTED if number else INK
                axes.text(0.0, start + number + 0.5, line, transform=across, va="center", color=ink)
            _whisker(axes, position - 0.15, attack.auc, colour, filled=True)
            _whisker(axes, position + 0.4, attack.blind, MUTED, filled=False)
        axes.axvline(0.5, color=INK, linewidth=0.9, linestyle="--")
        axes.set_yticks([])
        axes.set_ylim(depth, -0.2)
        axes.spines["left"].set_visible(False)
        ends = [v for a in attacks for v in (*a.auc, *a.blind) if v is not None and not math.isnan(v)]
        axes.set_xlim(min([0.4, *ends]) - 0.02, max([0.6, *ends]) + 0.02)
        axes.set_xlabel("AUC with interval (filled: attack; outline: blind)")
        return None

    height = 0.7 + 0.185 * max(depth, 4)
    described = f"AUC of {len(attacks)} attacks with intervals, beside their blind baselines"
    return render(draw, width=WIDTH, height=height, name=name, description=described)


def _wrapped(label: str) -> list[str]:
    return [line for part in label.split("\n") for line in textwrap.wrap(part, 52) or [""]]


def _whisker(
    axes: Axes,
    position: float,
    measured: tuple[float | None, float | None, float | None],
    colour: str,
    *,
    filled: bool,
) -> None:
    value, low, high = measured
    if value is None or math.isnan(value):
        return
    if low is not None and high is not None and not math.isnan(low + high):
        axes.plot([low, high], [position] * 2, color=colour, linewidth=1.6 if filled else 1.0)
    face = colour if filled else PAPER
    axes.plot(
        [value], [position], marker="o" if filled else "D", markersize=5.5 if filled else 4.5, color=colour,
        markerfacecolor=face, linestyle="none",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CostBar:
    """One row's cost over the run: seconds per phase, bytes per client up and down, and seconds by the clock."""

    row: str
    seconds: Mapping[str, float]
    bytes_up: float
    bytes_down: float
    wall: float = 0.0


_HATCHES = (None, "////", "||||", "\\\\\\\\", "xxxx", "----", "++++")


def cost(rows: Sequence[CostBar], name: str = "cost") -> str:
    """Stacked bars of the seconds per phase, and beside them the megabytes each client sent and received."""
    phases = list(dict.fromkeys(phase for row in rows for phase in row.seconds))

    def draw(figure: Figure) -> None:
        if not rows:
            return empty_panel(figure.subplots(), "No round is finished yet.")
        left, right = figure.subplots(2, 1)
        for position, row in enumerate(rows):
            start = 0.0
            for index, phase in enumerate(phases):
                spent = row.seconds.get(phase, 0.0)
                left.barh(
                    position, spent, left=start, height=0.62, linewidth=0.0, edgecolor=PAPER,
                    color=SERIES[index % len(SERIES)], label=None if position else phase,
                    hatch=_HATCHES[index % len(_HATCHES)],
                )  # fmt: skip
                start += spent
            for offset, label, amount in ((-0.16, "up", row.bytes_up), (0.16, "down", row.bytes_down)):
                right.barh(
                    position + offset, amount / 1e6, height=0.3, linewidth=0.0, edgecolor=PAPER,
                    color=SERIES[0] if label == "up" else SERIES[5], hatch=None if label == "up" else "////",
                    label=None if position else label,
                )  # fmt: skip
        left.set_xlabel("seconds")
        right.set_xlabel("MB per client")
        for axes in (left, right):
            axes.set_yticks(range(len(rows)), [shortened(row.row) for row in rows])
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            if phases or axes is right:
                axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=9, columnspacing=1.0,
                            handlelength=1.4, borderaxespad=0.2)  # fmt: skip
        return None

    height = 1.9 + 0.72 * max(len(rows), 1) + 0.2 * math.ceil(len(phases) / 4)
    described = "Seconds per phase and bytes per client, for " + (", ".join(r.row for r in rows) or "no row")
    return render(draw, width=WIDTH, height=height, name=name, description=described)
