"""How a task is called wherever people read: from 1, and by its name. Files count from 0 and keep doing so."""

from __future__ import annotations

from collections.abc import Sequence


def task_name(task: int, names: Sequence[str] = ()) -> str:
    """Return what readers call the task with the 0-based number `task`: "task 1", or "task 1 (walking, sitting)".

    Args:
        task: as in files, from 0.
        names: of all tasks in order; a task without one is called by its number alone.
    """
    named = names[task] if 0 <= task < len(names) else ""
    return f"task {task + 1} ({named})" if named else f"task {task + 1}"


def tasks_listed(names: Sequence[str]) -> str:
    """Return a sentence that says which task is which, empty without names."""
    return f"Tasks: {'; '.join(f'{number} {name}' for number, name in enumerate(names, 1))}." if any(names) else ""
