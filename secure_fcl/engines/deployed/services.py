"""What starts the parties of a deployment: service files for systemd, a compose file, and a page of exact commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.files import atomic_write

UNIT, COMPOSE, PAGE = "secure-fcl.service", "compose.yaml", "README.md"

_UNIT = """\
[Unit]
Description=secure-fcl: {name}
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/bin/env secure-fcl {command}
WorkingDirectory={home}
# Whatever ends it, it goes on from its folder; exit code 0 says that the run is finished.
Restart=on-failure
RestartSec=15
UMask=0077
NoNewPrivileges=true
ProtectSystem=strict
ReadWritePaths={home}
PrivateTmp=true

[Install]
WantedBy=multi-user.target
"""

_SERVICE = """\
  {name}:
    image: ${{SECURE_FCL_IMAGE:?name an image that has secure-fcl installed}}
    command: ["secure-fcl", {words}]
    volumes: ["./{name}:/srv/{name}"]
    working_dir: /srv/{name}
    restart: on-failure
"""


def command_of(name: str, role: bool, folder: str, server: str) -> str:
    """Return what a party runs: the words behind `secure-fcl`.

    Args:
        name: of the party.
        role: whether it is no client.
        folder: its own, where it lies on its machine.
        server: HOST:PORT of the server.
    """
    if name == "server":
        return f"server {folder}/run.toml --listen 0.0.0.0:{server.rpartition(':')[2]}"
    if role:
        return f"party {name} --folder {folder} --server {server}"
    return f"client --folder {folder} --server {server}"


def write_services(out: Path, clients: Sequence[str], roles: Sequence[str], server: str, home: str) -> list[Path]:
    """Write a service file into each party's folder, and beside them a compose file and a page; return the paths.

    Args:
        out: the deployment.
        clients: names of the devices.
        roles: names of the other parties, the server first.
        server: HOST:PORT that devices dial.
        home: folder on each machine that holds its party's folder.

    Raises:
        evaluation.errors.StorageError: the system refused.
    """
    paths, services = [], ["services:\n"]
    port = server.rpartition(":")[2]
    for name in (*roles, *clients):
        command = command_of(name, name in roles, f"{home}/{name}", server)
        paths.append(out / name / UNIT)
        atomic_write(paths[-1], _UNIT.format(name=name, command=command, home=f"{home}/{name}"))
        inside = command_of(name, name in roles, f"/srv/{name}", f"server:{port}")
        services.append(_SERVICE.format(name=name, words=", ".join(f'"{word}"' for word in inside.split())))
    paths += [out / COMPOSE, out / PAGE]
    atomic_write(paths[-2], "".join(services))
    atomic_write(paths[-1], _page(out, clients, roles, server, home))
    return paths


def _page(out: Path, clients: Sequence[str], roles: Sequence[str], server: str, home: str) -> str:
    rows = "\n".join(
        f"secure-fcl {command_of(name, name in roles, f'{home}/{name}', server)}" for name in (*roles, *clients)
    )
    return f"""\
# A deployment of {len(clients)} devices

One folder for each party. Bring each to its own machine, as `{home}/NAME`, over a channel that you trust, and delete
it here: whoever has a folder is that party. `authority/` holds the key that signs certificates: keep it off every
machine that runs.

Start them in any order, each on its machine; each restarts where it was:

```sh
{rows}
```

As a service (in each folder lies `{UNIT}`):

```sh
cp {home}/NAME/{UNIT} /etc/systemd/system/secure-fcl-NAME.service
systemctl enable --now secure-fcl-NAME
```

In containers on one machine, to try it: `SECURE_FCL_IMAGE=... docker compose up`.

A certificate runs out, or a key may have leaked; then copy what changed to the machines that it names:

```sh
secure-fcl deploy {out} --rotate NAME
secure-fcl deploy {out} --revoke NAME
```

What a device keeps in `state/` is encrypted under `state.secret` beside it; name a file on another medium, or
`keyring`, in the variable SECURE_FCL_STATE_KEY before the first start.
"""
