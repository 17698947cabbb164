"""The command line. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl import __version__
from secure_fcl.cli import api_commands, audit_model_commands, check_commands
from secure_fcl.cli.shared import (
    REFUSED,
    STOPPED,
    ConfigFile,
    DataDir,
    Journals,
    Runs,
    Settings,
    TrustCode,
    one_sentence,
    tell,
)  # fmt: skip
from secure_fcl.cli.study_commands import study_app

if TYPE_CHECKING:
    from secure_fcl.running.folder import RunFolder
    from secure_fcl.running.prepare import Prepared

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: list, verify, fetch, inspect.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"secure-fcl {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Federated continual learning with DP-SGD, encrypted sums, and an attack suite."""


@app.command()
def run(
    config: ConfigFile = None,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run's folder; default: date and data set.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder.")] = None,
    trust_code: TrustCode = False,
    journals: Journals = None,
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
        _execute(prepared, folder, journals)


@app.command()
def demo(runs: Runs = Path("runs"), settings: Settings = None) -> None:
    """Run the product at its best in about a minute: four strategies at epsilon 1 on 30 phones, BFV, then the attacks.

    CALM, class sums, replay and fine-tuning see the same public features; the noise is shared in the sum.
    """
    with one_sentence():
        from secure_fcl.config import load_config
        from secure_fcl.demo import CONFIG
        from secure_fcl.runner import start

        prepared, folder = start(load_config(CONFIG, settings or ()), runs)
        _execute(prepared, folder, None)


def _say_unpinned(folder: RunFolder) -> None:
    from secure_fcl.running.fitting import unpinned

    if (sentence := unpinned(folder)) is not None:
        typer.echo(f"secure-fcl: {sentence}", err=True)


def _execute(prepared: Prepared, folder: RunFolder, journals: Path | None) -> None:
    from rich.console import Console

    from evaluation.summary import print_summary
    from secure_fcl.runner import StopRequest, execute
    from secure_fcl.running.display import progress
    from secure_fcl.running.loop import Interrupted

    console = Console()
    stop = StopRequest()
    try:
        with stop.listening(tell), progress(console, prepared.rounds) as watch:
            report = execute(
                prepared, folder, watch, lambda text: console.print(f"attack: {text}", highlight=False), stop, journals
            )
    except Interrupted:
        console.print(f"stopped; continue with: secure-fcl run --resume {folder.path}", highlight=False, soft_wrap=True)
        raise typer.Exit(STOPPED) from None
    print_summary(folder.path, console)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    shadows: Annotated[
        int | None, typer.Option(help="Shadow models for the strongest attacks, e.g. 24; default: attacks.shadows.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Play the attacks against a finished run again and rewrite its report; exit 2 if they contradict the ledger."""
    with one_sentence():
        from rich.console import Console

        from evaluation.summary import print_summary
        from secure_fcl.auditing import audit as play
        from secure_fcl.auditing import require_ledger_holds
        from secure_fcl.runner import resume, write_report
        from secure_fcl.running.fitting import ATTACKS, REPORT

        console = Console()
        prepared, folder = resume(run, trust_code, anew=(REPORT, ATTACKS))
        _say_unpinned(folder)
        with folder.locked():
            found = play(prepared, folder, lambda text: console.print(f"attack: {text}", highlight=False), shadows)
            path = write_report(folder)
        print_summary(folder.path, console)
        console.print(f"report: {path}", highlight=False, soft_wrap=True)
        require_ledger_holds(found, path)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    details: Annotated[bool, typer.Option("--details", help="Print every table, not only the five figures.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write a TensorBoard copy.")] = False,
    trust_code: TrustCode = False,
) -> None:
    """Render report.html from the files of a run and print the summary."""
    with one_sentence():
        from rich.console import Console

        from evaluation.summary import print_details, print_summary
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
        console = Console()
        (print_details if details else print_summary)(folder.path, console)
        console.print(f"report: {path}", highlight=False, soft_wrap=True)
        if tensorboard:
            from secure_fcl.running.tracking import write_tensorboard

            console.print(f"tensorboard: {write_tensorboard(folder)}", highlight=False, soft_wrap=True)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    journals: Journals = None,
) -> None:
    """Check that the files of a run belong together, and say what was checked and what could not be; exit 2 if not."""
    with one_sentence():
        from secure_fcl.runner import verify as check

        found = check(run, journals)
        for sentence in found.held:
            typer.echo(f"checked: {sentence}")
        for sentence in found.unchecked:
            typer.echo(f"not checked: {sentence}")
        for one in found.misfits:
            typer.echo(f"secure-fcl: {one.sentence}", err=True)
        if found.misfits:
            raise typer.Exit(REFUSED)
        typer.echo(f"{run}: what was checked belongs together")


app.add_typer(study_app, name="study")


@app.command()
def plan(
    config: ConfigFile = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder for plan.json and plan.svg.")] = Path("plan"),
    brief: Annotated[bool, typer.Option("--brief", help="Only the configuration itself, no other choices.")] = False,
) -> None:
    """Say what a run would cost before anything runs: epsilon of every cohort, noise, storage, bytes, other choices."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.cli.plan_tables import print_plan, write_plan
        from secure_fcl.config import load_config
        from secure_fcl.forecast.cost import plan_run

        console = Console()
        found = plan_run(load_config(config, settings or ()), alternatives=not brief)
        print_plan(found, console)
        data, figure = write_plan(found, out)
        console.print(f"plan: {data}\nplot: {figure}", highlight=False, soft_wrap=True)


@app.command()
def config(settings: Settings = None, file: ConfigFile = None) -> None:
    """Print the resolved configuration as TOML: every key and its value."""
    with one_sentence():
        from secure_fcl.config import dump_config, load_config

        typer.echo(dump_config(load_config(file, settings or ())), nl=False)


@app.command()
def strategies(
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the strategies: what each sends, charges, keeps and needs, read off its code under a configuration."""
    with one_sentence():
        import json

        from rich.console import Console

        from secure_fcl.cli.strategy_tables import print_sheets
        from secure_fcl.config import load_config
        from secure_fcl.forecast import strategy_facts as fact_sheets

        sheets = fact_sheets.fact_sheets(load_config(config, settings or ()))
        if as_json:
            typer.echo(json.dumps(fact_sheets.as_json(sheets), indent=2))
        else:
            print_sheets(sheets, Console())


@app.command()
def keys(
    names: Annotated[list[str], typer.Argument(help="Names of the parties, clients and helpers.")],
    out: Annotated[Path, typer.Option(help="Folder for roster.json and one private file per party.")] = Path("keys"),
) -> None:
    """Make identities: a public roster, and one private file (mode 0600) for each party to take away."""
    with one_sentence():
        from secure_fcl.engines.keys import write_identities

        for path in write_identities(names, out):
            typer.echo(str(path))


@app.command()
def doctor() -> None:
    """List every backend as usable or missing, with the command that mends it."""
    from rich.console import Console

    from secure_fcl.cli.doctor import check, healthy, render

    rows = check()
    render(rows, Console())
    raise typer.Exit(0 if healthy(rows) else 1)


check_commands.register(app)


@data_app.command("list")
def data_list(
    own: Annotated[list[str] | None, typer.Argument(help="Data sets of your own, as module:name.")] = None,
    data_dir: DataDir = "",
) -> None:
    """List the known data sets and where their files are."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.data.tables import status_table

        Console().print(status_table(data_dir or None, own or ()))


@data_app.command("verify")
def data_verify(name: str, data_dir: DataDir = "") -> None:
    """Check the files of a data set against their checksums."""
    with one_sentence():
        from rich.console import Console

        from secure_fcl.data import verify
        from secure_fcl.data.tables import sound, verification_table

        checks = verify(name, data_dir or None)
        Console().print(verification_table(checks))
        if not sound(checks):
            raise typer.Exit(REFUSED)


@data_app.command("fetch")
def data_fetch(name: str, data_dir: DataDir = "") -> None:
    """Download the files of a data set, checking each; nothing is ever downloaded without this command."""
    with one_sentence():
        from secure_fcl.data.tables import fetch_with_progress

        folder = fetch_with_progress(name, data_dir or None)
        typer.echo(f"{name} is part of the installation" if folder is None else str(folder))


@data_app.command("inspect")
def data_inspect(folder: Path) -> None:
    """Propose data.toml for a folder of your own, or say what the declared folder holds and leaves out."""
    with one_sentence():
        from secure_fcl.cli.data_commands import inspected

        typer.echo(inspected(folder), nl=False)


audit_model_commands.register(app)
for _command in (api_commands.predict, api_commands.export, api_commands.compare):
    app.command()(one_sentence()(_command))


def main() -> None:
    """Run the command line."""
    # Threads of BLAS fight with one worker process per core; a user's own setting stands.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
