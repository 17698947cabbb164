"""Matrices as a reader sees them: tables with coloured cells, rows and columns called by their tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.run_folder import Run

LEVELS = 10
"""Steps of a cell's colour, 0 (palest) to 9; each is legible with its own ink (templates/page.css)."""

Hue = Literal["blue", "rust"]


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its colour (None: not measured), and whether it stands out (underlined)."""

    text: str
    level: int | None
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A matrix for a page.

    Attributes:
        title: what a screen reader announces.
        corner: heading of the column of row names.
        columns: headings, one per cell of a line.
        lines: (name, cells), as many cells as columns.
        caption: what the numbers are.
        hue: blue for what is good in plenty, rust for leakage.
    """

    title: str
    corner: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]
    caption: str
    hue: Hue = "blue"


def cell(value: float | None, text: str, *, strong: bool = False, missing: str = "–") -> Cell:
    """Return the cell of a share in [0, 1] (clipped to it), or `missing` if it is None or NaN."""
    if value is None or math.isnan(value):
        return Cell(missing, None)
    return Cell(text, min(int(max(value, 0.0) * LEVELS), LEVELS - 1), strong)


def numbered(count: int) -> tuple[str, ...]:
    """Return headings of `count` tasks: their numbers from 1."""
    return tuple(str(task + 1) for task in range(count))


def shares(values: Sequence[Sequence[float | None]]) -> tuple[tuple[Cell, ...], ...]:
    """Return cells of shares in whole percent."""
    return tuple(tuple(cell(v, "" if v is None or math.isnan(v) else f"{100 * v:.0f}") for v in row) for row in values)


def accuracy_grid(run: Run, row: str) -> Grid | None:
    """The accuracy matrix of a row as far as measured, in whole percent; None before its first task."""
    matrix = run.matrix(row)
    if matrix is None:
        return None
    names = numbered(matrix.tasks)
    lines = tuple(zip(names, shares(matrix.values.tolist()), strict=True))
    return Grid(
        title=f"Accuracy matrix of {row}",
        corner="after task",
        columns=names,
        lines=lines,
        caption="Percent right on each task's test examples. Read down a column: forgetting. –: not measured.",
    )
