"""Set-up: who takes part, and the graph that nobody chose.

Each client sends a *hello* (identity, channel key, commitments to nonces). The server repeats all hellos as the
*directory*; each client opens its nonce for that directory; the hash of all nonces seeds the graph. A client
that does not open is left out and the others open their next nonce for a new directory, at most `ATTEMPTS`
times: so corrupt clients choose among that many graphs at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from crypto.keys.randomness import KEY_BYTES
from crypto.keys.roster import Identity, Roster, Trust
from crypto.planning.masks import ATTEMPTS, MaskParameters
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.graph import neighbour_graph
from crypto.protocols.masks.keys import digest
from crypto.protocols.masks.records import read_record, unpack, write_record
from crypto.wire.values import pack_value


@dataclass(frozen=True)
class Member:
    """One client's hello: its place in the plan, identity and X25519 channel key, commitments to its nonces."""

    index: int
    name: str
    identity: bytes
    sealing: bytes
    commitments: tuple[bytes, ...]


@dataclass(frozen=True)
class Directory:
    """The members of one attempt, in the plan's order."""

    attempt: int
    members: tuple[Member, ...]
    digest: bytes

    def find(self, name: str) -> Member | None:
        """The member of that name, if any."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True)
class Setup:
    """A finished set-up: `neighbours` maps each member's index to those of its neighbours, sorted."""

    directory: Directory
    digest: bytes
    members: Mapping[int, Member]
    neighbours: Mapping[int, tuple[int, ...]]

    @cached_property
    def trust(self) -> Trust:
        """Belief in the members' identities and no others."""
        return Trust(Roster(tuple((member.name, member.identity) for member in self.directory.members)))

    @cached_property
    def places(self) -> Mapping[int, Mapping[int, int]]:
        """For each member, who holds shares of its secrets and in which place of its offers."""
        return {
            index: {holder: place for place, holder in enumerate(sorted((*near, index)))}
            for index, near in self.neighbours.items()
        }

    def holders(self, index: int) -> tuple[int, ...]:
        """Who holds shares of this member's secrets: its neighbours and itself, sorted."""
        return tuple(self.places[index])


def mask_parameters(plan: Plan) -> MaskParameters:
    """The plan's mask parameters.

    Raises:
        RecordError: its protocol uses none.
    """
    if plan.masks is None:
        raise RecordError(f"the protocol {plan.protocol} uses no masks")
    return plan.masks


def commitment(session: str, name: str, attempt: int, nonce: bytes) -> bytes:
    """What a client publishes before it may know any other nonce."""
    return digest(("masks nonce 1", session, name, attempt, nonce))


def write_hello(plan: Plan, identity: Identity, sealing: bytes, nonces: Sequence[bytes]) -> bytes:
    """A client's signed hello."""
    numbered = enumerate(nonces)
    commitments = [commitment(plan.session, identity.name, attempt, nonce) for attempt, nonce in numbered]
    return write_record(identity, plan.session, "hello", pack_value([sealing, commitments]))


def read_hello(plan: Plan, name: str, record: bytes, trust: Trust) -> Member:
    """Check a hello.

    Raises:
        RecordError: it is malformed or not its client's.
    """
    if name not in plan.clients:
        raise RecordError(f"the plan has no client {name!r}")
    match unpack(read_record(trust, plan.session, "hello", name, record)):
        case [bytes(sealing), list(commitments)]:
            whole = all(isinstance(entry, bytes) and len(entry) == KEY_BYTES for entry in commitments)
            if whole and len(sealing) == KEY_BYTES and len(commitments) == ATTEMPTS:
                return Member(plan.clients.index(name), name, record[:KEY_BYTES], sealing, tuple(commitments))
    raise RecordError(f"the hello of {name!r} is malformed")


def write_directory(attempt: int, hellos: Mapping[str, bytes]) -> bytes:
    """The server's repetition of the hellos, in the plan's order."""
    return pack_value([attempt, [[name, record] for name, record in hellos.items()]])


def read_directory(plan: Plan, payload: bytes, trust: Trust) -> Directory:
    """Check a directory and everything in it.

    Raises:
        RecordError: a hello is not its client's, names repeat or are out of order, keys repeat, or fewer members came
            than the plan demands.
    """
    match unpack(payload):
        case [int(attempt), list(entries)] if 0 <= attempt < ATTEMPTS:
            pass
        case _:
            raise RecordError("the directory is malformed")
    members = []
    for entry in entries:
        match entry:
            case [str(name), bytes(record)]:
                members.append(read_hello(plan, name, record, trust))
            case _:
                raise RecordError("an entry of the directory is malformed")
    return _directory(plan, attempt, members, digest(("masks directory 1", plan.session, payload)))


def _directory(plan: Plan, attempt: int, members: Sequence[Member], label: bytes) -> Directory:
    """Check the members together.

    Raises:
        RecordError: as `read_directory` says.
    """
    indices = [member.index for member in members]
    if indices != sorted(set(indices)) or len(indices) < plan.min_clients:
        raise RecordError(f"{len(indices)} members, in order and each once, are not the {plan.min_clients} needed")
    if len({member.sealing for member in members}) != len(members):
        raise RecordError("two members have one channel key; every client has its own")
    return Directory(attempt, tuple(members), label)


def write_opening(plan: Plan, identity: Identity, directory: Directory, nonce: bytes) -> bytes:
    """A client's nonce, opened for this directory only."""
    return write_record(identity, plan.session, "open", pack_value([directory.digest, nonce]))


def read_opening(plan: Plan, directory: Directory, member: Member, record: bytes, trust: Trust) -> bytes:
    """Return the nonce.

    Raises:
        RecordError: it is not what the member committed to, for this directory.
    """
    match unpack(read_record(trust, plan.session, "open", member.name, record)):
        case [bytes(label), bytes(nonce)] if label == directory.digest:
            expected = member.commitments[directory.attempt]
            if commitment(plan.session, member.name, directory.attempt, nonce) == expected:
                return nonce
    raise RecordError(f"the opening of {member.name!r} does not fit its commitment or this directory")


def read_openings(plan: Plan, directory: Directory, payload: bytes, trust: Trust) -> Setup:
    """Check the openings of all members and finish the set-up.

    Raises:
        RecordError: they are malformed, not of all members, or do not fit the commitments.
    """
    match unpack(payload):
        case list(records) if len(records) == len(directory.members):
            pass
        case _:
            raise RecordError("the list of openings is malformed or not of all members")
    nonces = []
    for member, record in zip(directory.members, records, strict=True):
        if not isinstance(record, bytes):
            raise RecordError("an opening is not bytes")
        nonces.append(read_opening(plan, directory, member, record, trust))
    return finish(plan, directory, nonces)


def finish(plan: Plan, directory: Directory, nonces: Sequence[bytes]) -> Setup:
    """Build the graph from everybody's nonces."""
    seed = digest(("masks set-up 1", plan.protocol, plan.session, directory.digest, *nonces))
    indices = [member.index for member in directory.members]
    graph = neighbour_graph(seed, len(indices), mask_parameters(plan))
    neighbours = {indices[place]: tuple(indices[v] for v in row) for place, row in enumerate(graph)}
    return Setup(directory, seed, {member.index: member for member in directory.members}, neighbours)
