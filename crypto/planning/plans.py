"""The plan: everything public about a run of secure sums, fixed and checked before it starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from crypto.errors import MessageError, PlanRefused, RosterError
from crypto.keys.randomness import system_random
from crypto.keys.roster import Roster
from crypto.planning.assumptions import Assumes, assumption
from crypto.planning.checks import (
    check_counts,
    check_names,
    check_norms,
    check_upload,
    checked_packing,
    whole,
    whole_numbers,
)
from crypto.planning.masks import Graph, MaskParameters, Mode, parameters_for
from crypto.planning.packing import Packing
from crypto.planning.upload import Upload
from crypto.wire.messages import MAX_NAME, is_name
from crypto.wire.values import pack_value, unpack_value

Hiding = Literal["nothing", "ciphertext", "shares", "masks", "pads"]


class Rules(Assumes, Protocol):
    """What a plan asks of its protocol; `crypto.protocols.entry.SumProtocol` says what each member means."""

    @property
    def hiding(self) -> Hiding:
        """What keeps one client's vector from the server."""
        ...

    @property
    def roles(self) -> tuple[str, ...]:
        """The parties besides the clients, the server first."""
        ...

    @property
    def packed(self) -> bool:
        """Whether vectors lie in BFV plaintexts."""
        ...

    @property
    def masks(self) -> Graph | None:
        """Which clients mask each other's vectors; None without masks."""
        ...

    @property
    def client_bytes(self) -> Callable[[Plan, Upload], int]:
        """Bytes of payload that one client sends for one sum of an upload."""
        ...

    @property
    def tagged(self) -> frozenset[str]:
        """Kinds of messages that travel under a tag."""
        ...

    @property
    def check(self) -> Callable[[Plan], None]:
        """Refuses a plan that all other checks let through, with PlanRefused."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked plan; make it with `crypto.plan`. All of it is public."""

    protocol: str
    clients: tuple[str, ...]
    uploads: tuple[Upload, ...]
    rounds: int
    max_dropouts: int
    session: str
    min_clients: int
    assumption: str
    packings: tuple[Packing, ...] = field(repr=False)
    roster: Roster | None = field(default=None, repr=False)
    masks: MaskParameters | None = None
    corrupt: int = 0
    rules: Rules = field(kw_only=True, repr=False, compare=False)

    @property
    def roles(self) -> tuple[str, ...]:
        """The parties besides the clients, the server first."""
        norms = self.rules.norms
        return (*self.rules.roles, *(norms.roles if norms is not None and self.checks_norms else ()))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The clients' numbers, in the plan's order, by name: what a name is looked up in, however many there are."""
        return {name: place for place, name in enumerate(self.clients)}

    @cached_property
    def parties(self) -> frozenset[str]:
        """Clients and roles."""
        return frozenset((*self.clients, *self.roles))

    @property
    def checks_norms(self) -> bool:
        """Whether some upload's norms are checked on shares."""
        return any(upload.norm_bound for upload in self.uploads)

    def find(self, name: str) -> Upload:
        """Return the upload of that name.

        Raises:
            PlanRefused: there is none.
        """
        for upload in self.uploads:
            if upload.name == name:
                return upload
        raise PlanRefused(f"no upload {name!r} in the plan; it has {[u.name for u in self.uploads]}")

    def sum_bound(self, name: str) -> int:
        """Public bound on |entry| of the sum over all clients, noise included."""
        upload = self.find(name)
        return len(self.clients) * upload.bound + upload.noise_bound

    def client_bytes(self, name: str) -> int:
        """Bytes of payload that one client sends for one sum of this upload (envelopes, about 250 bytes, and
        digests of models aside).
        """
        return self.rules.client_bytes(self, self.find(name))

    @cached_property
    def largest_payload(self) -> int:
        """No payload of an honest party has more bytes: whoever receives more refuses it before anything else.

        Twice what a client sends for its largest upload and 8 bytes an entry of a sum; for keys and lists of clients a
        mebibyte, and four kibibytes a client.
        """
        largest = max(2 * self.client_bytes(upload.name) + 8 * upload.length for upload in self.uploads)
        return largest + (1 << 20) + 4096 * len(self.clients)

    def ring_bits(self, name: str) -> int:
        """Bits of an entry under masks: the smallest ring in which the sum does not wrap."""
        return max(1, (2 * self.sum_bound(name)).bit_length())

    def packing(self, name: str) -> Packing:
        """How the upload lies in BFV plaintexts.

        Raises:
            PlanRefused: another protocol, or an upload that is not in the plan.
        """
        for upload, packing in zip(self.uploads, self.packings, strict=False):
            if upload.name == name:
                return packing
        raise PlanRefused(f"no packing for {name!r}: the protocol is {self.protocol} or the upload is unknown")

    def covers(self, number: int, name: str) -> bool:
        """Whether (round `number`, upload `name`) belongs to this plan."""
        return 0 <= number < self.rounds and any(upload.name == name for upload in self.uploads)

    def pinned(self, roster: Roster, mode: Mode = "semi-honest") -> Plan:
        """Return this plan, in its session, with the identities of `roster` and, under masks, what the server may do.

        For who plans first and makes, or is given, identities later.

        Raises:
            PlanRefused: as `plan`.
        """
        corrupt = self.corrupt if self.rules.hiding != "nothing" else None
        return make_plan(
            self.protocol, self.rules, self.clients, self.uploads, self.rounds, self.max_dropouts, self.session,
            roster, corrupt, "semi-honest" if self.masks is None else mode,
        )  # fmt: skip

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of everything that the plan says."""
        return hashlib.sha256(self.to_bytes()).digest()

    def to_bytes(self) -> bytes:
        """Write the plan for another process; `crypto.protocols.plans.plan_from_bytes` reads and checks it."""
        uploads = [
            [u.name, u.length, u.bound, u.noise_bound, u.noise_excess, u.norm_bound, u.noise_norm_bound]
            for u in self.uploads
        ]
        roster = None if self.roster is None else [list(entry) for entry in self.roster.entries]
        parts = [self.protocol, list(self.clients), uploads, self.rounds, self.max_dropouts, self.session, roster]
        mode = [] if self.masks is None else [self.masks.mode]
        return pack_value([*parts, *([] if self.rules.hiding == "nothing" else [self.corrupt]), *mode])


def make_plan(
    protocol: str,
    rules: Rules,
    clients: Iterable[str],
    uploads: Iterable[Upload],
    rounds: int,
    max_dropouts: int = 0,
    session: str | None = None,
    roster: Roster | None = None,
    corrupt: int | None = None,
    mode: Mode = "semi-honest",
) -> Plan:
    """Check everything public about a run and return its plan; `crypto.protocols.plans.plan` knows the `rules` by name.

    Raises:
        PlanRefused: as that does.
    """
    names, vectors = tuple(clients), tuple(whole_numbers(upload) for upload in uploads)
    rounds, max_dropouts = whole(rounds, "rounds"), whole(max_dropouts, "max_dropouts")
    check_names(names, vectors, rules.roles)
    corrupt = None if corrupt is None else whole(corrupt, "corrupt")
    check_counts(len(names), rounds, max_dropouts, corrupt, hides=rules.hiding != "nothing")
    session = system_random(16).hex() if session is None else session
    if not is_name(session):
        raise PlanRefused(f"the session name {session!r} is not text of 1 to {MAX_NAME} printable characters")
    for upload in vectors:
        check_upload(upload, len(names))
        check_norms(upload, protocol, checks=rules.norms is not None)
    missing = set(names) - set(names if roster is None else roster.keys)
    if missing:
        raise PlanRefused(f"the roster lacks {len(missing)} clients, {min(missing)!r} for one; add their public keys")
    masks = parameters_for(protocol, rules.masks, len(names), max_dropouts, corrupt, mode, roster is not None)
    packings = tuple(checked_packing(upload, len(names), rounds) for upload in vectors) if rules.packed else ()
    made = Plan(
        protocol=protocol,
        clients=names,
        uploads=vectors,
        rounds=rounds,
        max_dropouts=max_dropouts,
        session=session,
        min_clients=len(names) - max_dropouts,
        assumption=assumption(rules, vectors, roster is not None, mode),
        packings=packings,
        roster=roster,
        masks=masks,
        corrupt=(corrupt or 0) if masks is None else masks.corrupt,
        rules=rules,
    )
    rules.check(made)
    return made


def read_plan(data: bytes, find: Callable[[str], Rules]) -> Plan:
    """Read `Plan.to_bytes` and check the plan again; `find` returns the rules of a protocol by its name.

    Raises:
        MessageError: malformed bytes.
        PlanRefused: a plan that `make_plan` would refuse.
        CryptoError: what `find` raises.
    """
    match unpack_value(data):
        case [
            str(protocol),
            list(clients),
            list(uploads),
            int(rounds),
            int(drops),
            str(session),
            (list() | None) as entries,
            *rest,
        ]:
            rules, roster = find(protocol), _roster(entries)
            vectors = []
            for entry in uploads:
                match entry:
                    case [str(name), int(length), int(bound), int(noise), float(excess), int(norm), int(noise_norm)]:
                        vectors.append(
                            Upload(
                                name=name,
                                length=length,
                                bound=bound,
                                noise_bound=noise,
                                noise_excess=excess,
                                norm_bound=norm,
                                noise_norm_bound=noise_norm,
                            )
                        )
                    case _:
                        raise MessageError("an upload of the plan is malformed")
            match rest:
                case [] if rules.hiding == "nothing":
                    return make_plan(protocol, rules, clients, vectors, rounds, drops, session, roster)
                case [int(corrupt)] if rules.masks is None:
                    return make_plan(protocol, rules, clients, vectors, rounds, drops, session, roster, corrupt)
                case [int(corrupt), ("semi-honest" | "active") as mode]:
                    given = (clients, vectors, rounds, drops, session, roster, corrupt, mode)
                    return make_plan(protocol, rules, *given)
    raise MessageError("the bytes are not a plan")


def _roster(entries: list[object] | None) -> Roster | None:
    if entries is None:
        return None
    found: list[tuple[str, bytes]] = []
    for entry in entries:
        match entry:
            case [str(name), bytes(key)]:
                found.append((name, key))
            case _:
                raise MessageError("the roster of the plan is malformed")
    try:
        return Roster(tuple(found))
    except RosterError as error:
        raise MessageError(str(error)) from error
