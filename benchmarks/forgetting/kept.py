"""Worlds on disk: what each tells is kept, so that an interrupted bench goes on where it stopped."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.forgetting.worlds import ROWS, Bench, Told, bench_of, play_world
from evaluation.files import atomic_write

EPSILONS = (math.inf, 8.0)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One world of one data set at one budget; `retrained`: the last task's examples alone."""

    data: str
    epsilon: float
    world: int
    retrained: bool

    def path(self, folder: Path, row: str) -> Path:
        """Where a row's part of the world is kept."""
        kind = "retrained" if self.retrained else "world"
        return folder / f"{self.data}-eps{self.epsilon:g}-{kind}{self.world}-{row}.npz"


def cells(data: tuple[str, ...], worlds: int, references: int) -> Iterator[Cell]:
    """Yield all worlds of all budgets: world by world, so that an interrupted bench is worth reading."""
    for world in range(worlds):
        for name in data:
            for epsilon in EPSILONS:
                yield Cell(data=name, epsilon=epsilon, world=world, retrained=False)
                if world < references:
                    yield Cell(data=name, epsilon=epsilon, world=world, retrained=True)


def play_missing(wanted: list[Cell], folder: Path, data_dir: str) -> None:
    """Play the worlds that the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    benches: dict[str, Bench] = {}
    for number, cell in enumerate(wanted, 1):
        rows = tuple(row for row in ROWS if not cell.path(folder, row).exists())
        if not rows:
            continue
        if cell.data not in benches:
            benches[cell.data] = bench_of(cell.data, data_dir)
        for row, told in play_world(benches[cell.data], rows, cell.epsilon, cell.world, cell.retrained).items():
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **{field.name: getattr(told, field.name) for field in fields(told)})
            atomic_write(cell.path(folder, row), buffer.getvalue())
        print(f"{number}/{len(wanted)} {cell}", file=sys.stderr, flush=True)


def read(cell: Cell, folder: Path, row: str) -> Told | None:
    """Return what a row of a world told; None if the folder lacks it."""
    path = cell.path(folder, row)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as saved:
        return Told(
            **{name: saved[name] for name in ("then", "last", "kept")},
            **{name: float(saved[name]) for name in ("right_then", "right_last", "epsilon", "block", "delta")},
            memory=int(saved["memory"]),
        )
