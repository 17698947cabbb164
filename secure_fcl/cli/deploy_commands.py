"""`secure-fcl deploy`: the folders of a deployment, and what happens to its certificates later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_fcl.cli.shared import Settings, one_sentence

if TYPE_CHECKING:
    from secure_fcl.config import Config

_HOME = "/srv/secure-fcl"


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
    rotate: Annotated[str, typer.Option(metavar="NAME", help="Renew a party's certificate and key.")] = "",
    revoke: Annotated[str, typer.Option(metavar="NAME", help="Shut a party out.")] = "",
) -> None:
    """Make the folders of a deployment: configuration, calendar, keys, certificates, data, service files, commands."""
    with one_sentence():
        from secure_fcl.config import load_config
        from secure_fcl.engines.tls.addresses import address_of
        from secure_fcl.errors import ConfigInvalid

        if rotate or revoke:
            if config or settings or without_data or (rotate and revoke):
                raise ConfigInvalid("--rotate and --revoke change a deployment that is there; give one of them alone")
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
