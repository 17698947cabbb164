"""One entry says everything the program asks about a protocol: its words, its numbers, its refusals, its sessions.

`crypto.protocols.catalogue` lists the entries that come with this package, each in the room of its protocol; any other
is named as `module:name` of an entry, without a registration call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, get_args

from crypto.errors import PlanRefused
from crypto.keys.randomness import RandomBytes
from crypto.keys.roster import Identity, Trust
from crypto.planning.assumptions import NormCheck
from crypto.planning.masks import Graph
from crypto.planning.plans import Hiding, Plan
from crypto.planning.upload import Upload
from crypto.protocols.bookkeeping import Journal
from crypto.protocols.session import BareClient, Session, SumOpener


@dataclass(frozen=True, kw_only=True)
class ClientSeat:
    """What a client's session is made from.

    Attributes:
        plan: the checked plan; one of its clients is `identity.name`.
        identity: signs for the client.
        random: the source of all its randomness.
        public: the `public` of another client's session in this process, or None.
        journal: where answers are recorded before they are given, or None.
    """

    plan: Plan
    identity: Identity
    random: RandomBytes
    public: object | None
    journal: Journal | None


@dataclass(frozen=True, kw_only=True)
class PartySeat:
    """What the session of one of the plan's roles is made from.

    Attributes:
        plan: the checked plan.
        role: one of `crypto.plan_roles(plan)`.
        random: the source of all its randomness.
        trust: whose signatures count.
        opener: how a computing server opens a sum together with the other, or None.
        journal: where it records whose vectors were summed at which model, before it opens a sum, or None.
        threads: on how many threads it may compute.
    """

    plan: Plan
    role: str
    random: RandomBytes
    trust: Trust
    opener: SumOpener | None
    journal: Journal | None
    threads: int = 1


class Group(SumOpener, Protocol):
    """What the roles that meet open sums with."""

    def close(self) -> None:
        """Leave the group."""
        ...


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Roles that open sums together in processes of their own, found through a file in a private folder.

    Attributes:
        roles: who meets.
        join: waits for the others at the file and returns what a role opens sums with; None for one that only serves.
    """

    roles: tuple[str, ...]
    join: Callable[[Plan, str, Path], Group | None]


@dataclass(frozen=True, kw_only=True)
class SumProtocol:
    """A protocol that turns the clients' integer vectors into their exact sum.

    Attributes:
        hiding: what keeps one client's vector from the server.
        assumption: what that holds under, word by word as on certificates.
        client: makes the session of one client.
        party: makes the session of one role. Both travel in envelopes that sign and number what they say.
        client_bytes: bytes of payload that one client sends for one sum of an upload, envelopes aside.
        roles: the parties besides the clients; the first is "server", which opens sums and ends them.
        active_assumption: under masks, what holds against a server that may do anything.
        norms: how norms are checked on vectors that nobody sees; None where they cannot be.
        packed: whether vectors lie in BFV plaintexts, `plan.packing`; what does not fit is refused.
        masks: which clients mask each other's vectors, `plan.masks`; None without masks.
        check: refuses a plan that all other checks let through, with `crypto.errors.PlanRefused`.
        require: refuses to go on without the protocol's library, with `crypto.errors.BackendMissing`.
        meeting: roles that meet, if any.
        tagged: kinds of a client's messages to the server that travel under a tag instead of a hash: the signature
            covers their first and last bytes and their length (`crypto.protocols.envelope`). Whether such a message is
            well formed must be told by these alone.

    Raises:
        PlanRefused: `hiding` is no word of the list, or the server is not the first role.
    """

    hiding: Hiding
    assumption: str
    client: Callable[[ClientSeat], BareClient]
    party: Callable[[PartySeat], Session]
    client_bytes: Callable[[Plan, Upload], int]
    roles: tuple[str, ...] = ("server",)
    active_assumption: str = ""
    norms: NormCheck | None = None
    packed: bool = False
    masks: Graph | None = None
    check: Callable[[Plan], None] = lambda plan: None
    require: Callable[[], None] = lambda: None
    meeting: Meeting | None = None
    tagged: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.hiding not in get_args(Hiding):
            raise PlanRefused(f"hiding={self.hiding!r} of a protocol is none of {list(get_args(Hiding))}; choose one")
        if not self.roles or self.roles[0] != "server":
            raise PlanRefused(f"roles={self.roles!r} of a protocol must begin with 'server', who ends its sums")
        if not self.assumption.strip():
            raise PlanRefused("assumption='' of a protocol says nothing; certificates print it: write 'None: ...'")
