"""Deployed devices inside one process, for tests: the same hosts and folders as on many machines, without a transport.

Frames are written and read on the way, as over any transport. `noise_key` is how a test gives devices the secret of
repeatable noise, so that their run can be compared with a simulation's: nothing outside tests hands one to a device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from secure_fcl.engines.commands import Ask, Command, Reply
from secure_fcl.engines.deployed.folder import DeviceFolder, ServerFolder
from secure_fcl.engines.deployed.host import DeployedHost
from secure_fcl.engines.federation import Federation, deployed
from secure_fcl.engines.frames import from_frame, to_frame
from secure_fcl.engines.parties import Answer, Host, Party
from secure_fcl.errors import FrameRefused


class HostParties:
    """`Parties` over hosts of this process, each with one party. A host that is None is silent."""

    def __init__(self, hosts: Mapping[Party, Host | None]) -> None:
        self.hosts = dict(hosts)

    def present(self) -> tuple[Party, ...]:
        """See `Parties`."""
        return tuple(party for party, host in self.hosts.items() if host is not None)

    def ask(self, asks: Mapping[Party, Ask], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`. A host that answers later than the deadline is missing, but for its state."""
        for party, ask in asks.items():
            host = self.hosts[party]
            if host is None:
                continue
            begun = time.monotonic()
            for answer in host.answer({party: _asked(from_frame(to_frame(ask)))}):
                if deadline is None or time.monotonic() - begun <= deadline:
                    yield Answer(party=party, reply=_reply(from_frame(to_frame(answer.reply))))

    def close(self) -> None:
        """See `Parties`."""


def hosts_of(folders: Sequence[Path], noise_key: bytes | None = None) -> dict[Party, DeployedHost]:
    """Return a host for each device's folder, by its party."""
    hosts = [DeployedHost(DeviceFolder.read(path), noise_key) for path in folders]
    return {host.party: host for host in hosts}


def deployed_federation(server: ServerFolder, hosts: Mapping[Party, Host | None]) -> Federation:
    """Return the federation of a server and hosts of this process; its helper parties are local processes.

    They read their private keys from the server's folder: copy them there.
    """
    return deployed(HostParties(hosts), server.calendar.clients, server.digest)


def _asked(command: Command) -> Ask:
    if not isinstance(command, Ask):
        raise FrameRefused(f"{type(command).__name__} asks for nothing of a device; update the server")
    return command


def _reply(command: Command) -> Reply:
    if not isinstance(command, Reply):
        raise FrameRefused(f"{type(command).__name__} is no answer; update the host")
    return command
