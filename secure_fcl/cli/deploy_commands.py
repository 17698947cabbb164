"""`secure-fcl deploy`: the folders of a deployment, what happens to its certificates later, and who is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl.cli.shared import AsJson, Settings, one_sentence

if TYPE_CHECKING:
    from secure_fcl.config import Config

_HOME = "/srv/secure-fcl"
MISSING = 3
"""Exit code when parties are missing: nothing is wrong with the run, it can go on."""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(deploy)


def deploy(
    out: Annotated[Path, typer.Argument(help="Folder of the deployment: one folder for each party.")],
    config: Annotated[Path | None, typer.Option(help="run.toml; all defaults without it.")] = None,
    settings: Settings = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address that devices dial.")] = "server:7443",
    days: Annotated[float, typer.Option(help="How long certificates hold.")] = 365.0,
    home: Annotated[str, typer.Option(help="Folder on each machine that will hold its party's folder.")] = _HOME,
    without_data: Annotated[
        Path | None,
        typer.Option(help="sizes.toml: what is declared of data that are on the devices already; none is dealt out."),
    ] = None,
    rotate: Annotated[str, typer.Option(metavar="NAME", help="Renew a party's certificate and its key.")] = "",
    revoke: Annotated[str, typer.Option(metavar="NAME", help="Shut a party out.")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Say who is missing and why; OUT may be the server's.")
    ] = False,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="With --check: listen here, see who dials.")] = "",
    wait: Annotated[float, typer.Option(help="With --check and --listen: seconds to wait for all to dial.")] = 15.0,
    as_json: AsJson = False,
) -> None:
    """Make the folders of a deployment: configuration, calendar, keys, certificates, data, service files, commands.

    --rotate, --revoke and --check are about one that is there. --check touches no run, and ends with 3 if anybody is
    missing.
    """
    with one_sentence():
        from secure_fcl.config import load_config
        from secure_fcl.engines.tls.addresses import address_of
        from secure_fcl.errors import ConfigInvalid

        if rotate or revoke or check:
            if config or settings or without_data or bool(rotate) + bool(revoke) + check > 1:
                raise ConfigInvalid(
                    "--rotate, --revoke and --check are about a deployment that is there; give one alone"
                )
            if check:
                _print_missing(out, listen, wait, as_json)
            else:
                _print_changed(out, rotate, revoke, server, days)
            return
        address_of(server)
        made = make_deployment(out, load_config(config, settings or ()), server, days, home, without_data)
        typer.echo(f"{made} folders of parties, and the commands that start them: {out / 'README.md'}")


def make_deployment(out: Path, config: Config, server: str, days: float, home: str, sizes: Path | None) -> int:
    """Make all folders of a deployment; return how many parties it has.

    Raises:
        SecureFclError, privacy.PrivacyError, crypto.CryptoError: the first thing that cannot work; then nothing is
            left behind.
    """
    import shutil

    from secure_fcl.engines.deployed.authority import write_certificates
    from secure_fcl.engines.deployed.making import for_every_machine, roles_of, write_folders
    from secure_fcl.engines.deployed.services import write_services
    from secure_fcl.engines.parties import parties_of
    from secure_fcl.engines.tls.addresses import address_of
    from secure_fcl.running.prepare import prepare, prepare_scenario
    from secure_fcl.streams.declared import declared_calendar, read_sizes
    from secure_fcl.streams.public import PublicCalendar, no_test

    config = for_every_machine(config)
    if sizes is None:
        prepared = prepare(config)
        calendar, scenario = PublicCalendar.of(prepared.scenario), prepared.scenario
    else:
        calendar, scenario = declared_calendar(read_sizes(sizes), config), None
        prepared = prepare_scenario(config, calendar.with_test(no_test(calendar)))
    roles = roles_of(plan for plan, _ in prepared.rows)
    clients = list(parties_of(calendar.clients))
    write_folders(out, prepared.config, calendar, roles, scenario)
    try:
        write_certificates(out, [*clients, *roles], (address_of(server)[0],), days)
        write_services(out, clients, roles, server, home)
    except BaseException:
        shutil.rmtree(out)
        raise
    return len(clients) + len(roles)


def _print_changed(out: Path, rotated: str, revoked: str, server: str, days: float) -> None:
    from secure_fcl.engines.deployed.authority import revoke_party, rotate
    from secure_fcl.engines.tls.addresses import address_of

    hosts = (address_of(server)[0],)
    changed = rotate(out, rotated, hosts, days) if rotated else revoke_party(out, revoked)
    typer.echo("bring to the machines of the parties that they are of:")
    for path in changed:
        typer.echo(str(path))
    if rotated:
        typer.echo(
            f"the identity in {rotated}.key stays: what {rotated} signed in a run is held against the roster that the "
            f"run began with; if it may have leaked, --revoke {rotated}, and make another deployment for the next run"
        )


def _print_missing(out: Path, listen: str, wait: float, as_json: bool) -> None:
    from secure_fcl.engines.tls.addresses import address_of
    from secure_fcl.engines.tls.check import check_deployment

    found = check_deployment(out, address_of(listen) if listen else None, wait)
    if as_json:
        from evaluation.strict_json import to_json

        typer.echo(to_json(found, indent=2))
    else:
        for name, why in sorted(found.items()):
            typer.echo(f"{name}: {why or 'well'}")
    if any(found.values()):
        raise typer.Exit(MISSING)
