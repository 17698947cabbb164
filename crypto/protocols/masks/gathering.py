"""The server's side of the set-up: repeat hellos, then openings (`crypto.protocols.masks.members`), then hand each
member its neighbours' capsules (`crypto.protocols.masks.channels`).
"""

from __future__ import annotations

import hashlib

from crypto.keys.randomness import KEY_BYTES
from crypto.keys.roster import Trust
from crypto.planning.plans import Plan
from crypto.protocols.masks.channels import joined_lattices, lattice_usable, read_capsules
from crypto.protocols.masks.errors import FaultError, GraphError, RecordError
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
from crypto.protocols.masks.records import unpack
from crypto.wire.values import pack_value

# What to send: (receiver, kind, payload).
Sent = tuple[str, str, bytes]


class Gathering:
    """Collects hellos, openings and capsules; who is late for one, or at fault, is left out of the session."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._trust = Trust(plan.roster)
        self._hellos: dict[str, bytes] = {}
        self._directory: Directory | None = None
        self._openings: dict[str, tuple[bytes, Opening]] = {}
        self._lattices: dict[int, bytes] = {}
        self._capsules: dict[str, dict[int, bytes]] = {}
        self._out: set[str] = set()
        self._graph: Setup | None = None
        self.setup: Setup | None = None
        self.failed = ""

    @property
    def left_out(self) -> frozenset[str]:
        """Who takes no part in the session."""
        return frozenset(self._out)

    def take(self, kind: str, sender: str, payload: bytes) -> None:
        """Take a hello, an opening or capsules.

        Raises:
            RecordError: it is late, doubled or not asked for.
            FaultError: it is not acceptable, and its sender at fault.
        """
        if kind == "hello":
            self._hello(sender, payload)
        elif kind == "open":
            self._opening(sender, payload)
        else:
            self._take_capsules(sender, payload)

    def leave_out(self, name: str) -> None:
        """Go on without a client; nothing changes once the set-up is finished."""
        self._out.add(name)
        self._hellos.pop(name, None)

    def sharers(self) -> list[str]:
        """Who opened a channel key that another has opened as well: both are at fault."""
        return sharers({name: opening for name, (_, opening) in self._openings.items()})

    def go_on(self) -> tuple[Sent, ...]:
        """What follows if nobody is waited for any more."""
        if self.setup is not None or self.failed:
            return ()
        if self._directory is None:
            return self._publish(0) if len(self._hellos) + len(self._out) >= len(self._plan.clients) else ()
        members = {member.name for member in self._directory.members}
        if self._graph is not None:
            return self._hand_over(self._graph) if members <= set(self._capsules) | self._out else ()
        if not members <= set(self._openings) | self._out:
            return ()
        if members & self._out:
            return self._publish(self._directory.attempt + 1)
        return self._finish(self._directory)

    def tick(self) -> tuple[Sent, ...]:
        """Go on without those who are missing; returns what follows."""
        if self.setup is not None or self.failed:
            return ()
        if self._graph is not None:
            return self._hand_over(self._graph)
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

    def _publish(self, attempt: int) -> tuple[Sent, ...]:
        if len(self._hellos) < self._plan.min_clients or attempt >= attempts(self._plan):
            came, least = len(self._hellos), self._plan.min_clients
            self.failed = (
                f"set-up: {came} clients after {attempt} attempts, the plan demands {least}; open new sessions."
            )
            return ()
        ordered = {name: self._hellos[name] for name in self._plan.clients if name in self._hellos}
        payload = write_directory(attempt, ordered)
        self._directory = read_directory(self._plan, payload, self._trust)
        self._openings = {}
        return (("clients", "directory", payload),)

    def _opening(self, sender: str, payload: bytes) -> None:
        directory = self._directory
        member: Member | None = None if directory is None else directory.find(sender)
        if directory is None or member is None or self._graph is not None or sender in self._openings:
            raise RecordError(f"no opening of {sender!r} is waited for")
        match unpack(payload):
            case [bytes(record), bytes(lattice)]:
                opening = read_opening(self._plan, directory, member, record, self._trust)
            case _:
                raise FaultError(f"the opening of {sender!r} is malformed")
        if hashlib.sha256(lattice).digest() != opening.sealing[KEY_BYTES:] or not lattice_usable(lattice):
            raise FaultError(f"the ML-KEM key of {sender!r} is not the one that it opens, or not usable")
        self._openings[sender] = (record, opening)
        self._lattices[member.index] = lattice

    def _finish(self, directory: Directory) -> tuple[Sent, ...]:
        ordered = [self._openings[member.name] for member in directory.members]
        try:
            setup = self._graph = finish(self._plan, directory, [opening for _, opening in ordered])
        except GraphError:
            # Other nonces give another graph.
            return self._publish(directory.attempt + 1)
        openings = ("clients", "openings", pack_value([record for record, _ in ordered]))
        lattices = self._lattices
        self._lattices = {}
        return (
            openings,
            *(
                (member.name, "lattices", joined_lattices(setup, member.index, lattices))
                for member in directory.members
            ),
        )

    def _take_capsules(self, sender: str, payload: bytes) -> None:
        member = None if self._directory is None else self._directory.find(sender)
        if self._graph is None or member is None or self.setup is not None or sender in self._capsules:
            raise RecordError(f"no capsules of {sender!r} are waited for")
        self._capsules[sender] = read_capsules(self._plan, self._graph, member.index, payload)

    def _hand_over(self, setup: Setup) -> tuple[Sent, ...]:
        """Finish without those who made no capsules: nobody has a channel with all of them."""
        members = setup.directory.members
        self._out.update(member.name for member in members if member.name not in self._capsules)
        left = [member for member in members if member.name not in self._out]
        if len(left) < self._plan.min_clients:
            least = self._plan.min_clients
            self.failed = f"set-up: {len(left)} clients made capsules, the plan demands {least}; open new sessions."
            return ()
        self.setup = setup
        handed = [self._capsules[member.name] for member in left]
        self._capsules = {}
        return tuple(
            (member.name, "capsules", pack_value([each[member.index] for each in handed if member.index in each]))
            for member in left
        )
