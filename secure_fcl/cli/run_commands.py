"""The commands that make a run and look at one: run, demo, audit, report, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl.cli.shared import (
    REFUSED,
    STOPPED,
    AsJson,
    ConfigFile,
    Journals,
    Runs,
    Settings,
    TrustCode,
    one_sentence,
    tell,
)  # fmt: skip
from secure_fcl.cli.tables import print_line

if TYPE_CHECKING:
    from rich.console import Console

    from secure_fcl.running.folder import RunFolder
    from secure_fcl.running.prepare import Prepared


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (run, demo, audit, report, verify):
        app.command()(command)


def run(
    config: ConfigFile = None,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run's folder; default: date and data set.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
    trust_code: TrustCode = False,
    journals: Journals = None,
    as_json: AsJson = False,
) -> None:
    """Train every row, attack what the run revealed, and write the report.

    Without a file: 30 phones (HAPT), six tasks, replay and fine-tuning at epsilon 8, class sums at epsilon 2, BFV.
    """
    with one_sentence():
        from secure_fcl.config import load_config
        from secure_fcl.errors import ConfigInvalid
        from secure_fcl.runner import require_room, start
        from secure_fcl.runner import resume as continue_run

        if resume and (config or settings or name):
            raise ConfigInvalid("--resume takes its configuration from the run's folder; leave the other options out")
        if trust_code and not resume:
            raise ConfigInvalid("--trust-code is for --resume; code that you name yourself is imported without it")
        if journals is not None:
            require_room(journals)
        if resume:
            prepared, folder = continue_run(resume, trust_code)
            _say_unpinned(folder)
        else:
            prepared, folder = start(load_config(config, settings or ()), runs, name, journals is not None)
            _advise(prepared)
        _execute(prepared, folder, journals, as_json)


def demo(runs: Runs = Path("runs"), settings: Settings = None, as_json: AsJson = False) -> None:
    """Run the product at its best in about a minute: four strategies at epsilon 1 on 30 phones, BFV, then the attacks.

    CALM, class sums, replay and fine-tuning see the same public features; the noise is shared in the sum.
    """
    with one_sentence():
        from secure_fcl.config import load_config
        from secure_fcl.demo import CONFIG
        from secure_fcl.runner import start

        prepared, folder = start(load_config(CONFIG, settings or ()), runs)
        _execute(prepared, folder, None, as_json)


def _say_unpinned(folder: RunFolder) -> None:
    from secure_fcl.running.fitting import unpinned

    if (sentence := unpinned(folder)) is not None:
        typer.echo(f"secure-fcl: {sentence}", err=True)


def _advise(prepared: Prepared) -> None:
    """Say beforehand which rows will learn little, while it costs nothing to stop."""
    from secure_fcl.rows.schedule import training_advice

    for sentence in training_advice(prepared.config, prepared.scenario):
        typer.echo(f"secure-fcl: better, {sentence}", err=True)


def _execute(prepared: Prepared, folder: RunFolder, journals: Path | None, as_json: bool) -> None:
    from rich.console import Console

    from secure_fcl.runner import StopRequest, execute
    from secure_fcl.running.display import progress
    from secure_fcl.running.loop import Interrupted
    from secure_fcl.running.repeats import how_to_go_on

    console = Console(stderr=as_json)
    stop = StopRequest()
    try:
        # Processes of Flower outlive a run that a signal ends at once.
        under_flower = prepared.config.engine == "flower"
        with stop.listening(tell, terminate=under_flower), progress(console, prepared.rounds) as watch:
            report = execute(
                prepared, folder, watch, lambda text: console.print(f"attack: {text}", highlight=False), stop, journals
            )
    except Interrupted:
        usual = f"continue with: secure-fcl run --resume {folder.path}"
        print_line(console, f"stopped; {how_to_go_on(prepared.config, usual)}")
        raise typer.Exit(STOPPED) from None
    _show(folder.path, report, console, as_json)


def _show(folder: Path, report: Path, console: Console, as_json: bool, details: bool = False) -> None:
    """Print what a run shows, as a table or as JSON on standard output, and where its report is."""
    from evaluation.summary import as_tree, print_details, print_summary

    if as_json:
        from evaluation.strict_json import to_json

        typer.echo(to_json(as_tree(folder) | {"report": str(report)}, indent=2))
        return
    (print_details if details else print_summary)(folder, console)
    print_line(console, f"report: {report}")


def _print_schema(wanted: bool) -> None:
    if wanted:
        from evaluation.audit_schema import SCHEMA

        typer.echo(SCHEMA.read_text(encoding="utf-8"), nl=False)
        raise typer.Exit


def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    shadows: Annotated[
        int | None, typer.Option(help="Shadow models for the strongest attacks, e.g. 24; default: attacks.shadows.")
    ] = None,
    over_rounds: Annotated[
        int | None,
        typer.Option(help="Examples that membership over rounds asks about, e.g. 400; default: attacks.over_rounds."),
    ] = None,
    schema: Annotated[  # noqa: ARG001 - its callback ends the command
        bool,
        typer.Option(
            "--schema", is_eager=True, callback=_print_schema, help="Print the JSON schema of attacks.json and exit."
        ),
    ] = False,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Play the attacks against a finished run again and rewrite its report; exit 2 if they contradict the ledger."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.auditing import audit as play
        from secure_fcl.auditing import require_ledger_holds
        from secure_fcl.runner import resume, write_report
        from secure_fcl.running.fitting import ATTACKS, REPORT

        console = Console(stderr=as_json)
        prepared, folder = resume(run, trust_code, anew=(REPORT, ATTACKS))
        _say_unpinned(folder)
        with folder.locked():
            found = play(
                prepared, folder, lambda text: console.print(f"attack: {text}", highlight=False), shadows, over_rounds
            )
            path = write_report(folder)
        _show(folder.path, path, console, as_json)
        require_ledger_holds(found, path)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    details: Annotated[bool, typer.Option("--details", help="Print every table, not only the five figures.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write a TensorBoard copy.")] = False,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Render report.html from the files of a run and print the summary."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.errors import RunInUse
        from secure_fcl.runner import render, write_report
        from secure_fcl.running.folder import RunFolder

        folder = RunFolder.existing(run, trust_code)
        try:
            with folder.locked():
                path = write_report(folder)
            _say_unpinned(folder)
        except RunInUse:
            path = render(folder)
            typer.echo(f"secure-fcl: run {run} is in progress; whether its files fit is not checked", err=True)
        console = Console(stderr=as_json)
        _show(folder.path, path, console, as_json, details)
        if tensorboard:
            from secure_fcl.running.tracking import write_tensorboard

            print_line(console, f"tensorboard: {write_tensorboard(folder)}")


def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    journals: Journals = None,
    as_json: AsJson = False,
) -> None:
    """Check that the files of a run belong together, and say what was checked and what could not be; exit 2 if not."""
    with one_sentence():
        from secure_fcl.runner import verify as check

        found = check(run, journals)
        if as_json:
            from dataclasses import asdict

            from evaluation.strict_json import to_json

            typer.echo(to_json(asdict(found), indent=2))
            raise typer.Exit(REFUSED if found.misfits else 0)
        for sentence in found.held:
            typer.echo(f"checked: {sentence}")
        for sentence in found.unchecked:
            typer.echo(f"not checked: {sentence}")
        for one in found.misfits:
            typer.echo(f"secure-fcl: {one.sentence}", err=True)
        if found.misfits:
            raise typer.Exit(REFUSED)
        typer.echo(f"{run}: what was checked belongs together")
