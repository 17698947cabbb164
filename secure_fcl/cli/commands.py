"""The command line. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from secure_fcl import __version__
from secure_fcl.cli import (
    api_commands,
    audit_model_commands,
    check_commands,
    deploy_commands,
    run_commands,
    serve_commands,
)
from secure_fcl.cli.data_commands import data_app
from secure_fcl.cli.shared import AsJson, ConfigFile, Settings, one_sentence
from secure_fcl.cli.study_commands import study_app
from secure_fcl.cli.tables import print_line

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


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


run_commands.register(app)
deploy_commands.register(app)
app.add_typer(study_app, name="study")
app.add_typer(data_app, name="data")


@app.command()
def plan(
    config: ConfigFile = None,
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder for plan.json and plan.svg.")] = Path("plan"),
    brief: Annotated[bool, typer.Option("--brief", help="Only the configuration itself, no other choices.")] = False,
    clients: Annotated[int, typer.Option(min=0, help="Only what one sum of so many clients costs; 0: the run.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say what a run would cost before anything runs: epsilon of every cohort, noise, storage, bytes, other choices."""
    with one_sentence():
        if clients:
            from secure_fcl.cli.population_tables import show_populations

            show_populations(config, settings or (), clients, as_json)
            return
        from rich.console import Console

        from evaluation.strict_json import to_json
        from secure_fcl.cli import plan_tables
        from secure_fcl.config import load_config
        from secure_fcl.forecast.cost import plan_run

        console = Console(stderr=as_json)
        found = plan_run(load_config(config, settings or ()), alternatives=not brief)
        if as_json:
            typer.echo(to_json(plan_tables.as_json(found), indent=2))
        else:
            plan_tables.print_plan(found, console)
        data, figure = plan_tables.write_plan(found, out)
        print_line(console, f"plan: {data}\nplot: {figure}")


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
    as_json: AsJson = False,
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
def doctor(as_json: AsJson = False) -> None:
    """List every backend as usable or missing, with the command that mends it; exit 1 if a needed one is not usable."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from secure_fcl.cli.doctor import check, healthy, render

    rows = check()
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        render(rows, Console())
    raise typer.Exit(0 if healthy(rows) else 1)


check_commands.register(app)


audit_model_commands.register(app)
serve_commands.register(app)
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
