"""Live progress on a terminal and in a notebook, and plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secure_fcl.running.records import Tick, Watcher

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress(console: Console, total: int, done: int = 0) -> Iterator[Watcher]:
    """Yield a watcher that shows row, task, round, accuracy and the row's epsilon budget."""
    if not console.is_terminal:
        yield lambda tick: _line(console, tick)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting workers", total=total, completed=done)
        yield lambda tick: bar.update(task, completed=tick.done, description=_describe(tick))


def _describe(tick: Tick) -> str:
    budget = "no noise" if math.isinf(tick.epsilon) else f"epsilon budget {tick.epsilon:g}"
    return (
        f"[bold]{tick.row}[/] task {tick.slot + 1}/{tick.slots} round {tick.round + 1}/{tick.rounds} "
        f"accuracy {100 * tick.accuracy:.0f} % {budget}"
    )


def _line(console: Console, tick: Tick) -> None:
    if tick.round == tick.rounds - 1:
        console.print(_describe(tick), highlight=False)
