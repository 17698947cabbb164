"""How a task is called wherever people read: from 1, and by its name. Files count from 0 and keep doing so."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 40


def task_name(task: int, names: Sequence[str] = ()) -> str:
    """Return what readers call the task with the 0-based number `task`: "task 1", or "task 1 (walking, sitting)".

    Args:
        task: as in files, from 0.
        names: of all tasks in order; a task without one is called by its number alone.
    """
    named = shortened(names[task]) if 0 <= task < len(names) else ""
    return f"task {task + 1} ({named})" if named else f"task {task + 1}"


def shortened(name: str) -> str:
    """Return a name as it goes into a table: at most 40 characters, the rest as an ellipsis."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1].rstrip(" ,") + "…"


def tasks_listed(names: Sequence[str]) -> str:
    """Return a sentence that says which task is which, empty without names."""
    listed = "; ".join(f"{number} {shortened(name)}" for number, name in enumerate(names, 1))
    return f"Tasks: {listed}." if any(names) else ""
