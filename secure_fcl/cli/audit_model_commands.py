"""`secure-fcl audit-model`: an audit of anyone's model from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from secure_fcl.cli.shared import AsJson, one_sentence
from secure_fcl.cli.tables import print_line


def register(app: typer.Typer) -> None:
    """Add `audit-model` to the command line."""

    @app.command("audit-model")
    def audit_model(
        file: Annotated[Path, typer.Argument(help="TOML file: model, checkpoints, members, nonmembers, ...")],
        out: Annotated[
            Path | None, typer.Option(help="Folder for audit.json and report.html; default: audits/<name of the file>.")
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Attack a model of your own from its files: found, not found, or could not have been found.

        Importing what the file names as module:function runs that code. Exit code 2 if a claimed epsilon is refuted.
        """
        with one_sentence():
            from rich.console import Console

            from evaluation.strict_json import to_json

            console = Console(stderr=as_json)
            found, page = audit_into(file, out or Path("audits") / file.stem, lambda text: console.print(text))
            if as_json:
                typer.echo(to_json(found, indent=2))
            else:
                print_answers(found, console)
                print_line(console, f"report: {page}")
            require_claim_holds(found, page)


def audit_into(file: Path, folder: Path, watch: Callable[[str], None]) -> tuple[dict[str, Any], Path]:
    """Run the audit of a file, write audit.json and report.html into a folder, and return the record and the page.

    Raises:
        AuditInvalid: the file, or what it names, is wrong.
        ConfigInvalid: a `module:function` cannot be imported.
        StorageError: the folder cannot be written.
    """
    from attacks.own.playing import audit_model
    from evaluation.files import atomic_write, write_json
    from evaluation.model_page import render_audit
    from secure_fcl.config.outside import load_object

    found = audit_model(file, lambda reference, key: load_object(reference, object, key), watch)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "audit.json", found)
    page = folder / "report.html"
    atomic_write(page, render_audit(found))
    return found, page


def require_claim_holds(found: dict[str, Any], page: Path) -> None:
    """Raise LedgerContradicted if a bound exceeds the claimed epsilon, at the confidence of all games together."""
    from attacks.errors import LedgerContradicted

    if found["contradictions"]:
        worst = max(found["contradictions"], key=lambda one: float(one["bound"]))
        raise LedgerContradicted(
            f"the claimed epsilon {worst['ledger_epsilon']:g} is refuted: {worst['attack']} ({worst['target']}) shows "
            f"{worst['bound']:.2f} at confidence {worst['confidence']:g} for all games together; see {page}"
        )


def print_answers(found: dict[str, Any], console: Any) -> None:
    """Print a line for every question, and what was not tried."""
    from rich.table import Table

    table = Table(title=f"audit of {found['row']}", title_justify="left", expand=False)
    for heading in ("question", "verdict", "figures"):
        table.add_column(heading, overflow="fold")
    for one in found["answers"]:
        table.add_row(one["question"], one["verdict"], one["said"])
    console.print(table)
    for one in found["controls"]:
        if not one["held"]:
            console.print(f"control not as it must: {one['what']}, AUC {one['auc']:.2f}", highlight=False)
    console.print(f"{len(found['not_tested'])} things were not tried; the report says which and why", highlight=False)
