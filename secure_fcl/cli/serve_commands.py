"""The commands of a deployment over TLS: server, client, party, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from secure_fcl.cli.deploy_commands import MISSING
from secure_fcl.cli.shared import STOPPED, AsJson, one_sentence, tell

Folder = Annotated[Path, typer.Option(help="The party's own folder, as `secure-fcl deploy` made it.")]
ServerAddress = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="Where the server listens.")]
JsonLog = Annotated[bool, typer.Option("--json-log", help="Log one JSON object a line, on stderr.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (server, client, party, status):
        app.command()(command)


def server(
    config: Annotated[Path, typer.Argument(help="run.toml in the server's folder.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address to listen on.")],
    folder: Annotated[Path | None, typer.Option(help="The server's folder; default: where run.toml is.")] = None,
    deadline: Annotated[float, typer.Option(help="Seconds after which a silent party is left out of a sum.")] = 60.0,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the rest once enough are there.")] = 10.0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for enough; default: for ever.")] = float("inf"),
    json_log: JsonLog = False,
) -> None:
    """Serve a run to deployed devices: begin or continue it, wait for enough of them, and go on after an abort.

    Exit code 0: the run is finished; 3: too few parties, who are named; 130: stopped. The same command goes on.
    """
    with one_sentence():
        from secure_fcl.engines.deployed.folder import ServerFolder
        from secure_fcl.engines.tls.addresses import address_of
        from secure_fcl.engines.tls.logs import log_to
        from secure_fcl.errors import ConfigInvalid, QuorumMissing
        from secure_fcl.runner import StopRequest
        from secure_fcl.running.loop import Interrupted
        from secure_fcl.serving import Server, Serving

        place = folder or config.parent
        if config.resolve() != (place / "run.toml").resolve():
            raise ConfigInvalid(f"{config} is not the run.toml of {place}; name that one")
        log_to(as_json=json_log)
        stop = StopRequest()
        with stop.listening(tell, terminate=True):
            serving = Serving(address=address_of(listen), deadline=deadline, patience=patience, wait=wait)
            serves = Server(ServerFolder.read(place), serving, typer.echo, _print_tick, stop)
            try:
                report = serves.run()
            except QuorumMissing as error:
                typer.echo(f"secure-fcl: {error}", err=True)
                raise typer.Exit(MISSING) from None
            except Interrupted:
                typer.echo("stopped; the same command continues")
                raise typer.Exit(STOPPED) from None
        typer.echo(f"finished: {report}")


def _print_tick(tick: Any) -> None:
    typer.echo(
        f"{tick.row}: task {tick.slot + 1} of {tick.slots}, round {tick.round + 1} of {tick.rounds}, "
        f"{tick.done} of {tick.total} rounds in all"
    )


def client(
    folder: Folder,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the server listens.")] = "",
    supernode: Annotated[str, typer.Option(metavar="HOST:PORT", help="Instead: Runtime API of Flower's node.")] = "",
    secret: Annotated[Path | None, typer.Option(help="File of the secret that Flower's node has too.")] = None,
    root: Annotated[Path | None, typer.Option(help="PEM file that vouches for Flower's node; none: no TLS.")] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Instead: leave for good; deletes its data.")] = False,
    json_log: JsonLog = False,
) -> None:
    """Be one deployed device, until SIGTERM: dial the server, answer what its own rules allow, dial again for ever.

    With --supernode it fetches messages from a SuperNode that was started with --isolation process, and never runs the
    application that comes with them.
    """
    with one_sentence():
        from secure_fcl.engines.deployed.folder import DeviceFolder
        from secure_fcl.engines.deployed.host import DeployedHost
        from secure_fcl.engines.tls.addresses import address_of
        from secure_fcl.engines.tls.client import serve
        from secure_fcl.engines.tls.contexts import TlsFiles
        from secure_fcl.engines.tls.logs import log_to
        from secure_fcl.errors import ConfigInvalid

        if bool(server) + bool(supernode) + withdraw != 1:
            raise ConfigInvalid("name one of --server HOST:PORT, --supernode HOST:PORT and --withdraw")
        if withdraw:
            _withdraw(folder)
            return
        log_to(as_json=json_log)
        if supernode:
            from secure_fcl.engines.flower.contract import require_release

            require_release()
            from secure_fcl.engines.flower.process import Station, serve_folder

            serve_folder(folder, Station(address=supernode, root=root, secret=secret))
            return
        place = DeviceFolder.read(folder)
        address = address_of(server)
        host = DeployedHost(place)
        # Who is present answers within its deadline: the heavy libraries are there before it dials.
        import torch  # noqa: F401

        try:
            serve(host, address, TlsFiles(folder=place.tls))
        finally:
            host.close()


def _withdraw(folder: Path) -> None:
    from secure_fcl.engines.deployed.folder import DeviceFolder
    from secure_fcl.engines.deployed.withdrawal import withdraw

    place = DeviceFolder.read(folder)
    for sentence in withdraw(place).sentences(place.name):
        typer.echo(sentence)


def party(
    name: Annotated[str, typer.Argument(help="Its role, as in the roster: keyholder or helper.")],
    folder: Folder,
    server: ServerAddress,
    json_log: JsonLog = False,
) -> None:
    """Be a helper party of the secure sums on a machine of its own, until SIGTERM."""
    with one_sentence():
        from secure_fcl.engines.tls.addresses import address_of
        from secure_fcl.engines.tls.client import serve
        from secure_fcl.engines.tls.contexts import TLS, TlsFiles
        from secure_fcl.engines.tls.helpers import helper_of
        from secure_fcl.engines.tls.logs import log_to

        log_to(as_json=json_log)
        address = address_of(server)
        serve(helper_of(name, folder), address, TlsFiles(folder=folder / TLS))


def status(
    run: Annotated[Path, typer.Argument(help="Folder of the run that a server serves.")], as_json: AsJson = False
) -> None:
    """Say of a served run who is present, who is late, which round it is, and epsilon of what was charged so far."""
    with one_sentence():
        from secure_fcl.running.status import read_status, status_lines

        found = read_status(run)
        if as_json:
            from evaluation.strict_json import to_json

            typer.echo(to_json(found, indent=2))
            return
        for line in status_lines(found):
            typer.echo(line)
