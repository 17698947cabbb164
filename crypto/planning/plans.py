"""The plan: everything public about a run of secure sums, fixed and checked before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from crypto.errors import MessageError, PlanRefused, RosterError
from crypto.keys.randomness import system_random
from crypto.keys.roster import Roster
from crypto.keys.sealed import OVERHEAD as SEAL_OVERHEAD
from crypto.planning.assumptions import assumption
from crypto.planning.checks import (
    check_counts,
    check_names,
    check_norms,
    check_upload,
    checked_packing,
    whole,
    whole_numbers,
)
from crypto.planning.masks import MaskParameters, Mode, overhead_bytes, parameters_for
from crypto.planning.packing import Packing
from crypto.planning.upload import CIPHERTEXT_BYTES, SEED_BYTES, STATEMENT_BYTES, ProtocolName, Upload
from crypto.wire.messages import MAX_NAME
from crypto.wire.values import pack_value, unpack_value


@dataclass(frozen=True)
class Plan:
    """A checked plan; make it with `plan`. All of it is public."""

    protocol: ProtocolName
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

    @property
    def checks_norms(self) -> bool:
        """Whether some upload's norms are checked on shares, which takes a dealer process."""
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
        upload = self.find(name)
        match self.protocol:
            case "plain":
                return 8 * upload.length
            case "bfv":
                chunks = self.packing(name).chunks
                header = 1 if chunks < 16 else 3 if chunks < 1 << 16 else 5
                return STATEMENT_BYTES + header + chunks * (CIPHERTEXT_BYTES + 5)
            case "mpc":
                vectors = 2 if upload.noise_norm_bound else 1
                return 8 * vectors * upload.length + SEED_BYTES + 2 * (SEAL_OVERHEAD + 1)
            case "secagg" | "secagg+":
                return -(-upload.length * self.ring_bits(name) // 8) + overhead_bytes(self.masks)
        assert_never(self.protocol)

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
        corrupt = None if self.masks is None else self.masks.corrupt
        return plan(
            self.protocol, self.clients, self.uploads, self.rounds, self.max_dropouts, self.session, roster, corrupt,
            "semi-honest" if self.masks is None else mode,
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """Write the plan for another process; `plan_from_bytes` reads it and checks it again."""
        uploads = [
            [u.name, u.length, u.bound, u.noise_bound, u.noise_excess, u.norm_bound, u.noise_norm_bound]
            for u in self.uploads
        ]
        roster = None if self.roster is None else [list(entry) for entry in self.roster.entries]
        parts = [self.protocol, list(self.clients), uploads, self.rounds, self.max_dropouts, self.session, roster]
        return pack_value([*parts, *([] if self.masks is None else [self.masks.corrupt, self.masks.mode])])


def plan(
    protocol: ProtocolName,
    clients: Iterable[str],
    uploads: Iterable[Upload],
    rounds: int,
    max_dropouts: int = 0,
    session: str | None = None,
    roster: Roster | None = None,
    corrupt: int | None = None,
    mode: Mode = "semi-honest",
) -> Plan:
    """Check everything public about a run and return its plan.

    `session` names the run; None draws 128 random bits, the only thing here that is not a function of the
    arguments. `roster` pins the identities of clients and roles; None believes the first key that each name
    shows. `corrupt` (how many clients may work with the server; None: a tenth) and `mode` are for "secagg" and
    "secagg+", see `crypto.planning.masks`.

    Raises:
        PlanRefused: names clash or the roster lacks one, a number is out of range, fewer than two clients would be
            summed (unless "plain"), a sum could leave 64 bits, a norm cannot be checked, or, under "bfv", a sum does
            not fit a packed field, noise could exceed it with probability above 2^-40 over all rounds, or decryption
            could fail with probability above 2^-40; names the value, the limit and the remedy.
    """
    names, vectors = tuple(clients), tuple(whole_numbers(upload) for upload in uploads)
    rounds, max_dropouts = whole(rounds, "rounds"), whole(max_dropouts, "max_dropouts")
    check_names(names, vectors)
    check_counts(protocol, len(names), rounds, max_dropouts)
    session = system_random(16).hex() if session is None else session
    if not 0 < len(session) <= MAX_NAME:
        raise PlanRefused(f"the session name has {len(session)} characters; give 1 to {MAX_NAME}")
    for upload in vectors:
        check_upload(upload, len(names))
        check_norms(upload, protocol)
    missing = set(names) - set(names if roster is None else roster.keys)
    if missing:
        raise PlanRefused(f"the roster lacks {len(missing)} clients, {min(missing)!r} for one; add their public keys")
    corrupt = None if corrupt is None else whole(corrupt, "corrupt")
    masks = parameters_for(protocol, len(names), max_dropouts, corrupt, mode, roster is not None)
    packings = tuple(checked_packing(upload, len(names), rounds) for upload in vectors) if protocol == "bfv" else ()
    return Plan(
        protocol=protocol,
        clients=names,
        uploads=vectors,
        rounds=rounds,
        max_dropouts=max_dropouts,
        session=session,
        min_clients=len(names) - max_dropouts,
        assumption=assumption(protocol, vectors, roster is not None, mode),
        packings=packings,
        roster=roster,
        masks=masks,
    )


def plan_from_bytes(data: bytes) -> Plan:
    """Read `Plan.to_bytes` and check the plan again.

    Raises:
        MessageError: malformed bytes.
        PlanRefused: a plan that `plan` would refuse.
    """
    match unpack_value(data):
        case [
            ("plain" | "bfv" | "mpc" | "secagg" | "secagg+") as protocol,
            list(clients),
            list(uploads),
            int(rounds),
            int(drops),
            str(session),
            (list() | None) as entries,
            *rest,
        ]:
            vectors = []
            for entry in uploads:
                match entry:
                    case [str(name), int(length), int(bound), int(noise), float(excess), int(norm), int(noise_norm)]:
                        vectors.append(Upload(name, length, bound, noise, excess, norm, noise_norm))
                    case _:
                        raise MessageError("an upload of the plan is malformed")
            match rest:
                case [] if protocol in ("plain", "bfv", "mpc"):
                    return plan(protocol, clients, vectors, rounds, drops, session, _roster(entries))
                case [int(corrupt), ("semi-honest" | "active") as mode]:
                    return plan(protocol, clients, vectors, rounds, drops, session, _roster(entries), corrupt, mode)
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
