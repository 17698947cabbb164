"""The server's side of the set-up (`crypto.protocols.masks.members`): repeat hellos, then openings."""

from __future__ import annotations

from crypto.keys.roster import Trust
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import GraphError, RecordError
from crypto.protocols.masks.members import (
    Directory,
    Member,
    Opening,
    Setup,
    attempts,
    finish,
    read_directory,
    read_hello,
    read_opening,
    sharers,
    write_directory,
)
from crypto.wire.values import pack_value

# What to send to all clients: (kind, payload).
Broadcast = tuple[str, bytes]


class Gathering:
    """Collects hellos and openings; a client that is late for either, or at fault, is left out of the session."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._trust = Trust(plan.roster)
        self._hellos: dict[str, bytes] = {}
        self._directory: Directory | None = None
        self._openings: dict[str, tuple[bytes, Opening]] = {}
        self._out: set[str] = set()
        self.setup: Setup | None = None
        self.failed = ""

    def take(self, kind: str, sender: str, payload: bytes) -> None:
        """Take a hello or an opening.

        Raises:
            RecordError: it is late, doubled or not asked for.
            FaultError: it is not acceptable, and its sender at fault.
        """
        if kind == "hello":
            self._hello(sender, payload)
        else:
            self._opening(sender, payload)

    def leave_out(self, name: str) -> None:
        """Go on without a client; nothing changes once the set-up is finished."""
        self._out.add(name)
        self._hellos.pop(name, None)

    def sharers(self) -> list[str]:
        """Who opened a channel key that another has opened as well: both are at fault."""
        return sharers({name: opening for name, (_, opening) in self._openings.items()})

    def go_on(self) -> Broadcast | None:
        """What follows if nobody is waited for any more."""
        if self.setup is not None or self.failed:
            return None
        if self._directory is None:
            return self._publish(0) if len(self._hellos) + len(self._out) >= len(self._plan.clients) else None
        members = {member.name for member in self._directory.members}
        if not members <= set(self._openings) | self._out:
            return None
        if members & self._out:
            return self._publish(self._directory.attempt + 1)
        return self._finish(self._directory)

    def tick(self) -> Broadcast | None:
        """Go on without those who are missing; returns what follows."""
        if self.setup is not None or self.failed:
            return None
        if self._directory is None:
            return self._publish(0)
        missing = {member.name for member in self._directory.members} - set(self._openings)
        self._hellos = {name: record for name, record in self._hellos.items() if name not in missing}
        return self._publish(self._directory.attempt + 1)

    def _hello(self, sender: str, record: bytes) -> None:
        if self._directory is not None or sender in self._hellos:
            raise RecordError(f"the hello of {sender!r} comes late, or twice")
        read_hello(self._plan, sender, record, self._trust)
        self._hellos[sender] = record

    def _publish(self, attempt: int) -> Broadcast | None:
        if len(self._hellos) < self._plan.min_clients or attempt >= attempts(self._plan):
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

    def _opening(self, sender: str, record: bytes) -> None:
        directory = self._directory
        member: Member | None = None if directory is None else directory.find(sender)
        if directory is None or member is None or self.setup is not None or sender in self._openings:
            raise RecordError(f"no opening of {sender!r} is waited for")
        self._openings[sender] = (record, read_opening(self._plan, directory, member, record, self._trust))

    def _finish(self, directory: Directory) -> Broadcast | None:
        ordered = [self._openings[member.name] for member in directory.members]
        try:
            self.setup = finish(self._plan, directory, [opening for _, opening in ordered])
        except GraphError:
            # Other nonces give another graph.
            return self._publish(directory.attempt + 1)
        return ("openings", pack_value([record for record, _ in ordered]))
