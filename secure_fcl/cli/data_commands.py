"""Data sets on the command line: list, verify, fetch, and a look at a folder of one's own."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl.cli.shared import REFUSED, AsJson, DataDir, one_sentence
from secure_fcl.cli.tables import print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from secure_fcl.data import Dataset, DatasetStatus, FileCheck

data_app = typer.Typer(help="Data sets: list, verify, fetch, inspect.", no_args_is_help=True)


@data_app.command("list")
def data_list(
    own: Annotated[list[str] | None, typer.Argument(help="Data sets of your own, as module:name.")] = None,
    data_dir: DataDir = "",
    as_json: AsJson = False,
) -> None:
    """List the known data sets and where their files are."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.data import list_datasets
        from secure_fcl.data.catalogue import own_status

        found = [*list_datasets(data_dir or None), *map(own_status, own or ())]
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        else:
            print_status(found, Console())


def settings_for(folder: Path, data: Dataset) -> list[str]:
    """Return settings with which a run on a folder starts, where the defaults of HAPT's thirty people would not."""
    clients = len(data.clients)
    found = ["data.source=folder", f"data.data_dir={folder}"]
    found += [f"scenario.clients={clients}"] if clients else ["scenario.partition=iid"]
    # Two classes a task, as long as there are so many.
    found += [f"scenario.tasks={max(1, min(6, len(data.classes) // 2))}"]
    # Somebody must surely add noise, beside who is missing and who colludes.
    return found + ([f"privacy.max_dropouts={max(0, clients - 3)}"] if 0 < clients < 5 else [])


def print_status(found: Sequence[DatasetStatus], console: Console) -> None:
    """Print name and state of each data set, and a line for each that is somewhere or should be."""
    print_table(console, "Data sets", ("data set", "state"), [(one.name, one.state) for one in found], text_columns=2)
    for one in found:
        if one.remedy or Path(one.where).is_absolute():
            more = f"; {'to get it' if one.state == 'missing' else 'to look at it'}: {one.remedy}" if one.remedy else ""
            print_line(console, f"{one.name}: {one.where}{more}")


@data_app.command("verify")
def data_verify(name: str, data_dir: DataDir = "", as_json: AsJson = False) -> None:
    """Check the files of a data set against their checksums; exit 2 if one is missing or another one."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.data import verify

        checks = verify(name, data_dir or None)
        if as_json:
            typer.echo(json.dumps([asdict(one) | {"path": str(one.path or "")} for one in checks], indent=2))
        else:
            print_checks(checks, Console())
        if not all(check.state in ("verified", "unverified") for check in checks):
            raise typer.Exit(REFUSED)


def print_checks(checks: Sequence[FileCheck], console: Console) -> None:
    """Print state of each file, and a line with its place and checksum."""
    print_table(console, "Files", ("file", "state"), [(one.name, one.state) for one in checks], text_columns=2)
    for one in checks:
        print_line(console, f"{one.name}: {', '.join(part for part in (str(one.path or ''), one.detail) if part)}")


@data_app.command("fetch")
def data_fetch(name: str, data_dir: DataDir = "") -> None:
    """Download the files of a data set, checking each; nothing is ever downloaded without this command."""
    with one_sentence():
        folder = _fetched(name, data_dir or None)
        typer.echo(f"{name} is part of the installation" if folder is None else str(folder))


def _fetched(name: str, data_dir: str | None) -> Path | None:
    """Download a data set with a progress bar per file; None where there is nothing to download."""
    from rich.progress import Progress, TaskID

    from secure_fcl.data import fetch

    with Progress(transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total or None)
            bar.update(tasks[file], completed=done)

        return fetch(name, data_dir, progress=show)


@data_app.command("inspect")
def data_inspect(folder: Path) -> None:
    """Propose data.toml for a folder of your own, or say what the declared folder holds and leaves out."""
    with one_sentence():
        typer.echo(inspected(folder), nl=False)


def inspected(folder: Path) -> str:
    """Return what a folder holds by its data.toml, or the proposal of one.

    Raises:
        secure_fcl.data.DataError: what cannot be used, with file and row.
    """
    import numpy as np

    from secure_fcl.data.folder.inspect import UNDECLARED, propose
    from secure_fcl.data.folder.load import loaded
    from secure_fcl.data.folder.section import FILE

    # An empty file is what `inspect mine > mine/data.toml` has made by now.
    if not (folder / FILE).is_file() or not (folder / FILE).stat().st_size:
        return f"{propose(folder).text()}\n# Write it to {folder / FILE}, then inspect again.\n"
    found = loaded(folder)
    data = found.data
    counts = np.bincount(data.y, minlength=len(data.classes))
    lines = [
        repr(data),
        f"declared in {folder / FILE}: {len(data.classes)} classes, units {data.units!r}",
        f"clients: {len(data.clients) or 'of nobody'}; one reading lies in up to {data.windows_per_reading} examples",
        "read off the data (not private, print it nowhere else): "
        + ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True)),
        *(f"left out: {note}" for note in found.notes),
        *(["not declared yet: units; write what one unit of an example is"] if data.units == UNDECLARED else []),
        "use it: secure-fcl run " + " ".join(f"--set {shlex.quote(one)}" for one in settings_for(folder, data)),
    ]
    return "\n".join(lines) + "\n"
