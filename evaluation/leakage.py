"""The leakage matrix of an audit: membership advantage on each task's examples after each later task."""

from __future__ import annotations

from typing import Any

from evaluation.grids import Cell, Grid, cell, numbered
from evaluation.run_folder import Run, mapping, number
from evaluation.tables import MISSING, Table, percent, with_interval

FATES = ("discarded", "kept")
#: Advantage from which a cell has the darkest colour: one half is a model that gives away three of four members.
_DARKEST = 0.5


def leaked(run: Run) -> tuple[dict[str, Any], list[int]]:
    """The audit's leakage record and the tasks (0-based) that its rows and columns are about; both empty without."""
    found = mapping(mapping(run.attacks).get("leakage"))
    tasks = found.get("tasks")
    known = [number(task) for task in tasks] if isinstance(tasks, list) else []
    return found, [int(task) for task in known if task is not None and task >= 0]


def _measured(found: dict[str, Any], fate: str, stage: int, about: int) -> dict[str, Any]:
    try:
        return mapping(found[fate][stage][about])
    except (TypeError, IndexError, KeyError):
        return {}


def _advantage(found: dict[str, Any], fate: str, stage: int, about: int) -> str:
    one = _measured(found, fate, stage, about)
    return with_interval(one.get("value"), one.get("low"), one.get("high"), 2) if one else MISSING


def leakage_cells(run: Run) -> Table:
    """The whole leakage matrix beside the accuracy matrix, one line per (task trained last, task asked about)."""
    found, tasks = leaked(run)
    matrix = run.matrix(str(mapping(run.attacks).get("row", "")))
    lines = []
    for stage, after in enumerate(tasks):
        for place, about in enumerate(tasks[: stage + 1]):
            known = matrix is not None and max(after, about) < matrix.tasks
            lines.append(
                (
                    run.task_name(after), run.task_name(about),
                    percent(matrix.values[after][about]) if matrix and known else MISSING,
                    *(_advantage(found, fate, stage, place) for fate in FATES),
                )
            )  # fmt: skip
    return Table(("after", "examples of", "accuracy", *FATES), tuple(lines), 2)


def leakage(run: Run) -> Table:
    """Membership advantage on each task's examples, right after it closed and at the end, beside its accuracy."""
    found, tasks = leaked(run)
    matrix = run.matrix(str(mapping(run.attacks).get("row", "")))
    lines = []
    for place, task in enumerate(tasks):
        cells = [_advantage(found, fate, stage, place) for stage in (place, len(tasks) - 1) for fate in FATES]
        known = matrix is not None and task < matrix.tasks
        accuracy = [percent(matrix.values[stage][task]) for stage in (task, -1)] if matrix and known else [MISSING] * 2
        lines.append((run.task_name(task), *cells[:2], accuracy[0], *cells[2:], accuracy[1]))
    columns = (
        "examples of", "discarded, then", "kept, then", "accuracy then", "discarded, at the end", "kept, at the end",
        "accuracy at the end",
    )  # fmt: skip
    return Table(columns, tuple(lines), 1)


def leakage_grid(run: Run) -> Grid | None:
    """The matrix for the first screen, the worse of kept and discarded examples in each cell; None if not measured."""
    found, tasks = leaked(run)
    lines = tuple(
        (str(after + 1), tuple(_worst(found, stage, place) for place in range(len(tasks))))
        for stage, after in enumerate(tasks)
    )
    if not any(one.level is not None for _, cells in lines for one in cells):
        return None
    row = str(mapping(run.attacks).get("row", "?"))
    return Grid(
        title=f"Leakage matrix of {row}",
        corner="after task",
        columns=tuple(str(task + 1) for task in tasks) if tasks else numbered(0),
        lines=lines,
        caption=(
            "Membership advantage on each task's training examples: 0 is chance, 1 finds all. The worse of kept and "
            "discarded; underlined where its own interval lies above 0. –: not measured."
        ),
        hue="rust",
    )


def _worst(found: dict[str, Any], stage: int, place: int) -> Cell:
    cells = [_measured(found, fate, stage, place) for fate in FATES]
    known = [(value, number(one.get("low"))) for one in cells if (value := number(one.get("value"))) is not None]
    if not known:
        return Cell("–", None)
    value, _ = max(known)
    shown = any(low is not None and low > 0 for _, low in known)
    return Cell(f"{value:.2f}".replace("-", "−"), cell(value / _DARKEST, "").level, shown)
