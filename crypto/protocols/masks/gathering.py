"""The server's side of the set-up (`crypto.protocols.masks.members`): repeat hellos, then openings."""

from __future__ import annotations

from crypto.keys.roster import Trust
from crypto.planning.masks import ATTEMPTS
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.members import (
    Directory,
    Member,
    Setup,
    finish,
    read_directory,
    read_hello,
    read_opening,
    write_directory,
)
from crypto.wire.values import pack_value

# What to send to all clients: (kind, payload).
Broadcast = tuple[str, bytes]


class Gathering:
    """Collects hellos and openings; a client that is late for either is left out of the session."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._trust = Trust(plan.roster)
        self._hellos: dict[str, bytes] = {}
        self._directory: Directory | None = None
        self._openings: dict[str, tuple[bytes, bytes]] = {}
        self.setup: Setup | None = None
        self.failed = ""

    def take(self, kind: str, sender: str, payload: bytes) -> Broadcast | None:
        """Take a hello or an opening; returns what follows.

        Raises:
            RecordError: it is not acceptable.
        """
        if kind == "hello":
            return self._hello(sender, payload)
        return self._opening(sender, payload)

    def tick(self) -> Broadcast | None:
        """Go on without those who are missing; returns what follows."""
        if self.setup is not None or self.failed:
            return None
        if self._directory is None:
            return self._publish(0)
        missing = {member.name for member in self._directory.members} - set(self._openings)
        self._hellos = {name: record for name, record in self._hellos.items() if name not in missing}
        return self._publish(self._directory.attempt + 1)

    def _hello(self, sender: str, record: bytes) -> Broadcast | None:
        if self._directory is not None or sender in self._hellos:
            raise RecordError(f"the hello of {sender!r} comes late, or twice")
        read_hello(self._plan, sender, record, self._trust)
        self._hellos[sender] = record
        return self._publish(0) if len(self._hellos) == len(self._plan.clients) else None

    def _publish(self, attempt: int) -> Broadcast | None:
        if len(self._hellos) < self._plan.min_clients or attempt >= ATTEMPTS:
            came, least = len(self._hellos), self._plan.min_clients
            self.failed = (
                f"set-up: {came} clients after {attempt} attempts, the plan demands {least}; open new sessions."
            )
            return None
        ordered = {name: self._hellos[name] for name in self._plan.clients if name in self._hellos}
        payload = write_directory(attempt, ordered)
        self._directory = read_directory(self._plan, payload, self._trust)
        self._openings = {}
        return ("directory", payload)

    def _opening(self, sender: str, record: bytes) -> Broadcast | None:
        directory = self._directory
        member: Member | None = None if directory is None else directory.find(sender)
        if directory is None or member is None or self.setup is not None:
            raise RecordError(f"no opening of {sender!r} is waited for")
        self._openings[sender] = (record, read_opening(self._plan, directory, member, record, self._trust))
        if len(self._openings) < len(directory.members):
            return None
        ordered = [self._openings[member.name] for member in directory.members]
        self.setup = finish(self._plan, directory, [nonce for _, nonce in ordered])
        return ("openings", pack_value([record for record, _ in ordered]))
