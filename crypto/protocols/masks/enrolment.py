"""A client's side of the set-up (`crypto.protocols.masks.members`): hello, opening, graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.keys.randomness import KEY_BYTES, RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.keys.secrecy import holds_secrets
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.keys import AgreementKey, digest
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


@dataclass
class Checked:
    """Directories and set-ups that a client of this process has checked, by the hash of the plan and their bytes.

    Handing it to other clients of the process spares them the signatures; it holds nothing secret.
    """

    directories: dict[bytes, Directory] = field(default_factory=dict)
    setups: dict[bytes, Setup] = field(default_factory=dict)


@holds_secrets
class Enrolment:
    """Draws the session's channel key and nonces, and opens each nonce for one directory at most."""

    def __init__(self, plan: Plan, identity: Identity, random: RandomBytes, checked: Checked) -> None:
        self._plan = plan
        self._identity = identity
        self._checked = checked
        self._trust = Trust(plan.roster)
        self._nonces = nonce_chain(plan, identity.name, random(KEY_BYTES))
        self.sealing = AgreementKey(random(KEY_BYTES))
        self._hello = write_hello(plan, identity, self.sealing.public, self._nonces[0])
        self._directory: Directory | None = None
        self.setup: Setup | None = None

    def hello(self) -> bytes:
        """The record to send first."""
        return self._hello

    def open_for(self, payload: bytes) -> bytes:
        """Take a directory and return the opening.

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
        return write_opening(self._plan, self._identity, directory, nonce, self.sealing.public)

    def finish(self, payload: bytes) -> Setup:
        """Take all openings and return the finished set-up.

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
        return setup
