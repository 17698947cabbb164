"""A run whose clients live in this process, one of them corrupt: it goes around its own session's checks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crypto.planning.upload import Upload
from crypto.protocols.envelope import SealedClient
from crypto.protocols.mpc.client import MpcClient
from crypto.wire.messages import Message
from secure_fcl.engines import commands as c
from secure_fcl.engines.federation import Federation
from secure_fcl.engines.host import ClientHost
from secure_fcl.engines.lab import SimulationLab
from secure_fcl.engines.parties import Answer, Party, parties_of
from secure_fcl.running.folder import RunFolder
from secure_fcl.running.loop import Job
from secure_fcl.running.prepare import Prepared

Ints = NDArray[np.int64]
Attack = Callable[[Upload, int, Ints, Ints], tuple[Ints, Ints]]
"""Makes a corrupt client's vector and noise share of a declared upload, the number of clients, and the honest two."""


def thousandfold(upload: Upload, clients: int, vector: Ints, noise: Ints) -> tuple[Ints, Ints]:
    """1,000 times the update. Entries stop at half of what a whole sum may reach, or the sum would be refused."""
    most = clients * upload.bound // 2
    return np.clip(1000 * vector, -most, most), noise


def within_the_check(upload: Upload, clients: int, vector: Ints, noise: Ints) -> tuple[Ints, Ints]:
    """The worst that a check of norms lets pass, we think: the update turned round, as long as both bounds allow."""
    del clients
    direction = vector / max(float(np.linalg.norm(vector)), 1.0)
    room = upload.norm_bound, upload.noise_norm_bound
    turned, more = (np.trunc(-bound * direction).astype(np.int64) for bound in room)
    return turned, more if upload.noise_norm_bound else noise


class CorruptClient:
    """A client of "mpc" that shares what it likes, signed as itself."""

    def __init__(self, session: SealedClient, attack: Attack) -> None:
        self._session, self._attack = session, attack

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def submit(
        self, round: int, upload: str, vector: Ints, noise: Ints | None = None, *, model: bytes = b""
    ) -> tuple[Message, ...]:
        """Share what the attack makes of vector and noise."""
        plan, inner = self._session._plan, self._session._inner
        assert isinstance(inner, MpcClient)
        declared = plan.find(upload)
        none = np.zeros_like(vector)
        made, share = self._attack(declared, len(plan.clients), vector, none if noise is None else noise)
        parts = np.concatenate([made, share]) if declared.noise_norm_bound else made + share
        sent = self._session._envelope.sign(inner._split(round, upload, parts, model))
        return tuple(item for item in sent if isinstance(item, Message))


class PoisonedHost(ClientHost):
    """Plays all clients, one of them corrupt."""

    def __init__(self, corrupt: Party, attack: Attack) -> None:
        super().__init__()
        self._corrupt, self._attack = corrupt, attack

    def _keys(self, ask: c.Keys, parties: Sequence[Party]) -> Iterator[tuple[Party, c.Reply]]:
        yield from super()._keys(ask, parties)
        sessions = self._current().sessions
        own = sessions.get(self._corrupt)
        if isinstance(own, SealedClient):
            sessions[self._corrupt] = CorruptClient(own, self._attack)  # type: ignore[assignment]


class HereParties:
    """The parties of one host in this process."""

    def __init__(self, host: ClientHost, clients: int) -> None:
        self._host, self._clients = host, clients

    @property
    def processes(self) -> Sequence[int]:
        """See `Lab.processes`."""
        return (os.getpid(),)

    def present(self) -> tuple[Party, ...]:
        """See `Parties`."""
        return tuple(parties_of(self._clients))

    def ask(self, asks: Mapping[Party, c.Ask | c.LabAsk], deadline: float | None = None) -> Iterator[Answer]:
        """See `Parties`."""
        del deadline
        yield from self._host.answer(asks)

    def close(self) -> None:
        """See `Parties`."""


def poisoned_run(prepared: Prepared, folder: Path, attack: Attack | None, corrupt: Party = "client0") -> RunFolder:
    """Run a job with one corrupt client (`attack` None: with none), whose helper parties are processes of their own."""
    clients = prepared.scenario.clients
    host = ClientHost() if attack is None else PoisonedHost(corrupt, attack)
    parties = HereParties(host, clients)
    made = RunFolder.create(folder, prepared.config, "run")
    with made.locked():
        Job(prepared, made, Federation(clients=clients, parties=parties, lab=SimulationLab(parties, clients))).run()
    return made
