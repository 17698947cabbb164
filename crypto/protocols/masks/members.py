"""Set-up: who takes part, and the graph that nobody chose.

Each client sends a *hello* (identity, commitments to its channel keys and to nonces). The server repeats all hellos
as the *directory*; each client opens its nonce and its channel keys for that directory; the hash of all openings seeds
the graph. A client that does not open is left out and the others open their next nonce for a new directory, at most
`attempts` times: so corrupt clients choose among that many graphs at most. The nonces are a chain of hashes, of which
the hello shows the end: each is the commitment to the next.

Channel keys are committed to before any is shown, so nobody can have copied another's: of two clients with one key
both are at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from crypto.keys.exchange import usable
from crypto.keys.randomness import KEY_BYTES
from crypto.keys.roster import Identity, Roster, Trust
from crypto.planning.masks import MaskParameters, set_up_attempts
from crypto.planning.plans import Plan
from crypto.protocols.masks.errors import FaultError, RecordError
from crypto.protocols.masks.graph import neighbour_graph
from crypto.protocols.masks.keys import digest
from crypto.protocols.masks.records import read_record, unpack, write_record
from crypto.wire.values import pack_value


@dataclass(frozen=True)
class Member:
    """One client's hello: its place in the plan, identity, commitments to its channel keys and first nonce."""

    index: int
    name: str
    identity: bytes
    channel: bytes
    nonce: bytes


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
class Opening:
    """What one member opened: a nonce, secret until every client had committed to its own, and its channel keys
    (`crypto.protocols.masks.channels.ChannelKey.public`).
    """

    nonce: bytes = field(repr=False)
    sealing: bytes


@dataclass(frozen=True)
class Setup:
    """A finished set-up: `neighbours` maps each member's index to those of its neighbours, sorted; `sealings` to its
    channel keys.
    """

    directory: Directory
    digest: bytes
    members: Mapping[int, Member]
    neighbours: Mapping[int, tuple[int, ...]]
    sealings: Mapping[int, bytes]

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


def channel_commitment(session: str, name: str, sealing: bytes) -> bytes:
    """What a client publishes before it may know any other's channel keys; hiding, as those are random."""
    return digest(("masks channel key 1", session, name, sealing))


def attempts(plan: Plan) -> int:
    """How often a set-up may be tried: as many clients as may drop out can each spoil one attempt."""
    return set_up_attempts(plan.max_dropouts)


def nonce_chain(plan: Plan, name: str, secret: bytes) -> list[bytes]:
    """A client's nonces, one for each attempt, from the last one, `secret`."""
    nonces = [secret]
    for attempt in range(attempts(plan) - 1, 0, -1):
        nonces.append(commitment(plan.session, name, attempt, nonces[-1]))
    return nonces[::-1]


def write_hello(plan: Plan, identity: Identity, sealing: bytes, nonce: bytes) -> bytes:
    """A client's signed hello, with the first nonce of its chain."""
    committed = commitment(plan.session, identity.name, 0, nonce)
    channel = channel_commitment(plan.session, identity.name, sealing)
    return write_record(identity, plan.session, "hello", pack_value([channel, committed]))


def read_hello(plan: Plan, name: str, record: bytes, trust: Trust) -> Member:
    """Check a hello.

    Raises:
        RecordError: it is not its client's.
        FaultError: it is malformed.
    """
    if name not in plan.clients:
        raise RecordError(f"the plan has no client {name!r}")
    match unpack(read_record(trust, plan.session, "hello", name, record)):
        case [bytes(channel), bytes(nonce)] if len(channel) == len(nonce) == KEY_BYTES:
            return Member(plan.clients.index(name), name, record[:KEY_BYTES], channel, nonce)
    raise FaultError(f"the hello of {name!r} is malformed")


def write_directory(attempt: int, hellos: Mapping[str, bytes]) -> bytes:
    """The server's repetition of the hellos, in the plan's order."""
    return pack_value([attempt, [[name, record] for name, record in hellos.items()]])


def read_directory(plan: Plan, payload: bytes, trust: Trust) -> Directory:
    """Check a directory and everything in it.

    Raises:
        RecordError: a hello is not its client's, names repeat or are out of order, or fewer members came than the plan
            demands.
    """
    match unpack(payload):
        case [int(attempt), list(entries)] if 0 <= attempt < attempts(plan):
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
    return Directory(attempt, tuple(members), label)


def write_opening(plan: Plan, identity: Identity, directory: Directory, nonce: bytes, sealing: bytes) -> bytes:
    """A client's nonce and channel keys, opened for this directory only."""
    return write_record(identity, plan.session, "open", pack_value([directory.digest, nonce, sealing]))


def read_opening(plan: Plan, directory: Directory, member: Member, record: bytes, trust: Trust) -> Opening:
    """Return nonce and channel keys.

    Raises:
        RecordError: it is not the member's, or for another directory.
        FaultError: it is malformed or not what the member committed to, or the channel key is of small order.
    """
    match unpack(read_record(trust, plan.session, "open", member.name, record)):
        case [bytes(label), bytes(), bytes()] if label != directory.digest:
            raise RecordError(f"the opening of {member.name!r} is for another directory")
        case [bytes(), bytes(nonce), bytes(sealing)]:
            given = nonce
            for attempt in range(directory.attempt, -1, -1):
                given = commitment(plan.session, member.name, attempt, given)
            channel = channel_commitment(plan.session, member.name, sealing)
            if (given, channel) == (member.nonce, member.channel):
                if len(sealing) == 2 * KEY_BYTES and usable(sealing[:KEY_BYTES]):
                    return Opening(nonce, sealing)
                raise FaultError(f"the channel key of {member.name!r} is no usable X25519 key")
    raise FaultError(f"the opening of {member.name!r} does not fit its commitments")


def sharers(openings: Mapping[str, Opening]) -> list[str]:
    """The names of those of whose channel keys another has one as well, in order."""
    holders: dict[bytes, list[str]] = {}
    for name, opening in openings.items():
        for key in (opening.sealing[:KEY_BYTES], opening.sealing[KEY_BYTES:]):
            holders.setdefault(key, []).append(name)
    found = {name for names in holders.values() if len(names) > 1 for name in names}
    return [name for name in openings if name in found]


def read_openings(plan: Plan, directory: Directory, payload: bytes, trust: Trust) -> Setup:
    """Check the openings of all members and finish the set-up.

    Raises:
        RecordError: they are malformed, not of all members, or do not fit the commitments, or two have one channel key.
    """
    match unpack(payload):
        case list(records) if len(records) == len(directory.members):
            pass
        case _:
            raise RecordError("the list of openings is malformed or not of all members")
    openings: dict[str, Opening] = {}
    for member, record in zip(directory.members, records, strict=True):
        if not isinstance(record, bytes):
            raise RecordError("an opening is not bytes")
        openings[member.name] = read_opening(plan, directory, member, record, trust)
    if sharers(openings):
        raise RecordError("two members have one channel key; every client has its own")
    return finish(plan, directory, list(openings.values()))


def finish(plan: Plan, directory: Directory, openings: Sequence[Opening]) -> Setup:
    """Build the graph from what everybody opened, in the directory's order.

    Raises:
        GraphError: no graph comes out.
    """
    opened = [part for opening in openings for part in (opening.nonce, opening.sealing)]
    seed = digest(("masks set-up 2", plan.protocol, plan.session, directory.digest, *opened))
    indices = [member.index for member in directory.members]
    graph = neighbour_graph(seed, len(indices), mask_parameters(plan))
    neighbours = {indices[place]: tuple(indices[v] for v in row) for place, row in enumerate(graph)}
    sealings = {index: opening.sealing for index, opening in zip(indices, openings, strict=True)}
    return Setup(directory, seed, {member.index: member for member in directory.members}, neighbours, sealings)
