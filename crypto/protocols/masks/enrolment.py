"""A client's side of the set-up (`crypto.protocols.masks.members`): hello, opening, graph, channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks.channels import ChannelKey, accept_capsules, make_capsules, read_lattices
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import digest
from crypto.protocols.masks.members import (
    Directory,
    Setup,
    channel_commitment,
    nonce_chain,
    read_directory,
    read_openings,
    write_hello,
    write_opening,
)
from crypto.wire.values import pack_value


@dataclass
class Checked:
    """Directories and set-ups that a client of this process has checked, by the hash of the plan and their bytes.

    Handing it to other clients of the process spares them the signatures; it holds nothing secret.
    """

    directories: dict[bytes, Directory] = field(default_factory=dict)
    setups: dict[bytes, Setup] = field(default_factory=dict)


@holds_secrets
class Enrolment:
    """Draws the session's channel keys and nonces, and opens each nonce for one directory at most."""

    def __init__(self, plan: Plan, identity: Identity, random: RandomBytes, checked: Checked) -> None:
        self._plan = plan
        self._identity = identity
        self._checked = checked
        self._trust = Trust(plan.roster)
        self._nonces = nonce_chain(plan, identity.name, random(KEY_BYTES))
        self.sealing = ChannelKey(random)
        self._hello = write_hello(plan, identity, self.sealing.public, self._nonces[0])
        self._directory: Directory | None = None
        self._lattices = b""
        self._begun: dict[int, bytes] | None = None
        self.setup: Setup | None = None
        self.channels: dict[int, bytes] = {}

    def hello(self) -> bytes:
        """The record to send first."""
        return self._hello

    def open_for(self, payload: bytes) -> bytes:
        """Take a directory and return the opening, with the ML-KEM key that it names the hash of.

        Raises:
            RecordError: it is malformed, without this very client, or not of a later attempt than the last one.
        """
        label = digest(("directory", self._plan.digest, payload))
        directory = self._checked.directories.get(label)
        if directory is None:
            directory = read_directory(self._plan, payload, self._trust)
        last = -1 if self._directory is None else self._directory.attempt
        if self.setup is not None or directory.attempt <= last:
            raise RecordError(f"attempt {directory.attempt} of the set-up is over; {last} was the last one")
        mine = directory.find(self._identity.name)
        own = channel_commitment(self._plan.session, self._identity.name, self.sealing.public)
        if mine is None or (mine.identity, mine.channel) != (self._identity.public, own):
            raise RecordError("the directory does not hold this client's own keys")
        self._checked.directories[label] = self._directory = directory
        nonce = self._nonces[directory.attempt]
        record = write_opening(self._plan, self._identity, directory, nonce, self.sealing.public)
        return pack_value([record, self.sealing.lattice])

    def finish(self, payload: bytes) -> bytes:
        """Take all openings, which give the graph; returns as `begin_channels` if its message came first.

        Raises:
            RecordError: they are not acceptable.
        """
        if self._directory is None or self.setup is not None:
            raise RecordError("openings came before the directory, or twice")
        label = digest(("openings", self._plan.digest, self._directory.digest, payload))
        setup = self._checked.setups.get(label)
        if setup is None:
            setup = read_openings(self._plan, self._directory, payload, self._trust)
        self._checked.setups[label] = self.setup = setup
        self._nonces.clear()
        return self.begin_channels(self._lattices) if self._lattices else b""

    def begin_channels(self, payload: bytes) -> bytes:
        """Take the ML-KEM keys of those for whom this client makes capsules and return these; empty if the openings are
        still to come.

        Raises:
            RecordError: they are not the keys that were opened, or came before.
        """
        if self.setup is None:
            self._lattices = payload
            return b""
        if self._begun is not None:
            raise RecordError("capsules are made once")
        capsules, self._begun = make_capsules(
            self._plan, self.setup, self._identity, self.sealing, read_lattices(payload)
        )
        self._lattices = b""
        return capsules

    def finish_channels(self, payload: bytes) -> None:
        """Take the others' capsules: `channels` holds the key of each neighbour's channel then, but for neighbours
        that made none.

        Raises:
            RecordError: they are not what those neighbours signed, or came before.
        """
        if self.setup is None or self._begun is None or self.channels:
            raise RecordError("capsules came before this client made its own, or twice")
        me = self._plan.clients.index(self._identity.name)
        accepted = accept_capsules(self._plan, self.setup, self.setup.trust, me, self.sealing, payload)
        self.channels = self._begun | accepted
        self.sealing.erase()
