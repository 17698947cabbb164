"""Data sets on the terminal: the list, the verification, and downloads with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secure_fcl.data.catalogue import fetch, list_datasets, own_status
from secure_fcl.data.places import FileCheck

if TYPE_CHECKING:
    from rich.table import Table


def status_table(data_dir: str | None = None, own: Sequence[str] = ()) -> Table:
    """Return one line per known data set, and per `module:name`: state, place, and the command that brings it."""
    from rich.table import Table

    table = Table("data set", "state", "where", "remedy")
    for row in (*list_datasets(data_dir), *map(own_status, own)):
        table.add_row(row.name, row.state, row.where, row.remedy)
    return table


def verification_table(checks: Sequence[FileCheck]) -> Table:
    """Return one row per file: state, path and checksum."""
    from rich.table import Table

    table = Table("file", "state", "path", "detail")
    for check in checks:
        table.add_row(check.name, check.state, str(check.path or ""), check.detail)
    return table


def sound(checks: Sequence[FileCheck]) -> bool:
    """Whether no file is missing or damaged."""
    return all(check.state in ("verified", "unverified") for check in checks)


def fetch_with_progress(name: str, data_dir: str | None = None) -> Path | None:
    """Download a data set with a progress bar per file; None where there is nothing to download."""
    from rich.progress import Progress, TaskID

    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total or None)
            bar.update(tasks[file], completed=done)

        return fetch(name, data_dir, progress=show)
