"""A study: runs over strategies, places of noise, epsilons and seeds, as means with intervals and a plot.

A study table is a CSV file with at least the columns of `COLUMNS`; further columns are ignored. One line is
one run. `epsilon` is the budget the run was given, empty for a run without noise; accuracies and forgetting
are shares, empty where a run has none. Columns `protection` and `setting`, where there are any, tell runs apart as
strategy and noise do.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.canvas import MUTED, empty_panel, render, style_of
from evaluation.errors import StudyError
from evaluation.evidence import Score
from evaluation.files import atomic_write, read_text
from evaluation.intervals import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("micro", "task_mean", "forgetting")
COLUMNS = ("strategy", "noise", "epsilon", "seed", *METRICS)


@dataclass(frozen=True, kw_only=True)
class StudyLine:
    """One run of a study; `epsilon` is infinite without noise, a metric NaN where the run has none."""

    strategy: str
    noise: str
    epsilon: float
    seed: int
    micro: float
    task_mean: float
    forgetting: float
    protection: str = ""
    setting: str = ""

    @property
    def line(self) -> tuple[str, str, str, str]:
        """What tells one line of the plot from another."""
        return self.strategy, self.noise, self.protection, self.setting


@dataclass(frozen=True)
class StudyPoint:
    """All seeds of one strategy, place of noise, epsilon, protection and setting: means with t intervals."""

    strategy: str
    noise: str
    epsilon: float
    micro: Score
    task_mean: Score
    forgetting: Score
    protection: str = ""
    setting: str = ""

    @property
    def line(self) -> tuple[str, str, str, str]:
        """What tells one line of the plot from another."""
        return self.strategy, self.noise, self.protection, self.setting


def _number(text: str, column: str, line: int, empty: float) -> float:
    if not text.strip():
        return empty
    try:
        return float(text)
    except ValueError:
        raise StudyError(f"line {line}, column {column}: {text!r} is no number; leave it empty if unknown") from None


def parse_study(text: str) -> tuple[StudyLine, ...]:
    """The rows of a study table in CSV; no lines under the header give no rows.

    Raises:
        StudyError: a column of `COLUMNS` is missing, or a value is no number.
    """
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise StudyError(f"columns {missing} are missing; a study table needs {list(COLUMNS)}")
    rows = []
    for line, fields in enumerate(reader, start=2):
        found = {column: fields[column] or "" for column in COLUMNS}
        metrics = {name: _number(found[name], name, line, math.nan) for name in METRICS}
        epsilon = _number(found["epsilon"], "epsilon", line, math.inf)
        if not epsilon > 0.0:
            raise StudyError(f"line {line}: epsilon={epsilon} must be positive, or empty for a run without noise")
        seed = int(_number(found["seed"], "seed", line, 0.0))
        rows.append(
            StudyLine(
                strategy=found["strategy"], noise=found["noise"], epsilon=epsilon, seed=seed, **metrics,
                protection=fields.get("protection") or "", setting=fields.get("setting") or "",
            )
        )  # fmt: skip
    return tuple(rows)


def read_study(path: Path) -> tuple[StudyLine, ...]:
    """The rows of the study table at `path`.

    Raises:
        StudyError: see `parse_study`.
        StorageError: the file cannot be read.
    """
    try:
        return parse_study(read_text(path))
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from error


def write_study(path: Path, rows: Iterable[StudyLine]) -> None:
    """Write `rows` as a study table, atomically; infinite epsilon and NaN become empty fields.

    Raises:
        StorageError: the system refused.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = [row.strategy, row.noise, row.epsilon, row.seed, row.micro, row.task_mean, row.forgetting]
        writer.writerow(["" if isinstance(value, float) and not math.isfinite(value) else value for value in values])
    atomic_write(path, buffer.getvalue())


def aggregate(rows: Iterable[StudyLine], confidence: float = 0.95) -> tuple[StudyPoint, ...]:
    """Means over seeds, in the order in which settings first occur; epsilons of one line ascend.

    Raises:
        LevelError: `confidence` is outside (0, 1).
    """
    settings: dict[tuple[str, str, str, str], dict[float, list[StudyLine]]] = {}
    for row in rows:
        settings.setdefault(row.line, {}).setdefault(row.epsilon, []).append(row)
    return tuple(
        StudyPoint(
            strategy,
            noise,
            epsilon,
            **{name: mean_interval([getattr(run, name) for run in runs], confidence) for name in METRICS},
            protection=protection,
            setting=setting,
        )
        for (strategy, noise, protection, setting), by_epsilon in settings.items()
        for epsilon, runs in sorted(by_epsilon.items())
    )


def plot_study(points: Sequence[StudyPoint], name: str = "study") -> str:
    """Accuracy and forgetting over epsilon (log axis), one line per strategy and place of noise.

    Runs without noise stand at the right end, off the axis, joined by no line.
    """
    lines: dict[tuple[str, str, str, str], list[StudyPoint]] = {}
    for point in points:
        lines.setdefault(point.line, []).append(point)
    several = len({point.protection for point in points}) > 1
    finite = sorted({point.epsilon for point in points if math.isfinite(point.epsilon)})
    beyond = (finite[-1] if finite else 1.0) * 2.5

    def draw(figure: Figure) -> None:
        if not points:
            return empty_panel(figure.subplots(), "The study has no finished run.")
        panels = figure.subplots(3, 1, sharex=True)
        for index, ((strategy, noise, protection, setting), line) in enumerate(lines.items()):
            words = [strategy, f"{noise.replace('none', 'no', 1)} noise", *([protection] if several else []), setting]
            for axes, metric in zip(panels, METRICS, strict=True):
                # A small shift keeps intervals at the same epsilon apart.
                _line(
                    axes,
                    line,
                    metric,
                    index,
                    beyond,
                    1.03 ** (index - len(lines) / 2),
                    ", ".join(filter(None, words)),
                )
        for axes, label in zip(
            panels, ("right, all windows (%)", "right, mean of tasks (%)", "forgetting (points)"), strict=True
        ):
            axes.set_ylabel(label)
            axes.set_xscale("log")
            axes.minorticks_off()
        ticks = [*finite, *([beyond] if any(math.isinf(point.epsilon) for point in points) else [])]
        labels = [f"{epsilon:g}" for epsilon in finite] + ["none"]
        panels[-1].set_xticks(ticks, labels[: len(ticks)])
        panels[-1].set_xlabel("epsilon of the worst cohort (none: without noise, no guarantee)")
        if len(ticks) > len(finite):
            for axes in panels:
                axes.axvline(beyond / 1.6, color=MUTED, linewidth=0.8, linestyle=":")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=3, fontsize=8.5)
        return None

    described = f"Accuracy and forgetting over epsilon for {len(lines)} settings"
    return render(draw, width=7.2, height=7.0, name=name, description=described)


def _line(
    axes: Axes, line: Sequence[StudyPoint], metric: str, index: int, beyond: float, shift: float, label: str
) -> None:
    style = style_of(index)
    for private in (True, False):
        part = [point for point in line if math.isfinite(point.epsilon) is private]
        scores = [getattr(point, metric) for point in part]
        remaining = [(point, score) for point, score in zip(part, scores, strict=True) if not math.isnan(score.value)]
        if not remaining:
            continue
        x = [(point.epsilon if private else beyond) * shift for point, _ in remaining]
        y = [100 * score.value for _, score in remaining]
        spread = [0.0 if math.isnan(score.high) else 100 * (score.high - score.value) for _, score in remaining]
        axes.errorbar(x, y, yerr=spread, capsize=2.5, linewidth=1.5, markersize=4.5, label=label, **style)
        label = "_nolegend_"
