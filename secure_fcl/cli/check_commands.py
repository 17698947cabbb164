"""`secure-fcl check`: a user's own code against the laws of its kind."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl.cli.shared import AsJson, one_sentence
from secure_fcl.cli.tables import print_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from secure_fcl.checking import Checked
    from secure_fcl.checking.laws import Law

#: Exit codes: every law that applies held; there was no time for some; something breaks one.
HELD, UNREACHED, BROKEN = 0, 1, 2
_STYLES = {"held": "green", "broken": "bold red", "not applicable": "dim", "not reached": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""

    @app.command()
    def check(
        reference: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="What of your own to check.")],
        kind: Annotated[str, typer.Option(help="What it is, where that cannot be found out.")] = "",
        shape: Annotated[str, typer.Option(help="Shape of one example, for models, strategies, features.")] = "6,64",
        classes: Annotated[int, typer.Option(help="Number of classes, likewise.")] = 12,
        budget: Annotated[float, typer.Option(help="Seconds; laws that do not fit are not reached (exit 1).")] = 120.0,
        as_json: AsJson = False,
    ) -> None:
        """Hold code of your own to the laws of its kind; exit 2 with the smallest example that breaks one."""
        with one_sentence():
            raise typer.Exit(run_check(reference, kind, shape, classes, budget, as_json))


def run_check(reference: str, kind: str, shape: str, classes: int, seconds: float, as_json: bool) -> int:
    """Check what a reference names, print it, and return the exit code.

    Raises:
        ConfigInvalid: an argument is wrong, or the code cannot be imported.
    """
    from rich.console import Console

    from secure_fcl.checking import Asked, check_reference

    found = check_reference(Asked(reference=reference, kind=kind, shape=shape_of(shape), classes=classes), seconds)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"code": code_of(found)}, indent=2))
    else:
        print_checked(found, Console())
    return code_of(found)


def shape_of(text: str) -> tuple[int, ...]:
    """Return the shape that a text such as 6,64 gives.

    Raises:
        ConfigInvalid: it has another form.
    """
    from secure_fcl.errors import ConfigInvalid

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigInvalid(f"--shape {text!r} is not of the form 6,64; give the sizes of one example") from None


def code_of(found: Checked) -> int:
    """Return the exit code of what was found."""
    return BROKEN if found.broken else UNREACHED if found.unreached else HELD


def print_checked(found: Checked, console: Console) -> None:
    """Print the laws as a table, and below it what breaks one."""
    print_line(console, f"{found.reference}, checked as: {found.kind}")
    if found.path:
        print_line(console, f"{found.path} (SHA-256 {found.digest[:12]})")
    console.print(_table(found))
    for what, laws in (("breaks", found.broken), ("does not apply to", _unfitting(found))):
        # One cause may stand behind many laws; it is told once.
        for sentence in dict.fromkeys(law.found for law in laws):
            names = ", ".join(law.name for law in laws if law.found == sentence)
            print_line(console, f"{what} {names}: {sentence}")
    held = sum(law.verdict == "held" for law in found.laws)
    rest = f", {len(found.unreached)} not reached: give more --budget" if found.unreached else ""
    print_line(
        console, f"{held} laws held, {len(found.broken)} broken{rest}; laws that hold on these examples are no proof"
    )


def _unfitting(found: Checked) -> tuple[Law, ...]:
    return tuple(law for law in found.laws if law.verdict == "not applicable" and law.found)


def _table(found: Checked) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("law", "verdict", "says"):
        table.add_column(heading, overflow="fold")
    for law in found.laws:
        table.add_row(law.name, f"[{_STYLES[law.verdict]}]{law.verdict}[/]", law.says)
    return table
